"""The client with several URBs in flight, over a model of usbfs."""

from __future__ import annotations

import errno
import json
import os
import struct
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from rig.daemon import Events
from rig.errors import MachineError
from rig.integrity.continuation import Client, Outcome, Recovery, Task, find, serve
from rig.integrity.stamp import Stamp, decode
from rig.usb import bot, descriptors
from rig.usb.urb import TransferType
from rig.usb.usbfs import BULK_CONTINUATION, Reaped, UsbfsDevice

BULK_IN, BULK_OUT = 0x81, 0x02
DESCRIPTORS = (
    bytes.fromhex("12010002000000406b1d0401000103020101")
    + descriptors.CONFIGURATION.pack(9, 2, 32, 1, 1, 0, 0xC0, 1)
    + descriptors.INTERFACE.pack(9, 4, 0, 0, 2, 8, 6, 0x50, 0)
    + descriptors.ENDPOINT.pack(7, 5, BULK_IN, 2, 512, 0)
    + descriptors.ENDPOINT.pack(7, 5, BULK_OUT, 2, 512, 0)
)


class FakeUsbfs:
    """A disk behind usbfs: fails the data pieces that it is told to, takes back those behind.

    Attributes:
        fails: Numbers of data pieces, counted from 0, that end with EPROTO.
        refusals: So many commands without data end with a failed status.
        done: What was asked, in order.
        written: The data pieces that ran.
    """

    def __init__(self) -> None:
        self.fails: set[int] = set()
        self.refusals = 0
        self.done: list[str] = []
        self.flags: list[int] = []
        self.written: list[bytes] = []
        self._pieces = 0
        self._broken = False
        self._tag = 0
        self._ended: deque[Reaped] = deque()
        # The end of a pipe that can always be written to: usbfs with something to reap.
        self._reader, self._writer = os.pipe()

    def fileno(self) -> int:
        return self._writer

    def close(self) -> None:
        os.close(self._reader)
        os.close(self._writer)

    def descriptors(self) -> bytes:
        return DESCRIPTORS

    def claim_interface(self, number: int) -> None:
        self.done.append(f"claim {number}")

    def release_interface(self, number: int) -> None:
        self.done.append(f"release {number}")

    def clear_halt(self, address: int) -> None:
        self.done.append(f"clear {address:#x}")

    def reset(self) -> None:
        self.done.append("reset")
        self._broken = False

    def submit(
        self, urb_id: int, kind: TransferType, address: int, flags: int, buffer: bytearray
    ) -> None:
        status = 0
        if kind is TransferType.CONTROL:
            self.done.append(f"control {buffer.hex()}")
            self._broken = False
        elif address == BULK_IN:
            failed = self.refusals > 0
            self.refusals -= failed
            buffer[:] = struct.pack("<4sIIB", b"USBS", self._tag, 0, failed)
        elif len(buffer) == bot.CBW_BYTES:
            self._tag = int.from_bytes(buffer[4:8], "little")
        else:
            self.flags.append(flags)
            if self._broken and flags & BULK_CONTINUATION:
                status = -errno.ECONNRESET
            elif self._pieces in self.fails:
                self._broken, status = True, -errno.EPROTO
            else:
                self.written.append(bytes(buffer))
            self._pieces += 1
        self._ended.append(Reaped(urb_id, status, 0 if status else len(buffer)))

    def reap(self) -> Reaped | None:
        return self._ended.popleft() if self._ended else None


@pytest.fixture
def usbfs() -> Iterator[FakeUsbfs]:
    fake = FakeUsbfs()
    yield fake
    fake.close()


@pytest.fixture
def client(usbfs: FakeUsbfs) -> Client:
    return Client(cast("UsbfsDevice", usbfs))


def test_every_block_says_where_it_belongs_and_which_repetition_wrote_it(
    usbfs: FakeUsbfs, client: Client
) -> None:
    outcome = client.write(Task(run_id=5, repetition=3, lba=1000, urbs=2, urb_bytes=1024))

    assert outcome.statuses == ["0", "0"]
    stamps = [decode(piece[at : at + 512]) for piece in usbfs.written for at in (0, 512)]
    assert [s.lba for s in stamps if isinstance(s, Stamp)] == [1000, 1001, 1002, 1003]
    assert {(s.run_id, s.generation) for s in stamps if isinstance(s, Stamp)} == {(5, 3)}


def test_every_piece_but_the_first_is_to_be_taken_back_if_one_fails(
    usbfs: FakeUsbfs, client: Client
) -> None:
    client.write(Task(1, 1, 0, urbs=3, urb_bytes=512))

    assert usbfs.flags == [0, BULK_CONTINUATION, BULK_CONTINUATION]


def test_an_error_is_told_for_each_piece_and_followed_by_a_port_reset(
    usbfs: FakeUsbfs, client: Client
) -> None:
    usbfs.fails, usbfs.refusals = {0}, 1

    outcome = client.write(Task(1, 1, 0, urbs=3, urb_bytes=512))

    assert outcome.statuses == ["-EPROTO", "-ECONNRESET", "-ECONNRESET"]
    assert outcome.moved_bytes == [0, 0, 0]
    assert outcome.attempts == 2  # the first command is told of the reset
    assert usbfs.done == ["claim 0", "release 0", "reset", "claim 0"]


def test_a_bulk_only_reset_is_followed_by_both_halts(usbfs: FakeUsbfs, client: Client) -> None:
    usbfs.fails = {0}

    client.write(Task(1, 1, 0, urb_bytes=512, recovery=Recovery.BULK_RESET))

    assert usbfs.done[1:] == ["control 21ff000000000000", "clear 0x81", "clear 0x2"]


def test_a_device_that_stays_away_is_an_error(usbfs: FakeUsbfs, client: Client) -> None:
    usbfs.refusals = 100

    with pytest.raises(MachineError, match="refused a command 8 times"):
        client.recover(Recovery.PORT_RESET)


def test_a_lab_is_answered_with_the_outcome_or_with_a_sentence(client: Client) -> None:
    reader, writer = os.pipe()
    commands = [
        {"id": 1, "do": "write", "run_id": 1, "repetition": 1, "lba": 0, "urb_bytes": 512},
        {"id": 2, "do": "write", "lba": "none"},
        {"id": 3, "do": "dance"},
    ]
    os.write(writer, b"".join(json.dumps(c).encode() + b"\n" for c in commands))
    os.close(writer)
    out_reader, out_writer = os.pipe()

    with os.fdopen(out_writer, "wb") as out:
        serve(client, Events(out), reader)
    with os.fdopen(out_reader, "rb") as told:
        replies = [json.loads(line) for line in told]

    assert Outcome(**replies[0]["result"]).statuses == ["0"] * 4
    assert "A bad command 'write'" in replies[1]["error"]
    assert "knows no command 'dance'" in replies[2]["error"]
    os.close(reader)


def test_the_device_is_found_by_its_interface_and_its_controller(tmp_path: Path) -> None:
    for number, (controller, classes) in enumerate(
        [("dummy_hcd.0", "080650"), ("vhci_hcd.7", "020201"), ("vhci_hcd.7", "080650")], start=1
    ):
        device = tmp_path / controller / f"{number}-1"
        interface = device / f"{number}-1:1.0"
        interface.mkdir(parents=True)
        for at, name in enumerate(("Class", "SubClass", "Protocol")):
            (interface / f"bInterface{name}").write_text(classes[2 * at : 2 * at + 2] + "\n")
        (device / "busnum").write_text(f"{number}\n")
        (device / "devnum").write_text("4\n")
        devices = tmp_path / "devices"
        devices.mkdir(exist_ok=True)
        (devices / device.name).symlink_to(device)
        (devices / interface.name).symlink_to(interface)

    assert find("vhci_hcd", 0.0, tmp_path / "devices") == "/dev/bus/usb/003/004"
    with pytest.raises(MachineError, match="behind xhci_hcd"):
        find("xhci_hcd", 0.0, tmp_path / "devices")
