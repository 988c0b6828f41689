"""Captures of usbmon: three formats, and what shows in them."""

from __future__ import annotations

import errno
import struct
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rig.errors import UserError
from rig.integrity.monitors.breach import Rule
from rig.integrity.monitors.capture import CaptureEvent, watch_capture
from rig.integrity.monitors.formats import CaptureReader, read_capture
from rig.usb.urb import TransferType

BULK = TransferType.BULK
EPROTO, UNLINKED = -errno.EPROTO, -errno.ECONNRESET
HEADER = "QcBBBHbbqiiIIQiiII"
"""The 64 octets of a packet (Documentation/usb/usbmon.rst)."""


def event(
    kind: str, urb: int, length: int = 512, status: int = 0, endpoint: int = 0x01, device: int = 3
) -> CaptureEvent:
    return CaptureEvent(urb, kind, BULK, 1, device, endpoint, status, length, 7_000_000_000)


def packet(one: CaptureEvent, order: str = "<") -> bytes:
    seconds, rest = divmod(one.t_ns, 1_000_000_000)
    return struct.pack(
        order + HEADER,
        one.urb,
        one.kind.encode(),
        one.transfer_type,
        one.endpoint,
        one.device,
        one.bus,
        0,
        0,
        seconds,
        rest // 1000,
        one.status,
        one.length_bytes,
        0,
        0,
        0,
        0,
        0,
        0,
    )


def pcap(*events: CaptureEvent, order: str = "<", link_type: int = 220) -> bytes:
    out = struct.pack(order + "IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, link_type)
    for one in events:
        data = packet(one, order)
        out += struct.pack(order + "IIII", 7, 0, len(data), len(data)) + data
    return out


def block(kind: int, body: bytes, order: str) -> bytes:
    length = 12 + len(body)
    return struct.pack(order + "II", kind, length) + body + struct.pack(order + "I", length)


def pcapng(*events: CaptureEvent, order: str = "<", link_type: int = 220) -> bytes:
    out = block(0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1), order)
    out += block(1, struct.pack(order + "HHI", link_type, 0, 0), order)
    for one in events:
        data = packet(one, order)
        head = struct.pack(order + "IIIII", 0, 0, 0, len(data), len(data))
        out += block(6, head + data, order)
    return out


EVENTS = st.builds(
    CaptureEvent,
    urb=st.integers(0, 2**64 - 1),
    kind=st.sampled_from("SCE"),
    transfer_type=st.sampled_from(TransferType),
    bus=st.integers(0, 2**16 - 1),
    device=st.integers(0, 127),
    endpoint=st.integers(0, 255),
    status=st.integers(-200, 0),
    length_bytes=st.integers(0, 2**32 - 1),
    t_ns=st.integers(0, 2**40).map(lambda us: us * 1000),
)


@given(st.lists(EVENTS), st.sampled_from("<>"))
def test_a_pcap_file_is_read(events: list[CaptureEvent], order: str) -> None:
    assert list(read_capture(pcap(*events, order=order))) == events


@given(st.lists(EVENTS), st.sampled_from("<>"))
def test_a_pcapng_file_is_read(events: list[CaptureEvent], order: str) -> None:
    assert list(read_capture(pcapng(*events, order=order))) == events


@given(st.binary())
def test_no_octets_bring_the_reader_to_another_error(octets: bytes) -> None:
    for head in (b"", pcap(), pcapng()):
        with suppress(UserError):
            list(read_capture(head + octets))


def test_the_text_of_usbmon_is_read() -> None:
    text = (
        b"d5ea89a0 3575914555 S Ci:1:001:0 s a3 00 0000 0003 0004 4 <\n"
        b"d5ea89a0 3575914560 C Ci:1:001:0 0 4 = 01050000\n"
        b"dd65f0e8 4128379752 S Bo:1:005:2 -115 31 = 55534243 5e000000\n"
        b"dd65f0e8 4128379808 C Bo:1:005:2 -71 0\n"
        b"ffff0000 4128379900 C Ii:1:001:1 0:2048 2 = 0400\n"
    )
    read = list(read_capture(text))
    assert read[0] == CaptureEvent(
        0xD5EA89A0, "S", TransferType.CONTROL, 1, 1, 0x80, 0, 4, 3575914555_000
    )
    assert (read[2].endpoint, read[2].length_bytes, read[2].status) == (2, 31, 0)
    assert (read[3].status, read[3].kind) == (EPROTO, "C")
    assert (read[4].transfer_type, read[4].length_bytes) == (TransferType.INTERRUPT, 2)


def test_a_setup_packet_that_was_not_captured_is_none_the_less_a_submission() -> None:
    (read,) = read_capture(b"d5ea89a0 12 S Ci:1:001:0 - __ __ ____ ____ ____ 4 <\n")
    assert (read.kind, read.length_bytes) == ("S", 4)


@pytest.mark.parametrize("make", [pcap, pcapng])
def test_a_capture_of_a_network_is_refused(make: object) -> None:
    assert callable(make)
    with pytest.raises(UserError, match="link type 1"):
        list(read_capture(make(link_type=1)))


def rules(*events: CaptureEvent, window: int | None = None) -> list[Rule]:
    return [breach.rule for breach in watch_capture(events, window)]


def test_a_calm_capture_breaks_nothing() -> None:
    assert not rules(event("S", 1), event("S", 2), event("C", 1), event("C", 2), event("S", 1))


def test_what_began_before_the_capture_breaks_nothing() -> None:
    assert not rules(event("C", 1), event("S", 2))


def test_a_refused_submission_is_no_completion_out_of_order() -> None:
    assert not rules(event("S", 1), event("S", 2), event("E", 2), event("C", 1))


def test_a_second_completion_is_told() -> None:
    assert rules(event("S", 1), event("C", 1), event("C", 1)) == [Rule.ONE_COMPLETION]


def test_a_second_submission_is_told() -> None:
    assert rules(event("S", 1), event("S", 1)) == [Rule.ONE_COMPLETION]


def test_an_urb_that_overtakes_another_is_told() -> None:
    events = event("S", 1), event("S", 2), event("C", 2), event("C", 1)
    assert rules(*events) == [Rule.ORDER]


def test_an_urb_of_another_device_is_not_in_the_way() -> None:
    assert not rules(event("S", 1), event("S", 2, device=4), event("C", 2, device=4))


def test_more_than_was_asked_for_is_told() -> None:
    assert rules(event("S", 1, 512), event("C", 1, 513)) == [Rule.LENGTH]


def test_the_window_is_watched_if_it_is_known() -> None:
    events = event("S", 1), event("S", 2)
    assert rules(*events, window=1) == [Rule.WINDOW]
    assert not rules(*events)


def test_an_unlinked_urb_that_moved_data_behind_a_failed_one_is_told() -> None:
    events = [event("S", 1), event("S", 2), event("C", 1, 0, EPROTO)]
    assert rules(*events, event("C", 2, 512, UNLINKED)) == [Rule.BEHIND]
    assert not rules(*events, event("C", 2, 0, UNLINKED))


def test_an_unlinked_urb_that_moved_data_behind_none_is_well() -> None:
    assert not rules(event("S", 1), event("C", 1, 100, UNLINKED))


GROWING = b"""\
ffff88 100 S Bo:1:003:1 -115 31 = 55534243 01000000
ffff88 200 C Bo:1:003:1 0 31 >

ffff89 300 S Co:1:003:0 s 02 01 0000 0001 0000 0
ffff89 400 C Co:1:003:0 -71 0"""


@given(st.sampled_from(["pcap", "pcapng", "text"]), st.lists(st.integers(0, 2000), max_size=9))
def test_a_capture_that_grows_is_read_as_when_it_is_whole(kind: str, cuts: list[int]) -> None:
    traffic = [event("S", 1), event("C", 1), event("S", 2), event("C", 2)]
    octets = {"pcap": pcap(*traffic), "pcapng": pcapng(*traffic), "text": GROWING}[kind]
    places = sorted(min(cut, len(octets)) for cut in cuts)
    reader = CaptureReader()
    events: list[CaptureEvent] = []
    for first, behind in zip([0, *places], [*places, len(octets)], strict=True):
        events += reader.feed(octets[first:behind])
    assert [*events, *reader.finish()] == list(read_capture(octets)) != []


@pytest.mark.parametrize("whole", [pcap(), pcapng()])
def test_a_capture_that_ends_in_its_header_is_cut(whole: bytes) -> None:
    for length in range(4, 24):
        with pytest.raises(UserError, match=f"cut: it ends after {length} octets"):
            list(read_capture(whole[:length]))
    assert list(read_capture(whole)) == []
