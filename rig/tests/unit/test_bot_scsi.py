"""The bulk-only disk's logical unit: what a host learns from it, octet for octet."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rig.gadget.bot.scsi import (
    INVALID_FIELD,
    INVALID_OPCODE,
    LBA_OUT_OF_RANGE,
    MEDIUM_CHANGED,
    MEDIUM_NOT_PRESENT,
    NO_SUCH_UNIT,
    RESET_OCCURRED,
    Flush,
    Give,
    Nothing,
    Read,
    Refuse,
    Unit,
    Verify,
    Write,
)
from rig.usb.bot import SenseData

BLOCKS = 0x10000
INQUIRY = bytes((0x12, 0, 0, 0, 36, 0))
READY = bytes(6)
REQUEST_SENSE = bytes((0x03, 0, 0, 0, 18, 0))


@pytest.fixture
def unit() -> Unit:
    return Unit(BLOCKS, "Rig     Store           0001", removable=True)


def given_octets(unit: Unit, command: str) -> bytes:
    task = unit.task(0, bytes.fromhex(command))
    assert isinstance(task, Give)
    return task.octets


@pytest.mark.parametrize(
    ("command", "octets"),
    [
        ("12 00 00 0024 00", b"\x00\x80\x04\x02\x1f\0\0\0Rig     Store           0001"),
        ("12 00 00 0005 00", b"\x00\x80\x04\x02\x1f"),
        ("25 00 00000000 0000 00 00", bytes.fromhex("0000ffff 00000200")),
        (
            "9e 10 0000000000000000 00000020 00 00",
            bytes.fromhex("000000000000ffff 00000200") + bytes(20),
        ),
        ("9e 10 0000000000000000 0000000c 00 00", bytes.fromhex("000000000000ffff 00000200")),
        ("1a 00 3f 00 c0 00", bytes.fromhex("0f 00 10 00 08 0a 04") + bytes(9)),
        ("1a 00 08 00 04 00", bytes.fromhex("0f 00 10 00")),
        ("1a 00 48 00 c0 00", bytes.fromhex("0f 00 10 00 08 0a 00") + bytes(9)),
        ("5a 00 08 00 000000 00c0 00", bytes.fromhex("0012 00 10 00000000 08 0a 04") + bytes(9)),
        ("a0 00 00 000000 00000010 00 00", bytes.fromhex("00000008 00000000") + bytes(8)),
        ("03 00 00 00 12 00", bytes.fromhex("70 00 00 00000000 0a") + bytes(10)),
    ],
)
def test_what_a_command_gives_is_as_the_standards_have_it(
    unit: Unit, command: str, octets: bytes
) -> None:
    assert given_octets(unit, command) == octets


@pytest.mark.parametrize(
    ("command", "task"),
    [
        ("00 00 00 00 00 00", Nothing()),
        ("1e 00 00 00 01 00", Nothing()),
        ("1b 00 00 00 01 00", Nothing()),
        ("28 00 00000102 00 0003 00", Read(0x102, 3)),
        ("2a 00 00000102 00 0003 00", Write(0x102, 3)),
        ("2a 08 00000102 00 0003 00", Write(0x102, 3, force=True)),
        ("88 00 0000000000000102 00000003 00 00", Read(0x102, 3)),
        ("8a 08 0000000000000102 00000003 00 00", Write(0x102, 3, force=True)),
        ("2f 00 00000102 00 0003 00", Verify(0x102, 3)),
        ("8f 00 0000000000000102 00000003 00 00", Verify(0x102, 3)),
        ("35 00 00000000 00 0000 00", Flush()),
        ("91 00 0000000000000000 00000000 00 00", Flush()),
        ("28 00 0000ffff 00 0001 00", Read(0xFFFF, 1)),
        ("28 00 00010000 00 0000 00", Nothing()),
        ("28 00 0000ffff 00 0002 00", Refuse(LBA_OUT_OF_RANGE)),
        ("2a 00 00010000 00 0001 00", Refuse(LBA_OUT_OF_RANGE)),
        ("88 00 ffffffffffffffff 00000001 00 00", Refuse(LBA_OUT_OF_RANGE)),
        ("2f 02 00000000 00 0001 00", Refuse(INVALID_FIELD)),
        ("12 01 80 0024 00", Refuse(INVALID_FIELD)),
        ("1a 00 1c 00 c0 00", Refuse(INVALID_FIELD)),
        ("1a 00 c8 00 c0 00", Refuse(INVALID_FIELD)),
        ("9e 12 0000000000000000 00000020 00 00", Refuse(INVALID_FIELD)),
        ("28 00 00", Refuse(INVALID_FIELD)),
        ("85 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00", Refuse(INVALID_OPCODE)),
        ("ff", Refuse(INVALID_OPCODE)),
    ],
)
def test_a_command_becomes_a_task(unit: Unit, command: str, task: object) -> None:
    assert unit.task(0, bytes.fromhex(command)) == task


def test_a_reset_is_told_to_the_next_command_once(unit: Unit) -> None:
    unit.was_reset()
    assert isinstance(unit.task(0, INQUIRY), Give)
    assert unit.task(0, READY) == Refuse(RESET_OCCURRED)
    assert unit.task(0, READY) == Nothing()


def test_request_sense_tells_a_unit_attention_too(unit: Unit) -> None:
    unit.was_reset()
    assert given_octets(unit, REQUEST_SENSE.hex())[2::10] == bytes((6, 0x29))
    assert unit.task(0, READY) == Nothing()


def test_a_medium_that_was_taken_out_is_not_present_until_it_is_in_again(unit: Unit) -> None:
    unit.eject()
    assert unit.task(0, READY) == Refuse(MEDIUM_NOT_PRESENT)
    assert unit.task(0, bytes.fromhex("28 00 00000000 00 0001 00")) == Refuse(MEDIUM_NOT_PRESENT)
    assert isinstance(unit.task(0, INQUIRY), Give)
    unit.insert()
    assert unit.task(0, READY) == Refuse(MEDIUM_CHANGED)
    assert unit.task(0, READY) == Nothing()


@pytest.mark.parametrize(("removable", "present"), [(True, False), (False, True)])
def test_the_host_can_eject_what_is_removable(removable: bool, present: bool) -> None:
    unit = Unit(BLOCKS, " " * 28, removable=removable)
    assert unit.task(0, bytes.fromhex("1b 00 00 00 02 00")) == Nothing()
    assert unit.present is present
    unit.task(0, bytes.fromhex("1b 00 00 00 03 00"))
    assert unit.present


def test_another_unit_does_not_exist(unit: Unit) -> None:
    assert unit.task(1, READY) == Refuse(NO_SUCH_UNIT)
    inquiry = unit.task(1, INQUIRY)
    assert isinstance(inquiry, Give)
    assert inquiry.octets[0] == 0x7F
    sense = unit.task(1, REQUEST_SENSE)
    assert isinstance(sense, Give)
    assert sense.octets[12] == 0x25


def test_sense_is_gone_with_the_next_command(unit: Unit) -> None:
    unit.task(0, READY)
    unit.fail(SenseData(3, 0x11, 0, lba=0x1234))
    assert given_octets(unit, REQUEST_SENSE.hex())[:8].hex() == "f00003000012340a"
    unit.fail(SenseData(3, 0x11, 0))
    unit.task(0, READY)
    assert given_octets(unit, REQUEST_SENSE.hex())[2] == 0


@given(st.integers(0, 15), st.binary(min_size=1, max_size=16))
def test_any_command_block_is_answered_within_the_medium(lun: int, command: bytes) -> None:
    task = Unit(BLOCKS, " " * 28).task(lun, command)
    if isinstance(task, Read | Write | Verify):
        assert task.blocks > 0
        assert task.lba + task.blocks <= BLOCKS
