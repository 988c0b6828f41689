"""A bulk-only initiator over a model of usbfs with a disk behind."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from rig.deepqueue.exchange import Ending
from rig.deepqueue.initiator import Initiator, Recovery
from rig.deepqueue.plugged import find
from rig.errors import MachineError
from rig.tests.harness.fake_bulk_disk import FakeBulkDisk
from rig.usb import bot
from rig.usb.urb import TransferFlags
from rig.usb.usbfs import BULK_CONTINUATION, UsbfsDevice


@pytest.fixture
def usbfs() -> Iterator[FakeBulkDisk]:
    fake = FakeBulkDisk()
    yield fake
    fake.close()


def initiator(usbfs: FakeBulkDisk, *, deadline_s: float = 30.0) -> Initiator:
    return Initiator(cast("UsbfsDevice", usbfs), urb_bytes=1024, deadline_s=deadline_s)


def test_data_go_to_the_disk_and_come_back(usbfs: FakeBulkDisk) -> None:
    data, back = bytearray(os.urandom(4096)), bytearray(4096)
    disk = initiator(usbfs)

    assert disk.run(bot.write_10(1, 3, 8), data).ending is Ending.PASSED
    assert disk.run(bot.read_10(2, 3, 8), back).ending is Ending.PASSED

    assert back == data == usbfs.medium[3 * 512 : 11 * 512]
    assert disk.counters.urbs == 2 * (1 + 4 + 1)


def test_every_urb_of_a_stage_but_the_first_is_to_be_taken_back(usbfs: FakeBulkDisk) -> None:
    disk = initiator(usbfs)

    disk.run(bot.write_10(1, 0, 6), bytearray(3072))
    disk.run(bot.read_10(2, 0, 4), bytearray(2048))

    exact = TransferFlags.SHORT_NOT_OK
    behind = BULK_CONTINUATION
    assert usbfs.flags == [0, behind, behind, exact, exact | behind]


def test_nothing_runs_behind_a_failed_urb_where_the_promise_is_kept(usbfs: FakeBulkDisk) -> None:
    usbfs.fails = {1: -errno.EPROTO}
    disk = initiator(usbfs)

    ended = disk.run(bot.write_10(1, 0, 8), bytearray(b"x" * 4096))

    lost = -errno.ECONNRESET
    assert [piece.status for piece in ended.pieces] == [0, -errno.EPROTO, lost, lost]
    assert (ended.ending, ended.ran_behind) == (Ending.ERROR, 0)
    assert (disk.counters.failed_stages, disk.counters.ran_behind) == (1, 0)


def test_what_ran_behind_a_failed_urb_is_counted(usbfs: FakeBulkDisk) -> None:
    usbfs.fails, usbfs.keeps_promise = {0: -errno.EPROTO}, False
    disk = initiator(usbfs)

    disk.run(bot.write_10(1, 0, 8), bytearray(4096))

    assert disk.counters.ran_behind == 3


def test_a_port_reset_lets_the_interface_go_meanwhile(usbfs: FakeBulkDisk) -> None:
    usbfs.refusals = 1

    assert initiator(usbfs).recover() == 2  # the first command is told of the reset
    assert usbfs.calls == ["claim 0", "release 0", "reset", "claim 0"]


def test_a_bulk_only_reset_is_followed_by_both_halts(usbfs: FakeBulkDisk) -> None:
    disk = initiator(usbfs)
    disk.recovery = Recovery.BULK_RESET

    disk.recover()

    assert usbfs.calls[1:] == ["control 21ff000000000000", "clear 0x81", "clear 0x2"]


def test_a_device_that_stays_away_is_an_error(usbfs: FakeBulkDisk) -> None:
    usbfs.refusals = 100

    with pytest.raises(MachineError, match="refused a command 8 times"):
        initiator(usbfs).recover()


def test_a_status_that_never_comes_is_given_up(usbfs: FakeBulkDisk) -> None:
    usbfs.silent = {0}

    ended = initiator(usbfs, deadline_s=0.01).run(bot.unit_ready(1))

    assert ended.ending is Ending.TIMED_OUT


def test_a_device_that_is_unplugged_is_gone(usbfs: FakeBulkDisk) -> None:
    disk = initiator(usbfs)
    usbfs.gone = True

    assert disk.run(bot.unit_ready(1)).ending is Ending.GONE
    assert disk.gone
    with pytest.raises(MachineError, match="gone"):
        disk.recover()


def test_a_command_on_its_way_is_given_up_soon_when_all_is_to_stop(
    usbfs: FakeBulkDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rig.deepqueue.initiator.STOP_GRACE_S", 0.01)
    reader, writer = os.pipe()
    usbfs.silent = {0}
    with os.fdopen(reader, "rb") as stop:
        disk = Initiator(cast("UsbfsDevice", usbfs), stop=stop)
        os.close(writer)

        assert disk.run(bot.unit_ready(1)).ending is Ending.TIMED_OUT
        assert disk.stopped


def plugged(directory: Path, *devices: tuple[str, str]) -> Path:
    """Make sysfs's directory of devices: each with its controller and its interface's class."""
    found = directory / "devices"
    found.mkdir()
    for number, (controller, classes) in enumerate(devices, start=1):
        device = directory / controller / f"{number}-1"
        interface = device / f"{number}-1:1.0"
        interface.mkdir(parents=True)
        for at, name in enumerate(("Class", "SubClass", "Protocol")):
            (interface / f"bInterface{name}").write_text(classes[2 * at : 2 * at + 2] + "\n")
        (device / "busnum").write_text(f"{number}\n")
        (device / "devnum").write_text("4\n")
        (found / device.name).symlink_to(device)
        (found / interface.name).symlink_to(interface)
    return found


def test_the_device_is_found_by_its_interface_and_its_controller(tmp_path: Path) -> None:
    disk = "080650"
    devices = plugged(
        tmp_path, ("dummy_hcd.0", disk), ("vhci_hcd.7", "020201"), ("vhci_hcd.7", disk)
    )

    assert find("vhci_hcd", 0.0, devices) == "/dev/bus/usb/003/004"
    with pytest.raises(MachineError, match="behind xhci_hcd"):
        find("xhci_hcd", 0.0, devices)


def test_a_device_that_was_of_no_use_is_not_found_again(tmp_path: Path) -> None:
    devices = plugged(tmp_path, ("vhci_hcd.7", "080650"), ("vhci_hcd.8", "080650"))

    assert find("vhci", 0.0, devices, but="/dev/bus/usb/001/004") == "/dev/bus/usb/002/004"
