"""One command of the bulk-only disk, from behind its CBW to its CSW.

The thirteen cases of what host and device expect (Bulk-Only Transport 1.0, BOT, §6.7) are answered
like this; H and D are the host's and the device's side, n, i, o no data, data in, data out:

    Hn = Dn, Hi = Di, Ho = Do     the data move
    Hi > Dn, Hi > Di              what there is, then STALL of the IN endpoint
    Ho > Dn, Ho > Do              what is of use is taken, the rest received and thrown away
    Hn < Di, Hn < Do, Hi < Di,    no data of use: STALL of the IN endpoint, or the host's data are
    Hi <> Do, Ho <> Di, Ho < Do   received and thrown away; the status is phase error

An injected effect changes one of these steps, and nothing else.  Pure.
"""

from __future__ import annotations

import msgspec

from rig.faults.rules.device import (
    CSW_BYTES,
    EXTRA_BYTES,
    IN_THE_MIDDLE,
    MOMENTS,
    DeviceEffect,
    DeviceKind,
)
from rig.gadget.bot import scsi
from rig.gadget.bot.actions import (
    PIECE_BYTES,
    Ending,
    FlushMedium,
    Halt,
    Happen,
    ReadMedium,
    Receive,
    Send,
    Session,
    Stage,
    Wait,
    WriteMedium,
)
from rig.gadget.bot.scsi import BLOCK_BYTES, Task, Unit
from rig.usb.bot import Cbw, CommandStatus, Csw, SenseData
from rig.usb.urb import Direction


class Exchange:
    """Carries one command out.

    Args:
        cbw: The command.
        task: What it asks for.
        unit: Is told why it failed.
        effect: What the disk does wrong; None: nothing.
        packet_bytes: Of the bulk endpoints (wMaxPacketSize).

    Attributes:
        stage: Where it is.
    """

    def __init__(
        self, cbw: Cbw, task: Task, unit: Unit, effect: DeviceEffect | None, packet_bytes: int
    ) -> None:
        self.stage = Stage.DATA
        self._cbw = cbw
        self._task = task
        self._unit = unit
        self._effect = effect
        self._kind = effect.kind if effect else None
        self._packet_bytes = packet_bytes
        self._moved_bytes = 0  # data of use: what the residue is about
        self._received_bytes = 0  # and with what was thrown away
        self._status = CommandStatus.PASSED
        self._ended = False  # the host's data stage is over: nothing may be drained or stalled
        # After so many bytes of the data something happens.
        self._cut_at = self._cut(effect) if effect and effect.kind in IN_THE_MIDDLE else None

    def run(self) -> Session:
        """The whole exchange."""
        if self._mismatch():
            self._status = CommandStatus.PHASE_ERROR
            yield from self._end_data()
        else:
            yield from self._carry_out()
        self.stage = Stage.STATUS
        yield from self._send_status()

    # The data stage.

    def _mismatch(self) -> bool:
        """Whether the device intends what the host does not expect: cases 2, 3, 7, 8, 10, 13."""
        task, cbw = self._task, self._cbw
        if not task.length_bytes:
            return False
        return task.direction is not cbw.direction or task.length_bytes > cbw.length_bytes

    def _carry_out(self) -> Session:
        match self._task:
            case scsi.Refuse(sense):
                self._fail(sense)
            case scsi.Flush():
                yield from self._flush(0)
            case scsi.Verify(lba, blocks):
                yield from self._verify(lba, blocks)
            case scsi.Give(octets):
                yield from self._give(octets)
            case scsi.Read(lba, blocks):
                yield from self._read(lba, blocks)
            case scsi.Write(lba, blocks, force):
                yield from self._write(lba, blocks)
                if force and self._status is CommandStatus.PASSED:
                    yield from self._flush(lba)
        if self._cut_at is not None and not self._ended:
            # Less data than that move, or none at all.
            yield from self._interrupt()
        yield from self._end_data()

    def _give(self, octets: bytes) -> Session:
        at = 0
        while at < len(octets) and not (yield from self._stops()):
            piece = octets[at : at + self._piece_bytes(len(octets) - at)]
            yield from self._send(piece, last=at + len(piece) == len(octets))
            at += len(piece)

    def _read(self, lba: int, blocks: int) -> Session:
        left = blocks * BLOCK_BYTES
        while left and not (yield from self._stops()):
            wanted = self._piece_bytes(left)
            offset = lba * BLOCK_BYTES + self._moved_bytes
            got = yield ReadMedium(offset, wanted)
            octets = got.octets[:wanted]
            left -= wanted
            failed = bool(got.error) or len(octets) < wanted
            if failed:
                bad = offset + len(octets)
                self._fail(scsi.READ_ERROR, bad // BLOCK_BYTES)
                octets = octets[: len(octets) // BLOCK_BYTES * BLOCK_BYTES]
            if octets:
                yield from self._send(octets, last=not left)
            if failed:
                return

    def _write(self, lba: int, blocks: int) -> Session:
        left, held = blocks * BLOCK_BYTES, b""
        while left and not (yield from self._stops()):
            wanted = self._piece_bytes(left)
            got = yield Receive(wanted)
            octets = got.octets[:wanted]
            self._received_bytes += len(octets)
            left -= len(octets)
            held += octets
            whole = len(held) // BLOCK_BYTES * BLOCK_BYTES
            if whole:
                offset = lba * BLOCK_BYTES + self._moved_bytes
                done = yield WriteMedium(offset, held[:whole])
                if done.error:
                    self._fail(scsi.WRITE_ERROR, offset // BLOCK_BYTES)
                    return
                self._moved_bytes += whole
                held = held[whole:]
            if got.error or len(octets) < wanted:
                self._ended = not got.error
                self._fail(scsi.COMMUNICATION_FAILURE)
                return

    def _verify(self, lba: int, blocks: int) -> Session:
        at, end = lba * BLOCK_BYTES, (lba + blocks) * BLOCK_BYTES
        while at < end:
            wanted = min(PIECE_BYTES, end - at)
            got = yield ReadMedium(at, wanted)
            if got.error or len(got.octets) < wanted:
                self._fail(scsi.READ_ERROR, (at + len(got.octets)) // BLOCK_BYTES)
                return
            at += wanted

    def _flush(self, lba: int) -> Session:
        done = yield FlushMedium()
        if done.error:
            self._fail(scsi.WRITE_ERROR, lba)

    def _send(self, octets: bytes, *, last: bool) -> Session:
        self._moved_bytes += len(octets)
        if last and self._effect and self._effect.kind is DeviceKind.EXTRA:
            extra = self._effect.at_bytes
            octets += bytes(self._cbw.length_bytes - self._moved_bytes)
            octets += bytes(EXTRA_BYTES if extra is None else extra)
        yield Send(octets)

    def _end_data(self) -> Session:
        """Come to the end that the host expects (BOT §6.7.2 and §6.7.3)."""
        cbw = self._cbw
        if self._ended or not cbw.length_bytes:
            return
        if cbw.direction is Direction.IN:
            if self._moved_bytes < cbw.length_bytes:
                yield Halt(Direction.IN)
            return
        while self._received_bytes < cbw.length_bytes:
            wanted = min(PIECE_BYTES, cbw.length_bytes - self._received_bytes)
            got = yield Receive(wanted)
            self._received_bytes += len(got.octets)
            if got.error or len(got.octets) < wanted:
                return

    # What goes wrong in it.

    def _cut(self, effect: DeviceEffect) -> int:
        """After how many bytes of the data something happens."""
        length = self._cbw.length_bytes
        if effect.kind is DeviceKind.SHORT and effect.at_bytes is not None:
            return min(effect.at_bytes, length)
        at = length // 2 if effect.at_bytes is None else min(effect.at_bytes, length)
        return at // self._packet_bytes * self._packet_bytes

    @property
    def _progress_bytes(self) -> int:
        return max(self._moved_bytes, self._received_bytes)

    def _piece_bytes(self, left: int) -> int:
        """How much to move next: up to the moment at which something happens."""
        if self._cut_at is not None:
            left = min(left, self._cut_at - self._progress_bytes)
        return min(PIECE_BYTES, left)

    def _stops(self) -> Ending:
        """Whether no more data are to be moved."""
        if self._cut_at is None or self._progress_bytes < self._cut_at:
            return False
        return (yield from self._interrupt())

    def _interrupt(self) -> Ending:
        """Let it happen; return whether no more data are to be moved."""
        self._cut_at = None
        effect = self._effect
        assert effect is not None
        if effect.kind is DeviceKind.NAK:
            yield Wait(effect.for_s)
            return False
        if effect.kind in MOMENTS:
            yield Happen(effect)
            if effect.kind is not DeviceKind.EJECT:
                yield Wait(None)  # the unplugging ends this session
            self._fail(scsi.MEDIUM_NOT_PRESENT)
            return True
        yield from self._break_off(effect)
        return True

    def _break_off(self, effect: DeviceEffect) -> Session:
        """End the data stage where it is."""
        if not self._cbw.length_bytes:
            return
        self._ended = True
        if effect.kind is DeviceKind.STALL:
            yield Halt(self._cbw.direction)
        elif self._moved_bytes % self._packet_bytes == 0:
            yield Send(b"")  # a short packet of no length
        if effect.sense is not None:
            self._fail(SenseData(*effect.sense))

    def _fail(self, sense: SenseData, lba: int | None = None) -> None:
        self._status = CommandStatus.FAILED
        self._unit.fail(sense if lba is None else msgspec.structs.replace(sense, lba=lba))

    # The status stage.

    def _send_status(self) -> Session:
        if self._kind is DeviceKind.CSW_MISSING:
            return
        if self._kind is DeviceKind.CSW_STALL:
            yield Halt(Direction.IN)
        residue = self._cbw.length_bytes - self._moved_bytes
        honest = Csw(self._cbw.tag, residue, self._status)
        yield Send(_status_octets(honest, self._cbw, self._effect))


def _status_octets(csw: Csw, cbw: Cbw, effect: DeviceEffect | None) -> bytes:
    """The status as it goes to the host: honest, or what the effect makes of it."""
    match effect:
        case DeviceEffect(DeviceKind.PHASE_ERROR):
            return Csw(csw.tag, csw.residue_bytes, CommandStatus.PHASE_ERROR).pack()
        case DeviceEffect(DeviceKind.CSW_TAG):
            return Csw(csw.tag ^ 0x8000_0000, csw.residue_bytes, csw.status).pack()
        case DeviceEffect(DeviceKind.CSW_SIGNATURE):
            return csw.pack(signature=b"USBX")
        case DeviceEffect(DeviceKind.CSW_RESIDUE, residue_bytes=said):
            return Csw(csw.tag, cbw.length_bytes if said is None else said, csw.status).pack()
        case DeviceEffect(DeviceKind.CSW_SHORT, at_bytes=length):
            return csw.pack()[: CSW_BYTES - 1 if length is None else length]
    return csw.pack()
