"""A disk that speaks Bulk-Only Transport, behind a node of usbfs: no kernel, no device.

It takes its octets in the order in which URBs run, as `f_mass_storage` does: whatever comes in a
data stage is the next of its data, whosever URB it was in.  So an URB that runs behind one that
failed puts its data at the wrong place, and that shows in the medium.
"""

from __future__ import annotations

import errno
import os
from collections import deque

from rig.usb import bot, descriptors
from rig.usb.bot import Opcode
from rig.usb.urb import Direction, TransferType
from rig.usb.usbfs import BULK_CONTINUATION, Reaped

BULK_IN, BULK_OUT = 0x81, 0x02
BLOCK_BYTES = 512
DESCRIPTORS = (
    bytes.fromhex("12010002000000406b1d0401000103020101")
    + descriptors.CONFIGURATION.pack(9, 2, 32, 1, 1, 0, 0xC0, 1)
    + descriptors.INTERFACE.pack(9, 4, 0, 0, 2, 8, 6, 0x50, 0)
    + descriptors.ENDPOINT.pack(7, 5, BULK_IN, 2, 512, 0)
    + descriptors.ENDPOINT.pack(7, 5, BULK_OUT, 2, 512, 0)
)


class FakeBulkDisk:
    """Stands for `rig.usb.usbfs.UsbfsDevice`.

    Args:
        blocks: Of the medium.

    Attributes:
        medium: What it holds.
        fails: Data URBs, counted from 0 over all commands, and the status that each ends with
            before it moves anything.
        keeps_promise: Whether the kernel takes back, in time, what is behind a failed URB.
        senses: Sense of the next commands that move data or flush: each is refused with one.
        refusals: So many commands without data end with a failed status.
        silent: Commands, by their number from 0, whose status never comes.
        gone: Nothing works any more, but reaping.
        calls: What was asked, in order, but transfers.
        flags: Of the data URBs, in order.
        commands: Opcodes that came.
    """

    def __init__(self, blocks: int = 256) -> None:
        self.medium = bytearray(blocks * BLOCK_BYTES)
        self.fails: dict[int, int] = {}
        self.keeps_promise = True
        self.senses: deque[tuple[int, int, int]] = deque()
        self.refusals = 0
        self.silent: set[int] = set()
        self.gone = False
        self.calls: list[str] = []
        self.flags: list[int] = []
        self.commands: list[int] = []
        self._sense = bytes(bot.SENSE_BYTES)
        self._data_urbs = 0
        self._broken = False
        self._stage: bot.Cbw | None = None
        self._at = 0
        self._status = 0
        self._moved = 0
        self._ended: deque[Reaped] = deque()
        self._stuck: set[int] = set()
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
        self.calls.append(f"claim {number}")

    def release_interface(self, number: int) -> None:
        self.calls.append(f"release {number}")

    def clear_halt(self, address: int) -> None:
        self.calls.append(f"clear {address:#x}")
        self._alive()

    def reset(self) -> None:
        self.calls.append("reset")
        self._alive()
        self._broken, self._stage = False, None

    def discard(self, urb_id: int) -> bool:
        if urb_id not in self._stuck:
            return False
        self._stuck.remove(urb_id)
        self._ended.append(Reaped(urb_id, -errno.ENOENT, 0))
        return True

    def submit(
        self,
        urb_id: int,
        kind: TransferType,
        address: int,
        flags: int,
        buffer: bytearray | memoryview,
    ) -> None:
        self._alive()
        if kind is TransferType.CONTROL:
            self.calls.append(f"control {bytes(buffer).hex()}")
            self._broken, self._stage = False, None
            self._ended.append(Reaped(urb_id, 0, len(buffer)))
            return
        ran = self._run(address, flags, memoryview(buffer))
        if ran is None:
            self._stuck.add(urb_id)
        else:
            self._ended.append(Reaped(urb_id, *ran))

    def reap(self) -> Reaped | None:
        if self._ended:
            return self._ended.popleft()
        self._alive()
        return None

    def _alive(self) -> None:
        if self.gone:
            raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))

    def _run(self, address: int, flags: int, buffer: memoryview) -> tuple[int, int] | None:
        """Return status and length; None for what never ends."""
        if self._stage is None:
            if address != BULK_OUT:
                return None
            self._begin(bot.parse_cbw(bytes(buffer)))
            return 0, len(buffer)
        if self._moved < self._stage.length_bytes and not self._status:
            return self._move(flags, buffer)
        return self._tell(buffer)

    def _begin(self, cbw: bot.Cbw) -> None:
        self._stage, self._moved, self._status = cbw, 0, 0
        opcode = cbw.command[0]
        self.commands.append(opcode)
        self._at = int.from_bytes(cbw.command[2:6], "big") * BLOCK_BYTES
        if self.senses and opcode not in (Opcode.REQUEST_SENSE, Opcode.TEST_UNIT_READY):
            key, asc, ascq = self.senses.popleft()
            self._sense = bytes((0x70, 0, key, 0, 0, 0, 0, 10, 0, 0, 0, 0, asc, ascq, 0, 0, 0, 0))
            self._status = 1
        elif opcode == Opcode.TEST_UNIT_READY and self.refusals:
            self.refusals -= 1
            self._status = 1

    def _move(self, flags: int, buffer: memoryview) -> tuple[int, int]:
        assert self._stage is not None
        number, self._data_urbs = self._data_urbs, self._data_urbs + 1
        self.flags.append(flags)
        behind = bool(flags & BULK_CONTINUATION)
        if self._broken and behind and self.keeps_promise:
            return -errno.ECONNRESET, 0
        self._broken = self._broken and behind
        if number in self.fails:
            self._broken = True
            return self.fails[number], 0
        if self._stage.direction is Direction.OUT:
            self.medium[self._at : self._at + len(buffer)] = buffer
        else:
            given = self._given(len(buffer))
            buffer[: len(given)] = given
        self._at += len(buffer)
        self._moved += len(buffer)
        return 0, len(buffer)

    def _given(self, length_bytes: int) -> bytes:
        assert self._stage is not None
        match self._stage.command[0]:
            case Opcode.REQUEST_SENSE:
                return self._sense[:length_bytes]
            case Opcode.READ_CAPACITY_10:
                last_lba = len(self.medium) // BLOCK_BYTES - 1
                return last_lba.to_bytes(4, "big") + BLOCK_BYTES.to_bytes(4, "big")
        return bytes(self.medium[self._at : self._at + length_bytes])

    def _tell(self, buffer: memoryview) -> tuple[int, int] | None:
        assert self._stage is not None
        if len(self.commands) - 1 in self.silent:
            return None
        if len(buffer) != bot.CSW_BYTES:
            return -errno.EPIPE, 0  # data that it will not give, or take
        residue_bytes = self._stage.length_bytes - self._moved
        buffer[:] = bot.Csw(self._stage.tag, residue_bytes, self._status).pack()
        self._stage = None
        return 0, len(buffer)
