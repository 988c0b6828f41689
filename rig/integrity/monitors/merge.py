"""Two logs of URBs, of two machines with two clocks, as one stream in which causes come first.

The clocks are not compared: what is known is that an URB is submitted on the front before it comes
to the back, and completed on the back before it is given back on the front.  Pure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from rig.usb.urblog import Kind, UrbEvent

_Key = tuple[int, int]


def merged(front: Sequence[UrbEvent], back: Sequence[UrbEvent]) -> list[UrbEvent]:
    """Merge the logs of a front end and a back end; each keeps its order.

    A log that lacks what the other must have had (its process was killed) holds nothing up.
    """
    stream: list[UrbEvent] = []
    sent: Counter[_Key] = Counter()  # submitted on the front, and not yet come to the back
    to_send = Counter(_key(event) for event in front if event.kind is Kind.SUBMIT)
    ahead = iter(front)
    for event in back:
        key = _key(event)
        # The back goes ahead as far as it can: what the front was given comes behind it then.
        while event.kind is Kind.SUBMIT and not sent[key] and to_send[key]:
            cause = next(ahead)
            stream.append(cause)
            if cause.kind is Kind.SUBMIT:
                sent[_key(cause)] += 1
                to_send[_key(cause)] -= 1
        if event.kind is Kind.SUBMIT:
            sent[key] -= 1
        stream.append(event)
    return [*stream, *ahead]


def _key(event: UrbEvent) -> _Key:
    return event.device, event.urb
