"""What follows the end of a command, as usb-storage and sd decide it.  Pure.

``usb_stor_invoke_transport`` (``drivers/usb/storage/transport.c``) resets the port behind an error
of the transport and lets the SCSI layer try again; ``scsi_check_sense`` and ``maybe_retry``
(``drivers/scsi/scsi_error.c``) say which refusals of the device are worth another attempt.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from rig.deepqueue.exchange import Ended, Ending
from rig.usb.bot import Opcode, SenseData

RETRIES: Final = 5
"""Behind the first attempt (``SD_MAX_RETRIES``, ``drivers/scsi/sd.h``)."""

_NO_SENSE, _RECOVERED, _NOT_READY, _MEDIUM_ERROR, _HARDWARE_ERROR = range(5)
_ILLEGAL_REQUEST, _UNIT_ATTENTION, _ABORTED_COMMAND = 5, 6, 11  # sense keys, SPC-4 table 28

_LOST_DATA = frozenset({0x11, 0x13, 0x14})
"""Unrecovered read error, address mark or record not found: sd does not try these again."""
_BECOMING_READY = (0x04, 0x01)


class Next(StrEnum):
    """What to do."""

    DONE = "done"
    RETRY = "retry"
    RECOVER = "recover"
    """Reset, then try again."""
    ASK_SENSE = "ask-sense"
    FAIL = "fail"
    """It is not worth another attempt."""
    GIVE_UP = "give-up"
    """The device is gone."""


def after(ended: Ended, length_bytes: int) -> Next:
    """Decide behind a command that was to move so many data."""
    match ended.ending:
        case Ending.PASSED:
            short = max(length_bytes - ended.moved_bytes, ended.residue_bytes)
            return Next.RETRY if short else Next.DONE
        case Ending.FAILED:
            return Next.ASK_SENSE
        case Ending.ERROR | Ending.TIMED_OUT:
            return Next.RECOVER
        case Ending.GONE:
            return Next.GIVE_UP


def after_sense(opcode: int, sense: SenseData) -> Next:
    """Decide behind a command that the device refused."""
    if sense.key in (_NO_SENSE, _RECOVERED):
        return Next.DONE
    if sense.key in (_UNIT_ATTENTION, _ABORTED_COMMAND, _HARDWARE_ERROR):
        return Next.RETRY
    if sense.key == _MEDIUM_ERROR:
        return Next.FAIL if sense.asc in _LOST_DATA else Next.RETRY
    if sense.key == _NOT_READY and (sense.asc, sense.ascq) == _BECOMING_READY:
        return Next.RETRY
    if sense.key == _ILLEGAL_REQUEST and opcode == Opcode.SYNCHRONIZE_CACHE_10:
        return Next.DONE  # it has no cache (`sd_sync_cache`)
    return Next.FAIL
