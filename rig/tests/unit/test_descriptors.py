from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rig.errors import RemoteProtocolError
from rig.usb.descriptors import (
    Configuration,
    Device,
    Endpoint,
    Interface,
    parse,
)
from rig.usb.urb import TransferType

# A mass-storage gadget at high speed, as usbfs shows it (USB 2.0 §9.6).
DEVICE = bytes.fromhex("12 01 0002 00 00 00 40 2505 a5a4 0001 01 02 03 01")
CONFIGURATION = bytes.fromhex("09 02 2000 01 01 00 80 fa")
INTERFACE = bytes.fromhex("09 04 00 00 02 08 06 50 00")
BULK_IN = bytes.fromhex("07 05 81 02 0002 00")
BULK_OUT = bytes.fromhex("07 05 01 02 0002 00")
GADGET = DEVICE + CONFIGURATION + INTERFACE + BULK_IN + BULK_OUT


def test_a_mass_storage_gadget_is_read() -> None:
    endpoints = (
        Endpoint(0x81, TransferType.BULK, 512),
        Endpoint(0x01, TransferType.BULK, 512),
    )
    configuration = Configuration(1, (Interface(0, 0, endpoints),))
    assert parse(GADGET) == Device(0x0525, 0xA4A5, (configuration,))


def test_the_class_of_a_device_is_read() -> None:
    hub = bytearray(DEVICE)
    hub[4] = 0x09
    assert parse(bytes(hub)).device_class == 0x09


def test_a_device_without_configurations_is_read() -> None:
    assert parse(DEVICE).configurations == ()


def test_a_longer_device_descriptor_is_stepped_over() -> None:
    assert parse(bytes([20]) + DEVICE[1:] + b"xx" + CONFIGURATION).configurations != ()


def test_configurations_are_found_by_their_value() -> None:
    other = bytearray(CONFIGURATION)
    other[5] = 2
    device = parse(GADGET + bytes(other) + INTERFACE)
    assert device.configuration(2) == Configuration(2, (Interface(0, 0, ()),))
    assert device.configuration(3) is None


def test_an_interface_with_alternate_settings_has_one_number() -> None:
    alternate = bytearray(INTERFACE)
    alternate[3] = 1
    (configuration,) = parse(GADGET + bytes(alternate)).configurations
    assert [i.alternate for i in configuration.interfaces] == [0, 1]
    assert configuration.interface_numbers == (0,)


def test_descriptors_of_other_types_are_stepped_over() -> None:
    companion = bytes.fromhex("06 30 00 00 0000")
    octets = DEVICE + CONFIGURATION + INTERFACE + BULK_IN + companion + BULK_OUT
    assert parse(octets) == parse(GADGET)


def test_what_belongs_to_nothing_is_ignored() -> None:
    assert parse(DEVICE + INTERFACE + BULK_IN + CONFIGURATION + BULK_OUT).configurations == (
        Configuration(1, ()),
    )


@pytest.mark.parametrize(
    ("attributes", "kind"),
    [
        (0, TransferType.CONTROL),
        (1, TransferType.ISOCHRONOUS),
        (2, TransferType.BULK),
        (3, TransferType.INTERRUPT),
        (0x0D, TransferType.ISOCHRONOUS),
    ],
)
def test_the_low_bits_of_the_attributes_are_the_transfer_type(
    attributes: int, kind: TransferType
) -> None:
    endpoint = bytes([7, 5, 0x81, attributes, 0x00, 0x14, 1])  # 1024 octets, 3 transactions
    (configuration,) = parse(DEVICE + CONFIGURATION + INTERFACE + endpoint).configurations
    assert configuration.interfaces[0].endpoints == (Endpoint(0x81, kind, 1024),)


@pytest.mark.parametrize(
    ("octets", "complaint"),
    [
        (DEVICE[:17], "has 18 octets, here are 17"),
        (GADGET[:-1], "has the length 7"),
        (GADGET + b"\0", "has the length 0"),
        (DEVICE + bytes([2, 2]), "type 2 has 2 octets, 9"),
        (DEVICE + CONFIGURATION + bytes([3, 4, 0]), "type 4 has 3 octets, 9"),
        (DEVICE + CONFIGURATION + INTERFACE + bytes([2, 5]), "type 5 has 2 octets, 7"),
    ],
)
def test_octets_that_are_no_descriptors_are_refused(octets: bytes, complaint: str) -> None:
    with pytest.raises(RemoteProtocolError, match=complaint):
        parse(octets)


@given(st.binary(max_size=80))
def test_random_octets_raise_nothing_but_remote_protocol_errors(octets: bytes) -> None:
    with contextlib.suppress(RemoteProtocolError):
        parse(DEVICE + octets)
