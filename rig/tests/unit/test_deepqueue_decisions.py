"""What follows the end of a command: as usb-storage and sd decide it."""

from __future__ import annotations

import pytest

from rig.deepqueue.decisions import Next, after, after_sense
from rig.deepqueue.exchange import Ended, Ending, PieceEnd
from rig.usb.bot import Opcode, SenseData
from rig.usb.bot_stages import Stage

ALL_MOVED = (PieceEnd(0, 512), PieceEnd(0, 512))


@pytest.mark.parametrize(
    ("ending", "then"),
    [
        (Ending.PASSED, Next.DONE),
        (Ending.FAILED, Next.ASK_SENSE),
        (Ending.ERROR, Next.RECOVER),
        (Ending.TIMED_OUT, Next.RECOVER),
        (Ending.GONE, Next.GIVE_UP),
    ],
)
def test_every_ending_is_followed_by_something(ending: Ending, then: Next) -> None:
    assert after(Ended(ending, Stage.STATUS, ALL_MOVED), 1024) is then


@pytest.mark.parametrize(
    "ended",
    [
        Ended(Ending.PASSED, Stage.STATUS, ALL_MOVED, residue_bytes=512),
        Ended(Ending.PASSED, Stage.STATUS, ALL_MOVED[:1]),
    ],
)
def test_a_command_that_passed_but_moved_too_little_is_tried_again(ended: Ended) -> None:
    assert after(ended, 1024) is Next.RETRY


@pytest.mark.parametrize(
    ("key", "asc", "ascq", "then"),
    [
        (0, 0, 0, Next.DONE),  # nothing is wrong after all
        (1, 0x17, 0, Next.DONE),  # recovered by the device
        (2, 0x04, 0x01, Next.RETRY),  # becoming ready
        (2, 0x3A, 0, Next.FAIL),  # no medium
        (3, 0x0C, 0, Next.RETRY),
        (3, 0x11, 0, Next.FAIL),  # what cannot be read is not there at the next try, either
        (4, 0x3E, 0, Next.RETRY),
        (5, 0x20, 0, Next.FAIL),
        (6, 0x29, 0, Next.RETRY),
        (7, 0x27, 0, Next.FAIL),
        (11, 0x47, 0, Next.RETRY),
    ],
)
def test_sense_says_whether_another_attempt_is_worth_it(
    key: int, asc: int, ascq: int, then: Next
) -> None:
    assert after_sense(Opcode.WRITE_10, SenseData(key, asc, ascq)) is then


def test_a_disk_that_knows_no_flush_has_nothing_to_flush() -> None:
    assert after_sense(Opcode.SYNCHRONIZE_CACHE_10, SenseData(5, 0x20, 0)) is Next.DONE
