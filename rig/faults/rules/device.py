"""Device: the gadget itself misbehaves."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import msgspec

from rig.faults.rules.base import Rule, Seconds

EndpointAddress = Annotated[int, msgspec.Meta(ge=0, le=0x8F)]
Octet = Annotated[int, msgspec.Meta(ge=0, le=255)]


class DeviceKind(StrEnum):
    """What the device does."""

    STALL = "stall"
    """The endpoint is halted in the middle of a transfer."""
    SHORT = "short"
    """A transfer ends early, with a short packet."""
    NAK = "nak"
    """The endpoint answers nothing for `for_s`, or for ever."""
    EJECT = "eject"
    """The LUN's medium is taken out."""
    SOFT_DISCONNECT = "soft-disconnect"
    """The pull-up goes away for `for_s`: the device is unplugged, as the host sees it."""
    UNBIND = "unbind"
    """The gadget is unbound from its UDC, and bound again after `for_s`."""


class DeviceRequest(msgspec.Struct, frozen=True):
    """A stage of a transfer that the device is about to carry out.

    Attributes:
        endpoint_address: With bit 7 set for IN (USB 2.0 §9.6.6).
        length_bytes: Of the stage.
        opcode: Of the SCSI command that it belongs to; None when it belongs to none.
    """

    endpoint_address: int
    length_bytes: int
    opcode: int | None = None

    @property
    def size_bytes(self) -> int:
        """The stage's length."""
        return self.length_bytes


class DeviceEffect(msgspec.Struct, frozen=True):
    """What the device is to do, and for how long; None: for ever, or until the host recovers."""

    kind: DeviceKind
    for_s: float | None = None


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
        for_s: How long.
        endpoint: Only this endpoint, by its address: bit 7 set for IN.
        opcode: Only stages of this SCSI command.
    """

    kind: DeviceKind = msgspec.field(name="effect")
    for_s: Seconds | None = None
    endpoint: EndpointAddress | None = None
    opcode: Octet | None = None

    @property
    def at_once(self) -> bool:
        """See `Rule.at_once`."""
        return self.at_s is not None

    def matches(self, event: DeviceRequest) -> bool:
        """See `Rule.matches`."""
        return self.endpoint in (None, event.endpoint_address) and self.opcode in (
            None,
            event.opcode,
        )

    def effect(self, event: DeviceRequest | None, luck: int) -> DeviceEffect:
        """See `Rule.effect`."""
        del event, luck
        return DeviceEffect(self.kind, self.for_s)
