from __future__ import annotations

import contextlib
import typing

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rig.errors import LocalProtocolError, RemoteProtocolError
from rig.splitdriver.messages import (
    Capability,
    Complete,
    Hello,
    Message,
    Ping,
    Refused,
    Reset,
    Resume,
    Role,
    Submit,
    device_number,
    port_of,
)
from rig.splitdriver.policy import Policy
from rig.splitdriver.wire import (
    HEADER,
    MAX_FRAME_BYTES,
    MAX_TEXT_BYTES,
    FrameReader,
    FrameType,
    encode,
)
from rig.tests.harness.frames import GOLDEN, MESSAGES, feed, octets_of
from rig.usb.urb import MAX_TRANSFER_BYTES, TransferFlags


def read(octets: bytes) -> list[Message]:
    return feed(FrameReader(), octets)


def frame(frame_type: int, body: bytes, device: int = 3) -> bytes:
    return HEADER.pack(len(body), frame_type << 24 | device) + body


@pytest.mark.parametrize("name", GOLDEN)
def test_every_message_has_its_golden_octets(name: str) -> None:
    message, octets = GOLDEN[name]
    assert octets_of([message]) == bytes.fromhex(octets)
    assert read(bytes.fromhex(octets)) == [message]


def test_every_type_of_frame_and_message_has_a_golden_vector() -> None:
    assert set(GOLDEN) == set(FrameType.__members__)
    assert {type(message) for message, _ in GOLDEN.values()} == set(typing.get_args(Message))


@given(st.lists(MESSAGES, max_size=5))
def test_what_is_sent_is_what_is_read(messages: list[Message]) -> None:
    assert read(octets_of(messages)) == messages


@given(st.lists(MESSAGES, min_size=1, max_size=5), st.data())
def test_any_split_of_the_stream_gives_the_same_messages(
    messages: list[Message], data: st.DataObject
) -> None:
    octets = octets_of(messages)
    reader = FrameReader()
    seen: list[Message] = []
    while octets:
        count = data.draw(st.integers(1, len(octets)))
        seen += feed(reader, octets[:count])
        octets = octets[count:]
    assert seen == messages


def test_a_message_is_returned_with_its_last_octet_and_not_before() -> None:
    octets = octets_of([Ping(1)])
    reader = FrameReader()
    assert [feed(reader, bytes([octet])) for octet in octets[:-1]] == [[]] * (len(octets) - 1)
    assert feed(reader, octets[-1:]) == [Ping(1)]


@given(st.binary(max_size=300))
@example(bytes(8))
@example(b"\xff" * 64)
def test_random_octets_raise_nothing_but_remote_protocol_errors(octets: bytes) -> None:
    with contextlib.suppress(RemoteProtocolError):
        read(octets)


@given(st.integers(0, 20), st.binary(max_size=64))
def test_random_bodies_raise_nothing_but_remote_protocol_errors(kind: int, body: bytes) -> None:
    with contextlib.suppress(RemoteProtocolError):
        read(frame(kind, body))


def test_an_unknown_type_is_named() -> None:
    with pytest.raises(RemoteProtocolError, match="unknown type 14"):
        read(frame(14, b""))


def test_the_largest_transfer_fits_a_frame() -> None:
    data = bytes(range(256)) * (MAX_TRANSFER_BYTES // 256)
    submit = Submit(1, 2, 0x01, TransferFlags.NONE, len(data), bytes(8), data)
    complete = Complete(1, 2, 0, len(data), 0, False, data)
    assert read(octets_of([submit, complete])) == [submit, complete]


def test_a_frame_over_the_limit_is_refused_by_its_header_alone() -> None:
    with pytest.raises(RemoteProtocolError, match=f"over {MAX_FRAME_BYTES}"):
        read(HEADER.pack(MAX_FRAME_BYTES + 1, FrameType.SUBMIT << 24))


def test_a_frame_at_the_limit_is_waited_for() -> None:
    assert read(HEADER.pack(MAX_FRAME_BYTES, FrameType.SUBMIT << 24)) == []


def test_views_stay_valid_when_more_is_received() -> None:
    reader = FrameReader()
    kept = []
    for number in range(40):
        data = bytes([number]) * 50_000
        kept += feed(reader, octets_of([Complete(1, number, 0, len(data), data=data)]))
    for message in kept:
        assert isinstance(message, Complete)
        assert bytes(message.data) == bytes([message.urb_id]) * 50_000


def test_received_data_are_writable_views_without_a_copy() -> None:
    (message,) = read(octets_of([Submit(1, 2, 1, TransferFlags.NONE, 4, bytes(8), b"data")]))
    assert isinstance(message, Submit)
    assert isinstance(message.data, memoryview)
    assert not message.data.readonly


def test_an_urb_without_data_keeps_no_receive_buffer() -> None:
    (message,) = read(octets_of([Submit(1, 2, 0x81, TransferFlags.NONE, 512, bytes(8))]))
    assert isinstance(message, Submit)
    assert not isinstance(message.data, memoryview)


def test_sent_data_are_not_copied() -> None:
    data = bytearray(b"data")
    _, sent = encode(Submit(1, 2, 1, TransferFlags.NONE, 4, bytes(8), data))
    assert sent is data


@pytest.mark.parametrize(
    ("kind", "body", "complaint"),
    [
        ("HELLO", "52494701 01 0002 0002 00000000 01", "does not begin with RIG"),
        ("HELLO", "52494700 03 0002 0002 00000000 01", "3 is not a valid Role"),
        ("HELLO", "52494700 01 0003 0002 00000000 01", "versions go from 3 to 2"),
        ("HELLO", "52494700 01 0002 0002 00000000 01 ff", "utf-8"),
        ("HELLO", "52494700 01 0001 66726f6e74", "requires a buffer"),  # of version 1
        ("HELLO", "524947", "requires a buffer"),
        ("REFUSED", "20" * (MAX_TEXT_BYTES + 1), f"over {MAX_TEXT_BYTES}"),
        ("PING", "00", "requires a buffer of 8"),
        ("PONG", "00" * 9, "requires a buffer of 8"),
        ("CONNECT", "07", "7 is not a valid Speed"),
        ("DISCONNECT", "00", "1 octets too many"),
        ("SUBMIT", "00000029 81 00 0000 00400001 0000000000000000", "over 4194304"),
        ("SUBMIT", "00000029 01 00 0000 00000004 0000000000000000 dead", "2 octets of data, 4"),
        ("SUBMIT", "00000029 81 00 0000 00000001 0000000000000000 de", "1 octets of data, 0"),
        ("UNLINK", "00000029", "requires a buffer of 5"),
        ("COMPLETE", "00000029 00000001 00000000 00000000 00", "status 1 is positive"),
        ("COMPLETE", "00000029 00000000 00000002 00000000 00 ca", "1 octets of data, 2 moved"),
        ("RESUME", "81", "requires a buffer of 5"),
        ("RESET", "00", "1 octets too many"),
        ("RESET_DONE", "00000001", "status 1 is positive"),
    ],
)
def test_a_malformed_body_is_named_with_what_is_wrong(kind: str, body: str, complaint: str) -> None:
    with pytest.raises(RemoteProtocolError, match=f"A {kind} frame is malformed: .*{complaint}"):
        read(frame(FrameType[kind], bytes.fromhex(body)))


def test_reserved_bits_are_ignored() -> None:
    body = "00000029 81 fe ffff 00000000 0000000000000000"
    (message,) = read(frame(FrameType.SUBMIT, bytes.fromhex(body)))
    assert isinstance(message, Submit)
    assert int(message.flags) == 0x01 | 0x40
    assert not message.clear


def test_the_mark_clear_is_bit_0_of_its_octet() -> None:
    body = "00000029 81 01 0000 00000000 0000000000000000"
    (message,) = read(frame(FrameType.SUBMIT, bytes.fromhex(body)))
    assert isinstance(message, Submit)
    assert message.clear


def test_capabilities_that_are_not_known_are_dropped() -> None:
    body = "52494700 01 0002 0009 fffffffa 02"
    (message,) = read(frame(FrameType.HELLO, bytes.fromhex(body), 0))
    assert message == Hello(
        Role.FRONT, Policy.ACA, "", 2, 9, Capability.PORT_RESET | Capability.IN_ORDER
    )


@pytest.mark.parametrize("policy", Policy)
def test_every_policy_has_its_octet(policy: Policy) -> None:
    assert read(octets_of([Hello(Role.BACK, policy, "x")])) == [Hello(Role.BACK, policy, "x")]


def test_a_policy_that_is_not_known_is_carried_by_its_number() -> None:
    hello = Hello(Role.BACK, 4, "x")
    assert read(octets_of([hello])) == [hello]


@pytest.mark.parametrize(("port", "plug"), [(0, 1), (1, 1), (255, 65535)])
def test_the_header_carries_the_port_and_the_plug_of_a_device(port: int, plug: int) -> None:
    octets = octets_of([Reset(device_number(port, plug))])
    assert octets[5:8] == bytes([port]) + plug.to_bytes(2, "big")
    assert read(octets) == [Reset(device_number(port, plug))]
    assert port_of(device_number(port, plug)) == port


@pytest.mark.parametrize(
    "message",
    [
        Resume(1, 256, 0),
        Resume(1 << 24, 1, 0),
        Resume(-1, 1, 0),
        Ping(-1),
        Hello(Role.FRONT, Policy.HOLD, "", newest=1 << 16),
    ],
)
def test_a_field_that_does_not_fit_is_our_own_fault(message: Message) -> None:
    with pytest.raises(LocalProtocolError, match="cannot be sent"):
        encode(message)


def test_a_long_text_is_cut_between_characters() -> None:
    (message,) = read(octets_of([Refused("x" + "ä" * MAX_TEXT_BYTES)]))
    assert message == Refused("x" + "ä" * ((MAX_TEXT_BYTES - 1) // 2))


def test_a_frame_with_another_seal_is_none_of_this_connections() -> None:
    sealed = octets_of([Ping(1), Ping(2)], b"seal")
    assert feed(FrameReader(b"seal"), sealed) == [Ping(1), Ping(2)]
    with pytest.raises(RemoteProtocolError, match="lacks its seal"):
        feed(FrameReader(b"SEAL"), sealed)


def test_a_reader_is_idle_where_no_frame_is_half_received() -> None:
    octets = octets_of([Ping(7)])
    reader = FrameReader()
    assert reader.idle
    assert feed(reader, octets[:9]) == []
    assert not reader.idle
    assert feed(reader, octets[9:]) == [Ping(7)]
    assert reader.idle


@given(st.integers(0, 48), st.integers(0, 48))
def test_what_a_lane_has_left_is_read_before_what_comes(first: int, second: int) -> None:
    octets = octets_of([Ping(1), Ping(2), Ping(3)])
    reader = FrameReader()
    first, second = sorted((first, second))
    reader.take_back(octets[:first])
    messages = reader.received(0)
    reader.take_back(octets[first:second])
    messages += reader.received(0)
    assert messages + feed(reader, octets[second:]) == [Ping(1), Ping(2), Ping(3)]
