"""The speed of stamping and verifying: a floor, far below what is measured on a calm machine."""

from __future__ import annotations

import pytest

from rig.errors import UserError
from rig.integrity import stamp_speed

FLOOR_MB_S = 100.0
"""docs/integrity.md has the figures of a calm machine; this one may be busy, and slow."""


def test_stamping_and_verifying_by_the_column_is_fast_whatever_the_mix() -> None:
    speeds = [speed for speed in stamp_speed.measure(1 << 13) if speed.how == "columns"]
    assert [speed.run_sectors for speed in speeds] == list(stamp_speed.RUN_SECTORS)
    assert min(speed.stamp_mb_s for speed in speeds) > FLOOR_MB_S
    assert min(speed.verify_mb_s for speed in speeds[1:]) > FLOOR_MB_S


def test_the_command_prints_both_ways(capsys: pytest.CaptureFixture[str]) -> None:
    assert stamp_speed.main(["--sectors", "2048"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["how", "sectors", "a", "write", "stamp", "MB/s", "verify", "MB/s"]
    assert {line.split()[0] for line in lines[1:]} == {"sectors", "columns"}


@pytest.mark.parametrize("sectors", ["0", "-1", "2047"])
def test_fewer_sectors_than_the_longest_write_has_are_refused(sectors: str) -> None:
    with pytest.raises(UserError, match="too few") as told:
        stamp_speed.main(["--sectors", sectors])
    assert "2048" in (told.value.hint or "")


def test_the_usage_is_what_can_be_typed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        stamp_speed.main(["--help"])
    usage, _, rest = capsys.readouterr().out.partition("\n")
    assert usage == "usage: python -m rig.integrity.stamp_speed [-h] [--sectors COUNT]"
    assert "`" not in rest
