"""A medium rule says what can be, and its effect is a function of rule, access and luck."""

from __future__ import annotations

import errno

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rig.errors import UserError
from rig.faults.reader import parse_plan
from rig.faults.rules.medium import (
    RELEASE_AFTER_S,
    MediumAccess,
    MediumEffect,
    MediumFault,
    MediumKind,
    MediumOp,
)

WRITE = MediumAccess(MediumOp.WRITE, 100, 32)
BYTES = 32 * 512


def rule(text: str) -> MediumFault:
    plan = parse_plan(f'name = "t"\n[[fault]]\nlayer = "medium"\nnth = 1\n{text}', "t")
    (fault,) = plan.faults
    assert isinstance(fault, MediumFault)
    return fault


def effect(text: str, luck: int = 0) -> MediumEffect:
    return rule(f'op = "write"\neffect = {text}').effect(WRITE, luck)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('"error"', MediumEffect(errno.EIO)),
        ('"error"\ndelay_s = 2', MediumEffect(errno.EIO, hold_s=2.0)),
        ('"delay"\ndelay_s = 0.5', MediumEffect(0, MediumKind.DELAY, 0.5)),
        ('"hang"', MediumEffect(0, MediumKind.HANG, RELEASE_AFTER_S)),
        ('"hang"\nrelease_after_s = 3', MediumEffect(0, MediumKind.HANG, 3.0)),
        ('"torn"\ntorn_bytes = 700', MediumEffect(0, MediumKind.TORN, value=700)),
        (
            '"torn"\ntorn_bytes = 0\nerror = "EIO"',
            MediumEffect(errno.EIO, MediumKind.TORN, value=0),
        ),
        ('"lost"', MediumEffect(0, MediumKind.LOST)),
        ('"misdirected"', MediumEffect(0, MediumKind.MISDIRECTED, value=4096)),
        ('"misdirected"\nshift_blocks = -1', MediumEffect(0, MediumKind.MISDIRECTED, value=-512)),
        ('"flip"\nbit = 9', MediumEffect(0, MediumKind.FLIP, value=9)),
        ('"power-cut"', MediumEffect(errno.EIO, MediumKind.POWER_CUT)),
    ],
)
def test_an_effect_is_what_the_rule_says(text: str, expected: MediumEffect) -> None:
    assert effect(text) == expected


def test_an_error_is_the_effect_of_a_rule_that_names_none() -> None:
    assert rule('op = "write"\nerror = "EIO"').effect(WRITE, 0) == MediumEffect(errno.EIO)


@given(luck=st.integers(0, 2**64 - 1))
def test_what_a_rule_leaves_open_luck_decides_within_the_access(luck: int) -> None:
    assert 0 < effect('"torn"', luck).value < BYTES
    assert 0 <= effect('"flip"', luck).value < BYTES * 8
    assert effect('"flip"', luck) == effect('"flip"', luck)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('op = "read"\neffect = "lost"', "befalls 'write' only, not 'read'"),
        ('op = "flush"\neffect = "flip"', "befalls 'read' or 'write' only, not 'flush'"),
        ('op = "write"\neffect = "lie"', "befalls 'flush' only"),
        ('op = "write"\neffect = "lost"\nerror = "EIO"', "'error' is of no use with effect 'lost'"),
        ('op = "write"\neffect = "flip"\ntorn_bytes = 1', "'torn_bytes' is of no use"),
        ('op = "write"\nversions = 1', "'versions' is of no use with effect 'error'"),
        ('op = "write"\neffect = "delay"', "'delay_s' is missing"),
        ('op = "write"\neffect = "misdirected"\nshift_blocks = 0', "go where it belongs"),
        ('op = "write"\neffect = "hang"\nrelease_after_s = 600', "at most 120"),
        ('op = "flush"\nlba = [1, 2]', "a flush has no blocks"),
        ('op = "flush"\nspace = 4096', "a flush has no blocks"),
        ('op = "write"\neffect = "gone"', "must be one of 'error', 'delay', 'hang', 'torn'"),
    ],
)
def test_what_cannot_be_is_told(text: str, complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        rule(text)


def test_the_power_goes_at_its_moment_and_waits_for_no_access() -> None:
    (cut,) = parse_plan(BY_CLOCK, "t").faults
    assert cut.at_once
    with pytest.raises(UserError, match="'lba' is about accesses, but this rule"):
        parse_plan(BY_CLOCK + "lba = [0, 7]", "t")


BY_CLOCK = """
name = "t"
[[fault]]
layer = "medium"
op = "write"
effect = "power-cut"
at_s = 2
"""
