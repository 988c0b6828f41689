"""``rig continuation``: a client with several URBs in flight that relies on Linux's promise.

It is a program on usbfs, on the machine that uses the device (`rig.deepqueue.initiator`):
WRITE(10), then all its data at once, an URB a piece, each but the first flagged
``USBDEVFS_URB_BULK_CONTINUATION``.  So the *kernel* unlinks the later pieces inside the completion
handler of the piece that fails (``async_completed`` and ``cancel_bulk_urbs`` in
``drivers/usb/core/devio.c``), which is what the promise is for: none of them may have run.

Every block is stamped with the LBA where it belongs and with the number of its repetition, so that
whoever looks at the medium can tell.  Supervised (`rig.daemon`): after the event ``ready``, the
command ``write {run_id, repetition, lba, urbs, urb_bytes, recovery}`` does it once and recovers.
"""

from __future__ import annotations

import os
import sys
import time
from typing import Final

import msgspec

from rig.arguments import ArgumentParser
from rig.daemon import Command, CommandLines, Events, start_logging
from rig.deepqueue.exchange import Ending
from rig.deepqueue.initiator import Initiator, Recovery
from rig.deepqueue.plugged import check_controller, find, open_device
from rig.errors import RemoteProtocolError, UserError
from rig.integrity.stamp import RAW_DEVICE, SECTOR_BYTES, Stamp, encode_run
from rig.usb import bot
from rig.usb.urb import status_name

DEADLINE_S: Final = 20.0
"""Of a command."""


class Task(msgspec.Struct, frozen=True):
    """One repetition.

    Attributes:
        run_id: For the stamps.
        repetition: Its number: the generation in the stamps, and the command's tag.
        lba: The first of the range that it has to itself.
        urbs: Pieces of data.
        urb_bytes: Of each, whole blocks.
        recovery: What follows an error.
    """

    run_id: int
    repetition: int
    lba: int
    urbs: int = 4
    urb_bytes: int = 16384
    recovery: Recovery = Recovery.PORT_RESET


class Outcome(msgspec.Struct, frozen=True):
    """What became of a repetition.

    Attributes:
        statuses: Of each piece, as `rig.usb.urb.status_name` has it.
        moved_bytes: Of each.
        failed_after_s: From the submit of the first piece until all were given back.
        ready_after_s: From then until the device took commands again.
        attempts: How often it was asked whether it does.
    """

    statuses: list[str]
    moved_bytes: list[int]
    failed_after_s: float
    ready_after_s: float
    attempts: int


class Client:
    """The program.

    Args:
        initiator: The disk; belongs to this.
    """

    def __init__(self, initiator: Initiator) -> None:
        self._initiator = initiator

    def write(self, task: Task) -> Outcome:
        """Write once, with all pieces in flight, and recover if one fails.

        Raises:
            MachineError: The device did not give back an URB, or does not come back.
        """
        blocks = task.urb_bytes // SECTOR_BYTES
        wrapper = bot.write_10(task.repetition, task.lba, task.urbs * blocks)
        data = bytearray().join(_piece(task, number, blocks) for number in range(task.urbs))
        ended = self._initiator.run(wrapper, data, urb_bytes=task.urb_bytes)
        given_back = time.monotonic()
        attempts = 0
        if ended.ending is not Ending.PASSED:
            self._initiator.recovery = task.recovery
            attempts = self._initiator.recover()
        return Outcome(
            [status_name(piece.status) for piece in ended.pieces],
            [piece.actual_bytes for piece in ended.pieces],
            round(self._initiator.stage_s, 6),
            round(time.monotonic() - given_back, 6),
            attempts,
        )


def _piece(task: Task, number: int, blocks: int) -> bytes:
    lba = task.lba + number * blocks
    stamp = Stamp(
        run_id=task.run_id,
        file_id=RAW_DEVICE,
        offset=lba * SECTOR_BYTES,
        lba=lba,
        generation=task.repetition,
        writer=number,
        sequence=task.repetition,
    )
    return encode_run(stamp, blocks)


def serve(client: Client, events: Events, input_fd: int) -> None:
    """Do what commands say, until the input ends."""

    def obey(command: Command) -> object:
        if command.do != "write":
            raise UserError(f"'rig continuation' knows no command '{command.do}'.")
        try:
            task = msgspec.convert(command.args, Task)
        except msgspec.ValidationError as error:
            raise RemoteProtocolError(f"A bad command 'write': {error}.") from error
        return client.write(task)

    lines = CommandLines()
    while data := os.read(input_fd, 1 << 16):
        for command in lines.feed(data):
            events.answer(command, obey)


def main(argv: list[str]) -> int:
    """Run ``rig continuation``.

    Returns:
        0 when its input has ended.

    Raises:
        UserError: There is no such controller.
        MachineError: There is no device to use.
    """
    parser = ArgumentParser(
        prog="rig continuation",
        description="Write with several URBs in flight, which the kernel unlinks when one fails.",
    )
    parser.add_argument("--controller", default="vhci_hcd", help="behind which the device is")
    options = parser.parse_args(argv)
    check_controller(options.controller)
    start_logging()
    events = Events(sys.stdout.buffer)
    node = find(options.controller)
    # Whatever failed is to be seen at once: a status is not waited for behind a stall.
    initiator = Initiator(open_device(node), deadline_s=DEADLINE_S, stall_is_error=True)
    try:
        # A kernel driver that had the device may have lost it in the middle of a command.
        initiator.recover()
        events.emit("ready", node=node)
        serve(Client(initiator), events, sys.stdin.fileno())
    finally:
        initiator.close()
    return 0
