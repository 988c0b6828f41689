"""Logs of URBs: what is written is read."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rig.errors import RemoteProtocolError
from rig.usb.bot import synchronize_cache_10, unit_ready, write_10
from rig.usb.urblog import (
    HEADER,
    RECORD_BYTES,
    Kind,
    LogReader,
    Place,
    UrbEvent,
    command_of,
    digest_of,
    read_events,
)

EVENT = UrbEvent(Kind.END, Place.BACK, 1, 7, 0x81, -71, 13, t_ns=9)
U32 = st.integers(0, 2**32 - 1)
EVENTS = st.builds(
    UrbEvent,
    kind=st.sampled_from(Kind),
    place=st.sampled_from(Place),
    device=U32,
    urb=U32,
    endpoint=st.integers(0, 255),
    status=st.integers(-(2**31), 0),
    length_bytes=U32,
    epoch=U32,
    digest=U32,
    t_ns=st.integers(0, 2**64 - 1),
    opcode=st.none() | st.integers(0, 255),
    lba=U32,
)


@given(st.lists(EVENTS))
def test_what_is_written_is_read(events: list[UrbEvent]) -> None:
    assert list(read_events(HEADER + b"".join(each.pack() for each in events))) == events


@given(EVENTS, st.integers(1, RECORD_BYTES - 1))
def test_a_record_that_is_cut_off_at_the_end_is_left_out(event: UrbEvent, length: int) -> None:
    octets = HEADER + event.pack() + event.pack()[:length]
    assert list(read_events(octets)) == [event]


def test_a_record_is_laid_out_as_documented() -> None:
    event = UrbEvent(
        Kind.GIVEBACK, Place.BACK, 0x10001, 7, 0x81, -71, 512, 3, 0xDEADBEEF, 9, 0x2A, 5
    )
    assert event.pack() == bytes.fromhex(
        "0900000000000000 04 02 81 00 01000100 07000000 b9ffffff 00020000 03000000 efbeadde"
        "05000000 2a00 000000000000"
    )


def test_a_file_of_another_kind_is_refused() -> None:
    with pytest.raises(RemoteProtocolError, match="does not begin"):
        list(read_events(b"RIJ2" + bytes(60)))


def test_a_record_of_no_meaning_is_refused() -> None:
    with pytest.raises(RemoteProtocolError, match="no meaning"):
        list(read_events(HEADER + bytes(RECORD_BYTES)))


def test_no_data_have_no_digest() -> None:
    assert digest_of(b"") == 0
    assert digest_of(bytes(1)) != 0


def test_a_wrapper_tells_its_command() -> None:
    assert command_of(write_10(1, 2304, 8)) == (0x2A, 2304)
    assert command_of(bytearray(synchronize_cache_10(2))) == (0x35, 0)
    assert command_of(unit_ready(3)) == (0x00, 0)


@pytest.mark.parametrize("data", [b"", bytes(31), b"USBC" + bytes(27), bytes(512)])
def test_what_is_no_wrapper_tells_none(data: bytes) -> None:
    assert command_of(data) == (None, 0)


def test_a_log_that_grows_gives_each_record_when_it_is_whole() -> None:
    octets = HEADER + EVENT.pack() + EVENT.pack()
    reader = LogReader()
    came = [len(reader.feed(octets[at : at + 1])) for at in range(len(octets))]
    assert [at for at, events in enumerate(came, 1) if events] == [
        len(HEADER) + RECORD_BYTES,
        len(HEADER) + 2 * RECORD_BYTES,
    ]
    assert (reader.taken_bytes, reader.renewed) == (len(octets), False)


@given(
    left=st.integers(0, RECORD_BYTES - 1),
    goes_on=st.booleans(),
    cuts=st.lists(st.integers(0, 2 * len(HEADER) + 4 * RECORD_BYTES)),
)
def test_a_log_that_begins_anew_is_read_up_to_there_or_on_in_whatever_pieces_it_comes(
    left: int, goes_on: bool, cuts: list[int]
) -> None:
    former = HEADER + EVENT.pack() + EVENT.pack()[:left]
    octets = former + HEADER + 2 * EVENT.pack()
    reader = LogReader(goes_on=goes_on)
    events = [
        event
        for begin, end in itertools.pairwise([0, *sorted(cuts), len(octets)])
        for event in reader.feed(octets[begin:end])
    ]
    assert events == [EVENT] * (3 if goes_on else 1)
    assert reader.renewed is not goes_on


def test_what_begins_as_no_log_is_refused_at_once() -> None:
    with pytest.raises(RemoteProtocolError, match="does not begin"):
        LogReader().feed(b"RIGX")
