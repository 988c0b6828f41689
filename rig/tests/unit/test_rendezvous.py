"""Two ends that look for each other on a channel that is always there."""

from __future__ import annotations

import struct
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rig.splitdriver.transport.rendezvous import BEACON_BYTES, MAGIC, NONCE_BYTES, Rendezvous
from rig.splitdriver.wire import HEADER, MAX_FRAME_BYTES

A, B, C = (bytes([65 + n]) * NONCE_BYTES for n in range(3))
NOBODY = bytes(NONCE_BYTES)


def beacon(sender: bytes, heard: bytes = NOBODY) -> bytes:
    return MAGIC + sender + heard


def test_the_first_beacon_answers_nobody() -> None:
    assert Rendezvous(A).beacon() == beacon(A)


def test_who_is_heard_is_answered_once() -> None:
    one = Rendezvous(A)
    assert one.received(beacon(B))
    assert not one.received(beacon(B))
    assert one.beacon() == beacon(A, B)
    assert not one.met


def test_who_hears_his_own_nonce_has_met_the_other_and_owes_him_the_same() -> None:
    one = Rendezvous(A)
    assert one.received(beacon(B, A))
    assert one.met
    assert one.beacon() == beacon(A, B)


def test_an_answer_to_somebody_else_is_none() -> None:
    one = Rendezvous(A)
    assert one.received(beacon(B, C))
    assert not one.met


def test_the_last_one_that_was_heard_is_answered() -> None:
    one = Rendezvous(A)
    one.received(beacon(B) + beacon(C))
    assert one.beacon() == beacon(A, C)


def test_the_same_beacon_again_is_no_part_of_the_stream() -> None:
    one = Rendezvous(A)
    one.received(beacon(B, A) + beacon(B, A)[:30])
    assert one.stream() == b""
    assert not one.begun
    assert one.stream(beacon(B, A)[30:] + b"stream") == b"stream"
    assert one.begun


def test_another_beacon_is_left_to_the_stream_where_no_frame_is_like_it() -> None:
    one = Rendezvous(A)
    one.received(beacon(B, A))
    assert one.stream(beacon(C)) == beacon(C)
    assert HEADER.unpack_from(MAGIC)[0] > MAX_FRAME_BYTES


@given(st.binary(max_size=200), st.integers(1, 60), st.binary(min_size=1, max_size=50))
def test_what_a_former_connection_has_left_is_dropped(
    stale: bytes, piece: int, stream: bytes
) -> None:
    """However it is cut; a beacon whose beginning was taken for another's end comes again."""
    one = Rendezvous(A)
    stream = b"\0" + stream
    octets = stale + beacon(B, A) * 2 + stream
    got = b""
    for place in range(0, len(octets), piece):
        part = octets[place : place + piece]
        if not one.met:
            one.received(part)
            part = b""
        if one.met:
            got += one.stream(part) if not one.begun else part
    assert got == stream


def test_stale_octets_are_not_kept() -> None:
    one = Rendezvous(A)
    for _ in range(100):
        one.received(bytes(10_000))
        one.received(MAGIC + bytes(20))
    assert len(one._octets) < 2 * BEACON_BYTES


# Two of them, which come and go.

FRAME = struct.Struct(">I16s16sI")
"""Its length as a frame's; who says it to whom; its number."""
SILENT_ROUNDS = 4
"""After so many rounds without a frame an end gives up, as by the heartbeat."""


class Channel:
    """One direction, with what former processes have left."""

    def __init__(self, octets: bytes) -> None:
        self.octets = octets


class End:
    """A process at one end, as the daemon's edge uses a `Rendezvous`; it can be started anew."""

    def __init__(self, nonces: count[int], incoming: Channel, outgoing: Channel) -> None:
        self.nonces = nonces
        self.incoming = incoming
        self.outgoing = outgoing
        self.restart()

    def restart(self) -> None:
        self.nonce = next(self.nonces).to_bytes(NONCE_BYTES, "big")
        self.rendezvous = Rendezvous(self.nonce)
        self.talks = False
        self.held = b""
        self.said = self.heard = self.silent = 0

    @property
    def other(self) -> bytes:
        return self.rendezvous.beacon()[-NONCE_BYTES:]

    def tick(self) -> None:
        """A while has passed: send a beacon, or a frame."""
        if not self.talks:
            self.outgoing.octets += self.rendezvous.beacon()
            return
        self.outgoing.octets += FRAME.pack(FRAME.size - 4, self.nonce, self.other, self.said)
        self.said += 1
        self.silent += 1
        if self.silent > SILENT_ROUNDS:
            self.restart()

    def read(self, size: int) -> None:
        octets, self.incoming.octets = self.incoming.octets[:size], self.incoming.octets[size:]
        if self.talks:
            self._hear(octets)
            return
        if self.rendezvous.received(octets):
            self.outgoing.octets += self.rendezvous.beacon()
        if self.rendezvous.met:
            self.talks = True
            self._hear(b"")

    def _hear(self, octets: bytes) -> None:
        self.held += octets if self.rendezvous.begun else self.rendezvous.stream(octets)
        while len(self.held) >= FRAME.size:
            length, sender, receiver, number = FRAME.unpack_from(self.held)
            if length > MAX_FRAME_BYTES:
                self.restart()  # a beacon: the other end was started anew
                return
            # Nothing of another connection, nothing twice, nothing lost.
            assert (sender, receiver, number) == (self.other, self.nonce, self.heard)
            self.heard += 1
            self.silent = 0
            self.held = self.held[FRAME.size :]


STALE = st.one_of(
    st.binary(max_size=100),
    st.integers(0, 39).map(lambda cut: beacon(C, A)[:cut]),
    st.integers(0, 9).map(lambda n: FRAME.pack(FRAME.size - 4, B, A, n)),
)
STEP = st.one_of(
    st.tuples(st.just("tick"), st.integers(0, 1)),
    st.tuples(st.just("read"), st.integers(0, 1), st.integers(1, 120)),
    st.tuples(st.just("read"), st.integers(0, 1), st.just(1 << 20)),
    st.tuples(st.just("restart"), st.integers(0, 1)),
)


@given(STALE, STALE, st.lists(STEP, max_size=80))
def test_two_ends_meet_whatever_came_before_and_hear_each_other_exactly(
    stale: bytes, also_stale: bytes, steps: list[tuple[object, ...]]
) -> None:
    there, here = Channel(stale), Channel(also_stale)
    nonces = count(1)
    ends = (End(nonces, there, here), End(nonces, here, there))
    for name, which, *arguments in steps:
        assert isinstance(which, int)
        getattr(ends[which], str(name))(*arguments)
    for _ in range(8 * SILENT_ROUNDS):
        for end in ends:
            end.tick()
            end.read(1 << 20)
    one, other = ends
    assert (one.talks, other.talks) == (True, True)
    assert (one.other, other.other) == (other.nonce, one.nonce)
    assert one.heard > SILENT_ROUNDS
    assert other.heard > SILENT_ROUNDS


@pytest.mark.parametrize("size", [1, 7, 1 << 20])
def test_two_fresh_ends_meet_within_three_beacons(size: int) -> None:
    there, here = Channel(b""), Channel(b"")
    nonces = count(1)
    ends = (End(nonces, there, here), End(nonces, here, there))
    ends[0].tick()
    ends[1].tick()
    while there.octets or here.octets:
        for end in ends:
            end.read(size)
    assert ends[0].talks
    assert ends[1].talks
