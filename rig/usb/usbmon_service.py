"""``rig usbmon``: keeps a log of a machine's URBs, as usbmon tells them.

The binary interface, by ``MON_IOCX_GETX`` (Documentation/usb/usbmon.rst): it leaves the data in the
kernel but for the few octets that a command block wrapper has.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import struct
import sys
from contextlib import closing
from typing import Final

from rig.arguments import ArgumentParser
from rig.daemon import Command, Events, start_logging
from rig.errors import MachineError, UserError
from rig.reactor import READABLE, Reactor, supervise
from rig.usb.bot import CBW_BYTES
from rig.usb.urblog_file import UrbLog, flush
from rig.usb.usbmon import PACKET_BYTES, Translator

NODE: Final = "/dev/usbmon0"
"""Of all buses."""
RING_BYTES: Final = 1_228_800
"""As much as the kernel allows (``BUFF_MAX``, drivers/usb/mon/mon_bin.c): it takes data in, too."""
AT_ONCE: Final = 64

_RING_SIZE: Final = 0x9204
_STATS: Final = 0x80089203
_GETX: Final = 0x4018920A


class Monitor:
    """Reads usbmon, and writes a log.

    Args:
        log: Where to.

    Raises:
        MachineError: The kernel has no usbmon, or lets nobody at it.
    """

    def __init__(self, log: UrbLog) -> None:
        self._log = log
        self._translator = Translator()
        self._packet = ctypes.create_string_buffer(PACKET_BYTES)
        self._data = ctypes.create_string_buffer(CBW_BYTES)
        # struct mon_bin_get: header, data, so much room for data.
        self._get = struct.pack(
            "@PPN", ctypes.addressof(self._packet), ctypes.addressof(self._data), CBW_BYTES
        )
        try:
            self._descriptor = os.open(NODE, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise MachineError(
                f"{NODE} cannot be opened: {error.strerror}.",
                hint="'modprobe usbmon', as root, and be root.",
            ) from error
        fcntl.ioctl(self._descriptor, _RING_SIZE, RING_BYTES)

    def fileno(self) -> int:
        """Return what becomes readable when there are events."""
        return self._descriptor

    def look(self) -> None:
        """Note what there is, but no more than leaves others their turn."""
        self.read()

    def read(self, most: int = AT_ONCE) -> int:
        """Note what there is; return how many events that were, not more than ``most``."""
        for count in range(most):
            try:
                fcntl.ioctl(self._descriptor, _GETX, self._get)
            except BlockingIOError:
                return count
            captured = min(CBW_BYTES, int.from_bytes(self._packet.raw[36:40], sys.byteorder))
            for event in self._translator.take(self._packet.raw, self._data.raw[:captured]):
                self._log.write(event)
        return most

    def lost(self) -> int:
        """Return how many events the kernel had no room for, since this was asked last."""
        told = fcntl.ioctl(self._descriptor, _STATS, bytes(8))
        return int.from_bytes(told[4:], sys.byteorder)

    def close(self) -> None:
        """Let go of usbmon."""
        os.close(self._descriptor)


def main(argv: list[str]) -> int:
    """Run ``rig usbmon``.

    Returns:
        0 when it was told to stop.

    Raises:
        UserError: The log cannot be written there.
        MachineError: The kernel has no usbmon.
    """
    arguments = ArgumentParser(prog="rig usbmon", description=__doc__)
    arguments.add_argument("--urb-log", metavar="FILE", required=True, help="where to")
    arguments.add_argument("--supervised", action="store_true", help="commands come by the lab")
    options = arguments.parse_args(argv)
    start_logging()
    events = Events(sys.stdout.buffer if options.supervised else None)
    with (
        closing(UrbLog(options.urb_log)) as log,
        closing(Monitor(log)) as monitor,
        closing(Reactor()) as reactor,
    ):

        def obey(command: Command) -> object:
            if command.do != "urbs":
                raise UserError(f"There is no command '{command.do}'.", hint="There is: urbs.")
            while monitor.read():
                pass
            flush(log)
            return {"lost": monitor.lost()}

        reactor.watch(monitor, READABLE, lambda _: monitor.look())
        supervise(reactor, events, obey, supervised=options.supervised)
        events.emit("ready")
        reactor.run()
    return 0
