"""What fsync had promised is there when a disk has come back: read before it is written again."""

from __future__ import annotations

from pathlib import Path

import pytest

from rig.experiments.run.options import check_wishes
from rig.guest_images.image import GuestImage
from rig.integrity.judgement import SectorClass
from rig.report.verdict import Outcome
from rig.tests.conftest import LabKeeper
from rig.tests.matrix import run_in

pytestmark = [pytest.mark.vm, pytest.mark.nightly, pytest.mark.timeout(600)]


# An fsync behind each 16 KiB: with fewer, the disk goes away before the first of them.
@pytest.mark.parametrize(
    ("name", "plan"),
    [
        ("ext4", "machine-power-cycle"),
        ("vfat", "machine-reboot"),
        ("xfs", "link-cut"),
        ("f2fs", "machine-power-cycle"),
        ("btrfs", "machine-reboot"),
        ("exfat", "machine-gadget-killed"),
    ],
)
def test_a_disk_that_comes_back_has_what_fsync_had_promised(
    name: str, plan: str, lab_keeper: LabKeeper, guest_image: GuestImage, tmp_path: Path
) -> None:
    options = check_wishes(plan, name, "6.12", None, workloads="fsync-heavy")

    verdict = run_in(lab_keeper, guest_image, options, tmp_path / "run")

    assert verdict.verdict in {Outcome.PASS, Outcome.INDETERMINATE}, verdict.reasons
    assert verdict.findings == ()
    first = verdict.recoveries[0]
    print(f"\n{name} under {plan}: {first.sectors}")
    assert first.fs == name
    assert first.sectors[SectorClass.OK] >= 32  # one fsync at least had returned
