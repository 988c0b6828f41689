"""On real kernels: what Linux's xHCI driver lets run, and the split driver above it does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from rig.experiments.compare.compare import run
from rig.experiments.compare.wishes import read_wishes
from rig.progress import Silent

pytestmark = [pytest.mark.vm, pytest.mark.nightly, pytest.mark.timeout(900)]

REPETITIONS = 4


def test_what_xhcis_own_driver_lets_run_the_split_driver_does_not(tmp_path: Path) -> None:
    wishes = read_wishes(
        plan="transient",
        attachments=["xhci"],
        drivers=["direct", "hold"],
        repetitions=REPETITIONS,
    )
    direct, hold = run(wishes, "rig compare", tmp_path, Silent()).rows
    assert direct.statuses == ("EPROTO",)
    assert direct.runs == direct.fired == REPETITIONS
    assert direct.wrong_runs
    assert hold.runs == REPETITIONS
    assert hold.clean
