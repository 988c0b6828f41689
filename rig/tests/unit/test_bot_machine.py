"""The bulk-only disk's pure core: the thirteen cases, what is no command, and every misconduct."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rig.faults.rules.device import DeviceEffect, DeviceKind, DeviceRequest
from rig.gadget.bot.actions import (
    FlushMedium,
    Outcome,
    ReadMedium,
    Receive,
    Stage,
    Wait,
    WriteMedium,
)
from rig.gadget.bot.machine import Disk
from rig.gadget.bot.scsi import BLOCK_BYTES, Unit
from rig.tests.harness.bot_host import BLOCKS, PACKET_BYTES, Host, rw_10
from rig.usb.bot import CommandStatus
from rig.usb.urb import Direction

IN, OUT = Direction.IN, Direction.OUT
PASSED, FAILED, PHASE = CommandStatus.PASSED, CommandStatus.FAILED, CommandStatus.PHASE_ERROR
READY = bytes(6)
DATA = bytes(range(256)) * 8  # four blocks
LONG = bytes(range(256)) * 960  # 240 KiB: several pieces


@pytest.fixture
def host() -> Host:
    return Host()


# The thirteen cases of BOT §6.7: what the host expects, what the command makes the device intend,
# and then status, residue, data that came, halts, data that were taken.
TABLE = {
    1: ("n", 0, READY, PASSED, 0, 0, [], 0),
    2: ("n", 0, rw_10(0x28, 0, 1), PHASE, 0, 0, [], 0),
    3: ("n", 0, rw_10(0x2A, 0, 1), PHASE, 0, 0, [], 0),
    4: ("i", 512, READY, PASSED, 512, 0, [IN], 0),
    5: ("i", 2048, rw_10(0x28, 0, 2), PASSED, 1024, 1024, [IN], 0),
    6: ("i", 1024, rw_10(0x28, 0, 2), PASSED, 0, 1024, [], 0),
    7: ("i", 512, rw_10(0x28, 0, 2), PHASE, 512, 0, [IN], 0),
    8: ("i", 512, rw_10(0x2A, 0, 1), PHASE, 512, 0, [IN], 0),
    9: ("o", 512, READY, PASSED, 512, 0, [], 512),
    10: ("o", 512, rw_10(0x28, 0, 1), PHASE, 512, 0, [], 512),
    11: ("o", 2048, rw_10(0x2A, 0, 2), PASSED, 1024, 0, [], 2048),
    12: ("o", 1024, rw_10(0x2A, 0, 2), PASSED, 0, 0, [], 1024),
    13: ("o", 512, rw_10(0x2A, 0, 2), PHASE, 512, 0, [], 512),
}


@pytest.mark.parametrize("case", TABLE)
def test_the_thirteen_cases_end_as_the_specification_says(host: Host, case: int) -> None:
    expects, length, command, status, residue, came, halts, taken = TABLE[case]
    seen = host.command(command, length, out=DATA[:length] if expects == "o" else None, tag=case)

    assert (seen.csw.tag, seen.csw.status, seen.csw.residue_bytes) == (case, status, residue)
    assert (len(seen.data), seen.halts, seen.sent_bytes) == (came, halts, taken)
    assert host.command(READY).csw.status == PASSED


def test_only_data_of_a_write_that_was_meant_reach_the_medium(host: Host) -> None:
    host.write(8, DATA, blocks=2)  # case 11: two blocks too many
    host.write(16, DATA[:512], blocks=2)  # case 13

    assert bytes(host.medium[8 * 512 : 10 * 512]) == DATA[:1024]
    assert not any(host.medium[10 * 512 :])


def test_what_was_written_is_read_again(host: Host) -> None:
    assert host.write(3, LONG).csw.status == PASSED
    assert host.read(3, len(LONG) // BLOCK_BYTES).data == LONG


def test_a_host_that_ends_its_data_early_is_told_and_whole_blocks_are_kept(host: Host) -> None:
    command = rw_10(0x2A, 0, 4)
    cbw = b"USBC" + bytes(4) + (2048).to_bytes(4, "little") + bytes((0, 0, 10)) + command
    assert isinstance(host.action, Receive)
    host.session.send(Outcome(cbw.ljust(31, b"\0")))
    action = host.session.send(Outcome(DATA[:700]))
    assert action == WriteMedium(0, DATA[:512])
    status = host.session.send(Outcome())

    assert status.octets[8:13] == (1536).to_bytes(4, "little") + bytes((FAILED,))  # type: ignore[union-attr]
    host.action = host.session.send(Outcome())
    assert host.sense() == (0x4, 0x08, 0x00)


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        b"USBC".ljust(30, b"\0"),
        b"USBC".ljust(32, b"\0"),
        b"USBX" + bytes(10) + b"\6" + bytes(16),
        b"USBC" + bytes(10) + b"\0" + bytes(16),  # a command block of no length
        b"USBC" + bytes(10) + b"\x11" + bytes(16),
        b"USBC" + bytes(8) + b"\x01\0\6" + bytes(16),  # a reserved flag
        b"USBC" + bytes(8) + b"\0\x10\6" + bytes(16),  # LUN 16
    ],
)
def test_what_is_no_command_halts_the_disk_until_a_reset(host: Host, octets: bytes) -> None:
    seen = host.octets(octets)
    assert (seen.halts, seen.status, host.disk.stage) == ([IN], None, Stage.INVALID)

    again = host.octets(b"USBC" + bytes(10) + b"\6" + bytes(16))
    assert (again.halts, again.status) == ([IN], None)

    host.session.close()
    assert host.disk.stage is Stage.OFF
    host.reset()
    assert host.command(READY).csw.status == PASSED


@given(
    octets=st.one_of(
        st.binary(max_size=600),
        st.builds(
            lambda tag, length, flag, lun, size, block: (
                b"USBC" + tag + length.to_bytes(4, "little") + bytes((flag, lun, size)) + block
            ),
            st.binary(min_size=4, max_size=4),
            st.one_of(st.integers(0, 4096), st.integers(0, 2**32 - 1)),
            st.sampled_from((0x00, 0x80)),
            st.integers(0, 1),
            st.integers(1, 16),
            st.binary(min_size=16, max_size=16),
        ),
    ),
    effect=st.none()
    | st.builds(
        DeviceEffect,
        st.sampled_from(DeviceKind),
        st.none() | st.just(0.5),
        st.none() | st.integers(0, 12),
        st.tuples(st.integers(0, 15), st.integers(0, 255), st.integers(0, 255)),
        st.none() | st.integers(0, 2**32 - 1),
    ),
    answers=st.lists(st.builds(Outcome, st.binary(max_size=700), st.sampled_from((0, 5, 75)))),
)
def test_no_octets_and_no_outcome_break_the_disk(
    octets: bytes, effect: DeviceEffect | None, answers: list[Outcome]
) -> None:
    disk = Disk(Unit(BLOCKS, " " * 28), lambda _: effect)
    session = disk.session(PACKET_BYTES)
    next(session)
    action = session.send(Outcome(octets))
    for outcome in answers:
        match action:
            case Wait(None):
                break
            case ReadMedium(offset, length):
                assert 0 < length <= 1 << 16
                assert offset + length <= BLOCKS * BLOCK_BYTES
            case WriteMedium(offset, written):
                assert written
                assert offset + len(written) <= BLOCKS * BLOCK_BYTES
        action = session.send(outcome)
    session.close()


# Misconduct.


def test_the_disk_asks_what_to_do_wrong_with_each_command(host: Host) -> None:
    host.write(5, DATA)
    host.read(9, 2)
    host.command(READY)

    assert host.requests == [
        DeviceRequest(0x2A, 2048, OUT, 5, 4),
        DeviceRequest(0x28, 1024, IN, 9, 2),
        DeviceRequest(0x00, 0, None),
    ]


@pytest.mark.parametrize("command", [READY, rw_10(0x28, 0, 4)])
@pytest.mark.parametrize("kind", DeviceKind)
def test_a_disk_that_did_wrong_is_honest_with_the_next_command(
    host: Host, kind: DeviceKind, command: bytes
) -> None:
    host.effect = DeviceEffect(kind, for_s=1.0, sense=(3, 0x11, 0))
    length = 2048 if command[0] else 0
    seen = host.command(command, length)
    if host.action == Wait(None):
        assert [effect.kind for effect in seen.happened] == [kind]
        host.session.close()
        host.reset()

    after = host.read(0, 4)
    assert (after.csw.status, after.csw.residue_bytes, len(after.data)) == (PASSED, 0, 2048)


def wrong(host: Host, kind: DeviceKind, **keys: object) -> None:
    host.effect = DeviceEffect(kind, **keys)  # type: ignore[arg-type]


def test_a_wrong_tag_is_not_the_commands(host: Host) -> None:
    wrong(host, DeviceKind.CSW_TAG)
    assert host.command(READY, tag=7).csw.tag == 0x8000_0007


def test_a_wrong_signature_is_all_that_is_wrong(host: Host) -> None:
    wrong(host, DeviceKind.CSW_SIGNATURE)
    seen = host.command(READY)
    assert seen.status == b"USBX" + (7).to_bytes(4, "little") + bytes(5)


def test_a_phase_error_is_told_after_the_data_have_moved(host: Host) -> None:
    wrong(host, DeviceKind.PHASE_ERROR)
    seen = host.write(2, DATA)
    assert (seen.csw.status, seen.csw.residue_bytes) == (PHASE, 0)
    assert bytes(host.medium[1024:3072]) == DATA


@pytest.mark.parametrize(("said", "residue"), [(None, 1024), (100, 100), (2**32 - 1, 2**32 - 1)])
def test_a_wrong_residue_is_the_one_that_was_chosen(
    host: Host, said: int | None, residue: int
) -> None:
    wrong(host, DeviceKind.CSW_RESIDUE, residue_bytes=said)
    seen = host.read(0, 2)
    assert (seen.csw.residue_bytes, seen.csw.status, len(seen.data)) == (residue, PASSED, 1024)


def test_a_missing_status_never_comes(host: Host) -> None:
    wrong(host, DeviceKind.CSW_MISSING)
    assert host.read(0, 2).status is None
    assert host.disk.stage is Stage.COMMAND


@pytest.mark.parametrize(("length", "comes"), [(None, 12), (0, 0), (5, 5)])
def test_a_short_status_is_the_beginning_of_the_right_one(
    host: Host, length: int | None, comes: int
) -> None:
    wrong(host, DeviceKind.CSW_SHORT, at_bytes=length)
    assert host.command(READY).status == (b"USBS" + b"\7".ljust(9, b"\0"))[:comes]


def test_a_status_behind_a_stall_is_right(host: Host) -> None:
    wrong(host, DeviceKind.CSW_STALL)
    seen = host.read(0, 1)
    assert (seen.halts, seen.csw.status, len(seen.data)) == ([IN], PASSED, 512)


def test_chosen_sense_is_told_and_the_command_not_carried_out(host: Host) -> None:
    wrong(host, DeviceKind.SENSE, sense=(0xB, 0x47, 0x01))
    seen = host.write(2, DATA)
    assert (seen.csw.status, seen.csw.residue_bytes, seen.sent_bytes) == (FAILED, 2048, 2048)
    assert not any(host.medium)
    assert host.sense() == (0xB, 0x47, 0x01)
    assert host.sense() == (0, 0, 0)


@pytest.mark.parametrize(("at", "moved"), [(None, 1024), (0, 0), (600, 512), (9999, 2048)])
def test_data_in_stall_after_whole_packets(host: Host, at: int | None, moved: int) -> None:
    host.medium[:2048] = DATA
    wrong(host, DeviceKind.STALL, at_bytes=at)
    seen = host.read(0, 4)
    assert (seen.data, seen.halts) == (DATA[:moved], [IN])
    assert (seen.csw.status, seen.csw.residue_bytes) == (PASSED, 2048 - moved)


def test_data_out_stall_in_the_middle_and_what_came_is_written(host: Host) -> None:
    wrong(host, DeviceKind.STALL, at_bytes=1024, sense=(0xB, 0x08, 0))
    seen = host.write(0, DATA)
    assert (seen.sent_bytes, seen.halts) == (1024, [OUT])
    assert (seen.csw.status, seen.csw.residue_bytes) == (FAILED, 1024)
    assert bytes(host.medium[:2048]) == DATA[:1024] + bytes(1024)
    assert host.sense() == (0xB, 0x08, 0)


@pytest.mark.parametrize("at", [0, 100, 512, 1024])
def test_short_data_end_with_a_short_packet_and_without_a_stall(host: Host, at: int) -> None:
    host.medium[:2048] = DATA
    wrong(host, DeviceKind.SHORT, at_bytes=at)
    seen = host.read(0, 4)
    assert (seen.data, seen.halts) == (DATA[:at], [])
    assert (seen.csw.status, seen.csw.residue_bytes) == (PASSED, 2048 - at)


def test_too_much_data_are_more_than_the_host_asked_for(host: Host) -> None:
    wrong(host, DeviceKind.EXTRA, at_bytes=100)
    seen = host.command(bytes((0x1A, 0, 0x3F, 0, 192, 0)), 192)
    assert len(seen.data) == 292


@pytest.mark.parametrize("command", [READY, rw_10(0x28, 0, 4)])
def test_nak_for_a_time_delays_and_nothing_else(host: Host, command: bytes) -> None:
    wrong(host, DeviceKind.NAK, for_s=2.5)
    seen = host.command(command, 2048 if command[0] else 0)
    assert (seen.waits, seen.csw.status, seen.csw.residue_bytes) == ([2.5], PASSED, 0)


def test_nak_for_ever_ends_with_a_reset(host: Host) -> None:
    wrong(host, DeviceKind.NAK, at_bytes=512)
    seen = host.read(0, 4)
    assert (len(seen.data), seen.status, host.disk.stage) == (512, None, Stage.DATA)
    host.session.close()
    host.reset()
    assert host.command(READY).csw.status == PASSED


def test_an_eject_in_a_read_leaves_the_rest_unread(host: Host) -> None:
    wrong(host, DeviceKind.EJECT)
    seen = host.read(0, 4)
    assert (len(seen.data), seen.halts) == (1024, [IN])
    assert (seen.csw.status, seen.csw.residue_bytes) == (FAILED, 1024)
    assert host.sense() == (0x2, 0x3A, 0x00)


def test_an_unplugging_in_a_write_keeps_what_had_come(host: Host) -> None:
    wrong(host, DeviceKind.UNBIND)
    seen = host.write(0, DATA)
    assert (seen.sent_bytes, seen.waits, seen.status) == (1024, [None], None)
    assert bytes(host.medium[:2048]) == DATA[:1024] + bytes(1024)


# The medium.


def test_a_read_that_fails_tells_where_and_sends_what_was_good(host: Host) -> None:
    host.bad_lba = 3
    seen = host.read(1, 4)
    assert (len(seen.data), seen.halts, seen.csw.status) == (1024, [IN], FAILED)
    octets = host.command(bytes((3, 0, 0, 0, 18, 0)), 18).data
    assert octets == bytes.fromhex("f0 00 03 00000003 0a 00000000 11 00 00000000")


def test_a_write_that_fails_is_told_and_the_rest_thrown_away(host: Host) -> None:
    host.bad_lba = 0
    seen = host.write(1, LONG)
    assert (seen.sent_bytes, seen.csw.status) == (len(LONG), FAILED)
    assert host.sense() == (0x3, 0x0C, 0x00)


def test_a_forced_write_is_flushed(host: Host) -> None:
    command = bytearray(rw_10(0x2A, 0, 4))
    command[1] = 0x08  # FUA
    assert host.command(bytes(command), out=DATA).csw.status == PASSED
    assert host.flushes == 1


def test_a_flush_that_fails_is_told(host: Host) -> None:
    host.bad_lba = 0
    assert host.command(bytes((0x35,)) + bytes(9)).csw.status == FAILED
    assert host.sense() == (0x3, 0x0C, 0x00)


@pytest.mark.parametrize(("bad", "status"), [(None, PASSED), (2, FAILED)])
def test_a_verification_reads_the_medium(
    host: Host, bad: int | None, status: CommandStatus
) -> None:
    host.bad_lba = bad
    seen = host.command(rw_10(0x2F, 0, 4))
    assert (seen.csw.status, seen.data) == (status, b"")


def test_a_flush_is_one_action(host: Host) -> None:
    cbw = b"USBC" + bytes(10) + b"\x0a\x35" + bytes(15)
    assert host.session.send(Outcome(cbw)) == FlushMedium()
