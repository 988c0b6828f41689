"""The link: two ordered queues of messages, which may be lost with all that is in them.  Pure."""

from __future__ import annotations

from collections import deque

from rig.sim.promise import MAX_WAITING, BrokenError, Rule
from rig.splitdriver.messages import Message
from rig.splitdriver.wire import FrameReader, encode


class Lane:
    """One direction.

    Args:
        frames: Messages cross as octets, each in two pieces.
    """

    __slots__ = ("_frames", "_reader", "queue")

    def __init__(self, *, frames: bool) -> None:
        self.queue: deque[Message] = deque()
        self._frames = frames
        self._reader = FrameReader() if frames else None

    def put(self, message: Message) -> None:
        """Send."""
        self.queue.append(message)
        if len(self.queue) > MAX_WAITING:
            raise BrokenError(Rule.GROWTH, f"More than {MAX_WAITING} messages wait on the link.")

    def take(self) -> Message:
        """Return the message that arrives next; there is one."""
        message = self.queue.popleft()
        return message if self._reader is None else _cross(message, self._reader)

    def lose(self) -> None:
        """The link breaks."""
        self.queue.clear()
        self._reader = FrameReader() if self._frames else None


def _cross(message: Message, reader: FrameReader) -> Message:
    head, data = encode(message)
    octets = head + bytes(data)
    arrived: list[Message] = []
    for piece in (octets[:5], octets[5:]):
        reader.space()[: len(piece)] = piece
        arrived += reader.received(len(piece))
    (message,) = arrived
    return message
