"""What an injected fault makes of an access of the medium.

An effect becomes a `Deed`: exactly what will be done, which goes into the journal.  What the medium
gets and what a read answers follow from the deed and the data alone, so the store, which does
it, and `rig.gadget.rebuild`, which does it again from the journal, cannot disagree.

Pure.
"""

from __future__ import annotations

from typing import NamedTuple

from rig.faults.rules.medium import MediumEffect, MediumKind
from rig.gadget.journal import Injected

_INJECTED = {
    MediumKind.ERROR: Injected.ERROR,
    MediumKind.DELAY: Injected.DELAY,
    MediumKind.HANG: Injected.HANG,
    MediumKind.TORN: Injected.TORN,
    MediumKind.LOST: Injected.LOST,
    MediumKind.MISDIRECTED: Injected.MISDIRECTED,
    MediumKind.FLIP: Injected.FLIPPED,
    MediumKind.STALE: Injected.STALE,
    MediumKind.LIE: Injected.LIED,
    MediumKind.POWER_CUT: Injected.ERROR,  # and a record of its own before it
}
_UNTOUCHED = (Injected.LOST, Injected.ERROR)


class Deed(NamedTuple):
    """What is done to one access.

    Attributes:
        injected: What, as the journal names it.
        value: How much or where; see `Injected`.
        error: The errno that it is answered with; 0 for none.
        hold_s: How long the answer waits, if nobody releases it before.
    """

    injected: Injected = Injected.NONE
    value: int = 0
    error: int = 0
    hold_s: float = 0.0


AS_ASKED = Deed()
"""No fault."""


def deed_of(effect: MediumEffect, offset_bytes: int, length_bytes: int, medium_bytes: int) -> Deed:
    """Return what an effect comes to for an access.

    Args:
        effect: What is to happen.
        offset_bytes: Where the access begins.
        length_bytes: Its size; 0 for a flush.
        medium_bytes: Size of the medium.
    """
    value = effect.value
    match effect.kind:
        case MediumKind.DELAY | MediumKind.HANG:
            value = round(effect.hold_s * 1000)
        case MediumKind.TORN:
            value = min(value, length_bytes)
        case MediumKind.FLIP:
            value %= length_bytes * 8
        case MediumKind.MISDIRECTED:
            # Over the medium's end goes on at its beginning, as far as the access fits.
            value = (offset_bytes + value) % max(1, medium_bytes - length_bytes + 1)
    return Deed(_INJECTED[effect.kind], value, effect.errno, effect.hold_s)


def stored(injected: Injected, value: int, offset_bytes: int, data: bytes) -> tuple[int, bytes]:
    """Return what the medium gets of a write, and where; empty: nothing."""
    if injected in _UNTOUCHED:
        return offset_bytes, b""
    match injected:
        case Injected.TORN:
            return offset_bytes, data[:value]
        case Injected.MISDIRECTED:
            return value, data
        case Injected.FLIPPED:
            return offset_bytes, flipped(data, value)
    return offset_bytes, data


def flipped(data: bytes, bit: int) -> bytes:
    """Return data with one bit turned over; bit 0 is the lowest of the first byte."""
    if bit >= len(data) * 8:
        return data  # of a read at the medium's end, which is shorter than what was asked for
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)
