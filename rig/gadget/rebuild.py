"""Makes a medium anew from its journal: as it should be, or as faults made it.

*Pristine* is what a medium without faults would hold: every write that was answered without an
error, where it was sent.  *As stored* does to each access what the journal says was done to it,
volatile cache and power cuts included, and so gives the medium that the store left.

Pure: the new medium is two functions.
"""

from __future__ import annotations

from collections.abc import Callable

from rig.gadget.journal import Injected, Op, Record
from rig.gadget.medium_effects import stored
from rig.gadget.write_cache import WriteCache


class Rebuilder:
    """Takes a journal's records in order.

    Args:
        read: Returns so many bytes of the new medium from an offset; zeros where nothing is.
        write: Writes bytes to the new medium at an offset.
        as_stored: With what faults made of it.
    """

    def __init__(
        self,
        read: Callable[[int, int], bytes],
        write: Callable[[int, bytes], object],
        *,
        as_stored: bool = False,
    ) -> None:
        self._write = write
        self._cache = WriteCache(read, write)
        self._as_stored = as_stored
        self.end_bytes = 0
        """Where the furthest access ended: the medium is not smaller."""

    def take(self, record: Record) -> None:
        """Do what a record says."""
        self.end_bytes = max(self.end_bytes, record.offset_bytes + record.length_bytes)
        if self._as_stored:
            self._take_as_stored(record)
        elif record.op is Op.WRITE and not record.error:
            self._write(record.offset_bytes, record.payload)

    def _take_as_stored(self, record: Record) -> None:
        if record.op is Op.POWER_CUT or not record.volatile:
            self._cache.drop()  # or a store that was killed had one, and this one has none
        if record.op is Op.FLUSH and not record.error and record.injected is not Injected.LIED:
            self._cache.flush()
        if record.op is not Op.WRITE:
            return
        offset, data = stored(record.injected, record.value, record.offset_bytes, record.payload)
        if data and (not record.error or record.injected is Injected.TORN):
            (self._cache.write if record.volatile else self._write)(offset, data)
