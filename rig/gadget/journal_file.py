"""A journal's file as its store sees it: records go to the end, former contents come back."""

from __future__ import annotations

import os
from pathlib import Path

from rig.errors import MachineError
from rig.gadget.history import History
from rig.gadget.journal import (
    HEADER_BYTES,
    Damage,
    Injected,
    JournalReader,
    Record,
    encode_header,
)
from rig.gadget.unflushed import Unflushed

_PIECE_BYTES = 1 << 20
_KEPT_BACK = frozenset({Injected.LOST, Injected.MISDIRECTED})
"""Writes that were answered, and did not become the contents of their blocks."""


class JournalFile:
    """Appends to a journal; a former one is continued.

    Args:
        path: The file; made if there is none.

    Attributes:
        sequence: Of the next record.
        damage: What in a former journal is no record.
        unflushed_bytes: What a former store's volatile cache held when that store ended.

    Raises:
        OSError: It cannot be made or read.
    """

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        self._history = History()
        self._end = 0
        self.sequence = 0
        self.damage: list[Damage] = []
        self.unflushed_bytes = self._read_former()

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._fd)

    def append(self, record: Record) -> None:
        """Write a record in one system call: if this process ends, it is there or it is torn.

        Raises:
            MachineError: It cannot be written.
        """
        header = encode_header(record)
        size = len(header) + len(record.payload)
        try:
            done = os.writev(self._fd, [header, record.payload])
        except OSError as error:
            raise MachineError(f"The journal cannot be written: {error.strerror}.") from error
        if done != size:
            raise MachineError("The journal cannot be written: its disk is full.")
        self._take(record)

    def before(self, offset_bytes: int, length_bytes: int, versions: int) -> bytes:
        """Return what blocks held so many writes ago.

        Raises:
            OSError: The journal cannot be read.
        """
        pieces = self._history.before(offset_bytes, length_bytes, versions)
        data = b"".join(
            bytes(length) if position is None else os.pread(self._fd, length, position)
            for position, length in pieces
        )
        skipped = offset_bytes % 512
        return data[skipped : skipped + length_bytes]

    def _take(self, record: Record) -> None:
        size = len(record.payload)
        if size and not record.error and record.injected not in _KEPT_BACK:
            self._history.add(record.offset_bytes, size, self._end + HEADER_BYTES)
        self._end += HEADER_BYTES + size
        self.sequence = record.sequence + 1

    def _read_former(self) -> int:
        """Find out where to go on, what is no record, and how many bytes were not flushed."""
        reader, position, unflushed = JournalReader(), 0, Unflushed()
        while True:
            piece = os.pread(self._fd, _PIECE_BYTES, position)
            position += len(piece)
            for item in reader.feed(piece) if piece else reader.finish():
                if isinstance(item, Damage):
                    self.damage.append(item)
                    self._end = item.position + item.length_bytes
                else:
                    self._take(item)
                    unflushed.take(item)
            if not piece:
                return unflushed.bytes
