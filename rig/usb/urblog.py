"""The stream of URBs at one end of a split driver: events, and their records in a file.

A file begins with 8 octets, ``RIGURB`` and the version as two octets; then records of 48 octets,
little-endian::

     0 +---------------------------------------------+
       | t_ns: Unix time, in nanoseconds         u64 |
     8 +------+-------+----------+---+---------------+
       | kind | place | endpoint | 0 | device    u32 |
    16 +------+-------+----------+---+---------------+
       | urb              u32 | status           i32 |
    24 +----------------------+----------------------+
       | length_bytes     u32 | epoch            u32 |
    32 +----------------------+----------------------+
       | digest           u32 | lba              u32 |
    40 +------------+---------+----------------------+
       | opcode u16 | 0                              |
       +------------+--------------------------------+

The split driver writes them, the monitors (`rig.integrity.monitors`) read them.  Pure.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from enum import IntEnum
from typing import NamedTuple
from zlib import crc32

import msgspec

from rig.errors import RemoteProtocolError
from rig.usb.bot import CBW_BYTES, parse_cbw

HEADER = b"RIGURB\x00\x01"
_RECORD = struct.Struct("<QBBBxIIiIIIIH6x")
RECORD_BYTES = _RECORD.size
_NO_OPCODE = 0xFFFF
_CDB_10 = 10


class Place(IntEnum):
    """Where an event was seen."""

    FRONT = 1
    """Between the front end and ``vhci_hcd``."""
    BACK = 2
    """Between the back end, its link and its controller."""


class Kind(IntEnum):
    """What happened."""

    SUBMIT = 1
    """An URB came: from the kernel (front), over the link (back)."""
    START = 2
    """Back: it was given to the controller."""
    END = 3
    """Back: the controller has ended it."""
    GIVEBACK = 4
    """It was given back: to the kernel (front), over the link (back)."""
    UNLINK = 5
    """It is wanted back."""
    ANSWER = 6
    """Front: the kernel's wish to have it back was answered."""
    DROP = 7
    """Back: the front end has given it back by itself, since it had not run."""
    RESUME = 8
    """Back: an endpoint may go on behind a stop."""
    UP = 9
    """The port has a device: the front's kernel sees it, or the front end is told of it."""
    DOWN = 10
    """It has none any more; what is open there has come back without a word.  Back: the status is 0
    if the device is still there, and no front end is served with it."""


class UrbEvent(msgspec.Struct, frozen=True, gc=False):
    """One event.

    Attributes:
        kind: What happened.
        place: Where it was seen.
        device: Which device, as the link numbers it.
        urb: The URB's number, the same on both ends; 0 where none is concerned.
        endpoint: Its address; bit 7 for IN, also on endpoint 0.
        status: Of an end or giveback: 0 or a negative errno.
        length_bytes: Of a submit or start what is wanted, of an end or giveback what has moved.
        epoch: Of a giveback over the link, and of a resume: number of the endpoint's last stop.
        digest: CRC-32 of the data that go with the event; 0 for none.
        t_ns: When, Unix time in nanoseconds.
        opcode: Of the SCSI command that its data are the wrapper of (BOT §5.1); None for others.
        lba: Of that command; 0 if it has none.
    """

    kind: Kind
    place: Place
    device: int
    urb: int = 0
    endpoint: int = 0
    status: int = 0
    length_bytes: int = 0
    epoch: int = 0
    digest: int = 0
    t_ns: int = 0
    opcode: int | None = None
    lba: int = 0

    def pack(self) -> bytes:
        """Return the record."""
        return _RECORD.pack(
            self.t_ns,
            self.kind,
            self.place,
            self.endpoint,
            self.device,
            self.urb,
            self.status,
            self.length_bytes,
            self.epoch,
            self.digest,
            self.lba,
            _NO_OPCODE if self.opcode is None else self.opcode,
        )


def digest_of(data: bytes | bytearray | memoryview) -> int:
    """Return the digest of an URB's data: 0 if there are none."""
    return crc32(data) if len(data) else 0


def read_events(octets: bytes) -> Iterator[UrbEvent]:
    """Read a file's events; a record that is cut off at the end is left out.

    Raises:
        RemoteProtocolError: It is no such file, or a record has no meaning.
    """
    if not octets.startswith(HEADER):
        raise RemoteProtocolError("The file does not begin as a log of URBs does.")
    yield from _whole(octets[len(HEADER) :])


def _events(records: memoryview) -> Iterator[UrbEvent]:
    for row in _RECORD.iter_unpack(records):
        t_ns, kind, place, endpoint, device, urb, *fields, opcode = row
        status, length, epoch, digest, lba = fields
        try:
            yield UrbEvent(
                Kind(kind),
                Place(place),
                device,
                urb,
                endpoint,
                status,
                length,
                epoch,
                digest,
                t_ns,
                None if opcode == _NO_OPCODE else opcode,
                lba,
            )
        except ValueError as error:
            raise RemoteProtocolError(
                f"A log of URBs has a record of no meaning: {error}."
            ) from error


class LogReader:
    """Reads a log that still grows.

    Args:
        goes_on: Read on in the log of a daemon's successor, which stands behind its own header.

    Attributes:
        taken_bytes: How much of the log was taken so far, header and cut-off record included.
        renewed: The log has begun anew, since its daemon has, and what comes then is left out.
    """

    def __init__(self, *, goes_on: bool = False) -> None:
        self.taken_bytes = 0
        self.renewed = False
        self._goes_on = goes_on
        self._begun = False
        self._rest = b""

    def feed(self, octets: bytes) -> list[UrbEvent]:
        """Take what has come; return the events that are whole now.

        Raises:
            RemoteProtocolError: It is no such log, or a record has no meaning.
        """
        if self.renewed:
            return []
        self.taken_bytes += len(octets)
        self._rest += octets
        if not self._begun:
            if not HEADER.startswith(self._rest[: len(HEADER)]):
                raise RemoteProtocolError("The file does not begin as a log of URBs does.")
            if len(self._rest) < len(HEADER):
                return []
            self._begun, self._rest = True, self._rest[len(HEADER) :]
        # A daemon that was killed may have left a part of a record before its successor's header.
        *former, last = self._rest.split(HEADER)
        if former and not self._goes_on:
            self.renewed = True
            former, last = former[:1], b""
        whole = (len(last) - _begun_header(last)) // RECORD_BYTES
        self._rest = last[whole * RECORD_BYTES :]
        logs = (*former, last[: whole * RECORD_BYTES])
        return [event for log in logs for event in _whole(log)]


def _begun_header(octets: bytes) -> int:
    """Return how many octets at the end may be the beginning of a header."""
    lengths = range(len(HEADER) - 1, 0, -1)
    return next((length for length in lengths if octets.endswith(HEADER[:length])), 0)


def _whole(records: bytes) -> Iterator[UrbEvent]:
    """Leave a record out that is cut off at the end."""
    return _events(memoryview(records)[: len(records) // RECORD_BYTES * RECORD_BYTES])


class Wrapped(NamedTuple):
    """What a command block wrapper says, as far as an event tells it."""

    opcode: int | None = None
    lba: int = 0


def command_of(data: bytes | bytearray | memoryview) -> Wrapped:
    """Return the command that an URB's data are the wrapper of; nothing if they are none.

    A READ(10) or WRITE(10) has its LBA in octets 2 to 5, and so have their like (SBC-3).
    """
    if len(data) != CBW_BYTES:
        return Wrapped()
    try:
        block = parse_cbw(bytes(data)).command
    except RemoteProtocolError:
        return Wrapped()
    return Wrapped(block[0], int.from_bytes(block[2:6], "big") if len(block) >= _CDB_10 else 0)
