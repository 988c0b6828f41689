"""What the bulk-only disk asks of its surroundings, and how that ended.  Pure."""

from __future__ import annotations

from collections.abc import Generator
from enum import StrEnum
from typing import TypeAlias

import msgspec

from rig.faults.rules.device import DeviceEffect
from rig.usb.urb import Direction

PIECE_BYTES = 64 << 10
"""So much data is moved at a time: a multiple of every packet size, and of a block."""


class Receive(msgspec.Struct, frozen=True):
    """Queue a request on the OUT endpoint; it ends when it is full, or with a short packet."""

    length_bytes: int


class Send(msgspec.Struct, frozen=True):
    """Queue a request on the IN endpoint; no octets at all are a packet of no length."""

    octets: bytes


class Halt(msgspec.Struct, frozen=True):
    """Halt the endpoint of a direction: it answers STALL until the host clears the halt."""

    direction: Direction


class Wait(msgspec.Struct, frozen=True):
    """Queue nothing, so that the endpoints answer NAK; None: until the host resets the device."""

    seconds: float | None


class ReadMedium(msgspec.Struct, frozen=True):
    """Read the medium."""

    offset_bytes: int
    length_bytes: int


class WriteMedium(msgspec.Struct, frozen=True):
    """Write the medium."""

    offset_bytes: int
    octets: bytes


class FlushMedium(msgspec.Struct, frozen=True):
    """Flush the medium."""


class Happen(msgspec.Struct, frozen=True):
    """Let happen to the gadget what `rig.faults.rules.device.MOMENTS` are; goes on at once."""

    effect: DeviceEffect


Action: TypeAlias = Receive | Send | Halt | Wait | ReadMedium | WriteMedium | FlushMedium | Happen


class Outcome(msgspec.Struct, frozen=True):
    """How an action ended.

    Attributes:
        octets: What was received, or read from the medium.
        error: 0, or a positive errno.
    """

    octets: bytes = b""
    error: int = 0


Session: TypeAlias = Generator[Action, Outcome, None]
"""Actions come out, each one's outcome goes in."""
Ending: TypeAlias = Generator[Action, Outcome, bool]
"""The same for a part of a session that tells something at its end."""


class Stage(StrEnum):
    """Where in a command the disk is (BOT §5, figure 1)."""

    OFF = "off"
    COMMAND = "command"
    DATA = "data"
    STATUS = "status"
    INVALID = "invalid"
    """Until Reset Recovery: what came was no CBW (BOT §6.6.1)."""
