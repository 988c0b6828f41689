"""What no link does must be noticed by whoever gets it: pieces that are swapped, or come twice."""

from __future__ import annotations

import errno

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rig.errors import RemoteProtocolError
from rig.link.pieces import Pieces
from rig.splitdriver.backend import BackEnd
from rig.splitdriver.frontend import FrontEnd
from rig.splitdriver.messages import Complete, Connect, Submit, ToPort, Unlink
from rig.splitdriver.wire import FrameReader, encode
from rig.tests.unit.test_backend import IN, OUT, serving, submit
from rig.tests.unit.test_frontend import command
from rig.tests.unit.test_link_relay import BACK, FRONT, joined
from rig.usb.urb import Speed
from rig.usb.usbip import CmdUnlink


def octets(message: Submit | Unlink | Complete) -> bytes:
    return b"".join(map(bytes, encode(message)))


def given_to(end: BackEnd | FrontEnd, received: bytes) -> None:
    reader = FrameReader()
    space = reader.space()
    space[: len(received)] = received
    for message in reader.received(len(received)):
        assert isinstance(message, ToPort)
        end.receive(message)


def front_with(count: int) -> FrontEnd:
    """A front end with so many open URBs on one endpoint."""
    front = FrontEnd()
    front.receive(Connect(1, Speed.HIGH))
    for number in range(1, count + 1):
        front.submit(command(number), b"data")
    return front


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


@given(st.integers(2, 12), st.sampled_from([0, -errno.EPROTO]), st.data())
def test_completions_that_are_swapped_end_the_link(
    count: int, last: int, data: st.DataObject
) -> None:
    """The client would take one URB's end for another's."""
    first = data.draw(st.integers(1, count - 1))
    world = joined(f'effect = "reorder"\nway = "to-front"\nnth = {first}')
    ends = [Complete(1, number, 0, 4) for number in range(1, count)]
    ends.append(Complete(1, count, last, 0, 1 if last else 0, quiet=bool(last)))
    world.say(BACK, b"".join(map(octets, ends)))

    with pytest.raises(RemoteProtocolError, match="was completed before URB"):
        given_to(front_with(count), world.at_front())


def test_the_end_of_what_was_unlinked_and_one_before_it_are_not_swapped_unnoticed() -> None:
    """Neither was to come in the order of the submits: the quiet that is taken back shows it."""
    world = joined('effect = "reorder"\nway = "to-front"\nnth = 1')
    front = front_with(2)
    front.unlink(CmdUnlink(3, 1, 2))
    untouched = Complete(1, 2, -errno.ECONNRESET, 0, 1)
    world.say(BACK, octets(untouched) + octets(Complete(1, 1, 0, 4, 1, quiet=True)))

    with pytest.raises(RemoteProtocolError, match="quiet and was not resumed"):
        given_to(front, world.at_front())


@given(st.integers(1, 12), st.data())
def test_a_completion_that_comes_twice_ends_the_link(count: int, data: st.DataObject) -> None:
    which = data.draw(st.integers(1, count))
    world = joined(f'effect = "duplicate"\nway = "to-front"\nnth = {which}')
    world.say(BACK, b"".join(octets(Complete(1, n, 0, 4)) for n in range(1, count + 1)))

    with pytest.raises(RemoteProtocolError, match="was completed, but is not open"):
        given_to(front_with(count), world.at_front())


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
