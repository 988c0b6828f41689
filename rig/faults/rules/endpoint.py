"""Endpoint: a transfer that fails, in the back end's port or on the cable."""

from __future__ import annotations

import errno
from enum import StrEnum
from typing import Annotated

import msgspec

from rig.faults.rules.base import Rule, empty_range, first_true
from rig.faults.rules.scsi import data_problem
from rig.faults.shown import many
from rig.usb.bot import CBW_BYTES, CSW_BYTES
from rig.usb.bot_stages import Stage
from rig.usb.urb import MAX_TRANSFER_BYTES, Direction

EndpointNumber = Annotated[int, msgspec.Meta(ge=1, le=15)]
Octet = Annotated[int, msgspec.Meta(ge=0, le=255)]
BufferBytes = Annotated[int, msgspec.Meta(ge=1, le=MAX_TRANSFER_BYTES)]
MovedBytes = Annotated[int, msgspec.Meta(ge=0, le=MAX_TRANSFER_BYTES)]
LONGEST_NAK_S = 60.0
"""No transfer is kept from its endpoint for longer: nothing may hang for ever."""
NakSeconds = Annotated[float, msgspec.Meta(gt=0, le=LONGEST_NAK_S)]


class Place(StrEnum):
    """Where the transfer fails."""

    PORT = "port"
    """Between the back end's queue and usbfs: with any host controller."""
    CABLE = "cable"
    """On the wire of an emulated host controller, below the back machine's kernel."""


class When(StrEnum):
    """The moment of an endpoint error, relative to the data of the transfer."""

    BEFORE = "before"
    """No byte reaches the other side."""
    MIDDLE = "middle"
    """About half of the bytes do."""
    AFTER = "after"
    """All bytes do, yet the host is told of an error."""


class EndpointStatus(StrEnum):
    """Completion statuses of a URB (Documentation/driver-api/usb/error-codes.rst).

    The last four no host controller reports for a transfer that went wrong.  They are what a
    message API, or a split driver for URBs that have not run, might give, and are here to see what
    drivers make of them.
    """

    EPROTO = "EPROTO"
    EILSEQ = "EILSEQ"
    ETIME = "ETIME"
    EPIPE = "EPIPE"
    EOVERFLOW = "EOVERFLOW"
    ECOMM = "ECOMM"
    ENOSR = "ENOSR"
    EREMOTEIO = "EREMOTEIO"
    ETIMEDOUT = "ETIMEDOUT"
    ECONNRESET = "ECONNRESET"
    EAGAIN = "EAGAIN"
    ESHUTDOWN = "ESHUTDOWN"

    @property
    def code(self) -> int:
        """The URB's status: a negative errno of this machine."""
        return -int(getattr(errno, self.value))


_IN_PLACE = {Place.PORT: "in the back end's port", Place.CABLE: "on the cable"}
_MOVED = {
    When.BEFORE: "before any data moved",
    When.MIDDLE: "when half of the data has moved",
    When.AFTER: "after all data has moved",
}

STATUS_DIRECTION = {
    EndpointStatus.EOVERFLOW: Direction.IN,  # babble: the device sent too much
    EndpointStatus.ECOMM: Direction.IN,  # the controller could not store fast enough
    EndpointStatus.EREMOTEIO: Direction.IN,  # less data came than asked for
    EndpointStatus.ENOSR: Direction.OUT,  # the controller could not fetch fast enough
}
"""Statuses that a host controller reports for one direction only."""


STAGE_DIRECTION: dict[Stage | None, Direction] = {
    Stage.COMMAND: Direction.OUT,
    Stage.STATUS: Direction.IN,
}
"""Stages of Bulk-Only commands that go one way only."""
_WRAPPERS = {Direction.OUT: ("CBW", CBW_BYTES), Direction.IN: ("CSW", CSW_BYTES)}
"""What goes each way besides data, and its size (BOT §5.1, §5.2)."""


class EndpointTransfer(msgspec.Struct, frozen=True):
    """A bulk transfer that is about to run.

    Attributes:
        direction: Of the endpoint.
        endpoint_address: With bit 7 set for IN (USB 2.0 §9.6.6).
        length_bytes: Of the URB's buffer, not of the data that will move.
        opcode: Of the SCSI command that this transfer is a stage of (its CBW included); None when
            that is not known, or the device is no bulk-only storage.
        stage: Which stage of it; see `rig.usb.bot_stages`.
    """

    direction: Direction
    endpoint_address: int
    length_bytes: int
    opcode: int | None = None
    stage: Stage | None = None

    @property
    def size_bytes(self) -> int:
        """The buffer's size."""
        return self.length_bytes


class EndpointEffect(msgspec.Struct, frozen=True):
    """What is to happen to a transfer.

    Attributes:
        when: How much of the data moves before the error.
        status: The URB's status, a negative errno; 0 if it does not fail.
        at_bytes: So many bytes move before the error, instead of what `when` says; rounded down to
            whole packets.
        halt: The device's endpoint is halted, too, before the status is told.
        nak_s: For so long the endpoint moves nothing.
    """

    when: When
    status: int
    at_bytes: int | None = None
    halt: bool = False
    nak_s: float = 0.0


class EndpointFault(
    Rule[EndpointTransfer, EndpointEffect],
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    tag_field="layer",
    tag="endpoint",
):
    """A bulk transfer that fails, or waits.

    Attributes:
        direction: Of the transfer.
        status: What the host sees of a transfer that fails.
        for_s: Instead of `status`: for so long nothing moves, as if the device answered NAK; then
            the transfer runs.
        when: Before, in the middle of or after the data.
        at_bytes: Instead of `when`: after so many bytes of the data.
        place: In the back end's port, or on the cable.
        endpoint: Only this endpoint, by its number.
        min_bytes: Only transfers whose buffer has at least this size.
        max_bytes: Only transfers whose buffer has at most this size.
        opcode: Only stages of this SCSI command, its CBW included.
        stage: Only this stage of Bulk-Only commands.
        halt: With status EPIPE: the device's endpoint is really halted, so that nothing moves there
            before the host has cleared the halt.
    """

    direction: Direction
    status: EndpointStatus | None = None
    for_s: NakSeconds | None = None
    when: When | None = None
    at_bytes: MovedBytes | None = None
    place: Place = Place.PORT
    endpoint: EndpointNumber | None = None
    min_bytes: BufferBytes = 1
    max_bytes: BufferBytes | None = None
    opcode: Octet | None = None
    stage: Stage | None = None
    halt: bool = False

    def contradiction(self) -> str:
        """See `Rule.contradiction`."""
        return (
            self._contradiction_of_ends()
            or self._contradiction_of_stage()
            or empty_range("min_bytes", self.min_bytes, "max_bytes", self.max_bytes)
            or empty_range("at_bytes", self.at_bytes, "max_bytes", self.max_bytes)
            or Rule.contradiction(self)
        )

    def _contradiction_of_ends(self) -> str:
        """What is wrong with how the transfer ends."""
        wrong_stage = (
            STAGE_DIRECTION.get(self.stage, self.direction) is not self.direction,
            f"'stage' '{self.stage}' goes the other way than '{self.direction}'",
        )
        if self.status is None:
            return first_true(
                wrong_stage,
                (
                    self.for_s is None,
                    "neither 'status' nor 'for_s' is given, so nothing would happen",
                ),
                (
                    (self.when, self.at_bytes, self.halt) != (None, None, False),
                    "'for_s' lets the transfer run in the end: 'when', 'at_bytes' and 'halt' go"
                    " with 'status'",
                ),
                (
                    self.place is Place.CABLE,
                    "'for_s' is brought about by the back end, not on the cable",
                ),
            )
        only = STATUS_DIRECTION.get(self.status, self.direction)
        return first_true(
            (self.for_s is not None, "'for_s' and 'status' exclude each other"),
            (
                only is not self.direction,
                f"'status' '{self.status}' is seen on '{only}' transfers only, "
                f"but the direction is '{self.direction}'",
            ),
            wrong_stage,
            (
                self.when is None and self.at_bytes is None,
                "neither 'when' nor 'at_bytes' is given, so the moment is not known",
            ),
            (
                self.when is not None and self.at_bytes is not None,
                "'at_bytes' and 'when' exclude each other",
            ),
            (
                self.halt and self.status is not EndpointStatus.EPIPE,
                f"'halt' is seen as 'EPIPE', not as '{self.status}'",
            ),
            (
                self.halt and self.place is Place.CABLE,
                "'halt' is brought about by the back end, not on the cable",
            ),
        )

    def _contradiction_of_stage(self) -> str:
        """Why no transfer of a Bulk-Only command fits."""
        no_data = data_problem(self.opcode, self.direction)
        if self.stage is Stage.DATA:
            return no_data
        if self.stage is None and not no_data:
            return ""  # there are data of any size
        which, size = _WRAPPERS[self.direction]
        what = f"but this is about a {which}, which has {size}, so nothing would match"
        if self.stage is None:
            what += f": {no_data}"
        return first_true(
            (self.min_bytes > size, f"'min_bytes' is {self.min_bytes}, {what}"),
            (
                self.max_bytes is not None and self.max_bytes < size,
                f"'max_bytes' is {self.max_bytes}, {what}",
            ),
            (
                self.at_bytes is not None and self.at_bytes > size,
                f"'at_bytes' is {self.at_bytes}, {what}",
            ),
        )

    def matches(self, event: EndpointTransfer) -> bool:
        """See `Rule.matches`."""
        return (
            self.direction is event.direction
            and event.length_bytes >= self.min_bytes
            and (self.max_bytes is None or event.length_bytes <= self.max_bytes)
            and self.endpoint in (None, event.endpoint_address & 0x0F)
            and self.opcode in (None, event.opcode)
            and self.stage in (None, event.stage)
        )

    def effect(self, event: EndpointTransfer | None, luck: int) -> EndpointEffect:
        """See `Rule.effect`."""
        del event, luck
        if self.status is None:
            return EndpointEffect(When.AFTER, 0, nak_s=self.for_s or 0.0)
        when = self.when or When.MIDDLE
        return EndpointEffect(when, self.status.code, self.at_bytes, self.halt)

    def words(self) -> str:
        """See `Rule.words`."""
        stages = f"{self.stage} stages" if self.stage else "bulk transfers"
        of = f" of SCSI command {self.opcode:#04x}" if self.opcode is not None else ""
        where = f" of endpoint {self.endpoint}" if self.endpoint else ""
        if self.max_bytes is not None:
            size = f" of {self.min_bytes} to {many(self.max_bytes, 'byte')}"
        else:
            size = f" of {self.min_bytes} bytes or more" if self.min_bytes > 1 else ""
        way = self.direction.upper()
        if self.status is None:
            return f"{way} {stages}{of}{where}{size}: NAK for {self.for_s:g} s, then they run"
        moved = (
            f"after {many(self.at_bytes or 0, 'byte')}" if self.when is None else _MOVED[self.when]
        )
        halted = ", and the device's endpoint halted" if self.halt else ""
        place = _IN_PLACE[self.place] + halted
        return f"{way} {stages}{of}{where}{size}: {self.status} {moved}, {place}"
