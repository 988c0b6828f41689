from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rig.buffers import ReceiveBuffer
from rig.cable.usbredir import packets as redir
from rig.cable.usbredir.codec import pack, unpack
from rig.cable.usbredir.packets import Packet
from rig.cable.usbredir.vocabulary import CAPABILITIES, Capability, Status, place
from rig.errors import RemoteProtocolError


def octets(packet: Packet, *, wide: bool) -> bytes:
    return b"".join(pack(packet, wide=wide))


def filled(data: bytes) -> ReceiveBuffer:
    buffer = ReceiveBuffer(64)
    while data:
        space = buffer.space()
        count = min(len(space), len(data))
        space[:count] = data[:count]
        buffer.received(count)
        buffer.peek(1 << 16)  # makes room
        data = data[count:]
    return buffer


def read_all(data: bytes, *, wide: bool) -> Iterator[Packet]:
    buffer = filled(data)
    while (packet := unpack(buffer, wide=wide)) is not None:
        yield packet


def same(packet: Packet) -> tuple[Any, ...]:
    return type(packet), *(
        bytes(field) if isinstance(field, memoryview) else field
        for field in msgspec.structs.astuple(packet)
    )


# Octets as libusbredir writes them on a little-endian machine (usbredirproto.h).


def test_a_reset_is_a_head_alone() -> None:
    assert octets(redir.Reset(0), wide=False) == bytes.fromhex("03000000 00000000 00000000")


def test_an_id_has_64_bits_once_both_ends_said_so() -> None:
    expected = bytes.fromhex("15000000 00000000 8877665544332211")
    assert octets(redir.Cancel(0x1122334455667788), wide=True) == expected


def test_a_hello_keeps_its_narrow_id() -> None:
    hello = octets(redir.Hello(0, b"rig".ljust(64, b"\0"), CAPABILITIES), wide=True)
    assert hello[:12] == bytes.fromhex("00000000 44000000 00000000")
    assert hello[-4:] == bytes.fromhex("72000000")


def test_a_bulk_packets_length_stands_in_two_fields() -> None:
    packet = redir.BulkPacket.of(7, 0x81, Status.STALL, 0x12345)
    expected = "65000000 0a000000 07000000 81 04 4523 00000000 0100"
    assert octets(packet, wide=False) == bytes.fromhex(expected)
    assert packet.length == 0x12345


def test_a_control_packet_carries_its_data() -> None:
    packet = redir.ControlPacket(1, 0x80, 6, 0x80, 0, 0x100, 0, 2, b"\x12\x01")
    expected = "64000000 0c000000 01000000 80 06 80 00 0001 0000 0200 1201"
    assert octets(packet, wide=False) == bytes.fromhex(expected)


def test_qemus_hello_tells_what_it_can_do() -> None:
    head = bytes.fromhex("00000000 44000000 00000000")
    said = head + b"qemu usb-redir guest 7.2.22".ljust(64, b"\0") + bytes.fromhex("f7000000")
    (hello,) = read_all(said, wide=False)
    assert isinstance(hello, redir.Hello)
    assert hello.can(Capability.WIDE_IDS)
    assert not hello.can(Capability.DEVICE_DISCONNECT_ACK)


def test_a_hello_without_capabilities_can_do_nothing() -> None:
    head = bytes.fromhex("00000000 40000000 00000000")
    (hello,) = read_all(head + bytes(64), wide=False)
    assert isinstance(hello, redir.Hello)
    assert not any(hello.can(capability) for capability in Capability)


def test_in_endpoints_have_the_second_half_of_the_places() -> None:
    assert [place(address) for address in (0x00, 0x01, 0x0F, 0x80, 0x81)] == [0, 1, 15, 16, 17]


def test_a_packet_that_is_not_all_there_is_waited_for() -> None:
    whole = octets(redir.BulkPacket.of(1, 2, 0, 100, bytes(100)), wide=True)
    for length in range(len(whole)):
        assert unpack(filled(whole[:length]), wide=True) is None


def test_a_packet_of_another_kind_is_stepped_over() -> None:
    unknown = bytes.fromhex("16000000 03000000 00000000") + b"xyz"
    first, second = read_all(unknown + octets(redir.Reset(0), wide=False), wide=False)
    assert isinstance(first, redir.Unknown)
    assert second == redir.Reset(0)


def test_a_header_that_is_too_short_is_refused() -> None:
    with pytest.raises(RemoteProtocolError, match="SetConfiguration has 0 octets"):
        list(read_all(bytes.fromhex("06000000 00000000 00000000"), wide=False))


def test_a_length_beyond_all_transfers_is_refused() -> None:
    with pytest.raises(RemoteProtocolError, match="octets"):
        list(read_all(bytes.fromhex("65000000 00000003 00000000"), wide=False))


_FIELDS = {"B": 8, "H": 16, "I": 32}


def packets() -> st.SearchStrategy[Packet]:
    return st.sampled_from(list(redir.KINDS.values())).flatmap(_packet)


def _packet(kind: type[Packet]) -> st.SearchStrategy[Packet]:
    fields: list[st.SearchStrategy[Any]] = [st.integers(0, (1 << 32) - 1)]
    for code in _codes(kind.LAYOUT.format):
        if isinstance(code, int):
            fields.append(st.binary(min_size=code, max_size=code))
        else:
            fields.append(st.integers(0, (1 << _FIELDS[code]) - 1))
    if issubclass(kind, redir.DataPacket):
        fields.append(st.binary(max_size=300))
    return st.tuples(*fields).map(lambda values: kind(*values))


def _codes(layout: str) -> Iterator[int | str]:
    number = ""
    for char in layout.lstrip("<"):
        if char.isdigit():
            number += char
        elif char == "s":
            yield int(number)
            number = ""
        else:
            yield char


@given(st.lists(packets(), max_size=5), st.booleans())
def test_what_was_packed_is_unpacked(sent: list[Packet], wide: bool) -> None:
    narrow = [packet for packet in sent if not (wide and isinstance(packet, redir.Hello))]
    data = b"".join(octets(packet, wide=wide) for packet in narrow)
    assert [same(p) for p in read_all(data, wide=wide)] == [same(p) for p in narrow]


@given(st.binary(max_size=200), st.booleans())
def test_no_octets_do_more_than_be_refused(data: bytes, wide: bool) -> None:
    with contextlib.suppress(RemoteProtocolError):
        list(read_all(data, wide=wide))
