"""What fsync had promised is there when a disk has come back: read before it is written again."""

from __future__ import annotations

from pathlib import Path

import pytest

from rig.experiments.run.options import check_wishes
from rig.guest_images.image import GuestImage
from rig.integrity.filesystems import MIB
from rig.report.verdict import Outcome
from rig.tests.conftest import LabKeeper
from rig.tests.matrix import promised_sectors, run_in

pytestmark = [pytest.mark.vm, pytest.mark.nightly, pytest.mark.timeout(1800)]

HEAD = 'name = "goes-away"\nexpect = "indeterminate"\n[[fault]]\nphase = "write/promised"\n'
BACK = 'layer = "machine"\nmachine = "back"\nat_s = 1\n'
POWER_CYCLE = BACK + 'effect = "power-cycle"\nfor_s = 1'
REBOOT = BACK + 'effect = "reboot"'
CUT = 'layer = "link"\neffect = "cut"\nway = "to-back"\nspace = 131072\nnth = 1'
BYTES_EACH = 4 * MIB
"""Of 16 KiB for each fsync: seconds of them on a fast station, minutes on a slow one."""


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        pytest.param("ext4", POWER_CYCLE, id="ext4-power-cycle"),
        pytest.param("vfat", REBOOT, id="vfat-reboot"),
        pytest.param("xfs", CUT, id="xfs-cut"),
        pytest.param("btrfs", REBOOT, id="btrfs-reboot"),
        pytest.param("f2fs", POWER_CYCLE, id="f2fs-power-cycle"),
        pytest.param("exfat", CUT, id="exfat-cut"),
    ],
)
def test_a_disk_that_comes_back_has_what_fsync_had_promised(
    name: str, rule: str, lab_keeper: LabKeeper, guest_image: GuestImage, tmp_path: Path
) -> None:
    plan = tmp_path / "plan.toml"
    plan.write_text(HEAD + rule)
    options = check_wishes(
        str(plan), name, "6.12", None, workloads="fsync-heavy", bytes_each=BYTES_EACH
    )

    verdict = run_in(lab_keeper, guest_image, options, tmp_path / "run")

    assert verdict.verdict in {Outcome.PASS, Outcome.INDETERMINATE}, verdict.reasons
    assert verdict.findings == ()
    assert verdict.faults.fired == 1, verdict.reasons
    promised = promised_sectors(verdict)
    print(f"\n{name}: {promised} sectors were promised, and there")
    assert promised > 0, "the disk went away before the first fsync, or not at all"
