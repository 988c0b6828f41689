"""What a bad peer, or a bad line, makes of frames that were good."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from rig.splitdriver.wire import HEADER, MAX_FRAME_BYTES

INTERESTING = (0, 1, 2, 0x7F, 0x80, 0xFF, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
"""Numbers at which fields end."""

Mutation = Callable[[Random, bytes], bytes]


def flip_bit(rng: Random, frame: bytes) -> bytes:
    """One bit is another."""
    octets = bytearray(frame)
    octets[rng.randrange(len(octets))] ^= 1 << rng.randrange(8)
    return bytes(octets)


def set_octet(rng: Random, frame: bytes) -> bytes:
    """One octet is another."""
    octets = bytearray(frame)
    octets[rng.randrange(len(octets))] = rng.randrange(256)
    return bytes(octets)


def set_number(rng: Random, frame: bytes) -> bytes:
    """Four octets are a number at which a field ends."""
    octets = bytearray(frame)
    at = rng.randrange(max(len(octets) - 3, 1))
    octets[at : at + 4] = rng.choice(INTERESTING).to_bytes(4, "big")
    return bytes(octets)


def truncate(rng: Random, frame: bytes) -> bytes:
    """The end is missing; what comes next is taken for it."""
    return frame[: rng.randrange(len(frame))]


def cut_body(rng: Random, frame: bytes) -> bytes:
    """The end of the body is missing, and the header knows."""
    return _frame(frame, frame[HEADER.size : HEADER.size + rng.randrange(len(frame))])


def extend(rng: Random, frame: bytes) -> bytes:
    """The body is too long, and the header knows."""
    return _frame(frame, frame[HEADER.size :] + rng.randbytes(rng.randrange(1, 40)))


def lie_about_length(rng: Random, frame: bytes) -> bytes:
    """The header tells another length; now and then one over the limit."""
    length = rng.choice((rng.randrange(64), MAX_FRAME_BYTES, MAX_FRAME_BYTES + 1, 0xFFFFFFFF))
    return length.to_bytes(4, "big") + frame[4:]


def change_type(rng: Random, frame: bytes) -> bytes:
    """It says that it is another message."""
    return frame[:4] + bytes([rng.randrange(16)]) + frame[5:]


def repeat(_: Random, frame: bytes) -> bytes:
    """It comes twice."""
    return frame + frame


def lose(_: Random, __: bytes) -> bytes:
    """It does not come."""
    return b""


def replace(rng: Random, frame: bytes) -> bytes:
    """Something else comes."""
    return rng.randbytes(rng.randrange(2 * len(frame)))


MUTATIONS: tuple[Mutation, ...] = (
    flip_bit,
    set_octet,
    set_number,
    truncate,
    cut_body,
    extend,
    lie_about_length,
    change_type,
    repeat,
    lose,
    replace,
)


def mutate(rng: Random, frame: bytes) -> bytes:
    """Return what became of a frame."""
    return rng.choice(MUTATIONS)(rng, frame)


def pieces(rng: Random, octets: bytes) -> list[bytes]:
    """Cut a stream as a network would."""
    if len(octets) < 2 or rng.random() < 0.7:
        return [octets]
    at = rng.randrange(1, len(octets))
    return [octets[:at], octets[at:]]


def _frame(frame: bytes, body: bytes) -> bytes:
    return len(body).to_bytes(4, "big") + frame[4 : HEADER.size] + body
