"""usbmon's events become those of a log of URBs."""

from __future__ import annotations

import struct

from hypothesis import given
from hypothesis import strategies as st

from rig.experiments.explain.commands import commands_of
from rig.integrity.monitors.run import watch
from rig.usb.bot import synchronize_cache_10, write_10
from rig.usb.urb import TransferType
from rig.usb.urblog import Kind, Place, UrbEvent
from rig.usb.usbmon import PACKET_BYTES, Translator

OUT, IN = 0x02, 0x81
BULK = TransferType.BULK


def packet(
    tag: int, kind: bytes, length: int = 0, endpoint: int = OUT, status: int = 0, **of: int
) -> bytes:
    """64 octets, as Documentation/usb/usbmon.rst has them."""
    transfer, captured = of.get("transfer", BULK), of.get("captured", 0)
    return struct.pack(
        "=QcBBBHbbqiiII24x",
        *(tag, kind, transfer, endpoint, 5, 3, 0, 0, 7, 9, status, length, captured),
    )


def command(translator: Translator, tag: int, wrapper: bytes) -> list[UrbEvent]:
    """A command block wrapper goes out."""
    begun = translator.take(packet(tag, b"S", 31, captured=31), wrapper)
    return [*begun, *translator.take(packet(tag, b"C", 31), b"")]


def data(translator: Translator, tag: int, length: int, status: int = 0) -> list[UrbEvent]:
    begun = translator.take(packet(tag, b"S", length), bytes(31))
    return [*begun, *translator.take(packet(tag, b"C", length, status=status), b"")]


def test_a_packet_has_its_size() -> None:
    assert len(packet(1, b"S")) == PACKET_BYTES


def test_what_is_submitted_runs_and_what_has_ended_is_given_back() -> None:
    events = data(Translator(), 0xFFFF8880_00000000, 4096, -71)
    assert [event.kind for event in events] == [
        *(Kind.SUBMIT, Kind.START, Kind.END, Kind.GIVEBACK),
    ]
    assert {(e.place, e.device, e.urb, e.endpoint) for e in events} == {
        (Place.BACK, 3 << 16 | 5, 1, OUT)
    }
    assert [e.status for e in events] == [0, 0, -71, -71]
    assert {e.t_ns for e in events} == {7_000_009_000}


def test_a_tag_that_is_used_again_is_another_urb() -> None:
    translator = Translator()
    urbs = [data(translator, 1, 512)[0].urb for _ in range(3)]
    assert urbs == [1, 2, 3]


def test_a_wrapper_tells_its_command() -> None:
    event = command(Translator(), 1, write_10(9, 77, 8))[0]
    assert (event.opcode, event.lba) == (0x2A, 77)


def test_data_that_begin_as_a_wrapper_are_none() -> None:
    event = Translator().take(packet(1, b"S", 512, captured=31), write_10(9, 77, 8))[0]
    assert event.opcode is None


def test_what_was_refused_has_moved_nothing() -> None:
    translator = Translator()
    translator.take(packet(1, b"S", 512), b"")
    ended = translator.take(packet(1, b"E", 512, status=-19), b"")[0]
    assert (ended.kind, ended.status, ended.length_bytes) == (Kind.END, -19, 0)


def test_what_was_submitted_before_the_log_began_is_left_out() -> None:
    assert Translator().take(packet(1, b"C", 512), b"") == []


def test_other_transfers_are_left_out() -> None:
    assert Translator().take(packet(1, b"S", transfer=TransferType.CONTROL), b"") == []


def test_commands_are_found_in_it_with_their_data() -> None:
    translator = Translator()
    events = command(translator, 1, write_10(9, 77, 8))
    events += data(translator, 2, 4096)
    events += translator.take(packet(3, b"S", 13, IN), b"")
    events += command(translator, 1, synchronize_cache_10(10))
    write, flush = commands_of(events)
    assert (write.lba, [piece.urb for piece in write.pieces], write.status_urb) == (77, [2], 3)
    assert flush.opcode == 0x35


@given(st.lists(st.tuples(st.sampled_from([b"S", b"C"]), st.integers(1, 3)), max_size=30))
def test_an_urb_ends_at_most_once_whatever_comes(told: list[tuple[bytes, int]]) -> None:
    translator = Translator()
    events = [e for kind, tag in told for e in translator.take(packet(tag, kind, 512), b"")]
    ended = [event.urb for event in events if event.kind is Kind.END]
    assert len(ended) == len(set(ended))


def test_the_monitors_find_nothing_in_good_traffic() -> None:
    translator = Translator()
    events = [e for tag in (1, 2, 1) for e in data(translator, tag, 512)]
    assert not watch(events)
