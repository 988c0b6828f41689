"""A whole run on a medium that corrupts in four ways at once: each gets its name."""

from __future__ import annotations

from pathlib import Path

import pytest

from rig.integrity.judgement import SectorClass
from rig.report.verdict import Outcome
from rig.tests.vm.test_run import small_run

pytestmark = [pytest.mark.vm, pytest.mark.nightly, pytest.mark.timeout(240)]

BLOCKS = 32
"""Of one access of the medium."""

CORRUPTING = """
name = "corrupting"
seed = 1
""" + "".join(
    f"""
[[fault]]
layer = "medium"
op = "{op}"
{trigger}
effect = "{effect}"
"""
    for op, effect, trigger in (
        ("write", "lost", 'phase = "write"\nmin_bytes = 16384\nnth = 10\ntimes = 6'),
        ("write", "misdirected", 'phase = "write"\nmin_bytes = 16384\nnth = 20\ntimes = 6'),
        ("write", "flip", 'phase = "write"\nmin_bytes = 16384\nnth = 30\ntimes = 12'),
        ("flush", "lie", "nth = 1\ntimes = -1"),
    )
)


def test_a_run_calls_each_corruption_by_its_name(tmp_path: Path) -> None:
    _, verdict = small_run(tmp_path, CORRUPTING)
    assert verdict.verdict is Outcome.FAIL
    host, medium = verdict.views["host"], verdict.views["medium"]
    assert host[SectorClass.MISDIRECTED] >= 1
    assert host[SectorClass.CORRUPT] >= 1
    assert host[SectorClass.LOST] + host[SectorClass.ZEROED] >= BLOCKS
    # The host read out of the cache what the medium never got: no flush was one.
    assert medium[SectorClass.ZEROED] + medium[SectorClass.LOST] > 1000
    assert {name for name, n in verdict.views["arrival"].items() if n} == {SectorClass.OK}
