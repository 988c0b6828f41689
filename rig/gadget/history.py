"""Where in the journal the former contents of each block are: what a stale read answers with.

Pure: the journal's bytes are read by whoever asks.
"""

from __future__ import annotations

from array import array
from typing import NamedTuple

from rig.gadget.write_cache import BLOCK_BYTES

_FIELDS = 3


class Piece(NamedTuple):
    """So many bytes of the answer.

    Attributes:
        position: Where they are in the journal; None: nothing was written there before, zeros.
        length_bytes: A multiple of `BLOCK_BYTES`.
    """

    position: int | None
    length_bytes: int


class History:
    """All writes that were stored, in order; 24 bytes of memory each."""

    def __init__(self) -> None:
        self._writes = array("Q")

    def add(self, offset_bytes: int, length_bytes: int, position: int) -> None:
        """Take note of a write.

        Args:
            offset_bytes: On the medium.
            length_bytes: Of the data.
            position: Of the data's first byte in the journal.
        """
        self._writes.extend((offset_bytes, length_bytes, position))

    def before(self, offset_bytes: int, length_bytes: int, versions: int) -> list[Piece]:
        """Return where the contents are that blocks had so many writes ago.

        Args:
            offset_bytes: Of the first block.
            length_bytes: Of all; what is no whole block at either end counts as one.
            versions: 1 for what the last write of a block replaced.
        """
        first = offset_bytes // BLOCK_BYTES
        end = -(-(offset_bytes + length_bytes) // BLOCK_BYTES)
        left = dict.fromkeys(range(first, end), versions)
        found: dict[int, int] = {}
        writes = self._writes
        for at in range(len(writes) - _FIELDS, -1, -_FIELDS):
            if not left:
                break
            offset, length, position = writes[at : at + _FIELDS]
            low = max(first, -(-offset // BLOCK_BYTES))
            high = min(end, (offset + length) // BLOCK_BYTES)
            for block in range(low, high):  # only blocks that it covers as a whole
                if block not in left:
                    continue
                if left[block]:
                    left[block] -= 1
                else:
                    found[block] = position + block * BLOCK_BYTES - offset
                    del left[block]
        return _joined([found.get(block) for block in range(first, end)])


def _joined(positions: list[int | None]) -> list[Piece]:
    """Make one piece of neighbours."""
    pieces: list[Piece] = []
    for position in positions:
        last = pieces[-1] if pieces else None
        if last is not None and position == (
            None if last.position is None else last.position + last.length_bytes
        ):
            pieces[-1] = Piece(last.position, last.length_bytes + BLOCK_BYTES)
        else:
            pieces.append(Piece(position, BLOCK_BYTES))
    return pieces
