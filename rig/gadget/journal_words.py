"""A journal's records in words and as JSON, and which of them one wants to see."""

from __future__ import annotations

import errno
import time

import msgspec

from rig.faults.shown import many
from rig.gadget.journal import Damage, Injected, Op, Record
from rig.gadget.write_cache import BLOCK_BYTES

HEADING = f"{'number':>8}  {'time':15}  {'op':9}  {'lba':>10}  {'blocks':>6}  answer"
_LOST_POWER = "{value} bytes that were not flushed are gone"
_WORDS = {
    Injected.NONE: "",
    Injected.ERROR: "injected error: the medium was not touched",
    Injected.DELAY: "answered {value} ms late",
    Injected.HANG: "hung, for {value} ms at most",
    Injected.TORN: "torn: {value} of {length} bytes were stored",
    Injected.LOST: "lost: nothing was stored",
    Injected.MISDIRECTED: "misdirected: {way} LBA {target}",
    Injected.FLIPPED: "flipped: bit {bit} of byte {byte} of LBA {lba}",
    Injected.STALE: "stale: served as before the last {value} of its writes",
    Injected.LIED: "lied: nothing was flushed",
}


class Filter(msgspec.Struct, frozen=True):
    """Which records are wanted.

    Attributes:
        lba: First and last LBA; an access that touches one of them is wanted.  None: all.
        op: Only these; None: all.
        faulted: Only those that a fault befell, power cuts included.
    """

    lba: tuple[int, int] | None = None
    op: Op | None = None
    faulted: bool = False

    def wants(self, record: Record) -> bool:
        """Whether a record is one of them."""
        if self.op is not None and record.op is not self.op:
            return False
        power_cut = record.op is Op.POWER_CUT
        if self.faulted and record.injected is Injected.NONE and not power_cut:
            return False
        if self.lba is None:
            return True
        first, last = lbas_of(record)
        return record.length_bytes > 0 and first <= self.lba[1] and last >= self.lba[0]


def lbas_of(record: Record) -> tuple[int, int]:
    """First and last LBA that an access touches."""
    end = record.offset_bytes + max(record.length_bytes, 1)
    return record.offset_bytes // BLOCK_BYTES, (end - 1) // BLOCK_BYTES


def fields_of(found: Record | Damage) -> dict[str, object]:
    """A record, or a damage, as a JSON line has it; without the data."""
    if isinstance(found, Damage):
        return {
            "damage": found.reason,
            "position": found.position,
            "length_bytes": found.length_bytes,
            "torn_tail": found.torn_tail,
        }
    return {
        "sequence": found.sequence,
        "time_ns": found.time_ns,
        "op": found.op.name.lower(),
        "offset_bytes": found.offset_bytes,
        "length_bytes": found.length_bytes,
        "error": errno.errorcode.get(found.error, str(found.error)) if found.error else "",
        "injected": found.injected.name.lower(),
        "value": found.value,
        "volatile": found.volatile,
    }


def line_of(record: Record) -> str:
    """A record as people read it."""
    clock = time.strftime("%H:%M:%S", time.localtime(record.time_ns // 10**9))
    micros = record.time_ns % 10**9 // 1000
    first, last = lbas_of(record)
    place = f"{first:>10}  {last - first + 1:>6}" if record.length_bytes else f"{'-':>10}  {'-':>6}"
    answer = errno.errorcode.get(record.error, str(record.error)) if record.error else "ok"
    words = f"  {told}" if (told := words_of(record)) else ""
    name = record.op.name.lower()
    return f"{record.sequence:>8}  {clock}.{micros:06}  {name:9}  {place}  {answer}{words}"


def words_of(record: Record) -> str:
    """What was done to an access, in words; empty for nothing."""
    byte = record.offset_bytes + record.value // 8
    words = _LOST_POWER if record.op is Op.POWER_CUT else _WORDS[record.injected]
    return words.format(
        value=record.value,
        length=record.length_bytes,
        way="stored at" if record.op is Op.WRITE else "served from",
        target=record.value // BLOCK_BYTES,
        bit=record.value % 8,
        byte=byte % BLOCK_BYTES,
        lba=byte // BLOCK_BYTES,
    )


def sentence_of(damage: Damage) -> str:
    """What damage means, in a sentence."""
    where = f"at byte {damage.position}, {many(damage.length_bytes, 'byte')}"
    if damage.torn_tail:
        return (
            f"The journal ends within a record ({where}): the store was ended while it wrote it;"
            " that access was never answered, and all before it is whole."
        )
    return f"The journal is damaged {where}: {damage.reason} What was recorded there is unknown."
