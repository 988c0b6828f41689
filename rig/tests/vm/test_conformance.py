"""The split driver is a host controller: the kernel's own tests for those must pass over it."""

from __future__ import annotations

from pathlib import Path

import pytest

from rig.experiments.conformance.conformance import check_wishes, run
from rig.progress import Silent

pytestmark = [pytest.mark.vm, pytest.mark.timeout(240)]


@pytest.mark.parametrize(
    "attachment",
    [
        "dummy",
        pytest.param("ehci", marks=[pytest.mark.nightly, pytest.mark.timeout(900)]),
    ],
)
def test_every_case_of_usbtest_passes_over_the_split_driver(
    tmp_path: Path, attachment: str
) -> None:
    wishes = check_wishes(["split"], "6.12", None, None, 1, attachment=attachment)
    report = run(wishes, tmp_path, Silent())

    (split,) = report.paths
    failed = [f"{c.case} {c.name}: {c.told} {c.detail}" for c in split.cases if c.told != "pass"]
    assert not failed, "\n".join(failed)
    assert len(split.cases) == 24
    assert split.machine_pairs == 1
