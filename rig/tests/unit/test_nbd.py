"""What the kernel's driver nbd is told: octets, and answers to its requests."""

from __future__ import annotations

import errno
import os
import socket
import struct
import threading
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rig.deepqueue.exchange import Buffer
from rig.deepqueue.nbd_wire import (
    REQUEST_BYTES,
    NbdCommand,
    NbdRequest,
    parse_request,
    reply,
)
from rig.deepqueue.server import serve
from rig.errors import RemoteProtocolError

COOKIE = 0x0102030405060708
DEADLINE_S = 10.0


def test_a_request_has_the_octets_of_the_protocol() -> None:
    octets = bytes.fromhex("25609513 0000 0001 0102030405060708 0000000000001000 00000200")

    assert parse_request(octets) == NbdRequest(NbdCommand.WRITE, COOKIE, 4096, 512)
    assert NbdRequest(NbdCommand.WRITE, COOKIE, 4096, 512).pack() == octets


def test_a_reply_has_the_octets_of_the_protocol() -> None:
    assert reply(COOKIE, 5).hex(" ", -4) == "67446698 00000005 01020304 05060708"


@given(st.binary(max_size=40))
def test_what_is_no_request_is_refused_and_nothing_else(octets: bytes) -> None:
    if len(octets) == REQUEST_BYTES and octets.startswith(bytes.fromhex("25609513")):
        assert parse_request(octets).cookie == int.from_bytes(octets[8:16], "big")
    else:
        with pytest.raises(RemoteProtocolError, match=r"nbd's"):
            parse_request(octets)


class FakeMedium:
    """Stands for a disk.

    Attributes:
        content: What it holds.
        error: What everything fails with.
        flushes: How often it was flushed.
    """

    def __init__(self) -> None:
        self.content = bytearray(65536)
        self.error = 0
        self.flushes = 0
        self.gone = False

    def read(self, start_bytes: int, buffer: Buffer) -> int:
        buffer[:] = self.content[start_bytes : start_bytes + len(buffer)]
        return self.error

    def write(self, start_bytes: int, data: Buffer) -> int:
        self.content[start_bytes : start_bytes + len(data)] = data
        return self.error

    def flush(self) -> int:
        self.flushes += 1
        return self.error


class Served:
    """A medium that is served by a thread, with the kernel's end of the socket in the test.

    Attributes:
        device: Closing it is the device's unplug.
        stop: Something written to it stops the server.
    """

    def __init__(self) -> None:
        self.medium = FakeMedium()
        self.kernel, ours = socket.socketpair()
        self.kernel.settimeout(DEADLINE_S)
        self.device, watched = socket.socketpair()
        self.stop, stopping = socket.socketpair()
        self._all = (self.kernel, ours, self.device, watched, self.stop, stopping)
        self._thread = threading.Thread(target=serve, args=(self.medium, ours, watched, stopping))
        self._thread.start()

    def ask(self, command: int, start_bytes: int = 0, length_bytes: int = 0) -> int:
        """Send a request; return the error of its reply."""
        self.kernel.sendall(NbdRequest(command, COOKIE, start_bytes, length_bytes).pack())
        return self.error()

    def error(self) -> int:
        _, error, cookie = struct.unpack(">IIQ", self.receive(16))
        assert cookie == COOKIE
        return int(error)

    def receive(self, count: int) -> bytes:
        return self.kernel.recv(count, socket.MSG_WAITALL)

    def ended(self) -> bool:
        """Wait for its end."""
        self._thread.join(DEADLINE_S)
        return not self._thread.is_alive()

    def close(self) -> None:
        if self._thread.is_alive():
            self.stop.sendall(b"x")
        assert self.ended()
        for end in self._all:
            end.close()


@pytest.fixture
def served() -> Iterator[Served]:
    made = Served()
    yield made
    made.close()


def test_what_is_written_is_read_back(served: Served) -> None:
    data = os.urandom(8192)

    served.kernel.sendall(NbdRequest(NbdCommand.WRITE, COOKIE, 4096, len(data)).pack() + data)
    assert served.error() == 0
    assert served.ask(NbdCommand.READ, 4096, len(data)) == 0

    assert served.receive(len(data)) == data


def test_a_flush_is_carried_out(served: Served) -> None:
    assert served.ask(NbdCommand.FLUSH) == 0
    assert served.medium.flushes == 1


def test_an_error_is_told_without_data(served: Served) -> None:
    served.medium.error = errno.EIO

    assert served.ask(NbdCommand.READ, 0, 512) == errno.EIO
    served.medium.error = 0
    assert served.ask(NbdCommand.FLUSH) == 0  # nothing was between


def test_a_request_that_was_not_offered_is_refused(served: Served) -> None:
    assert served.ask(17) == errno.EINVAL


def test_the_request_that_finds_the_disk_gone_is_answered_and_is_the_last(served: Served) -> None:
    served.medium.error, served.medium.gone = errno.EIO, True

    assert served.ask(NbdCommand.READ, 0, 512) == errno.EIO
    assert served.ended()


def test_serving_ends_with_the_kernels_end(served: Served) -> None:
    served.kernel.shutdown(socket.SHUT_WR)

    assert served.ended()


def test_serving_ends_in_the_middle_of_a_write(served: Served) -> None:
    served.kernel.sendall(NbdRequest(NbdCommand.WRITE, COOKIE, 0, 4096).pack() + bytes(10))
    served.kernel.shutdown(socket.SHUT_WR)

    assert served.ended()


def test_serving_ends_when_the_kernel_takes_its_leave(served: Served) -> None:
    served.kernel.sendall(NbdRequest(NbdCommand.DISCONNECT, COOKIE, 0, 0).pack())

    assert served.ended()


def test_serving_ends_when_the_device_hangs_up(served: Served) -> None:
    served.device.close()

    assert served.ended()


def test_serving_ends_when_it_is_told_to(served: Served) -> None:
    served.stop.sendall(b"x")

    assert served.ended()
