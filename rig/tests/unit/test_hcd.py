from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from rig.errors import RemoteProtocolError
from rig.splitdriver.front.hcd import Hcd, PduWithData
from rig.usb import vhci
from rig.usb.urb import MAX_TRANSFER_BYTES, Speed
from rig.usb.usbip import (
    HEADER_BYTES,
    RET_PREFIX,
    CmdSubmit,
    CmdUnlink,
    pack_ret_submit,
    pack_ret_unlink,
)

PORT = vhci.Port(False, 3, vhci.PortState.NULL, "0-0")
OUT = CmdSubmit(1, 7, 0x02, 0, 5, 0, 0, bytes(8))
IN = CmdSubmit(2, 7, 0x81, 0, 512, 0, 0, bytes(8))
UNLINK = CmdUnlink(3, 7, 2)
STREAM = OUT.pack() + b"hello" + IN.pack() + UNLINK.pack()


class Kernel:
    """The other end of the socket pair, as ``vhci_hcd`` would have it."""

    def __init__(self) -> None:
        self.socket: socket.socket | None = None
        self.attached: tuple[object, ...] = ()

    def attach(self, port: vhci.Port, fd: int, device: int, speed: Speed) -> None:
        """Stands for `rig.usb.vhci.attach`: takes its own reference to the descriptor."""
        self.attached = (port, device, speed)
        self.socket = socket.socket(fileno=os.dup(fd))
        self.socket.settimeout(5)

    def send(self, octets: bytes) -> None:
        assert self.socket is not None
        self.socket.sendall(octets)

    def read(self, count: int) -> bytes:
        """Read exactly so many octets, as the kernel's MSG_WAITALL does."""
        assert self.socket is not None
        return self.socket.recv(count, socket.MSG_WAITALL)

    def close(self) -> None:
        if self.socket is not None:
            self.socket.close()


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Iterator[Kernel]:
    one = Kernel()
    monkeypatch.setattr(vhci, "attach", one.attach)
    yield one
    one.close()


@pytest.fixture
def hcd(kernel: Kernel) -> Iterator[Hcd]:
    one = Hcd(PORT, 7, Speed.HIGH)
    yield one
    one.close()


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_the_kernel_is_told_the_port_the_device_and_its_speed(hcd: Hcd, kernel: Kernel) -> None:
    assert kernel.attached == (PORT, 7, Speed.HIGH)


def test_a_refused_attach_leaves_no_descriptor_open(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EBUSY, "busy")

    monkeypatch.setattr(vhci, "attach", refuse)
    before = open_descriptors()
    with pytest.raises(OSError, match="busy"):
        Hcd(PORT, 7, Speed.HIGH)
    assert open_descriptors() == before


def test_commands_come_out_with_their_data(hcd: Hcd, kernel: Kernel) -> None:
    kernel.send(STREAM)
    (out, data), (into, nothing), unlink = hcd.receive()  # type: ignore[misc]
    assert (out, bytes(data), into, bytes(nothing), unlink) == (OUT, b"hello", IN, b"", UNLINK)


@pytest.mark.parametrize("step", [1, 3, 47, 48, 49, 53, 54])
def test_any_split_of_the_stream_gives_the_same_commands(
    hcd: Hcd, kernel: Kernel, step: int
) -> None:
    seen: list[object] = []
    for at in range(0, len(STREAM), step):
        kernel.send(STREAM[at : at + step])
        for pdu in hcd.receive():
            seen.append(pdu if isinstance(pdu, CmdUnlink) else (pdu[0], bytes(pdu[1])))
    assert seen == [(OUT, b"hello"), (IN, b""), UNLINK]


def test_commands_that_straddle_the_end_of_a_buffer_are_found(hcd: Hcd, kernel: Kernel) -> None:
    count = (1 << 18) // HEADER_BYTES + 10
    numbers: list[int] = []
    for at in range(0, count, 500):
        batch = range(at, min(at + 500, count))
        kernel.send(b"".join(CmdUnlink(number, 7, 1).pack() for number in batch))
        numbers += [pdu.seqnum for pdu in hcd.receive() if isinstance(pdu, CmdUnlink)]
    assert numbers == list(range(count))


def test_nothing_sent_is_nothing_received(hcd: Hcd) -> None:
    assert hcd.receive() == []


def test_isochronous_descriptors_are_not_taken_for_the_next_command(
    hcd: Hcd, kernel: Kernel
) -> None:
    isochronous = CmdSubmit(1, 7, 0x83, 0, 64, 2, 1, bytes(8))
    kernel.send(isochronous.pack() + b"\xff" * 32 + UNLINK.pack())
    assert hcd.receive()[1] == UNLINK


def test_an_urb_that_is_too_large_is_told_without_its_data_when_all_of_it_was_sent(
    hcd: Hcd, kernel: Kernel
) -> None:
    length = MAX_TRANSFER_BYTES + 1
    kernel.send(CmdSubmit(1, 7, 0x02, 0, length, 0, 0, bytes(8)).pack())
    piece = bytes(64 << 10)
    told: list[PduWithData] = []
    for sent in range(0, length, len(piece)):
        assert told == []
        kernel.send(piece[: length - sent])
        told = hcd.receive()
    assert told == [(CmdSubmit(1, 7, 0x02, 0, length, 0, 0, bytes(8)), b"")]
    kernel.send(UNLINK.pack())
    assert hcd.receive() == [UNLINK]


def test_a_closed_socket_is_told(hcd: Hcd, kernel: Kernel) -> None:
    kernel.close()
    with pytest.raises(RemoteProtocolError, match="closed the port's socket"):
        hcd.receive()


def test_answers_are_sent_in_order_with_their_data(hcd: Hcd, kernel: Kernel) -> None:
    hcd.give_back(1, 0, 3, b"abc")
    hcd.answer_unlink(2)
    hcd.flush()
    expected = pack_ret_submit(1, 0, 3) + b"abc" + pack_ret_unlink(2, 0)
    assert kernel.read(len(expected)) == expected


def test_a_fence_passes_when_the_kernel_has_read_into_the_next_header(
    hcd: Hcd, kernel: Kernel
) -> None:
    hcd.give_back(1, -errno.EPROTO, 0, b"")
    hcd.fence()
    assert hcd.fencing
    assert not hcd.fence_passed()  # nothing is sent yet
    hcd.flush()
    assert not hcd.fence_passed()  # nothing is read
    kernel.read(HEADER_BYTES)
    assert not hcd.fence_passed()  # its handler may still run
    assert kernel.read(len(RET_PREFIX)) == RET_PREFIX
    assert hcd.fence_passed()
    assert not hcd.fencing


def test_a_fence_passes_once(hcd: Hcd, kernel: Kernel) -> None:
    hcd.fence()
    hcd.flush()
    kernel.read(len(RET_PREFIX))
    hcd.fence_passed()
    assert not hcd.fence_passed()


def test_the_header_behind_a_fence_continues_its_prefix(hcd: Hcd, kernel: Kernel) -> None:
    hcd.give_back(1, -errno.EPROTO, 0, b"")
    hcd.fence()
    hcd.give_back(2, 0, 2, b"in")
    hcd.fence()
    hcd.answer_unlink(3)
    hcd.answer_unlink(4)
    hcd.flush()
    expected = (
        pack_ret_submit(1, -errno.EPROTO, 0)
        + pack_ret_submit(2, 0, 2)
        + b"in"
        + pack_ret_unlink(3, 0)
        + pack_ret_unlink(4, 0)
    )
    assert kernel.read(len(expected)) == expected


def test_a_fence_at_the_place_of_another_sends_no_second_prefix(hcd: Hcd, kernel: Kernel) -> None:
    hcd.fence()
    hcd.fence()
    hcd.answer_unlink(3)
    hcd.flush()
    assert kernel.read(HEADER_BYTES) == pack_ret_unlink(3, 0)
    assert hcd.fence_passed()


def test_what_does_not_fit_the_socket_is_sent_when_there_is_room(hcd: Hcd, kernel: Kernel) -> None:
    data = bytes(range(256)) * (1 << 14)
    hcd.give_back(1, 0, len(data), data)
    hcd.fence()
    hcd.flush()
    assert hcd.waits_for_room
    assert not hcd.fence_passed()
    expected = pack_ret_submit(1, 0, len(data)) + data + RET_PREFIX
    seen = b""
    while len(seen) < len(expected):
        seen += kernel.read(min(len(expected) - len(seen), 1 << 15))
        hcd.flush()
    assert seen == expected
    assert not hcd.waits_for_room
    assert hcd.fence_passed()


def test_closing_shows_the_kernel_the_end(kernel: Kernel) -> None:
    Hcd(PORT, 7, Speed.HIGH).close()
    assert kernel.read(1) == b""
