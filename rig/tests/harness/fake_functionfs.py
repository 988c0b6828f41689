"""A FunctionFS without a kernel: what a host would do is done by hand."""

from __future__ import annotations

import collections
import os
from collections.abc import Iterator

from rig.gadget.bot.descriptors import Event, EventType
from rig.gadget.bot.functionfs import FunctionFiles
from rig.usb.setup import SetupPacket
from rig.usb.urb import Direction

NOTHING = SetupPacket(0, 0, 0, 0, 0)


class FakeOperation:
    """A request of an endpoint: OUT if `octets` is None."""

    def __init__(self, length_bytes: int, octets: bytes | None) -> None:
        self.length_bytes = length_bytes
        self.sent = octets
        self.octets = b""
        self.result = 0
        self.cancelled = False


class FakeIo:
    """Where requests end."""

    def __init__(self) -> None:
        self.notify = os.eventfd(0, os.EFD_NONBLOCK)
        self.ended: collections.deque[FakeOperation] = collections.deque()

    def fileno(self) -> int:
        return self.notify

    def done(self) -> Iterator[FakeOperation]:
        os.eventfd_read(self.notify)
        while self.ended:
            yield self.ended.popleft()

    def cancel(self, operation: FakeOperation) -> None:
        operation.cancelled = True


class FakeFiles(FunctionFiles):
    """The files of a function whose host is the test."""

    def __init__(self) -> None:
        self.ep0 = os.eventfd(0, os.EFD_NONBLOCK)
        self.requests = FakeIo()
        self.io = self.requests  # type: ignore[assignment]
        self.queued: list[FakeOperation] = []
        self.told: collections.deque[Event] = collections.deque()
        self.answers: list[bytes | None] = []
        self.refused: list[bool] = []
        self.halts: list[Direction] = []
        self.full = 0  # so many more times an endpoint cannot be halted
        self.packet: int | None = 512
        self.closed = False

    def close(self) -> None:
        self.closed = True
        os.close(self.ep0)
        os.close(self.requests.notify)

    def tell(self, kind: EventType, setup: SetupPacket = NOTHING) -> None:
        """What the kernel would tell."""
        self.told.append(Event(kind, setup))
        os.eventfd_write(self.ep0, 1)

    def complete(self, operation: FakeOperation, octets: bytes = b"", error: int = 0) -> None:
        """The host has done its part."""
        operation.octets = octets
        operation.result = -error if error else len(octets or operation.sent or b"")
        self.requests.ended.append(operation)
        os.eventfd_write(self.requests.notify, 1)

    def events(self) -> list[Event]:
        os.eventfd_read(self.ep0)
        events = list(self.told)
        self.told.clear()
        return events

    def answer(self, octets: bytes | None) -> None:
        self.answers.append(octets)

    def refuse(self, *, is_in: bool) -> None:
        self.refused.append(is_in)

    def packet_bytes(self) -> int:
        if self.packet is None:
            raise OSError(19, "No such device")
        return self.packet

    def receive(self, length_bytes: int) -> FakeOperation:  # type: ignore[override]
        return self._queue(FakeOperation(length_bytes, None))

    def send(self, octets: bytes) -> FakeOperation:  # type: ignore[override]
        return self._queue(FakeOperation(len(octets), octets))

    def halt(self, direction: Direction) -> bool:
        if self.full:
            self.full -= 1
            return False
        self.halts.append(direction)
        return True

    def _queue(self, operation: FakeOperation) -> FakeOperation:
        if self.packet is None:
            raise OSError(108, "Cannot send after transport endpoint shutdown")
        self.queued.append(operation)
        return operation
