"""Runs *on a machine of the lab*, copied there: the user of one end of a device that is no disk.

A supervised daemon (`rig.daemon`): ``open`` says that its end is open, ``go`` lets it begin, and
its results are events.

    on_guest.py serial DEVICE BAUD SEND_SEED BYTES    exchange bytes by pyserial, both ways at once
    on_guest.py listen ADDRESS PORT SEND_SEED BYTES   the same over TCP, for one caller
    on_guest.py call ADDRESS PORT SEND_SEED BYTES     the same, from the other end
    on_guest.py input DEVICE                          tell the keys of an input device
    on_guest.py reports DEVICE                        tell the reports that a HID gadget gets
"""

from __future__ import annotations

import hashlib
import os
import random
import selectors
import socket
import struct
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import serial  # type: ignore[import-untyped]

from rig.daemon import Command, CommandLines, Events

INPUT_EVENT = struct.Struct("@llHHi")  # struct input_event, include/uapi/linux/input.h
EV_KEY, EV_LED, EV_SYN = 0x01, 0x11, 0x00
DEADLINE_S = 60.0
CHUNK_BYTES = 4096

Ends = tuple[Callable[[bytes], object], Callable[[], bytes]]
"""How to write, and how to read what has come (blocks until something did)."""


def data_of(seed: int, count: int) -> bytes:
    """Every octet once in order, then as many as asked for by chance."""
    return (bytes(range(256)) + random.Random(seed).randbytes(count))[:count]


@contextmanager
def serial_ends(device: str, baud: str) -> Iterator[Ends]:
    with serial.Serial(device, int(baud), timeout=DEADLINE_S) as port:
        yield port.write, lambda: port.read(max(1, min(port.in_waiting, CHUNK_BYTES)))


@contextmanager
def caller_ends(address: str, port: str) -> Iterator[Ends]:
    with socket.create_connection((address, int(port)), DEADLINE_S) as connection:
        yield connection.sendall, lambda: connection.recv(CHUNK_BYTES)


@contextmanager
def listener_ends(events: Events, address: str, port: str) -> Iterator[Ends]:
    with socket.create_server((address, int(port))) as listener:
        listener.settimeout(DEADLINE_S)
        events.emit("listening")
        connection = listener.accept()[0]
    with connection:
        connection.settimeout(DEADLINE_S)
        yield connection.sendall, lambda: connection.recv(CHUNK_BYTES)


def exchange(events: Events, ends: Ends, seed: str, count: str) -> None:
    """Send and receive the same number of octets at once; tell the digest of what came."""
    write, read = ends
    data, wanted = data_of(int(seed), int(count)), int(count)
    sender = threading.Thread(target=write, args=(data,), daemon=True)
    sender.start()
    digest, got = hashlib.sha256(), 0
    while got < wanted and (piece := read()):
        digest.update(piece)
        got += len(piece)
    sender.join(DEADLINE_S)
    events.emit("exchanged", bytes=got, sha256=digest.hexdigest(), sent=not sender.is_alive())


def tell_input(events: Events, device: str) -> None:
    """Tell the keys; the command ``led`` sets a lamp."""
    lines = CommandLines()
    fd = os.open(device, os.O_RDWR)
    events.emit("open")

    def light(command: Command) -> None:
        led, on = command.args["led"], command.args["on"]
        os.write(fd, INPUT_EVENT.pack(0, 0, EV_LED, led, on))
        os.write(fd, INPUT_EVENT.pack(0, 0, EV_SYN, 0, 0))

    with selectors.DefaultSelector() as selector:
        selector.register(fd, selectors.EVENT_READ)
        selector.register(0, selectors.EVENT_READ)
        while True:
            ready = {key.fd for key, _ in selector.select()}
            if fd in ready:
                for *_, kind, code, value in INPUT_EVENT.iter_unpack(
                    os.read(fd, 64 * INPUT_EVENT.size)
                ):
                    if kind == EV_KEY:
                        events.emit("key", code=code, value=value)
            if 0 in ready:
                text = os.read(0, CHUNK_BYTES)
                if not text:
                    return
                for command in lines.feed(text):
                    events.answer(command, light)


def tell_reports(events: Events, device: str) -> None:
    """Tell the output reports; the command ``report`` sends an input report."""
    lines = CommandLines()
    fd = os.open(device, os.O_RDWR)
    events.emit("open")
    with selectors.DefaultSelector() as selector:
        selector.register(fd, selectors.EVENT_READ)
        selector.register(0, selectors.EVENT_READ)
        while True:
            ready = {key.fd for key, _ in selector.select()}
            if fd in ready:
                events.emit("report", octets=os.read(fd, 64).hex())
            if 0 in ready:
                text = os.read(0, CHUNK_BYTES)
                if not text:
                    return
                for command in lines.feed(text):
                    events.answer(command, lambda c: os.write(fd, bytes.fromhex(c.args["octets"])))


def wait_for_go(events: Events) -> None:
    (command,) = CommandLines().feed(os.read(0, CHUNK_BYTES))
    events.answer(command, lambda _: None)


def main(what: str, *arguments: str) -> int:
    events = Events(sys.stdout.buffer)
    match what, arguments:
        case "serial", (device, baud, seed, count):
            with serial_ends(device, baud) as ends:
                events.emit("open")
                wait_for_go(events)
                exchange(events, ends, seed, count)
                os.read(0, 1)  # the port stays open until both ends are done
        case "listen", (address, port, seed, count):
            with listener_ends(events, address, port) as ends:
                exchange(events, ends, seed, count)
        case "call", (address, port, seed, count):
            with caller_ends(address, port) as ends:
                exchange(events, ends, seed, count)
        case "input", (device,):
            tell_input(events, device)
        case "reports", (device,):
            tell_reports(events, device)
        case _:
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
