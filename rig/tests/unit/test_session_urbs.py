"""The last URBs of a session."""

from __future__ import annotations

import pytest

from rig.session.live.urbs import KEPT, Urbs
from rig.usb.urblog import Kind, Place, UrbEvent

MS = 1_000_000


def event(kind: Kind, urb: int, t_ns: int, **more: int) -> UrbEvent:
    return UrbEvent(kind, Place.BACK, 1, urb, endpoint=2, t_ns=t_ns, **more)


def test_an_urb_is_shown_with_what_was_asked_for_and_how_long_it_took() -> None:
    urbs = Urbs()
    urbs.feed(event(Kind.START, 5, 10 * MS, length_bytes=512), 1.0)
    urbs.feed(event(Kind.END, 5, 14 * MS, length_bytes=100, status=-71), 1.004)
    (row,) = urbs.rows
    assert (row.number, row.endpoint, row.buffer_bytes, row.actual_bytes) == (5, 2, 512, 100)
    assert row.status == "EPROTO"
    assert row.took_s == pytest.approx(0.004)
    assert row.at_s == pytest.approx(1.004)


def test_the_latency_is_of_what_ended_since_it_was_asked_last() -> None:
    urbs = Urbs()
    for number, took_ms in ((1, 2), (2, 4), (3, 30)):
        urbs.feed(event(Kind.START, number, 0), 0.0)
        urbs.feed(event(Kind.END, number, took_ms * MS), 0.0)
    median_s, longest_s = urbs.latency()
    assert median_s == pytest.approx(0.004)
    assert longest_s == pytest.approx(0.03)
    assert urbs.latency() == (None, None)


def test_an_urb_whose_start_nobody_saw_has_no_latency() -> None:
    urbs = Urbs()
    urbs.feed(event(Kind.END, 1, MS), 0.0)
    assert urbs.rows[0].took_s is None
    assert urbs.latency() == (None, None)


def test_only_the_last_urbs_are_kept() -> None:
    urbs = Urbs()
    for number in range(KEPT + 5):
        urbs.feed(event(Kind.END, number, number), 0.0)
    assert [row.number for row in urbs.rows] == list(range(5, KEPT + 5))


def test_nothing_is_shown_as_read_before_it_happened() -> None:
    urbs = Urbs()
    for read_s, t_ms in ((1.5, 1000), (2.1, 2050), (3.9, 3000)):
        urbs.feed(event(Kind.END, 1, t_ms * MS), read_s)
        assert urbs.rows[-1].at_s <= read_s
