"""Runs *on a machine of the lab*, copied there: uses a device by usbfs, without any driver.

transfer_client.py echo NODE BYTES...   send so much to a Loopback function in one URB, and read
                                        it back in one URB
transfer_client.py read NODE            read from a SourceSink function for ever; the command
                                        ``count`` tells how many URBs came back
transfer_client.py carry NODE          move data from or to a SourceSink function by commands,
                                        one URB each: ``in {bytes}``, ``out {bytes}``; an endpoint
                                        that is not told ``stays: true`` is cleared of halts then
transfer_client.py reset NODE           have a disk begin to write a block, and reset its port
"""

from __future__ import annotations

import contextlib
import errno
import os
import random
import select
import sys
import time

from rig.daemon import Command, CommandLines, Events
from rig.usb import bot, descriptors
from rig.usb.urb import TransferFlags, TransferType, status_name
from rig.usb.usbfs import Reaped, UsbfsDevice

DEADLINE_S = 60.0
READ_BYTES, DEPTH = 4096, 4
BLOCK_BYTES = 512

Opened = tuple[UsbfsDevice, int, int]
"""A device whose first interface is claimed, and its bulk endpoints in and out."""


def opened(node: str) -> Opened:
    device = UsbfsDevice(node)
    interface = descriptors.parse(device.descriptors()).configurations[0].interfaces[0]
    device.claim_interface(interface.number)
    bulk = [e.address for e in interface.endpoints if e.transfer_type is TransferType.BULK]
    return device, max(bulk), min(bulk)  # bit 7 is that of IN


def reap(device: UsbfsDevice) -> Reaped:
    until_s = time.monotonic() + DEADLINE_S
    poll = select.poll()
    poll.register(device, select.POLLOUT)
    while (reaped := device.reap()) is None:
        if not poll.poll(max(0.0, until_s - time.monotonic()) * 1000):
            raise OSError(errno.ETIMEDOUT, "no URB came back")
    return reaped


def echo(events: Events, node: str, *sizes: str) -> None:
    device, source, sink = opened(node)
    device.set_interface(0, 0)  # nothing that somebody else had sent is to be echoed
    for size in map(int, sizes):
        data = random.Random(size).randbytes(size)
        got = bytearray(size)
        try:
            device.submit(1, TransferType.BULK, source, 0, got)
            device.submit(2, TransferType.BULK, sink, 0, bytearray(data))
        except OSError as error:
            events.emit("refused", bytes=size, error=errno.errorcode[error.errno or 0])
            continue
        ended = sorted((reap(device), reap(device)), key=lambda one: one.urb_id)
        events.emit(
            "echoed",
            bytes=size,
            same=got == data,
            moved=[one.actual_bytes for one in ended],
            statuses=[status_name(one.status) for one in ended],
        )
    events.emit("done")


def read(events: Events, node: str) -> None:
    device, source, _ = opened(node)
    lines, counted = CommandLines(), [0]
    poll = select.poll()
    poll.register(device, select.POLLOUT)
    poll.register(0, select.POLLIN)
    for number in range(DEPTH):
        device.submit(number, TransferType.BULK, source, 0, bytearray(READ_BYTES))
    events.emit("reading")
    while True:
        for fd, _ in poll.poll():
            while fd == device.fileno() and (reaped := device.reap()) is not None:
                if (reaped.status, reaped.actual_bytes) != (0, READ_BYTES):
                    raise OSError(-reaped.status, "a transfer failed", node)
                counted[0] += 1
                device.submit(reaped.urb_id, TransferType.BULK, source, 0, bytearray(READ_BYTES))
            if fd == 0:
                text = os.read(0, 4096)
                if not text:
                    return
                for command in lines.feed(text):
                    events.answer(command, lambda _: counted[0])


def carry_by_command(events: Events, node: str) -> None:
    device, source, sink = opened(node)
    lines = CommandLines()

    def obey(command: Command) -> object:
        endpoint = source if command.do == "in" else sink
        flags = TransferFlags.SHORT_NOT_OK if endpoint == source else 0
        device.submit(1, TransferType.BULK, endpoint, flags, bytearray(command.args["bytes"]))
        reaped = reap(device)
        # A stalled endpoint stays so until it is told otherwise.
        if not command.args.get("stays"):
            with contextlib.suppress(OSError):
                device.clear_halt(endpoint)
        return {"status": status_name(reaped.status), "bytes": reaped.actual_bytes}

    events.emit("carrying")
    while text := os.read(0, 4096):
        for command in lines.feed(text):
            events.answer(command, obey)


def carry(device: UsbfsDevice, endpoint: int, buffer: bytearray) -> None:
    device.submit(1, TransferType.BULK, endpoint, 0, buffer)
    status = reap(device).status
    if status:
        raise OSError(-status, "a transfer failed", device.path)


def reset(events: Events, node: str) -> None:
    device, source, sink = opened(node)
    # The first command only brings a unit attention.
    carry(device, sink, bytearray(bot.unit_ready(1)))
    carry(device, source, bytearray(bot.CSW_BYTES))
    carry(device, sink, bytearray(bot.write_10(2, 0, 1)))
    carry(device, sink, bytearray(BLOCK_BYTES))
    events.emit("resetting")
    started_s = time.monotonic()
    try:
        device.reset()
        status = "0"
    except OSError as error:
        status = status_name(-(error.errno or 0))
    events.emit("reset", status=status, seconds=round(time.monotonic() - started_s, 1))


def main(what: str, *arguments: str) -> int:
    events = Events(sys.stdout.buffer)
    tasks = {"echo": echo, "read": read, "carry": carry_by_command, "reset": reset}
    tasks[what](events, *arguments)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
