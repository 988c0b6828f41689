"""What a link rule may say, what it matches, and what it makes happen."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rig.errors import UserError
from rig.faults.reader import parse_plan
from rig.faults.rules.link import (
    LONGEST_HOLD_S,
    LinkEffect,
    LinkEnd,
    LinkFault,
    LinkKind,
    LinkPiece,
    Way,
)


def rule(text: str) -> LinkFault:
    """Read one rule."""
    plan = parse_plan(f'name = "x"\n[[fault]]\nlayer = "link"\n{text}', "x.toml")
    (found,) = plan.rules(LinkFault)
    return found


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('effect = "delay"\nnth = 1', "'effect' 'delay' needs 'delay_ms'"),
        ('effect = "jitter"\nnth = 1', "'effect' 'jitter' needs 'delay_ms'"),
        ('effect = "bandwidth"\nnth = 1', "'effect' 'bandwidth' needs 'bytes_per_s'"),
        ('effect = "stall"\nnth = 1', "'effect' 'stall' needs 'for_s'"),
        ('effect = "half-open"\nnth = 1', "'effect' 'half-open' needs 'end'"),
        ('effect = "cut"\nfor_s = 1\nnth = 1', "'for_s' is of no use"),
        ('effect = "cut"\nend = "front"\nnth = 1', "'end' is of no use"),
        ('effect = "stall"\nfor_s = 1\nreset = true\nnth = 1', "'reset' is of no use"),
        ('effect = "duplicate"\nat_bytes = 1\nnth = 1', "'at_bytes' is of no use"),
        ('effect = "reorder"\noffset = 1\nnth = 1', "'offset' is of no use"),
        ('effect = "cut"\nat_bytes = 1\noffset = 1\nnth = 1', "exclude each other"),
        ('effect = "cut"\nat_bytes = 1\nat_s = 1', "'at_bytes' is about a piece"),
        ('effect = "cut"\nway = "to-back"\nat_s = 1', "'way' is of no use"),
        ('effect = "cut"\noffset = 1\nnth = 1', "'offset' counts octets of one way"),
        ('effect = "cut"', "would never fire"),
    ],
)
def test_what_contradicts_itself_is_refused(text: str, said: str) -> None:
    with pytest.raises(UserError, match="fault 1") as refused:
        rule(text)
    assert said in str(refused.value)


def test_a_rule_by_the_clock_waits_for_a_piece_only_if_one_must_suffer() -> None:
    assert rule('effect = "cut"\nat_s = 1').at_once
    assert rule('effect = "delay"\ndelay_ms = 5\nat_s = 1').at_once
    assert not rule('effect = "reorder"\nat_s = 1').at_once
    assert not rule('effect = "cut"\nnth = 1').at_once


def test_a_way_matches_its_own_pieces() -> None:
    found = rule('effect = "duplicate"\nway = "to-back"\nnth = 1')
    assert found.matches(LinkPiece(Way.TO_BACK, 8))
    assert not found.matches(LinkPiece(Way.TO_FRONT, 8))


@given(st.integers(0, 100), st.integers(1, 100), st.integers(0, 200))
def test_an_offset_picks_the_piece_with_that_octet(begin: int, length: int, offset: int) -> None:
    found = rule(f'effect = "cut"\nway = "to-back"\noffset = {offset}\nnth = 1')
    piece = LinkPiece(Way.TO_BACK, length, begin)

    assert found.matches(piece) is (offset in range(begin, begin + length))
    if found.matches(piece):
        assert begin + found.effect(piece, 0).at_bytes == offset


def test_a_piece_that_is_shorter_than_at_bytes_is_passed_whole() -> None:
    effect = rule('effect = "cut"\nat_bytes = 100\nnth = 1').effect(LinkPiece(Way.TO_BACK, 8), 0)
    assert effect.at_bytes == 8


@pytest.mark.parametrize("text", ['effect = "partition"', 'effect = "half-open"\nend = "back"'])
def test_what_stands_still_has_a_deadline(text: str) -> None:
    assert rule(f"{text}\nnth = 1").effect(None, 0).for_s == LONGEST_HOLD_S


def test_an_effect_says_all_that_the_relay_must_know() -> None:
    found = rule('effect = "half-open"\nend = "back"\nreset = true\nfor_s = 2\nat_s = 1')
    assert found.effect(None, 9) == LinkEffect(
        LinkKind.HALF_OPEN, Way.BOTH, 2.0, end=LinkEnd.BACK, reset=True, luck=9
    )
