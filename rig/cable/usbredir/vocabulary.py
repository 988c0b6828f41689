"""usbredir's numbers: statuses, speeds, capabilities, and where an endpoint stands.  Pure."""

from __future__ import annotations

from enum import IntEnum

Data = bytes | memoryview

ENDPOINTS = 32
"""16 OUT endpoints and 16 IN endpoints, in this order (`place`)."""


class Status(IntEnum):
    """How a transfer went."""

    SUCCESS = 0
    CANCELLED = 1
    INVALID = 2
    IO_ERROR = 3
    STALL = 4
    TIMEOUT = 5
    BABBLE = 6


class Speed(IntEnum):
    """At which the device runs."""

    LOW = 0
    FULL = 1
    HIGH = 2
    SUPER = 3


class Capability(IntEnum):
    """Bits of what an end can do."""

    BULK_STREAMS = 0
    CONNECT_DEVICE_VERSION = 1
    FILTER = 2
    DEVICE_DISCONNECT_ACK = 3
    ENDPOINT_MAX_PACKET_SIZE = 4
    WIDE_IDS = 5
    LONG_BULK = 6
    BULK_RECEIVING = 7


CAPABILITIES = sum(
    1 << bit
    for bit in (
        Capability.CONNECT_DEVICE_VERSION,
        Capability.ENDPOINT_MAX_PACKET_SIZE,
        Capability.WIDE_IDS,
        Capability.LONG_BULK,
    )
)
"""What the cable can do.  QEMU attaches a device to an xHCI port only if the last three are in."""

NO_ENDPOINT = 255
"""Type of an endpoint that is not there."""

NO_INTERFACE = 255
"""Interface of an endpoint that belongs to none."""


def place(endpoint_address: int) -> int:
    """Return an endpoint's place in `EndpointInfo`: 0 to 15 for OUT, 16 to 31 for IN."""
    return (endpoint_address & 0x80) >> 3 | endpoint_address & 0x0F
