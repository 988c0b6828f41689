"""A disk whose commands are tried again as sd tries them, over a model of usbfs."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from typing import cast

import pytest

from rig.deepqueue.disk import Disk, Failure, Recovered
from rig.deepqueue.exchange import Ending
from rig.deepqueue.initiator import Initiator
from rig.errors import MachineError
from rig.tests.harness.fake_bulk_disk import FakeBulkDisk
from rig.usb.bot import Opcode
from rig.usb.usbfs import UsbfsDevice

EPROTO = -errno.EPROTO
UNIT_ATTENTION, MEDIUM_ERROR, DATA_PROTECT = (6, 0x29, 0), (3, 0x0C, 0), (7, 0x27, 0)
UNRECOVERED_READ, ILLEGAL_REQUEST, BECOMING_READY = (3, 0x11, 0), (5, 0x20, 0), (2, 4, 1)
FIRST_DATA_URB = 1
"""The first of all answers READ CAPACITY."""


class Case:
    """A disk that was started."""

    def __init__(self, usbfs: FakeBulkDisk, command_bytes: int = 4096) -> None:
        self.failures: list[Failure] = []
        self.recovered: list[Recovered] = []
        self.times_s = iter(float(second) for second in range(1, 1000))
        initiator = Initiator(cast("UsbfsDevice", usbfs), urb_bytes=1024, deadline_s=0.05)
        counters, clock = initiator.counters, lambda: next(self.times_s)
        self.disk = Disk(initiator, command_bytes, self._tell, counters, clock)
        self.disk.start()

    def _tell(self, told: Failure | Recovered) -> None:
        if isinstance(told, Failure):
            self.failures.append(told)
        else:
            self.recovered.append(told)


@pytest.fixture
def usbfs() -> Iterator[FakeBulkDisk]:
    fake = FakeBulkDisk()
    yield fake
    fake.close()


def test_a_disk_tells_its_size_when_it_is_started(usbfs: FakeBulkDisk) -> None:
    disk = Case(usbfs).disk

    assert (disk.capacity.size_bytes, disk.capacity.block_bytes) == (256 * 512, 512)


def test_a_large_request_becomes_commands_in_order(usbfs: FakeBulkDisk) -> None:
    disk = Case(usbfs).disk
    data, back = os.urandom(10240), bytearray(10240)

    assert disk.write(512, bytearray(data)) == 0
    assert disk.read(512, back) == 0

    assert back == data == usbfs.medium[512 : 512 + 10240]
    assert usbfs.commands[2:] == [Opcode.WRITE_10] * 3 + [Opcode.READ_10] * 3


def test_a_failed_data_stage_is_recovered_from_and_written_again(usbfs: FakeBulkDisk) -> None:
    case = Case(usbfs)
    usbfs.fails = {FIRST_DATA_URB + 1: EPROTO}
    data = os.urandom(4096)

    assert case.disk.write(0, bytearray(data)) == 0

    assert usbfs.medium[:4096] == data
    assert usbfs.calls.count("reset") == 2  # one was at its start
    (failure,) = case.failures
    assert failure.statuses == ["0", "-EPROTO", "-ECONNRESET", "-ECONNRESET"]
    assert (failure.opcode, failure.lba, failure.blocks) == (Opcode.WRITE_10, 0, 8)
    assert case.disk.counters.retries == 1
    assert case.recovered == [Recovered(Opcode.WRITE_10, 0, 2, 1.0)]


def test_where_the_promise_is_broken_data_go_astray_until_they_are_written_again(
    usbfs: FakeBulkDisk,
) -> None:
    case = Case(usbfs)
    usbfs.fails, usbfs.keeps_promise = {FIRST_DATA_URB: EPROTO}, False
    data = bytearray(b"1" * 1024 + b"2" * 1024 + b"3" * 1024 + b"4" * 1024)
    seen: list[bytes] = []
    case.disk._tell = lambda _: seen.append(bytes(usbfs.medium[:4096]))

    assert case.disk.write(0, data) == 0

    assert seen[0].startswith(b"2" * 1024 + b"3" * 1024)  # page N+1 has overwritten page N
    assert usbfs.medium[:4096] == data
    assert case.disk.counters.ran_behind == 3


def test_an_error_that_stays_is_told_after_five_retries(usbfs: FakeBulkDisk) -> None:
    case = Case(usbfs)
    usbfs.fails = dict.fromkeys(range(FIRST_DATA_URB, 100), EPROTO)

    assert case.disk.write(0, bytearray(512)) == errno.EIO

    assert usbfs.commands.count(Opcode.WRITE_10) == 6
    assert case.disk.counters.failures == 1
    assert case.recovered == []


@pytest.mark.parametrize(
    ("sense", "attempts", "error"),
    [
        (UNIT_ATTENTION, 2, 0),
        (MEDIUM_ERROR, 2, 0),
        (BECOMING_READY, 2, 0),
        (UNRECOVERED_READ, 1, errno.EIO),
        (DATA_PROTECT, 1, errno.EIO),
        (ILLEGAL_REQUEST, 1, errno.EIO),
    ],
)
def test_a_refusal_is_tried_again_if_its_sense_says_so(
    usbfs: FakeBulkDisk, sense: tuple[int, int, int], attempts: int, error: int
) -> None:
    case = Case(usbfs)
    usbfs.senses.append(sense)

    assert case.disk.write(0, bytearray(512)) == error

    assert usbfs.commands.count(Opcode.WRITE_10) == attempts
    assert case.failures[0].sense == list(sense)
    assert usbfs.calls.count("reset") == 1  # none behind a refusal


def test_a_disk_without_a_cache_has_nothing_to_flush(usbfs: FakeBulkDisk) -> None:
    disk = Case(usbfs).disk

    assert disk.flush() == 0
    usbfs.senses.append(ILLEGAL_REQUEST)
    assert disk.flush() == 0


def test_a_command_whose_status_never_comes_is_given_up_and_tried_again(
    usbfs: FakeBulkDisk,
) -> None:
    case = Case(usbfs)
    usbfs.silent = {len(usbfs.commands)}

    assert case.disk.write(0, bytearray(512)) == 0

    assert case.failures[0].ending is Ending.TIMED_OUT


def test_a_disk_that_is_unplugged_is_not_asked_again(usbfs: FakeBulkDisk) -> None:
    case = Case(usbfs)
    usbfs.gone = True

    assert case.disk.read(0, bytearray(512)) == errno.EIO

    assert case.disk.gone
    assert len(case.failures) == 1


Transfer = Callable[[Disk], int]


@pytest.mark.parametrize(
    ("transfer", "error"),
    [
        (lambda disk: disk.write(256 * 512, bytearray(512)), errno.ENOSPC),
        (lambda disk: disk.read(256 * 512, bytearray(512)), errno.EINVAL),
        (lambda disk: disk.read(100, bytearray(512)), errno.EINVAL),
        (lambda disk: disk.write(0, bytearray(100)), errno.EINVAL),
    ],
)
def test_what_is_beyond_the_medium_or_no_whole_block_is_refused(
    usbfs: FakeBulkDisk, transfer: Transfer, error: int
) -> None:
    disk = Case(usbfs).disk
    before = len(usbfs.commands)

    assert transfer(disk) == error
    assert len(usbfs.commands) == before


def test_a_disk_without_medium_is_an_error_with_its_mend(usbfs: FakeBulkDisk) -> None:
    disk = Disk(Initiator(cast("UsbfsDevice", usbfs)), 4096)
    usbfs.senses.append((2, 0x3A, 0))

    with pytest.raises(MachineError, match="medium"):
        disk.start()


def test_blocks_that_do_not_fit_a_command_are_refused(usbfs: FakeBulkDisk) -> None:
    with pytest.raises(MachineError, match="not whole ones"):
        Case(usbfs, command_bytes=1000)
