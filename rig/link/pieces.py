"""What travels on the link, cut where its sender has cut it.  Pure.

Only the length in a header is looked at: a frame of the split driver has 8 octets, of which the
first four count what is behind them (docs/protocol.md), a record of TLS has 5, of which the last
two do (RFC 8446 §5.1).  Octets that are neither are handed on as they come.
"""

from __future__ import annotations

import struct
from enum import Enum

from rig.buffers import ReceiveBuffer

MAX_PIECE_BYTES = 16 << 20
"""What claims to be longer is no frame: one has little over 4 MiB."""

_FRAME = struct.Struct(">I4x")
_RECORD = struct.Struct(">3xH")
_TLS_BEGINNINGS = (b"\x16\x03", b"\x15\x03")
"""A handshake or an alert; a frame that begins so would be 352 MB long."""


class Framing(Enum):
    """How octets belong together."""

    UNKNOWN = 0
    FRAMES = 1
    TLS = 2
    NONE = 3


class Pieces:
    """Collects the octets of one way, and hands out pieces: views of its own buffer."""

    def __init__(self) -> None:
        self._buffer = ReceiveBuffer()
        self.framing = Framing.UNKNOWN

    def __len__(self) -> int:
        """How many octets wait for the rest of their piece."""
        return len(self._buffer)

    def space(self) -> memoryview:
        """Return where the next octets go; never empty."""
        return self._buffer.space()

    def received(self, count: int) -> list[memoryview]:
        """Take `count` octets that were put into `space()`; return the pieces now complete."""
        self._buffer.received(count)
        found = []
        while (piece := self._next()) is not None:
            self._buffer.take(len(piece))
            found.append(piece)
        return found

    def rest(self) -> memoryview | None:
        """Return what is left of a piece that will not be completed; None for nothing."""
        rest = self._buffer.peek(len(self._buffer)) if self._buffer else None
        if rest is not None:
            self._buffer.take(len(rest))
        return rest

    def _next(self) -> memoryview | None:
        if self.framing is Framing.UNKNOWN:
            beginning = self._buffer.peek(2)
            if beginning is None:
                return None
            self.framing = Framing.TLS if beginning in _TLS_BEGINNINGS else Framing.FRAMES
        if self.framing is Framing.NONE:
            return self._buffer.peek(len(self._buffer)) if self._buffer else None
        header = _RECORD if self.framing is Framing.TLS else _FRAME
        octets = self._buffer.peek(header.size)
        if octets is None:
            return None
        (behind,) = header.unpack(octets)
        if behind > MAX_PIECE_BYTES:
            self.framing = Framing.NONE
            return self._next()
        return self._buffer.peek(header.size + behind)
