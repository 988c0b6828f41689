"""What a workload did, told as it goes: the entries from which the model is made.

Events are small and carry no time, so that the machine that writes can send them while it writes,
and the model (`rig.integrity.model`) survives the machine.  Pure, and light: machines import it.
"""

from __future__ import annotations

import msgspec


class WriteStarted(msgspec.Struct, frozen=True, array_like=True, tag="started"):
    """A write call is about to begin; sent before it does.

    Attributes:
        file_id: Which file.
        first_sector: Where in the file, in sectors of 512 bytes.
        count: How many sectors.
        generation: That its stamps carry; `ZEROS` if it makes the sectors zero, or takes them off
            the file (truncate, punched hole, discard).
        sequence: Number of the write call; unique, growing with every start.
        direct: It goes past the page cache: when it returns, the device has answered for it.
    """

    file_id: int
    first_sector: int
    count: int
    generation: int
    sequence: int
    direct: bool = False


class WriteReturned(msgspec.Struct, frozen=True, array_like=True, tag="returned"):
    """The write call took all its bytes."""

    file_id: int
    sequence: int


class WriteFailed(msgspec.Struct, frozen=True, array_like=True, tag="failed"):
    """The write call ended in an error (a positive errno)."""

    file_id: int
    sequence: int
    errno: int


class FlushStarted(msgspec.Struct, frozen=True, array_like=True, tag="flush_started"):
    """An fsync is about to begin: it can confirm only what has returned before.

    Needed where another writer's calls may return meanwhile.

    Attributes:
        file_id: Which file.
        number: By which its end names it; 1 or more.
    """

    file_id: int
    number: int


class Flushed(msgspec.Struct, frozen=True, array_like=True, tag="flushed"):
    """Fsync of the file returned 0.

    Attributes:
        file_id: Which file.
        number: Of its `FlushStarted`; 0: it began after every write that has returned so far.
    """

    file_id: int
    number: int = 0


class FlushFailed(msgspec.Struct, frozen=True, array_like=True, tag="flush_failed"):
    """Fsync of the file ended in an error (a positive errno).

    Attributes:
        file_id: Which file.
        errno: What it said.
        number: See `Flushed`.
    """

    file_id: int
    errno: int
    number: int = 0


class CacheLost(msgspec.Struct, frozen=True, array_like=True, tag="cache_lost"):
    """The device lost its volatile cache: a power cut, an unplug, the end of its machine."""


Event = (
    WriteStarted | WriteReturned | WriteFailed | FlushStarted | Flushed | FlushFailed | CacheLost
)

ZEROS = 0
"""The generation of a write after which a sector is zero, or is no more."""


def decode_events(entries: object) -> list[Event]:
    """Read events as they came over JSON.

    Raises:
        msgspec.ValidationError: They are none.
    """
    return msgspec.convert(entries, list[Event])
