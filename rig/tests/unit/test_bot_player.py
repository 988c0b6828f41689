"""The bulk-only disk between a host's doings and a medium's file, without a kernel's gadget."""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rig.faults.rules.device import DeviceEffect, DeviceKind
from rig.gadget.bot.actions import FlushMedium, Outcome, ReadMedium, Stage, WriteMedium
from rig.gadget.bot.descriptors import EventType
from rig.gadget.bot.machine import Disk
from rig.gadget.bot.player import Medium, Player
from rig.gadget.bot.scsi import Unit
from rig.tests.harness.bot_host import rw_10
from rig.tests.harness.fake_functionfs import FakeFiles, FakeOperation
from rig.usb.bot import parse_csw
from rig.usb.setup import SetupPacket
from rig.usb.urb import Direction

DEADLINE_S = 10.0
SENSE = bytes((3, 0, 0, 0, 18, 0))


class Bench:
    """A disk that is played, and the test as its host."""

    def __init__(self, directory: Path) -> None:
        file = directory / "lun0"
        file.write_bytes(bytes(range(256)) * 4096)
        self.files = FakeFiles()
        self.effect: DeviceEffect | None = None
        self.happened: list[DeviceEffect] = []
        self.disk = Disk(Unit(2048, " " * 28), lambda _: self.effect)
        self.released: list[tuple[float, str]] = []
        self.player = Player(
            self.files,
            self.disk,
            Medium(file),
            self.happened.append,
            lambda waited_s, by: self.released.append((waited_s, by)),
        )
        self.seen = 0
        self.player.start()

    def until(self, true: Callable[[], bool]) -> None:
        end = time.monotonic() + DEADLINE_S
        while not true():
            assert time.monotonic() < end, "the disk did not do it in time"
            time.sleep(0.001)

    def next(self) -> FakeOperation:
        """The next request that the disk queues."""
        self.until(lambda: len(self.files.queued) > self.seen)
        self.seen += 1
        return self.files.queued[self.seen - 1]

    def command(self, block: bytes, length: int = 0, flags: int = 0x80) -> None:
        cbw = b"USBC" + bytes(4) + length.to_bytes(4, "little") + bytes((flags, 0, len(block)))
        operation = self.next()
        assert operation.sent is None
        self.files.complete(operation, (cbw + block).ljust(31, b"\0"))

    def fetch(self) -> bytes:
        """What the disk sends."""
        operation = self.next()
        assert operation.sent is not None
        self.files.complete(operation)
        return operation.sent

    def ready(self) -> None:
        """Let it be enabled, and hear out that it was."""
        self.files.tell(EventType.ENABLE)
        self.command(SENSE, 18)
        assert self.fetch()[2] == 6  # unit attention
        assert parse_csw(self.fetch()).status == 0


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    assert bench.player.stop(DEADLINE_S)
    assert bench.files.closed


def test_a_read_comes_from_the_medium(bench: Bench) -> None:
    bench.ready()
    bench.command(rw_10(0x28, 1, 2), 1024)
    assert bench.fetch() == bytes(range(256)) * 4
    assert parse_csw(bench.fetch()).status == 0


def test_a_disconnection_ends_the_command_and_a_new_configuration_begins_anew(
    bench: Bench,
) -> None:
    bench.ready()
    bench.command(rw_10(0x28, 1, 2), 1024)
    pending = bench.next()
    bench.files.tell(EventType.DISABLE)
    bench.until(lambda: pending.cancelled)
    bench.files.complete(pending, error=errno.ESHUTDOWN)
    assert bench.disk.stage is Stage.OFF
    bench.ready()


def test_what_was_queued_before_a_reset_is_not_taken_for_what_was_queued_behind(
    bench: Bench,
) -> None:
    bench.ready()
    old = bench.next()
    bench.files.tell(EventType.ENABLE)
    bench.files.complete(old, b"USBC late".ljust(31, b"\0"))
    bench.command(SENSE, 18)
    assert bench.fetch()[2] == 6


def test_class_requests_are_answered_and_others_refused(bench: Bench) -> None:
    bench.ready()
    bench.files.tell(EventType.SETUP, SetupPacket(0xA1, 0xFE, 0, 0, 1))
    bench.until(lambda: bench.files.answers == [b"\0"])
    bench.files.tell(EventType.SETUP, SetupPacket(0xA1, 0x10, 0, 0, 1))
    bench.files.tell(EventType.SETUP, SetupPacket(0x21, 0x10, 0, 0, 0))
    bench.until(lambda: bench.files.refused == [True, False])


def test_a_bulk_only_reset_makes_ready_without_an_attention(bench: Bench) -> None:
    bench.ready()
    bench.command(b"\0" * 6 + bytes(26))  # no CBW: too long
    bench.command(b"")
    bench.until(lambda: bench.files.halts[:1] == [Direction.IN])
    bench.files.tell(EventType.SETUP, SetupPacket(0x21, 0xFF, 0, 0, 0))
    bench.until(lambda: bench.files.answers == [None])
    bench.seen = len(bench.files.queued) - 1
    bench.command(bytes(6))
    assert parse_csw(bench.fetch()).status == 0


def test_an_endpoint_that_is_full_is_halted_later(bench: Bench) -> None:
    bench.ready()
    bench.files.full = 3
    bench.command(bytes(6), 512)
    assert parse_csw(bench.fetch()).residue_bytes == 512
    assert bench.files.halts == [Direction.IN]


def test_nak_for_a_time_is_a_time_without_a_request(bench: Bench) -> None:
    bench.ready()
    bench.effect = DeviceEffect(DeviceKind.NAK, for_s=0.05)
    began = time.monotonic()
    bench.command(bytes(6))
    assert parse_csw(bench.fetch()).status == 0
    assert time.monotonic() - began >= 0.05
    ((waited_s, by),) = bench.released
    assert waited_s >= 0.05
    assert by == "deadline"


def test_a_host_that_resets_the_device_ends_a_nak_before_its_time(bench: Bench) -> None:
    bench.ready()
    bench.effect = DeviceEffect(DeviceKind.NAK, for_s=60.0)
    bench.command(bytes(6))
    bench.until(lambda: bench.player.status()["doing"] == "wait")
    bench.effect = None
    bench.ready()
    assert [by for _, by in bench.released] == ["host"]


def test_what_happens_to_the_gadget_is_asked_for_in_the_middle(bench: Bench) -> None:
    bench.ready()
    effect = DeviceEffect(DeviceKind.UNBIND, for_s=1.0)
    bench.effect = effect
    bench.command(rw_10(0x28, 0, 4), 2048)
    assert len(bench.fetch()) == 1024
    bench.until(lambda: bench.happened == [effect])
    bench.files.tell(EventType.UNBIND)
    bench.until(lambda: bench.disk.stage is Stage.OFF)


@pytest.mark.parametrize("gone_at", ["enable", "queue"])
def test_a_host_that_is_gone_again_is_waited_for(bench: Bench, gone_at: str) -> None:
    if gone_at == "queue":
        bench.ready()
        operation = bench.next()
        bench.files.packet = None
        bench.files.complete(operation, b"USBC".ljust(14, b"\0") + b"\6" + bytes(16))
    else:
        bench.files.packet = None
        bench.files.tell(EventType.ENABLE)
    bench.files.tell(EventType.DISABLE)
    bench.until(lambda: bench.disk.stage is Stage.OFF and not bench.files.told)
    bench.files.packet = 512
    bench.ready()


def test_a_disk_that_waits_for_its_medium_is_left_behind(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_go = threading.Event()

    def hang(_: Medium, action: object) -> Outcome:
        del action
        assert let_go.wait(DEADLINE_S)
        return Outcome()

    bench.ready()
    monkeypatch.setattr(Medium, "do", hang)
    bench.command(rw_10(0x28, 0, 4), 2048)
    bench.until(lambda: bench.disk.stage is Stage.DATA)
    assert not bench.player.stop(0.01)
    let_go.set()


def test_the_mediums_errors_are_outcomes(tmp_path: Path) -> None:
    file = tmp_path / "lun0"
    file.write_bytes(b"abcd")
    medium = Medium(file)
    assert medium.do(ReadMedium(1, 2)) == Outcome(b"bc")
    assert medium.do(WriteMedium(2, b"xy")) == Outcome()
    assert medium.do(FlushMedium()) == Outcome()
    assert medium.do(ReadMedium(-1, 2)).error == errno.EINVAL
    medium.close()
    assert file.read_bytes() == b"abxy"
