"""Takes one record after the other out of what a stream has brought.  Pure."""

from __future__ import annotations

from collections.abc import Callable

from rig.buffers import ReceiveBuffer


def take_record(
    buffer: ReceiveBuffer, head_bytes: int, rest_bytes: Callable[[memoryview], int]
) -> memoryview | None:
    """Take the next record, a view of the buffer; None if it is not all there.

    Args:
        buffer: What was received.
        head_bytes: With so many octets each record begins.
        rest_bytes: Told those, returns how many follow; what it raises leaves the buffer alone.
    """
    head = buffer.peek(head_bytes)
    if head is None:
        return None
    whole = buffer.peek(head_bytes + rest_bytes(head))
    if whole is not None:
        buffer.take(len(whole))
    return whole
