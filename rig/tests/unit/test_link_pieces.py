"""How octets of the link are cut into pieces."""

from __future__ import annotations

import struct

from hypothesis import given
from hypothesis import strategies as st

from rig.link.pieces import MAX_PIECE_BYTES, Framing, Pieces
from rig.splitdriver.messages import Ping
from rig.splitdriver.wire import MAX_FRAME_BYTES, encode


def feed(pieces: Pieces, octets: bytes) -> list[bytes]:
    """Give octets as they come; return what is handed out."""
    found: list[bytes] = []
    while octets:
        space = pieces.space()
        count = min(len(space), len(octets))
        space[:count] = octets[:count]
        found += map(bytes, pieces.received(count))
        octets = octets[count:]
    return found


def frame(body: bytes) -> bytes:
    return struct.pack(">II", len(body), 7 << 24) + body


def record(body: bytes, kind: int = 0x17) -> bytes:
    return bytes((kind, 3, 3)) + struct.pack(">H", len(body)) + body


@given(st.lists(st.binary(max_size=60), min_size=1), st.lists(st.integers(1, 40)), st.booleans())
def test_pieces_come_out_as_they_were_sent_however_they_arrive(
    bodies: list[bytes], cuts: list[int], tls: bool
) -> None:
    sent = [record(b, 0x17 if i else 0x16) if tls else frame(b) for i, b in enumerate(bodies)]
    octets = b"".join(sent)
    pieces, found = Pieces(), []
    for cut in cuts:
        found += feed(pieces, octets[:cut])
        octets = octets[cut:]
    found += feed(pieces, octets)

    assert found == sent
    assert pieces.rest() is None


@given(st.binary(min_size=1, max_size=200), st.integers(1, 50))
def test_no_octet_is_lost_whatever_they_are(octets: bytes, step: int) -> None:
    pieces = Pieces()
    found = [f for i in range(0, len(octets), step) for f in feed(pieces, octets[i : i + step])]
    rest = pieces.rest()

    assert b"".join(found) + bytes(rest or b"") == octets
    assert len(pieces) == 0


def test_octets_that_are_no_frames_are_handed_on_as_they_come() -> None:
    pieces = Pieces()
    assert feed(pieces, b"SSH-2.0-Open") == [b"SSH-2.0-Open"]
    assert pieces.framing is Framing.NONE
    assert feed(pieces, b"x") == [b"x"]


def test_the_protocols_own_frames_are_pieces() -> None:
    head, data = encode(Ping(5))
    whole = bytes(head) + bytes(data)
    assert feed(Pieces(), whole * 2) == [whole, whole]
    assert MAX_PIECE_BYTES > MAX_FRAME_BYTES
