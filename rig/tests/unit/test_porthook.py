from __future__ import annotations

import errno

import pytest

from rig.faults.rules.endpoint import EndpointEffect, When
from rig.splitdriver.porthook import Altered, alter


def run_bytes(when: When, buffer_bytes: int, max_packet_bytes: int = 512) -> int | None:
    altered = alter(EndpointEffect(when, -errno.EPROTO), buffer_bytes, max_packet_bytes)
    assert altered.status == -errno.EPROTO
    return altered.run_bytes


def test_before_the_data_the_controller_hears_nothing() -> None:
    assert run_bytes(When.BEFORE, 4096) is None


def test_after_the_data_all_of_them_moved() -> None:
    assert run_bytes(When.AFTER, 4096) == 4096


def test_an_empty_transfer_fails_after_the_controller_had_it() -> None:
    assert run_bytes(When.AFTER, 0) == 0


@pytest.mark.parametrize(
    ("buffer_bytes", "half_bytes"),
    [(4096, 2048), (1536, 512), (1024, 512), (1000, None), (512, None), (31, None), (0, None)],
)
def test_in_the_middle_half_of_the_packets_moved(buffer_bytes: int, half_bytes: int | None) -> None:
    assert run_bytes(When.MIDDLE, buffer_bytes) == half_bytes


@pytest.mark.parametrize(
    ("at_bytes", "moved_bytes"), [(0, None), (511, None), (512, 512), (1500, 1024), (9999, 4096)]
)
def test_bytes_are_rounded_down_to_packets_and_are_no_more_than_there_are(
    at_bytes: int, moved_bytes: int | None
) -> None:
    effect = EndpointEffect(When.MIDDLE, -errno.EPROTO, at_bytes)
    assert alter(effect, 4096, 512) == Altered(moved_bytes, -errno.EPROTO)


def test_an_endpoint_without_a_packet_size_moves_nothing_in_the_middle() -> None:
    effect = EndpointEffect(When.MIDDLE, -errno.EPROTO)
    assert alter(effect, 4096, 0) == Altered(None, -errno.EPROTO)


def test_what_is_answered_nak_runs_whole_and_does_not_fail() -> None:
    effect = EndpointEffect(When.AFTER, 0, nak_s=2.5)
    assert alter(effect, 4096, 512) == Altered(4096, 0, nak_s=2.5)


@pytest.mark.parametrize("when", list(When))
def test_a_halt_stays_one(when: When) -> None:
    assert alter(EndpointEffect(when, -errno.EPIPE, halt=True), 4096, 512).halt
    assert alter(EndpointEffect(when, -errno.EPIPE, 1024, halt=True), 4096, 512).halt
    assert not alter(EndpointEffect(when, -errno.EPIPE), 4096, 512).halt
