"""A host for the bulk-only disk's pure core: sends commands, plays the medium, sees what comes."""

from __future__ import annotations

import errno
from dataclasses import dataclass, field

from rig.faults.rules.device import DeviceEffect, DeviceRequest
from rig.gadget.bot.actions import (
    Action,
    FlushMedium,
    Halt,
    Happen,
    Outcome,
    ReadMedium,
    Receive,
    Send,
    Wait,
    WriteMedium,
)
from rig.gadget.bot.machine import Disk
from rig.gadget.bot.scsi import BLOCK_BYTES, Unit
from rig.usb.bot import Csw, parse_csw
from rig.usb.urb import Direction

PACKET_BYTES = 512
BLOCKS = 1024


@dataclass
class Seen:
    """What the host saw of one command."""

    data: bytes = b""
    sent_bytes: int = 0
    status: bytes | None = None
    halts: list[Direction] = field(default_factory=list)
    waits: list[float | None] = field(default_factory=list)
    happened: list[DeviceEffect] = field(default_factory=list)

    @property
    def csw(self) -> Csw:
        assert self.status is not None
        return parse_csw(self.status)


class Host:
    """Drives one disk; `effect` is what it does wrong with the next command alone."""

    def __init__(self, *, removable: bool = False) -> None:
        self.unit = Unit(BLOCKS, "Rig     Store           0001", removable=removable)
        self.disk = Disk(self.unit, self._decide)
        self.medium = bytearray(BLOCKS * BLOCK_BYTES)
        self.flushes = 0
        self.bad_lba: int | None = None
        self.effect: DeviceEffect | None = None
        self.requests: list[DeviceRequest] = []
        self.reset()

    def reset(self) -> None:
        """As a port reset and SET_CONFIGURATION do."""
        self.session = self.disk.session(PACKET_BYTES)
        self.action = next(self.session)

    def command(
        self, command: bytes, length: int = 0, out: bytes | None = None, tag: int = 7
    ) -> Seen:
        """Send a CBW; give `out`, or take `length` octets in; take the status."""
        direction = Direction.IN if out is None else Direction.OUT
        length = length if out is None else len(out)
        flags = 0x80 if direction is Direction.IN else 0
        cbw = b"USBC" + tag.to_bytes(4, "little") + length.to_bytes(4, "little")
        cbw += bytes((flags, 0, len(command))) + command.ljust(16, b"\0")
        return self.octets(cbw, length if out is None else 0, out or b"")

    def octets(self, cbw: bytes, in_bytes: int = 0, out: bytes = b"") -> Seen:
        """The same with any octets in the place of the CBW."""
        assert isinstance(self.action, Receive)
        seen = Seen()
        action = self._advance(Outcome(cbw))
        in_data = in_bytes > 0
        while True:
            match action:
                case Receive(wanted):
                    if seen.sent_bytes == len(out):
                        return seen  # no data are left: it wants the next command
                    piece = out[seen.sent_bytes : seen.sent_bytes + wanted]
                    seen.sent_bytes += len(piece)
                    outcome = Outcome(piece)
                case Send(octets) if in_data:
                    seen.data += octets
                    short = len(octets) % PACKET_BYTES != 0 or not octets
                    in_data = not short and len(seen.data) < in_bytes
                    outcome = Outcome()
                case Send(octets):
                    assert seen.status is None
                    seen.status = octets
                    outcome = Outcome()
                case Halt(direction):
                    seen.halts.append(direction)
                    in_data = in_data and direction is not Direction.IN
                    if direction is Direction.OUT:
                        out = out[: seen.sent_bytes]
                    outcome = Outcome()
                case Wait(seconds):
                    seen.waits.append(seconds)
                    if seconds is None:
                        return seen
                    outcome = Outcome()
                case Happen(effect):
                    seen.happened.append(effect)
                    outcome = Outcome()
                case _:
                    outcome = self._of_the_medium(action)
            action = self._advance(outcome)

    def sense(self) -> tuple[int, int, int]:
        """REQUEST SENSE."""
        octets = self.command(bytes((3, 0, 0, 0, 18, 0)), 18).data
        return octets[2] & 0x0F, octets[12], octets[13]

    def read(self, lba: int, blocks: int, length: int | None = None) -> Seen:
        """READ(10)."""
        wanted = blocks * BLOCK_BYTES if length is None else length
        return self.command(rw_10(0x28, lba, blocks), wanted)

    def write(self, lba: int, data: bytes, blocks: int | None = None) -> Seen:
        """WRITE(10)."""
        count = len(data) // BLOCK_BYTES if blocks is None else blocks
        return self.command(rw_10(0x2A, lba, count), out=data)

    def _advance(self, outcome: Outcome) -> Action:
        self.action = self.session.send(outcome)
        return self.action

    def _of_the_medium(self, action: Action) -> Outcome:
        match action:
            case ReadMedium(offset, length):
                octets = bytes(self.medium[offset : offset + length])
                if self.bad_lba is not None:
                    good = max(0, self.bad_lba * BLOCK_BYTES - offset)
                    octets = octets[:good]
                return Outcome(octets)
            case WriteMedium(offset, octets):
                if self.bad_lba is not None:
                    return Outcome(error=errno.EIO)
                assert offset + len(octets) <= len(self.medium)
                self.medium[offset : offset + len(octets)] = octets
                return Outcome()
            case FlushMedium():
                self.flushes += 1
                return Outcome(error=errno.EIO if self.bad_lba is not None else 0)
        raise AssertionError(action)

    def _decide(self, request: DeviceRequest) -> DeviceEffect | None:
        self.requests.append(request)
        effect, self.effect = self.effect, None
        return effect


def rw_10(opcode: int, lba: int, blocks: int) -> bytes:
    """A command block of READ(10), WRITE(10) or VERIFY(10)."""
    return bytes((opcode, 0)) + lba.to_bytes(4, "big") + b"\0" + blocks.to_bytes(2, "big") + b"\0"
