"""SCSI commands whose data are known beforehand: what a rule about one of them can meet.

Primary Commands (SPC-4) and Block Commands (SBC-3).  A command whose data may go either way, or
that may have none, is not listed: nothing is said about it.  Pure.
"""

from __future__ import annotations

from typing import NamedTuple

from rig.usb.urb import Direction


class ScsiCommand(NamedTuple):
    """What is known of a command by its operation code.

    Attributes:
        name: As the standard has it.
        data: Which way its data go; None: it has none.
    """

    name: str
    data: Direction | None = None


COMMANDS = {
    0x00: ScsiCommand("TEST UNIT READY"),
    0x03: ScsiCommand("REQUEST SENSE", Direction.IN),
    0x08: ScsiCommand("READ(6)", Direction.IN),
    0x0A: ScsiCommand("WRITE(6)", Direction.OUT),
    0x12: ScsiCommand("INQUIRY", Direction.IN),
    0x15: ScsiCommand("MODE SELECT(6)", Direction.OUT),
    0x1A: ScsiCommand("MODE SENSE(6)", Direction.IN),
    0x1B: ScsiCommand("START STOP UNIT"),
    0x1E: ScsiCommand("PREVENT ALLOW MEDIUM REMOVAL"),
    0x23: ScsiCommand("READ FORMAT CAPACITIES", Direction.IN),
    0x25: ScsiCommand("READ CAPACITY(10)", Direction.IN),
    0x28: ScsiCommand("READ(10)", Direction.IN),
    0x2A: ScsiCommand("WRITE(10)", Direction.OUT),
    0x35: ScsiCommand("SYNCHRONIZE CACHE(10)"),
    0x42: ScsiCommand("UNMAP", Direction.OUT),
    0x55: ScsiCommand("MODE SELECT(10)", Direction.OUT),
    0x5A: ScsiCommand("MODE SENSE(10)", Direction.IN),
    0x88: ScsiCommand("READ(16)", Direction.IN),
    0x8A: ScsiCommand("WRITE(16)", Direction.OUT),
    0x91: ScsiCommand("SYNCHRONIZE CACHE(16)"),
    0x9E: ScsiCommand("SERVICE ACTION IN(16)", Direction.IN),
    0xA0: ScsiCommand("REPORT LUNS", Direction.IN),
    0xA8: ScsiCommand("READ(12)", Direction.IN),
    0xAA: ScsiCommand("WRITE(12)", Direction.OUT),
}
"""By operation code."""


def data_problem(opcode: int | None, direction: Direction | None) -> str:
    """Tell why a command has no data that go this way; empty when it may have.

    Args:
        opcode: Of the command; None: any.
        direction: Which way; None: either.
    """
    command = COMMANDS.get(-1 if opcode is None else opcode)
    if command is None or (command.data is not None and direction in (None, command.data)):
        return ""
    named = f"'opcode' {opcode:#04x} is {command.name}, "
    if command.data is None:
        return named + "which has no data"
    return named + f"whose data go '{command.data}', not '{direction}'"
