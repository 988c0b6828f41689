"""``rig continuation``: a client with several URBs in flight that relies on Linux's promise.

It is a program on usbfs, on the machine that uses the device, and speaks Bulk-Only Transport by
hand: WRITE(10), then all its data at once, an URB a piece, each but the first flagged
``USBDEVFS_URB_BULK_CONTINUATION``.  So the *kernel* unlinks the later pieces inside the completion
handler of the piece that fails (``async_completed`` and ``cancel_bulk_urbs`` in
``drivers/usb/core/devio.c``), which is what the promise is for: none of them may have run.

Every block is stamped with the LBA where it belongs and with the number of its repetition, so that
whoever looks at the medium can tell.  Supervised (`rig.daemon`): after the event ``ready``, the
command ``write {run_id, repetition, lba, urbs, urb_bytes, recovery}`` does it once and recovers.
"""

from __future__ import annotations

import os
import select
import sys
import time
from enum import StrEnum
from pathlib import Path
from typing import Final

import msgspec

from rig.arguments import ArgumentParser
from rig.daemon import Command, CommandLines, Events, start_logging
from rig.errors import MachineError, RemoteProtocolError, UserError
from rig.integrity.stamp import RAW_DEVICE, SECTOR_BYTES, Stamp, encode_run
from rig.usb import bot, descriptors, sysfs, uevent
from rig.usb.urb import DIRECTION_IN, TransferType, status_name
from rig.usb.usbfs import BULK_CONTINUATION, Reaped, UsbfsDevice

DEADLINE_S: Final = 20.0
"""For one URB, and for the device to appear."""

READY_ATTEMPTS: Final = 8
"""After a reset the first command is told of it (UNIT ATTENTION); the second should pass."""


class Recovery(StrEnum):
    """How the client makes the device ready again."""

    PORT_RESET = "port-reset"
    """As usb-storage does first (``usb_stor_port_reset``)."""
    BULK_RESET = "bulk-reset"
    """Bulk-Only reset and both halts cleared (BOT §5.3.4)."""


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
        failed_after_s: From the first submit until all pieces were given back.
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
        usbfs: The device's node; belongs to this.
    """

    def __init__(self, usbfs: UsbfsDevice) -> None:
        self._usbfs = usbfs
        interface = _storage_interface(usbfs)
        self._interface = interface.number
        bulk = [e.address for e in interface.endpoints if e.transfer_type is TransferType.BULK]
        self._in = next(address for address in bulk if address & DIRECTION_IN)
        self._out = next(address for address in bulk if not address & DIRECTION_IN)
        self._urb_id = 0
        self._poll = select.poll()
        self._poll.register(usbfs, select.POLLOUT)
        usbfs.claim_interface(self._interface)

    def close(self) -> None:
        """Let the device go."""
        self._usbfs.close()

    def write(self, task: Task) -> Outcome:
        """Write once, with all pieces in flight, and recover if one fails.

        Raises:
            MachineError: The device did not give back an URB, or does not come back.
        """
        blocks = task.urb_bytes // SECTOR_BYTES
        self._send(bot.write_10(task.repetition, task.lba, task.urbs * blocks))
        pieces = [bytearray(_piece(task, number, blocks)) for number in range(task.urbs)]
        began = time.monotonic()
        ended = self._queue(pieces)
        given_back = time.monotonic()
        attempts = 0
        if all(piece.status == 0 for piece in ended):
            self._status(task.repetition)
        else:
            attempts = self.recover(task.recovery)
        return Outcome(
            [status_name(piece.status) for piece in ended],
            [piece.actual_bytes for piece in ended],
            round(given_back - began, 6),
            round(time.monotonic() - given_back, 6),
            attempts,
        )

    def recover(self, recovery: Recovery) -> int:
        """Make the device ready for commands; return how often it was asked whether it is.

        Raises:
            MachineError: It does not become ready.
        """
        if recovery is Recovery.PORT_RESET:
            # usbfs has no pre_reset: a claimed interface would be unbound by force.
            self._usbfs.release_interface(self._interface)
            self._usbfs.reset()
            self._usbfs.claim_interface(self._interface)
        else:
            self._run(TransferType.CONTROL, 0, bytearray(bot.BULK_ONLY_RESET))
            self._usbfs.clear_halt(self._in)
            self._usbfs.clear_halt(self._out)
        for attempt in range(1, READY_ATTEMPTS + 1):
            if self._is_ready(attempt):
                return attempt
        raise MachineError(f"The device refused a command {READY_ATTEMPTS} times.")

    def _queue(self, pieces: list[bytearray]) -> list[Reaped]:
        """Queue all pieces at once; return how each ended, in their order."""
        first = self._urb_id + 1
        ended = {}
        for number, piece in enumerate(pieces):
            flags = BULK_CONTINUATION if number else 0
            try:
                self._submit(self._out, piece, flags)
            except OSError as error:
                # The kernel knows already that one before it failed.
                ended[self._urb_id] = Reaped(self._urb_id, -(error.errno or 0), 0)
        while len(ended) < len(pieces):
            reaped = self._reap()
            ended[reaped.urb_id] = reaped
        return [ended[first + number] for number in range(len(pieces))]

    def _is_ready(self, tag: int) -> bool:
        try:
            self._send(bot.unit_ready(tag))
            return self._status(tag).status == bot.CommandStatus.PASSED
        except OSError:
            return False  # a split driver may still fail what comes

    def _send(self, wrapper: bytes) -> None:
        self._run(TransferType.BULK, self._out, bytearray(wrapper))

    def _status(self, tag: int) -> bot.Csw:
        buffer = bytearray(bot.CSW_BYTES)
        self._run(TransferType.BULK, self._in, buffer)
        status = bot.parse_csw(bytes(buffer))
        if status.tag != tag:
            raise MachineError(f"The device answered command {status.tag}, not {tag}.")
        return status

    def _run(self, kind: TransferType, endpoint: int, buffer: bytearray) -> None:
        """Run one transfer alone.

        Raises:
            OSError: It ended in an error.
        """
        self._submit(endpoint, buffer, kind=kind)
        ended = self._reap()
        if ended.status:
            raise OSError(-ended.status, os.strerror(-ended.status))

    def _submit(
        self,
        endpoint: int,
        buffer: bytearray,
        flags: int = 0,
        kind: TransferType = TransferType.BULK,
    ) -> None:
        self._urb_id += 1
        self._usbfs.submit(self._urb_id, kind, endpoint, flags, buffer)

    def _reap(self) -> Reaped:
        until = time.monotonic() + DEADLINE_S
        while (rest_s := until - time.monotonic()) > 0:
            reaped = self._usbfs.reap()
            if reaped is not None:
                return reaped
            self._poll.poll(rest_s * 1000)
        raise MachineError(f"An URB was not given back in {DEADLINE_S:g} s.")


def find(controller: str, deadline_s: float = DEADLINE_S, devices: Path = sysfs.DEVICES) -> str:
    """Wait for a mass storage device behind a host controller; return its usbfs node.

    Args:
        controller: Part of the controller's name in sysfs, ``vhci_hcd``.
        deadline_s: How long to wait.
        devices: sysfs's directory of USB devices.

    Raises:
        MachineError: None came in time.
    """
    until = time.monotonic() + deadline_s
    with uevent.open_socket() as events:
        while True:
            # After subscribing and after every event: nothing can slip between.
            for interface in sorted(devices.glob("*:*")):
                words = ("bInterfaceClass", "bInterfaceSubClass", "bInterfaceProtocol")
                if controller not in str(interface.resolve()):
                    continue
                if "".join(_read(interface / word) for word in words) == bot.INTERFACE_CLASS:
                    node = sysfs.node(interface.name.partition(":")[0], devices)
                    if node is not None:
                        return node
            rest_s = until - time.monotonic()
            if rest_s <= 0 or not select.select([events], [], [], rest_s)[0]:
                raise MachineError(f"No mass storage device came behind {controller} in time.")
            uevent.drain(events)


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:  # it has just gone
        return ""


def _storage_interface(usbfs: UsbfsDevice) -> descriptors.Interface:
    configurations = descriptors.parse(usbfs.descriptors()).configurations
    return configurations[0].interfaces[0]


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
        MachineError: There is no device to use.
    """
    parser = ArgumentParser(
        prog="rig continuation",
        description="Write with several URBs in flight, which the kernel unlinks when one fails.",
    )
    parser.add_argument("--controller", default="vhci_hcd", help="behind which the device is")
    options = parser.parse_args(argv)
    start_logging()
    events = Events(sys.stdout.buffer)
    node = find(options.controller)
    client = Client(UsbfsDevice(node))
    try:
        # A kernel driver that had the device may have lost it in the middle of a command.
        client.recover(Recovery.PORT_RESET)
        events.emit("ready", node=node)
        serve(client, events, sys.stdin.fileno())
    finally:
        client.close()
    return 0
