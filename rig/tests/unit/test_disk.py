"""The disk: what may be overwritten, and what fsck's status means."""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec
import pytest

from rig.errors import CommandFailure, MachineError, UserError
from rig.integrity import disk
from rig.integrity.disk import Partition, check, command_status, run_command
from rig.integrity.filesystems import FILE_SYSTEMS


def saying(status: int) -> Partition:
    """A partition whose check ends with a status."""
    program = (sys.executable, "-c", f"import sys; print('checked'); sys.exit({status})")
    row = msgspec.structs.replace(FILE_SYSTEMS["ext4"], fsck=program)
    return Partition(row, Path("/dev/none"), 2048, 1000)


def test_a_plain_file_is_no_disk(tmp_path: Path) -> None:
    (tmp_path / "sda").touch()
    with pytest.raises(UserError, match="not a block device"):
        disk.refuse_unless_ours(tmp_path / "sda")


@pytest.fixture
def disks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A /sys/class/block with a disk on USB, one on PCI, and a partition; all "nodes" exist."""
    usb = tmp_path / "devices/pci0/usb3/3-1/block/sda"
    (usb / "sda1").mkdir(parents=True)
    (usb / "sda1/partition").write_text("1\n")
    (tmp_path / "devices/pci1/block/vda").mkdir(parents=True)
    classes = tmp_path / "class"
    classes.mkdir()
    for target in (usb, usb / "sda1", tmp_path / "devices/pci1/block/vda"):
        (classes / target.name).symlink_to(target)
    monkeypatch.setattr(disk, "_BLOCK_CLASS", classes)
    monkeypatch.setattr(Path, "is_block_device", lambda _: True)
    monkeypatch.setattr(disk, "mounts", list)
    return classes


def test_an_idle_disk_on_usb_may_be_overwritten(disks: Path) -> None:
    disk.refuse_unless_ours(Path("/dev/sda"))


def test_a_disk_that_is_not_on_usb_is_refused(disks: Path) -> None:
    with pytest.raises(UserError, match="/dev/vda is not a disk on USB"):
        disk.refuse_unless_ours(Path("/dev/vda"))


def test_a_partition_is_refused(disks: Path) -> None:
    with pytest.raises(UserError, match="/dev/sda1 is a partition"):
        disk.refuse_unless_ours(Path("/dev/sda1"))


def test_a_disk_with_a_mounted_partition_is_refused(
    disks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk, "mounts", lambda: [("/dev/sda1", "/data")])
    with pytest.raises(UserError, match="/dev/sda1 is mounted on /data") as caught:
        disk.refuse_unless_ours(Path("/dev/sda"))
    assert caught.value.hint == "First: umount /data."


def test_a_disk_that_is_too_small_is_refused_before_it_is_touched(disks: Path) -> None:
    (disks / "sda/size").write_text("2048\n")
    with pytest.raises(UserError, match="/dev/sda has 1 MiB; the file systems need 18 MiB"):
        disk.make_partitions(Path("/dev/sda"), [FILE_SYSTEMS["ext4"]], 1)


@pytest.mark.parametrize(("status", "clean"), [(0, True), (1, False), (4, False)])
def test_a_check_says_whether_the_file_system_is_clean(status: int, clean: bool) -> None:
    result = check(saying(status))
    assert (result.clean, result.status, result.output) == (clean, status, "checked")


def test_a_check_that_could_not_be_done_is_no_verdict() -> None:
    with pytest.raises(MachineError, match=r"could not check .status 8."):
        check(saying(8))


def test_a_command_that_fails_is_told_with_its_words() -> None:
    with pytest.raises(CommandFailure, match=r"status 3: sorry"):
        run_command(sys.executable, "-c", "import sys; print('sorry'); sys.exit(3)")


def test_a_program_that_is_missing_is_named() -> None:
    with pytest.raises(MachineError, match=r"no-such-program is not installed"):
        command_status("no-such-program")


def test_a_command_that_does_not_end_is_given_up() -> None:
    with pytest.raises(MachineError, match="did not end within"):
        command_status("tail", "-f", "/dev/null", limit_s=0.05)


def mended(status: int) -> Partition:
    """A partition of a file system without a journal, whose mending ends with a status."""
    whole = saying(status)
    row = msgspec.structs.replace(
        whole.file_system, mend=whole.file_system.fsck, mended_statuses=frozenset({1})
    )
    return msgspec.structs.replace(whole, file_system=row)


@pytest.mark.parametrize("status", [0, 1])
def test_what_a_checker_mended_is_told(status: int) -> None:
    assert disk.mend(mended(status)) == "checked"


def test_a_file_system_with_a_journal_mends_itself() -> None:
    assert disk.mend(saying(0)) is None


def test_a_file_system_that_cannot_be_mended_is_an_error() -> None:
    with pytest.raises(MachineError, match="could not mend"):
        disk.mend(mended(8))
