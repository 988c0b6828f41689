"""What a machine rule may say, and what it makes happen."""

from __future__ import annotations

import pytest

from rig.errors import UserError
from rig.faults.reader import parse_plan
from rig.faults.rules.machine import (
    LASTS_S,
    DaemonName,
    MachineEffect,
    MachineFault,
    MachineKind,
    MachineRole,
)


def rule(text: str) -> MachineFault:
    """Read one rule."""
    plan = parse_plan(f'name = "x"\n[[fault]]\nlayer = "machine"\n{text}', "x.toml")
    (found,) = plan.rules(MachineFault)
    return found


BACK = 'machine = "back"\nat_s = 1\n'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (BACK + 'effect = "kill-daemon"', "'effect' 'kill-daemon' needs a 'daemon'"),
        (BACK + 'effect = "pause"\ndaemon = "back"', "'daemon' is of no use with"),
        (
            BACK + 'effect = "kill-daemon"\ndaemon = "front"',
            "'daemon' is 'front', but machine 'back' has 'back', 'gadget'",
        ),
        (BACK + 'effect = "kill"\nfor_s = 1', "it does not come back"),
        ('machine = "back"\neffect = "pause"\nnth = 1', "give 'at_s'"),
        (BACK + 'effect = "pause"\ntimes = 2', "fires by the clock alone"),
    ],
)
def test_what_contradicts_itself_is_refused(text: str, said: str) -> None:
    with pytest.raises(UserError) as refused:
        rule(text)
    assert said in str(refused.value)


def test_all_but_a_kill_ends_by_itself() -> None:
    assert set(LASTS_S) == set(MachineKind) - {MachineKind.KILL}
    for kind, lasts_s in LASTS_S.items():
        daemon = 'daemon = "back"' if "daemon" in kind else ""
        found = rule(f'{BACK}effect = "{kind}"\n{daemon}')
        assert found.at_once
        assert found.effect(None, 0).for_s == lasts_s
    assert rule(BACK + 'effect = "kill"').effect(None, 0).for_s is None


def test_an_effect_says_what_is_struck_and_for_how_long() -> None:
    found = rule(BACK + 'effect = "stop-daemon"\ndaemon = "gadget"\nfor_s = 3')
    assert found.effect(None, 0) == MachineEffect(
        MachineKind.STOP_DAEMON, MachineRole.BACK, DaemonName.GADGET, 3.0
    )
