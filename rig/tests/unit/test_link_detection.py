"""What no link does must be noticed by whoever gets it: pieces that are swapped, or come twice."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rig.errors import RemoteProtocolError
from rig.link.pieces import Pieces
from rig.splitdriver.backend import BackEnd
from rig.splitdriver.messages import Submit, ToPort, Unlink
from rig.splitdriver.wire import FrameReader, encode
from rig.tests.unit.test_backend import IN, OUT, serving, submit
from rig.tests.unit.test_link_relay import FRONT, joined


def octets(message: Submit | Unlink) -> bytes:
    return b"".join(map(bytes, encode(message)))


def given_to(back: BackEnd, received: bytes) -> None:
    reader = FrameReader()
    space = reader.space()
    space[: len(received)] = received
    for message in reader.received(len(received)):
        assert isinstance(message, ToPort)
        back.receive(message)


@given(st.integers(2, 12), st.data())
def test_submits_that_are_swapped_end_the_link(count: int, data: st.DataObject) -> None:
    """Another order of one endpoint's URBs is other data at an LBA."""
    first = data.draw(st.integers(1, count - 1))
    world = joined(f'effect = "reorder"\nway = "to-back"\nnth = {first}')
    world.say(FRONT, b"".join(octets(submit(number)) for number in range(1, count + 1)))

    with pytest.raises(RemoteProtocolError, match="was submitted behind"):
        given_to(serving(), world.at_back())


@given(st.integers(1, 12), st.data())
def test_a_submit_that_comes_twice_ends_the_link(count: int, data: st.DataObject) -> None:
    which = data.draw(st.integers(1, count))
    world = joined(f'effect = "duplicate"\nway = "to-back"\nnth = {which}')
    world.say(FRONT, b"".join(octets(submit(number)) for number in range(1, count + 1)))

    with pytest.raises(RemoteProtocolError, match="was submitted"):
        given_to(serving(), world.at_back())


def test_submits_of_different_endpoints_may_be_swapped() -> None:
    """Nobody is promised an order between endpoints."""
    world = joined('effect = "reorder"\nway = "to-back"\nnth = 1')
    in_urb = Submit(1, 2, IN, 0, 4, bytes(8))
    world.say(FRONT, octets(submit(1, OUT)) + octets(in_urb))
    given_to(serving(), world.at_back())


def test_the_relay_cuts_the_protocols_stream_into_frames() -> None:
    frames = [octets(submit(1)), octets(Unlink(1, 1)), octets(submit(2))]
    pieces = Pieces()
    stream = b"".join(frames)
    pieces.space()[: len(stream)] = stream
    assert [bytes(piece) for piece in pieces.received(len(stream))] == frames
