"""What the kernel is told when it enumerates the hidden device (USB 2.0 §9.6, USB 3.2 §9.6)."""

from __future__ import annotations

import errno
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rig.splitdriver import hidden
from rig.usb import descriptors
from rig.usb.descriptors import Configuration, Interface
from rig.usb.setup import SetupPacket

STALL = (-errno.EPIPE, b"")
BOTH_SPEEDS = pytest.mark.parametrize("super_speed", [False, True])


def get_descriptor(
    kind: int, index: int = 0, length: int = 0xFFFF, *, super_speed: bool = False
) -> tuple[int, bytes]:
    setup = SetupPacket(0x80, 0x06, kind << 8 | index, 0, length)
    return hidden.answer(setup, super_speed=super_speed)


def octets(kind: int, index: int = 0, *, super_speed: bool = False) -> bytes:
    status, data = get_descriptor(kind, index, super_speed=super_speed)
    assert status == 0
    return data


@BOTH_SPEEDS
def test_it_has_one_configuration_with_one_interface_and_no_endpoint(super_speed: bool) -> None:
    both = octets(1, super_speed=super_speed) + octets(2, super_speed=super_speed)
    device = descriptors.parse(both)
    assert (device.vendor_id, device.product_id) == (hidden.VENDOR_ID, hidden.PRODUCT_ID)
    assert device.configurations == (Configuration(1, (Interface(0, 0, ()),)),)
    assert device.device_class == 0xFF  # no driver of the kernel binds by it


def test_the_configuration_tells_its_own_length_and_interfaces() -> None:
    configuration = octets(2)
    fields = descriptors.CONFIGURATION.unpack_from(configuration)
    assert fields[2:5] == (len(configuration), 1, 1)
    interface = descriptors.INTERFACE.unpack_from(configuration, descriptors.CONFIGURATION.size)
    assert interface[4:6] == (0, 0xFF)


@pytest.mark.parametrize(
    ("super_speed", "version", "packet"), [(False, 0x0200, 64), (True, 0x0300, 9)]
)
def test_its_version_and_first_packet_size_are_those_of_its_speed(
    super_speed: bool, version: int, packet: int
) -> None:
    device = descriptors.DEVICE.unpack(octets(1, super_speed=super_speed))
    assert (device[0], device[2], device[6], device[-1]) == (18, version, packet, 1)


def test_on_super_speed_it_has_an_empty_bos() -> None:
    length, kind, total, capabilities = struct.unpack("<BBHB", octets(15, super_speed=True))
    assert (length, kind, total, capabilities) == (5, 15, 5, 0)


def test_on_high_speed_it_has_no_bos() -> None:
    assert get_descriptor(15) == STALL


def test_its_strings_are_in_english() -> None:
    assert octets(3) == bytes.fromhex("0403 0904")
    device = descriptors.DEVICE.unpack(octets(1))
    maker, product, serial = device[10:13]
    assert serial == 0
    for index in (maker, product):
        text = octets(3, index)
        assert (text[0], text[1]) == (len(text), 3)
        assert text[2:].decode("utf-16-le")


@pytest.mark.parametrize(("kind", "index"), [(3, 3), (3, 255), (4, 0), (6, 0), (7, 0), (0, 0)])
def test_a_descriptor_that_it_does_not_have_is_a_stall(kind: int, index: int) -> None:
    assert get_descriptor(kind, index, super_speed=True) == STALL


@pytest.mark.parametrize("length", [0, 8, 9, 18, 64])
def test_no_more_is_sent_than_was_asked_for(length: int) -> None:
    assert get_descriptor(1, length=length) == (0, octets(1)[:length])


def test_it_is_powered_by_itself() -> None:
    assert hidden.answer(SetupPacket(0x80, 0, 0, 0, 2), super_speed=False) == (0, b"\x01\0")


@pytest.mark.parametrize(
    "setup",
    [
        hidden.BARRIER,
        SetupPacket(0x00, 0x09, 1, 0, 0),  # SET_CONFIGURATION
        SetupPacket(0x00, 0x03, 48, 0, 0),  # SET_FEATURE(U1_ENABLE), on SuperSpeed
        SetupPacket(0x00, 0x31, 40, 0, 0),  # SET_ISOCH_DELAY
    ],
)
def test_what_asks_for_nothing_is_granted(setup: SetupPacket) -> None:
    assert hidden.answer(setup, super_speed=True) == (0, b"")


@pytest.mark.parametrize(
    "setup",
    [
        SetupPacket(0xC0, 0x01, 0, 0, 4),  # vendor, IN
        SetupPacket(0x40, 0x01, 0, 0, 1),  # a barrier with data
        SetupPacket(0x40, 0x02, 0, 0, 0),  # vendor, another
        SetupPacket(0x21, 0x09, 0, 0, 0),  # class
        SetupPacket(0x82, 0x00, 0, 0x81, 2),  # GET_STATUS of an endpoint
        SetupPacket(0x00, 0x30, 0, 0, 6),  # SET_SEL
        SetupPacket(0x80, 0x08, 0, 0, 1),  # GET_CONFIGURATION
    ],
)
def test_what_it_does_not_know_is_a_stall(setup: SetupPacket) -> None:
    assert hidden.answer(setup, super_speed=True) == STALL


@given(st.binary(min_size=8, max_size=8), st.booleans())
def test_every_request_has_an_answer_that_fits(packet: bytes, super_speed: bool) -> None:
    setup = SetupPacket.unpack(packet)
    status, data = hidden.answer(setup, super_speed=super_speed)
    assert status in (0, -errno.EPIPE)
    assert len(data) <= setup.length
    assert not data or (status == 0 and setup.is_in)


def test_the_barrier_can_be_told_from_all_that_the_kernel_asks() -> None:
    assert hidden.BARRIER.request_type >> 5 & 3 == 2  # a vendor's request: USB 2.0 table 9-2
    assert not hidden.BARRIER.is_in


@pytest.mark.parametrize(
    ("setup", "expected"),
    [
        (SetupPacket(0x00, 0x09, 1, 0, 0), True),
        (SetupPacket(0x00, 0x03, 1, 0, 0), False),
        (SetupPacket(0x21, 0x09, 1, 0, 0), False),
        (hidden.BARRIER, False),
    ],
)
def test_set_configuration_is_recognised(setup: SetupPacket, expected: bool) -> None:
    assert hidden.is_set_configuration(setup) is expected
