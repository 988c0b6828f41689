"""Workloads and file systems on two real kernels: small, so that every test run has them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from rig.experiments.run.options import RunOptions, check_wishes
from rig.experiments.run.run import Story
from rig.experiments.run.trace import read_trace
from rig.guest_images.image import GuestImage
from rig.integrity.filesystems import MIB
from rig.integrity.judgement import SectorClass
from rig.lab.accelerator import accelerator
from rig.progress import Silent
from rig.report.rundir import RunDirectory
from rig.report.verdict import Outcome, Verdict
from rig.tests.conftest import LabKeeper

pytestmark = [pytest.mark.vm, pytest.mark.timeout(300)]

HANG = """
name = "hang"
[[fault]]
layer = "medium"
op = "write"
phase = "write"
nth = 10
effect = "hang"
release_after_s = 20
"""
BAD_SPOT = """
name = "bad-spot"
[[fault]]
layer = "medium"
op = "write"
lba = [67584, 133119]  # the second partition of 32 MiB
every = 1
times = -1
error = "EIO"
"""
REFUSALS = """
name = "refusals"
[[fault]]
layer = "medium"
op = "write"
phase = "write"
nth = 60  # behind the creation of the files, and until the journal's writes have failed, too
times = 60
error = "EIO"
"""


class Runs:
    """Runs in a lab that is kept."""

    def __init__(self, keeper: LabKeeper, image: GuestImage, directory: Path) -> None:
        self._keeper = keeper
        self._image = image
        self._directory = directory
        self._count = 0

    def run(self, options: RunOptions) -> Verdict:
        self._count += 1
        made = RunDirectory.create("run", self._directory / f"run{self._count}")
        story = Story(options, made, Silent())
        return story.tell(self._image, accelerator(self._image), self._keeper.booted())


@pytest.fixture
def runs(lab_keeper: LabKeeper, guest_image: GuestImage, tmp_path: Path) -> Runs:
    return Runs(lab_keeper, guest_image, tmp_path)


def test_the_file_systems_that_the_demo_leaves_out_pass(runs: Runs) -> None:
    options = check_wishes("calm", "xfs,btrfs,f2fs,exfat", "6.12", None, bytes_each=MIB)

    verdict = runs.run(options)

    assert verdict.verdict is Outcome.PASS, verdict.reasons
    assert [check.clean for check in verdict.checks] == [True] * 4


def test_all_workloads_and_the_raw_device_pass(runs: Runs) -> None:
    everything = "small-files,truncate-rename,mmap,writers,random,overwrite,fsync-heavy"
    options = check_wishes("calm", "vfat", "6.12", None, bytes_each=MIB, workloads=everything)
    raw = check_wishes("calm", "raw", "6.12", None, workloads="usual,overwrite")

    verdict = runs.run(options)
    of_raw = runs.run(dataclasses.replace(raw, bytes_each=MIB))

    assert verdict.verdict is Outcome.PASS, verdict.reasons
    assert of_raw.verdict is Outcome.PASS, of_raw.reasons
    assert of_raw.workloads == ("usual", "overwrite")
    assert of_raw.checks == ()


def test_a_full_disk_is_told_as_such_and_is_no_corruption(runs: Runs) -> None:
    options = check_wishes("calm", "ext4,vfat", "6.12", None, lun_mib=36)

    verdict = runs.run(options)

    assert verdict.verdict is Outcome.INDETERMINATE
    assert verdict.findings == ()
    for name in ("ext4", "vfat"):
        told = [r for r in verdict.reasons if r.startswith(f"The workload on {name} did not")]
        assert "space" in told[0].lower(), verdict.reasons
    assert all(check.clean for check in verdict.checks)


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("name", "lun_mib", "data_mib"),
    [("exfat", 24, 24), ("xfs", 72, 64), ("btrfs", 136, 128), ("f2fs", 136, 128), ("raw", 12, 16)],
)
def test_every_other_full_disk_is_told_as_such_and_is_no_corruption(
    runs: Runs, name: str, lun_mib: int, data_mib: int
) -> None:
    options = check_wishes("calm", name, "6.12", None, bytes_each=data_mib * MIB, lun_mib=lun_mib)

    verdict = runs.run(options)

    assert verdict.verdict is Outcome.INDETERMINATE, verdict.reasons
    assert verdict.findings == ()
    assert any(
        reason.startswith(f"The workload on {name} did not") and "no space" in reason.lower()
        for reason in verdict.reasons
    ), verdict.reasons
    assert all(check.clean for check in verdict.checks)


@pytest.mark.nightly
def test_a_file_system_that_cannot_be_made_is_told_as_such_and_the_others_are_used(
    runs: Runs, tmp_path: Path
) -> None:
    plan = tmp_path / "bad-spot.toml"
    plan.write_text(BAD_SPOT)
    options = check_wishes(
        str(plan), "vfat,ext4", "6.12", None, bytes_each=4 * MIB, lun_mib=4 + 2 * 32
    )

    verdict = runs.run(options)

    assert verdict.verdict is Outcome.INDETERMINATE, verdict.reasons
    assert verdict.findings == ()
    assert verdict.reasons[0].startswith("ext4 was given up by the host: it could not be made: ")
    assert [check.fs for check in verdict.checks if check.clean] == ["vfat"]
    assert verdict.sectors[SectorClass.OK] >= 2 * 4 * MIB // 512  # host's and medium's, of vfat


@pytest.mark.nightly
def test_a_run_in_which_a_journal_is_aborted_is_no_corruption(runs: Runs, tmp_path: Path) -> None:
    plan = tmp_path / "refusals.toml"
    plan.write_text(REFUSALS)
    options = check_wishes(str(plan), "ext4", "6.12", None, bytes_each=4 * MIB)

    verdict = runs.run(options)

    assert verdict.verdict is Outcome.INDETERMINATE, verdict.reasons
    assert verdict.findings == ()
    # Since 6.12 ext4 is not read-only then, but answers EIO to everything.
    assert verdict.reasons[0].startswith("The workload on ext4 did not write all: ")
    assert [check.clean for check in verdict.checks] == [True]


@pytest.mark.nightly
def test_a_workload_that_makes_no_progress_is_told_with_who_waits_where(
    runs: Runs, tmp_path: Path
) -> None:
    plan = tmp_path / "hang.toml"
    plan.write_text(HANG)
    options = check_wishes(str(plan), "ext4", "6.12", None, bytes_each=4 * MIB)

    verdict = runs.run(options)

    assert verdict.verdict is Outcome.PASS, verdict.reasons
    assert verdict.host.longest_d_state_s > 10
    assert any("write ext4" in note and "in state D" in note for note in verdict.notes)
    lines = read_trace(next(tmp_path.glob("run*/trace.jsonl")))
    assert {"stalled", "went_on"} <= {line.event for line in lines}


def test_a_file_system_that_was_remounted_read_only_is_told_as_such(lab_keeper: LabKeeper) -> None:
    front = lab_keeper.booted().front
    front.check("truncate -s 64M /run/loop.img && losetup /dev/loop7 /run/loop.img", 30.0)
    workload = front.start_daemon(["rig", "workload", "--supervised"], "workload")
    size = 32 * MIB
    workload.ask("prepare", 60.0, disk="/dev/loop7", file_systems=["ext4"], partition_bytes=size)
    front.check("mount -o remount,ro /run/rig/mnt/ext4", 30.0)

    told = workload.ask("write", 60.0, fs="ext4", run_id=1, seed=1, bytes_total=MIB)

    assert told["stopped"] == "The files could not be created: Read-only file system."
    assert workload.stop() == 0
    front.check("losetup -d /dev/loop7 && rm /run/loop.img", 30.0)
