"""Runs on a machine: a host that halts an endpoint of a bulk-only disk in the middle of a transfer.

``halt_client.py NODE`` reads 64 KiB, waits for the command ``halt``, sends
SET_FEATURE(ENDPOINT_HALT) to the IN endpoint and tells how the transfer ended; then it recovers by
Bulk-Only Reset (BOT §5.3.4) and tells the status of another command.
"""

from __future__ import annotations

import os
import select
import sys

from rig.daemon import Command, CommandLines, Events
from rig.usb import bot
from rig.usb.descriptors import parse
from rig.usb.setup import ENDPOINT_HALT, Request, RequestType, SetupPacket
from rig.usb.urb import Direction, TransferType
from rig.usb.usbfs import Reaped, UsbfsDevice

BLOCKS = 128
READ_10 = 0x28
DEADLINE_MS = 60_000


class Host:
    """A driver of the disk."""

    def __init__(self, node: str) -> None:
        self._device = UsbfsDevice(node)
        self._device.claim_interface(0)
        interface = parse(self._device.descriptors()).configurations[0].interfaces[0]
        self._addresses = {Direction.of(e.address): e.address for e in interface.endpoints}
        self._number = 0

    def begin(self, direction: Direction, buffer: bytearray) -> int:
        """Submit a bulk transfer."""
        return self._submit(TransferType.BULK, self._addresses[direction], buffer)

    def control(self, setup: bytes) -> int:
        """Submit a control transfer without data."""
        return self._submit(TransferType.CONTROL, 0, bytearray(setup))

    def halt_in(self) -> int:
        """Submit SET_FEATURE(ENDPOINT_HALT)."""
        address = self._addresses[Direction.IN]
        kind, request = RequestType.TO_ENDPOINT, Request.SET_FEATURE
        return self.control(SetupPacket(kind, request, ENDPOINT_HALT, address, 0).pack())

    def clear_halts(self) -> None:
        """Clear the halts of both endpoints."""
        for address in self._addresses.values():
            self._device.clear_halt(address)

    def end(self, *numbers: int) -> dict[int, Reaped]:
        """Wait until transfers have ended."""
        poll = select.poll()
        poll.register(self._device, select.POLLOUT)
        found: dict[int, Reaped] = {}
        while set(numbers) - set(found):
            assert poll.poll(DEADLINE_MS), "a transfer did not end"
            while reaped := self._device.reap():
                found[reaped.urb_id] = reaped
        return found

    def _submit(self, kind: TransferType, address: int, buffer: bytearray) -> int:
        self._number += 1
        self._device.submit(self._number, kind, address, 0, buffer)
        return self._number


def read_command() -> bytearray:
    """The wrapper of READ(10) of the first blocks."""
    block = bytes((READ_10, 0)) + bytes(5) + BLOCKS.to_bytes(2, "big") + b"\0"
    length = (BLOCKS * 512).to_bytes(4, "little")
    return bytearray((b"USBC" + bytes(4) + length + bytes((0x80, 0, 10)) + block).ljust(31, b"\0"))


def main(node: str) -> int:
    """Halt, tell, recover, tell."""
    events = Events(sys.stdout.buffer)
    host = Host(node)
    host.end(host.begin(Direction.OUT, read_command()))
    data = bytearray(BLOCKS * 512)
    reading = host.begin(Direction.IN, data)
    events.emit("reading")

    def halt(_: Command) -> dict[str, int]:
        ended = host.end(reading, host.halt_in())[reading]
        return {"status": ended.status, "actual_bytes": ended.actual_bytes, "sum": sum(data)}

    for command in CommandLines().feed(os.read(0, 1 << 16)):
        events.answer(command, halt)
    host.end(host.control(bot.BULK_ONLY_RESET))
    host.clear_halts()
    host.end(host.begin(Direction.OUT, bytearray(bot.unit_ready(9))))
    status = bytearray(bot.CSW_BYTES)
    host.end(host.begin(Direction.IN, status))
    csw = bot.parse_csw(bytes(status))
    events.emit("recovered", tag=csw.tag, status=csw.status)
    os.read(0, 1)  # the end of standard input
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
