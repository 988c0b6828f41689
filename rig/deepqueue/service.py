"""``rig deepqueue``: a disk on USB with several URBs in flight, as a block device to be mounted.

It claims the first mass storage device behind ``--controller`` and serves it to the kernel's driver
nbd, whose device can have partitions and file systems like any disk.  A data stage is queued as a
whole, ``--urbs`` URBs of ``--urb-bytes``, and the kernel takes back the later ones in the
completion handler of one that fails (`rig.deepqueue.exchange`): Linux's promise is relied upon, as
``usb_sg_wait`` does, and a split driver that does not keep it puts data at wrong LBAs.

Supervised (`rig.daemon`) or not.  Events: ``ready {block, node, bytes, block_bytes}`` when the
block device is there; ``attempt-failed`` for every command that has to be tried again, or cannot
be, with the statuses of its URBs (`rig.deepqueue.disk.Failure`); ``recovered`` when one has
succeeded at last (`rig.deepqueue.disk.Recovered`); ``gone {block}`` when the disk was
unplugged: the block device has ended then, and what was asked of it has failed with EIO; the next
disk is served when it comes, ``ready`` again; ``unusable {node, error}`` for one that cannot be.
Command: ``counters`` (`rig.deepqueue.counters.Counters`).
"""

from __future__ import annotations

import argparse
import ctypes
import logging
import os
import sys
import threading
from contextlib import closing
from typing import Final

import msgspec

from rig.arguments import ArgumentParser
from rig.daemon import Command, Events, start_logging
from rig.deepqueue import initiator as edge
from rig.deepqueue.counters import Counters
from rig.deepqueue.decisions import RETRIES
from rig.deepqueue.disk import Disk, Failure, Recovered
from rig.deepqueue.initiator import READY_DEADLINE_S, Initiator, Recovery
from rig.deepqueue.nbd_device import NbdDevice
from rig.deepqueue.plugged import check_controller, find, open_device
from rig.deepqueue.server import serve
from rig.errors import MachineError, RigError, UserError
from rig.reactor import READABLE, Reactor, supervise

STOPS_IN_S: Final = 15.0
_FOREVER_S: Final = 1e9
_PR_SET_IO_FLUSHER: Final = 57
"""``include/uapi/linux/prctl.h``: its memory is not to be had by writing to what it serves."""

_PAGE_BYTES: Final = 4096
_MOST_COMMAND_BYTES: Final = 4 << 20
"""A quarter of what usbfs lends to all its users (``usbfs_memory_mb``)."""

_log = logging.getLogger("rig.deepqueue")


class Flag:
    """Something to be waited for, by descriptor."""

    def __init__(self) -> None:
        self._fd = os.eventfd(0, os.EFD_CLOEXEC)

    def fileno(self) -> int:
        """The descriptor, readable once raised."""
        return self._fd

    def raise_(self) -> None:
        """Raise it, for good."""
        os.eventfd_write(self._fd, 1)

    def close(self) -> None:
        """Close it."""
        os.close(self._fd)


class Options(msgspec.Struct, frozen=True):
    """What was asked for on the command line.

    Attributes:
        controller: Part of the sysfs name of the host controller.
        urbs: The most URBs of a data stage, all in flight.
        urb_bytes: Of each.
        deadline_s: Of a command.
        recovery: What follows an error of the transport.
        stall_resets: Such an error is a stalled data stage, too.
    """

    controller: str
    urbs: int
    urb_bytes: int
    deadline_s: float
    recovery: Recovery
    stall_resets: bool

    @property
    def command_bytes(self) -> int:
        """The most data of one command."""
        return self.urbs * self.urb_bytes

    @property
    def patience_s(self) -> int:
        """After so long even a disk that never answers has been given up."""
        return int((1 + RETRIES) * (self.deadline_s + READY_DEADLINE_S) * 2)


class Service:
    """Serves one disk after another; `work` is for a thread of its own.

    Args:
        options: What was asked for.
        events: Is told what happens.
        stop: Raised by others when `work` is to end.
        ended: Raised when `work` has ended.
    """

    def __init__(self, options: Options, events: Events, stop: Flag, ended: Flag) -> None:
        self.counters = Counters()
        self.trouble: RigError | None = None
        self._options = options
        self._events = events
        self._stop = stop
        self._ended = ended
        self._stopping = False

    def stop(self) -> None:
        """Have `work` end soon."""
        self._stopping = True
        self._stop.raise_()

    def obey(self, command: Command) -> object:
        """Carry out a command.

        Raises:
            UserError: It is not known.
        """
        if command.do != "counters":
            raise UserError(f"'rig deepqueue' knows no command '{command.do}'.")
        return self.counters

    def work(self) -> None:
        """Serve until `stop`."""
        try:
            _be_io_flusher()
            self._serve_all()
        except RigError as error:
            self.trouble = error
        finally:
            self._ended.raise_()

    def _serve_all(self) -> None:
        last = ""  # gone, or of no use: it may be seen a little longer
        while not self._stopping:
            try:
                node = find(self._options.controller, _FOREVER_S, stop=self._stop, but=last)
            except MachineError:
                if self._stopping:
                    return
                raise
            last = node
            try:
                self._serve(node)
            except MachineError as error:
                if not self._stopping:
                    self._events.emit("unusable", node=node, error=str(error))

    def _serve(self, node: str) -> None:
        options = self._options
        with closing(self._claim(node)) as initiator:
            disk = Disk(initiator, options.command_bytes, self._tell, self.counters)
            capacity = disk.start()
            device = NbdDevice(
                capacity.size_bytes,
                capacity.block_bytes,
                command_bytes=options.command_bytes,
                timeout_s=options.patience_s,
            )
            with closing(device):
                self._events.emit(
                    "ready",
                    block=device.node,
                    node=node,
                    bytes=capacity.size_bytes,
                    block_bytes=capacity.block_bytes,
                )
                serve(disk, device.socket, initiator, self._stop)
        if not self._stopping:
            self._events.emit("gone", block=device.node, node=node)

    def _claim(self, node: str) -> Initiator:
        options = self._options
        usbfs = open_device(node)
        try:
            return Initiator(
                usbfs,
                urb_bytes=options.urb_bytes,
                deadline_s=options.deadline_s,
                stall_is_error=options.stall_resets,
                recovery=options.recovery,
                stop=self._stop,
                counters=self.counters,
            )
        except OSError as error:
            usbfs.close()
            raise MachineError(f"{node} cannot be claimed: {error.strerror}.") from error

    def _tell(self, told: Failure | Recovered) -> None:
        event = "attempt-failed" if isinstance(told, Failure) else "recovered"
        self._events.emit(event, **msgspec.structs.asdict(told))


def _be_io_flusher() -> None:
    """Let the kernel find this thread memory without writing to a disk: it may be this one."""
    if ctypes.CDLL(None).prctl(_PR_SET_IO_FLUSHER, 1, 0, 0, 0) != 0:
        _log.warning("The kernel does not take this for part of a disk; low memory may stop it.")


def read_options(argv: list[str]) -> tuple[Options, argparse.Namespace]:
    """Read the command line.

    Raises:
        UserError: It asks for what cannot be.
    """
    parser = ArgumentParser(
        prog="rig deepqueue",
        description="Serve a disk on USB, with several URBs in flight, as a block device.",
    )
    parser.add_argument("--controller", default="vhci_hcd", help="behind which the disk is")
    parser.add_argument("--urbs", type=int, default=8, help="the most of a data stage, in flight")
    parser.add_argument("--urb-bytes", type=int, default=16384, help="of each, whole pages")
    parser.add_argument(
        "--deadline", type=float, default=edge.DEADLINE_S, help="of a command, in seconds"
    )
    parser.add_argument("--recovery", choices=list(Recovery), default=Recovery.PORT_RESET)
    parser.add_argument(
        "--stall-resets",
        action="store_true",
        help="recover from a stalled data stage as from any error; usb-storage asks for the status",
    )
    parser.add_argument("--supervised", action="store_true", help="obey standard input")
    given = parser.parse_args(argv)
    if given.urb_bytes <= 0 or given.urb_bytes % _PAGE_BYTES or given.urbs <= 0:
        raise UserError(f"{given.urbs} URBs of {given.urb_bytes} octets are no whole pages.")
    if given.urbs * given.urb_bytes > _MOST_COMMAND_BYTES:
        raise UserError(f"A command moves at most {_MOST_COMMAND_BYTES} octets.")
    if given.deadline <= 0:
        raise UserError("A command needs time: --deadline must be above 0.")
    options = Options(
        given.controller,
        given.urbs,
        given.urb_bytes,
        given.deadline,
        Recovery(given.recovery),
        given.stall_resets,
    )
    return options, given


def main(argv: list[str]) -> int:
    """Run ``rig deepqueue``.

    Returns:
        0 when it was told to stop.

    Raises:
        UserError: The command line asks for what cannot be, or there is no such controller.
        MachineError: The kernel did not do its part.
    """
    options, given = read_options(argv)
    check_controller(options.controller)
    start_logging()
    events = Events(sys.stdout.buffer if given.supervised else None)
    reactor = Reactor()
    with closing(Flag()) as stop, closing(Flag()) as ended, closing(reactor):
        service = Service(options, events, stop, ended)
        supervise(reactor, events, service.obey, supervised=given.supervised)
        reactor.watch(ended, READABLE, lambda _: reactor.stop())
        worker = threading.Thread(target=service.work, name="disk", daemon=True)
        worker.start()
        reactor.run()
        service.stop()
        worker.join(STOPS_IN_S)
        if worker.is_alive():
            raise MachineError(f"The disk's commands did not end in {STOPS_IN_S:g} s.")
    if service.trouble is not None:
        raise service.trouble
    return 0
