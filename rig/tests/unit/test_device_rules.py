"""Rules of the device layer: which commands they are about, and what they must not say."""

from __future__ import annotations

import pytest

from rig.errors import UserError
from rig.faults.reader import parse_plan
from rig.faults.rules.device import (
    LONGEST_NAK_S,
    DeviceEffect,
    DeviceFault,
    DeviceKind,
    DeviceRequest,
)
from rig.faults.triggers import Injector
from rig.usb.urb import Direction

READ = DeviceRequest(0x28, 4096, Direction.IN, lba=100, blocks=8)
WRITE = DeviceRequest(0x2A, 4096, Direction.OUT, lba=100, blocks=8)
READY = DeviceRequest(0x00)


def rule(keys: str) -> DeviceFault:
    text = f'name = "p"\n[[fault]]\nlayer = "device"\nname = "r"\n{keys}'
    (fault,) = parse_plan(text, "p.toml").rules(DeviceFault)
    return fault


@pytest.mark.parametrize(
    ("keys", "matching"),
    [
        ('effect = "csw-tag"', [READ, WRITE, READY]),
        ('effect = "csw-tag"\nopcode = 0x28', [READ]),
        ('effect = "csw-tag"\nopcode = 0', [READY]),
        ('effect = "csw-tag"\ndirection = "out"', [WRITE]),
        ('effect = "csw-tag"\nlba = [107, 200]', [READ, WRITE]),
        ('effect = "csw-tag"\nlba = [108, 200]', []),
        ('effect = "csw-tag"\nlba = [0, 99]', []),
        ('effect = "stall"', [READ, WRITE]),
        ('effect = "short"', [READ]),
        ('effect = "extra"', [READ]),
        ('effect = "unbind"', [READ, WRITE, READY]),
    ],
)
def test_a_rule_is_about_the_commands_that_it_names(
    keys: str, matching: list[DeviceRequest]
) -> None:
    fault = rule(f"{keys}\nnth = 1")
    assert [request for request in (READ, WRITE, READY) if fault.matches(request)] == matching


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ('effect = "csw-tag"\nnth = 1\nfor_s = 1', "'for_s' is of no use with 'effect' 'csw-tag'"),
        ('effect = "csw-tag"\nnth = 1\nat_bytes = 1', "'at_bytes' is of no use"),
        ('effect = "nak"\nnth = 1\nsense = [3, 17, 0]', "'sense' is of no use"),
        ('effect = "stall"\nnth = 1\nresidue_bytes = 1', "'residue_bytes' is of no use"),
        ('effect = "sense"\nnth = 1', "needs a 'sense'"),
        ('effect = "short"\nnth = 1\ndirection = "out"', "the direction is 'out'"),
        ('effect = "csw-short"\nnth = 1\nat_bytes = 13', "a whole status has 13"),
        ('effect = "stall"\nnth = 1\nlba = [9, 8]', "before it begins at 9"),
        ('effect = "eject"\nat_s = 1\nopcode = 40', "fires by the clock alone"),
        ('effect = "unbind"\nat_s = 1\ntimes = 2', "fires by the clock alone"),
        ('effect = "sense"\nnth = 1\nsense = [16, 0, 0]', "three whole numbers, "),
        ('effect = "sense"\nnth = 1\nsense = [3, 0]', "three whole numbers, "),
        ('effect = "dance"\nnth = 1', "one of 'stall', 'short'"),
    ],
)
def test_what_contradicts_itself_is_refused(keys: str, said: str) -> None:
    with pytest.raises(UserError, match=said.replace("[", r"\[")):
        rule(keys)


@pytest.mark.parametrize(
    ("effect", "at_once"), [("eject", True), ("unbind", True), ("csw-tag", False), ("nak", False)]
)
def test_an_answer_waits_for_a_command_where_a_moment_does_not(effect: str, at_once: bool) -> None:
    assert rule(f'effect = "{effect}"\nat_s = 1.5').at_once is at_once
    assert not rule(f'effect = "{effect}"\nnth = 1').at_once


def test_an_answer_by_the_clock_is_given_to_the_first_command_from_then_on() -> None:
    plan = parse_plan(
        'name = "p"\n[[fault]]\nlayer = "device"\neffect = "csw-tag"\nat_s = 2\nphase = "write"',
        "p.toml",
    )
    now = [10.0]
    injector = Injector(plan, DeviceFault, lambda: now[0])
    injector.set_phase("write")
    now[0] = 11.9
    assert injector.ask(READ) is None
    now[0] = 12.0
    assert injector.ask(READ) is not None
    assert injector.ask(READ) is None


def test_an_effect_carries_the_rules_keys() -> None:
    fault = rule('effect = "stall"\nnth = 1\nopcode = 0x2a\nat_bytes = 512\nsense = [11, 8, 0]')
    assert fault.effect(WRITE, 0) == DeviceEffect(DeviceKind.STALL, at_bytes=512, sense=(11, 8, 0))


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ('effect = "csw-tag"\nnth = 1', "SCSI commands: the status has a wrong tag"),
        (
            'effect = "stall"\nnth = 1\nopcode = 0x2a\nlba = [8, 15]\nat_bytes = 512',
            "SCSI command 0x2a at LBA 8 to 15: the endpoint of the data is halted after 512 bytes",
        ),
        (
            'effect = "sense"\nnth = 1\ndirection = "in"\nsense = [11, 0x47, 1]',
            "SCSI commands with data in: not carried out: CHECK CONDITION, with sense 0B/47/01",
        ),
        (
            'effect = "csw-residue"\nnth = 1',
            "SCSI commands: the status tells a wrong residue: all",
        ),
        ('effect = "unbind"\nat_s = 1', "the gadget is unbound from its UDC for ever"),
        (
            'effect = "nak"\nnth = 1\nfor_s = 2.5',
            "SCSI commands: nothing is answered after about half of the data for 2.5 s",
        ),
    ],
)
def test_a_rule_is_told_in_words(keys: str, words: str) -> None:
    assert rule(keys).words() == words


def test_a_nak_without_an_end_has_one_beyond_the_hosts_time() -> None:
    fault = rule('effect = "nak"\nnth = 1')
    assert fault.effect(READ, 0) == DeviceEffect(DeviceKind.NAK, for_s=LONGEST_NAK_S)
    assert rule('effect = "nak"\nfor_s = 2\nnth = 1').effect(READ, 0).for_s == 2.0
    assert rule('effect = "unbind"\nnth = 1').effect(READ, 0).for_s is None
