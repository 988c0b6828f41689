from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rig.usb.setup import (
    ClearHalt,
    Operation,
    SetConfiguration,
    SetInterface,
    SetupPacket,
    announces_port_reset,
    operation,
)
from rig.usb.urb import Speed, TransferFlags


def test_a_setup_packet_is_little_endian() -> None:
    # GET_DESCRIPTOR(DEVICE), wLength 18: USB 2.0 §9.4.3.
    packet = SetupPacket(0x80, 0x06, 0x0100, 0, 18)
    assert packet.pack() == bytes.fromhex("8006000100001200")
    assert SetupPacket.unpack(bytes.fromhex("8006000100001200")) == packet


@given(st.binary(min_size=8, max_size=8))
def test_what_is_unpacked_packs_to_the_same(octets: bytes) -> None:
    assert SetupPacket.unpack(octets).pack() == octets


@pytest.mark.parametrize(("request_type", "is_in"), [(0x80, True), (0xA1, True), (0x00, False)])
def test_bit_7_of_the_request_type_is_the_direction(request_type: int, is_in: bool) -> None:
    assert SetupPacket(request_type, 0, 0, 0, 1).is_in is is_in


@pytest.mark.parametrize(
    ("packet", "expected"),
    [
        (SetupPacket(0x00, 0x09, 2, 0, 0), SetConfiguration(2)),
        (SetupPacket(0x00, 0x09, 0xFF01, 0, 0), SetConfiguration(1)),
        (SetupPacket(0x01, 0x0B, 4, 3, 0), SetInterface(3, 4)),
        (SetupPacket(0x02, 0x01, 0, 0x0181, 0), ClearHalt(0x81)),
        (SetupPacket(0x02, 0x01, 1, 0x81, 0), None),  # another feature
        (SetupPacket(0x02, 0x03, 0, 0x81, 0), None),  # SET_FEATURE(HALT) is the device's own
        (SetupPacket(0x00, 0x01, 1, 0, 0), None),  # CLEAR_FEATURE of the device
        (SetupPacket(0x80, 0x06, 0x0100, 0, 18), None),
        (SetupPacket(0x21, 0x09, 2, 0, 0), None),  # a class request of that number
    ],
)
def test_only_requests_of_which_the_kernel_keeps_state_are_operations(
    packet: SetupPacket, expected: Operation | None
) -> None:
    assert operation(packet) == expected


@pytest.mark.parametrize(
    ("speed", "length", "announced"),
    [
        (Speed.FULL, 64, True),
        (Speed.HIGH, 64, True),
        (Speed.HIGH, 8, False),
        (Speed.HIGH, 18, False),
        (Speed.SUPER, 8, True),
        (Speed.SUPER_PLUS, 8, True),
        (Speed.SUPER, 64, False),
    ],
)
def test_a_port_reset_is_announced_by_the_length_of_one_request(
    speed: Speed, length: int, announced: bool
) -> None:
    assert announces_port_reset(SetupPacket(0x80, 0x06, 0x0100, 0, length), 0, speed) is announced


@pytest.mark.parametrize(
    "packet",
    [
        SetupPacket(0x80, 0x06, 0x0200, 0, 64),  # another descriptor
        SetupPacket(0x80, 0x08, 0x0100, 0, 64),  # another request
        SetupPacket(0x00, 0x06, 0x0100, 0, 64),  # another direction
    ],
)
def test_other_requests_of_that_length_announce_nothing(packet: SetupPacket) -> None:
    assert not announces_port_reset(packet, 0, Speed.HIGH)


def test_what_a_driver_reads_by_an_urb_of_its_own_announces_nothing() -> None:
    packet = SetupPacket(0x80, 0x06, 0x0100, 0, 64)
    assert not announces_port_reset(packet, TransferFlags.SHORT_NOT_OK, Speed.HIGH)
    assert announces_port_reset(packet, 0x200, Speed.HIGH)  # vhci_hcd's flag for IN
