from __future__ import annotations

import pytest

from rig.cli.machine import MACHINE_COMMANDS, run_machine_command
from rig.errors import UserError


@pytest.mark.parametrize("command", sorted(MACHINE_COMMANDS))
def test_what_is_wrong_with_a_command_line_is_one_sentence_and_its_mend(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UserError) as raised:
        run_machine_command(command, ["--no-such-option"])
    assert raised.value.message.startswith(f"'rig {command}")
    assert raised.value.hint.endswith("--help' tells more.")
    assert capsys.readouterr() == ("", "")  # and no usage
