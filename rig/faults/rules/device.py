"""Device: the gadget itself misbehaves.

Two sorts of effects.  *Moments* happen to any gadget: its medium, its pull-up, its binding to the
UDC.  *Answers* are given by the bulk-only disk that the rig plays itself (``rig gadget --function
bot-storage``) to a SCSI command: section numbers are those of USB Mass Storage Class, Bulk-Only
Transport 1.0 (BOT).
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import msgspec

from rig.faults.rules.base import LbaRange, Rule, Seconds, first_true
from rig.faults.rules.scsi import data_problem
from rig.faults.shown import many
from rig.usb.urb import Direction

Octet = Annotated[int, msgspec.Meta(ge=0, le=255)]
SenseKey = Annotated[int, msgspec.Meta(ge=0, le=15)]
SenseTriple = Annotated[
    tuple[SenseKey, Octet, Octet],
    msgspec.Meta(extra={"wants": "three whole numbers, [key, asc, ascq]"}),
]
"""Sense key, additional sense code, its qualifier (SPC-4 §4.5)."""

DataBytes = Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1)]
"""dCBWDataTransferLength and dCSWDataResidue have 32 bits (§5.1, §5.2)."""

LONGEST_NAK_S = 60.0
"""A device that is to answer nothing for ever does again after so long, if the host does not reset
it before: its SCSI timeout is 30 s."""
CSW_BYTES = 13
EXTRA_BYTES = 512
MOST_EXTRA_BYTES = 65536
"""One octet is babble; more than this shows nothing else."""


class DeviceKind(StrEnum):
    """What the device does."""

    STALL = "stall"
    """The endpoint of the data is halted in the middle of them."""
    SHORT = "short"
    """The data to the host end early, with a short packet."""
    EXTRA = "extra"
    """The device sends more data than the host has asked for."""
    NAK = "nak"
    """The device answers nothing for `for_s`, or until the host resets it if that is sooner."""
    SENSE = "sense"
    """The command is not carried out: CHECK CONDITION with the sense data of `sense`."""
    PHASE_ERROR = "phase-error"
    """bCSWStatus is 2 (§5.3.3.1)."""
    CSW_TAG = "csw-tag"
    """dCSWTag is not the command's."""
    CSW_SIGNATURE = "csw-signature"
    """dCSWSignature is none."""
    CSW_RESIDUE = "csw-residue"
    """dCSWDataResidue is `residue_bytes`."""
    CSW_MISSING = "csw-missing"
    """There is no status; the device waits for the next command."""
    CSW_SHORT = "csw-short"
    """The status is cut off."""
    CSW_STALL = "csw-stall"
    """The IN endpoint is halted before the status, which comes once the halt is cleared."""
    EJECT = "eject"
    """The LUN's medium is taken out, and put in again after `for_s`."""
    SOFT_DISCONNECT = "soft-disconnect"
    """The pull-up goes away for `for_s`: the device is unplugged, as the host sees it."""
    UNBIND = "unbind"
    """The gadget is unbound from its UDC, and bound again after `for_s`."""


MOMENTS = frozenset({DeviceKind.EJECT, DeviceKind.SOFT_DISCONNECT, DeviceKind.UNBIND})
"""What happens to any gadget; all others are answers of the bulk-only disk."""
IN_DATA = frozenset({DeviceKind.SHORT, DeviceKind.EXTRA})
"""What only data to the host can suffer."""
LASTING = MOMENTS | {DeviceKind.NAK}
"""What ends after `for_s`."""
CUTTING = LASTING | {DeviceKind.STALL, DeviceKind.SHORT, DeviceKind.EXTRA, DeviceKind.CSW_SHORT}
"""What happens after `at_bytes`."""
WITH_SENSE = frozenset({DeviceKind.SENSE, DeviceKind.STALL, DeviceKind.SHORT})
"""What `sense` is of use with."""


class DeviceRequest(msgspec.Struct, frozen=True):
    """A SCSI command that the bulk-only disk is about to carry out.

    Attributes:
        opcode: The operation code.
        length_bytes: Of the data that the host expects to move.
        direction: Of these; None when there are none.
        lba: The first block; None for a command that names none.
        blocks: So many from `lba` on.
    """

    opcode: int
    length_bytes: int = 0
    direction: Direction | None = None
    lba: int | None = None
    blocks: int = 0

    @property
    def size_bytes(self) -> int:
        """The length of the data."""
        return self.length_bytes


class DeviceEffect(msgspec.Struct, frozen=True):
    """What the device is to do.

    Attributes:
        kind: What it does.
        for_s: For how long; None: for ever.
        at_bytes: After so many bytes of the data; None: after about half.
        sense: Sense key, additional sense code, its qualifier.
        residue_bytes: Of the status; None: all that was to move.
    """

    kind: DeviceKind
    for_s: float | None = None
    at_bytes: int | None = None
    sense: tuple[int, int, int] | None = None
    residue_bytes: int | None = None


class DeviceFault(
    Rule[DeviceRequest, DeviceEffect],
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    tag_field="layer",
    tag="device",
):
    """Something that the device does wrong.

    Attributes:
        kind: What it does; ``effect`` in a plan.
        opcode: Only for this SCSI command.
        direction: Only for commands whose data go this way.
        lba: Only for commands that touch one of these blocks.
        for_s: How long it lasts; without, for ever, but ``nak`` for `LONGEST_NAK_S`.
        at_bytes: It happens after so many bytes of the data, whole packets where it must not end
            the transfer; without, after about half.  Of a status that is cut off: its length.  Of
            too much data: how much too much.
        sense: ``[key, asc, ascq]``: the command ends with CHECK CONDITION and these.
        residue_bytes: What the status says; without, that nothing moved.
    """

    kind: DeviceKind = msgspec.field(name="effect")
    opcode: Octet | None = None
    direction: Direction | None = None
    lba: LbaRange | None = None
    for_s: Seconds | None = None
    at_bytes: DataBytes | None = None
    sense: SenseTriple | None = None
    residue_bytes: DataBytes | None = None

    @property
    def at_once(self) -> bool:
        """See `Rule.at_once`: an answer waits for a command."""
        return self.at_s is not None and self.kind in MOMENTS

    @property
    def of_commands(self) -> bool:
        """Whether only the bulk-only disk can bring it about, which knows its commands."""
        return not self.at_once

    def contradiction(self) -> str:
        """See `Rule.contradiction`."""
        return (
            self._useless_key()
            or self._wrong_value()
            or self._wrong_command()
            or Rule.contradiction(self)
        )

    def _useless_key(self) -> str:
        for key, kinds in _USED_BY.items():
            if getattr(self, key) is not None and self.kind not in kinds:
                return f"'{key}' is of no use with 'effect' '{self.kind}'"
        given = (key for key in _OF_COMMANDS if getattr(self, key) is not None)
        key = next(given, "") if self.at_once else ""
        return key and f"'{key}' is about commands, but this rule fires by the clock alone"

    def _wrong_value(self) -> str:
        first, last = self.lba or (0, 0)
        cut = self.at_bytes or 0
        return first_true(
            (
                self.kind is DeviceKind.SENSE and self.sense is None,
                "'effect' 'sense' needs a 'sense', [key, asc, ascq]",
            ),
            (
                self.kind in IN_DATA and self.direction is Direction.OUT,
                f"'effect' '{self.kind}' is of data to the host, but the direction is 'out'",
            ),
            (
                self.kind is DeviceKind.CSW_SHORT and cut >= CSW_BYTES,
                f"'at_bytes' is {cut}, but a whole status has {CSW_BYTES}",
            ),
            (
                self.kind is DeviceKind.EXTRA and not _is_extra(self.at_bytes),
                f"'at_bytes' is {cut}, but too much is at least 1 and at most {MOST_EXTRA_BYTES}",
            ),
            (first > last, f"'lba' ends at {last}, before it begins at {first}"),
        )

    def _wrong_command(self) -> str:
        """Why no command fits."""
        way = Direction.IN if self.kind in IN_DATA else self.direction
        if way is not None or self.kind is DeviceKind.STALL:
            wrong = data_problem(self.opcode, way)
            if wrong:
                return f"{wrong}, so nothing would match"
        if self.lba is not None and self.opcode not in (None, *WITH_LBA):
            known = ", ".join(f"{code:#04x}" for code in sorted(WITH_LBA))
            return f"'lba' is looked at for READ, WRITE and VERIFY ({known}) alone"
        return ""

    def words(self) -> str:
        """See `Rule.words`."""
        what = _DOES[self.kind]
        if self.kind in IN_THE_MIDDLE and not self.at_once:
            cut = self.at_bytes
            moved = "about half of the data" if cut is None else many(cut, "byte")
            what += f" after {moved}"
        if self.kind is DeviceKind.CSW_RESIDUE:
            residue = "all" if self.residue_bytes is None else many(self.residue_bytes, "byte")
            what += f": {residue}"
        if self.sense is not None:
            what += ", with sense " + "/".join(f"{octet:02X}" for octet in self.sense)
        if self.kind in LASTING:
            what += " for ever" if self.for_s is None else f" for {self.for_s:g} s"
        return what if self.at_once else f"{self._which()}: {what}"

    def _which(self) -> str:
        said = "SCSI commands" if self.opcode is None else f"SCSI command {self.opcode:#04x}"
        if self.direction is not None:
            said += f" with data {self.direction}"
        return f"{said} at LBA {self.lba[0]} to {self.lba[1]}" if self.lba else said

    def matches(self, event: DeviceRequest) -> bool:
        """See `Rule.matches`."""
        if self.kind in IN_DATA and event.direction is not Direction.IN:
            return False
        if self.kind is DeviceKind.STALL and event.direction is None:
            return False
        return (
            self.opcode in (None, event.opcode)
            and self.direction in (None, event.direction)
            and _overlap(self.lba, event)
        )

    def effect(self, event: DeviceRequest | None, luck: int) -> DeviceEffect:
        """See `Rule.effect`."""
        del event, luck
        endless = self.kind is DeviceKind.NAK and self.for_s is None
        for_s = LONGEST_NAK_S if endless else self.for_s
        return DeviceEffect(self.kind, for_s, self.at_bytes, self.sense, self.residue_bytes)


_USED_BY = {
    "for_s": LASTING,
    "at_bytes": CUTTING,
    "sense": WITH_SENSE,
    "residue_bytes": frozenset({DeviceKind.CSW_RESIDUE}),
}
"""The effects that a key is of use with."""
IN_THE_MIDDLE = MOMENTS | {DeviceKind.NAK, DeviceKind.STALL, DeviceKind.SHORT}
"""What happens in the middle of a command's data."""
_DOES = {
    DeviceKind.STALL: "the endpoint of the data is halted",
    DeviceKind.SHORT: "the data end early",
    DeviceKind.EXTRA: "more data come than were asked for",
    DeviceKind.NAK: "nothing is answered",
    DeviceKind.SENSE: "not carried out: CHECK CONDITION",
    DeviceKind.PHASE_ERROR: "the status is phase error",
    DeviceKind.CSW_TAG: "the status has a wrong tag",
    DeviceKind.CSW_SIGNATURE: "the status has a wrong signature",
    DeviceKind.CSW_RESIDUE: "the status tells a wrong residue",
    DeviceKind.CSW_MISSING: "there is no status",
    DeviceKind.CSW_SHORT: "the status is cut off",
    DeviceKind.CSW_STALL: "the IN endpoint is halted before the status",
    DeviceKind.EJECT: "the medium is taken out",
    DeviceKind.SOFT_DISCONNECT: "the device is unplugged",
    DeviceKind.UNBIND: "the gadget is unbound from its UDC",
}
WITH_LBA = frozenset({0x28, 0x2A, 0x2F, 0x88, 0x8A, 0x8F})
"""READ, WRITE and VERIFY (10) and (16): the commands whose blocks the disk looks at."""
_OF_COMMANDS = ("opcode", "direction", "lba", "at_bytes")


def _is_extra(at_bytes: int | None) -> bool:
    return at_bytes is None or 0 < at_bytes <= MOST_EXTRA_BYTES


def _overlap(lbas: tuple[int, int] | None, request: DeviceRequest) -> bool:
    """Whether the command touches one of the blocks from first to last, inclusive."""
    if lbas is None:
        return True
    if request.lba is None:
        return False
    return request.lba <= lbas[1] and request.lba + request.blocks > lbas[0]
