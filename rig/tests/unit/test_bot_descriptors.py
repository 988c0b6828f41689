"""What goes to FunctionFS and comes from it, octet for octet."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rig.errors import RemoteProtocolError
from rig.gadget.bot.descriptors import Event, EventType, descriptors, parse_events, strings
from rig.usb.setup import SetupPacket

NOTHING = SetupPacket(0, 0, 0, 0, 0)


def test_the_descriptors_are_a_bulk_only_interface_at_three_speeds() -> None:
    interface = "09 04 00 00 02 08 06 50 01"
    companion = "06 30 00 00 00 00"
    assert descriptors() == bytes.fromhex(
        "03000000 69000000 07000000 03000000 03000000 05000000"
        f"{interface} 07 05 81 02 4000 00  07 05 02 02 4000 00"
        f"{interface} 07 05 81 02 0002 00  07 05 02 02 0002 00"
        f"{interface} 07 05 81 02 0004 00 {companion} 07 05 02 02 0004 00 {companion}"
    )


def test_the_strings_are_one_in_english() -> None:
    assert strings("Disk") == bytes.fromhex("02000000 17000000 01000000 01000000 0904") + b"Disk\0"


def test_events_are_read_in_order() -> None:
    octets = bytes(8) + b"\2\0\0\0" + bytes.fromhex("a1 fe 0000 0000 0100") + b"\4\0\0\0"
    assert parse_events(octets) == [
        Event(EventType.ENABLE, NOTHING),
        Event(EventType.SETUP, SetupPacket(0xA1, 0xFE, 0, 0, 1)),
    ]


@given(st.binary(max_size=48))
def test_what_are_no_events_is_refused_and_nothing_else(octets: bytes) -> None:
    types = octets[8::12]
    if len(octets) % 12 == 0 and all(number <= 6 for number in types):
        assert [event.type for event in parse_events(octets)] == list(types)
    else:
        with pytest.raises(RemoteProtocolError):
            parse_events(octets)
