"""What an induced endpoint error does to a transfer on its way to the controller.  Pure.

The error is made between the back end's queue and usbfs, so it works on any host controller: the
controller moves none of the data, half of them or all, and the completion is then told with the
error's status and with what really moved.
"""

from __future__ import annotations

import msgspec

from rig.faults.rules.endpoint import EndpointEffect, When


class Altered(msgspec.Struct, frozen=True):
    """How a transfer runs instead.

    Attributes:
        run_bytes: So much of its buffer goes to the controller; None: the controller never hears
            of it.
        status: What is told at the end if the transfer itself does not fail: negative errno, or 0.
        halt: The device is to halt the endpoint before it is told.
        nak_s: For so long the controller does not get it.
    """

    run_bytes: int | None
    status: int
    halt: bool = False
    nak_s: float = 0.0


def alter(effect: EndpointEffect, buffer_bytes: int, max_packet_bytes: int) -> Altered:
    """Return what becomes of a transfer of `buffer_bytes`.

    Half means half of the packets, and bytes are rounded down to packets: a part of a packet cannot
    be on the bus.
    """
    packets = buffer_bytes // max(max_packet_bytes, 1)
    if effect.at_bytes is not None:
        packets = min(packets, effect.at_bytes // max(max_packet_bytes, 1))
        return Altered(packets * max_packet_bytes or None, effect.status, effect.halt)
    match effect.when:
        case When.BEFORE:
            return Altered(None, effect.status, effect.halt)
        case When.MIDDLE:
            run_bytes = packets // 2 * max_packet_bytes or None
            return Altered(run_bytes, effect.status, effect.halt)
    return Altered(buffer_bytes, effect.status, effect.halt, effect.nak_s)
