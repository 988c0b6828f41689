"""The daemon ``rig gadget``: a USB device with one or more functions of the kernel's.

``--function KIND[,SETTING=VALUE...]`` may be given several times:

* ``mass-storage`` (the default): a disk whose medium is a `rig.gadget.store.Store`, in
  ``--directory``;
* ``bot-storage``: the same, played by the rig instead of the kernel: it can answer wrongly;
* ``acm``: a serial port; what is written to /dev/ttyGS0 the host reads;
* ``ncm``: an Ethernet card, the other end of which is a card of this machine;
* ``hid``: a boot keyboard; reports of 8 octets written to /dev/hidg0 are keys that are down;
* ``source-sink``, ``loopback``: test devices of the kernel's; usbtest binds the first.

Several gadgets may be played at once, each with a ``--name`` and a ``--udc`` of its own.

Events: ``ready`` once the UDC is bound, with what each function became (device node, network
interface); ``fault`` for every fault of the device or its medium, and ``released`` for every hang
of the medium that ended; ``replugged`` when the host had given the disk up during a hang, and the
gadget was bound anew; ``error`` with a sentence before an end that nobody asked for.  Commands:
``status``, and those of `rig.control.commands`, for the device's rules; ``happen {effect, for_s}``
for an eject, soft-disconnect or unbind right now; of a disk ``release`` (end what hangs),
``power_cut`` (lose what was not flushed), and ``store {ask, ...}``: any command for the store.

It runs as root on the machine that has the UDC, and undoes all it did when it ends.
"""

from __future__ import annotations

import argparse
import logging
import os
import re
import selectors
import sys
from pathlib import Path

from rig.arguments import ArgumentParser
from rig.control.server import ControlSocket, add_option, control_socket, is_asked_for
from rig.daemon import CommandLines, Events, start_logging, wake_on_signals
from rig.errors import MachineError, RigError, UserError
from rig.faults.load import load_plan
from rig.faults.plan import NO_FAULTS
from rig.faults.rules.base import MOST_DISK_BYTES, check_disk
from rig.faults.rules.device import DeviceFault
from rig.faults.rules.medium import MediumFault
from rig.faults.shown import cut
from rig.gadget import kernel
from rig.gadget.assembly import Gadget, Options
from rig.gadget.configfs import Configfs
from rig.gadget.dummy import ensure_dummy_udc
from rig.gadget.kinds import Kind
from rig.gadget.storage import Medium
from rig.gadget.tree import MaxSpeed
from rig.gadget.udc import Udcs
from rig.gadget.wishes import Wish, check_rules, parse_wish, wants_store

log = logging.getLogger("rig.gadget")

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


def run(
    gadget: Gadget,
    events: Events,
    input_fd: int | None,
    signal_fd: int,
    control: ControlSocket | None = None,
) -> None:
    """Serve until the input ends, a signal comes, or the store dies.

    Raises:
        MachineError: The store died.
        RemoteProtocolError: What came in is no command.
    """
    lines = CommandLines()
    store = gadget.store
    with selectors.DefaultSelector() as selector:
        selector.register(signal_fd, selectors.EVENT_READ)
        selector.register(gadget.moments, selectors.EVENT_READ)
        if control is not None:
            selector.register(control, selectors.EVENT_READ)
        if store is not None:
            selector.register(store, selectors.EVENT_READ)
        if input_fd is not None:
            selector.register(input_fd, selectors.EVENT_READ)
        while True:
            ready = {key.fd for key, _ in selector.select(gadget.pass_time())}
            if signal_fd in ready:
                return
            if store is not None and store.fileno() in ready and not store.pump():
                raise MachineError(f"The store ended by itself. {store.last_error}")
            if input_fd in ready:
                data = os.read(input_fd, 1 << 16)
                if not data:
                    return
                for command in lines.feed(data):
                    events.answer(command, gadget.do)
            if control is not None and control.fileno() in ready:
                control.pump()


def parse_size(text: str) -> int:
    """Bytes of a size like ``256M``, ``1G`` or ``4096``.

    Raises:
        UserError: It is no size, or no whole number of blocks.
    """
    match = re.fullmatch(r"([0-9]{1,13})([KMG]?)", text)
    size_bytes = int(match[1]) * _UNITS[match[2]] if match else 0
    if not 1 << 20 <= size_bytes <= MOST_DISK_BYTES or size_bytes % 512:
        raise UserError(
            f"'{cut(text)}' is no size for a medium.",
            hint="Give a multiple of 512 bytes from 1M to 2048G, like 256M or 1G.",
        )
    return size_bytes


def parse_id(text: str) -> tuple[int, int]:
    """Vendor and product ID of a text like ``0525:a4a0``, in hexadecimal.

    Raises:
        UserError: It is none.
    """
    match = re.fullmatch(r"([0-9A-Fa-f]{4}):([0-9A-Fa-f]{4})", text)
    if match is None:
        raise UserError(f"'{text}' is no device ID.", hint="Write it as lsusb does: 0525:a4a0.")
    return int(match[1], 16), int(match[2], 16)


def options_of(arguments: argparse.Namespace) -> Options:
    """What the command line asks for.

    Raises:
        UserError: It asks for what cannot be.
    """
    wishes = tuple(parse_wish(text) for text in arguments.function) or (Wish(Kind.MASS_STORAGE),)
    plan = load_plan(arguments.plan, arguments.seed) if arguments.plan else NO_FAULTS
    check_rules(plan.rules(DeviceFault), wishes)
    medium = None
    if wants_store(wishes):
        if arguments.directory is None:
            raise UserError(
                "A disk needs a directory for its medium.", hint="Name one with --directory."
            )
        size_bytes = parse_size(arguments.size)
        check_disk((*plan.rules(MediumFault), *plan.rules(DeviceFault)), size_bytes)
        medium = Medium(
            arguments.directory, size_bytes, arguments.plan, arguments.seed, arguments.control
        )
    return Options(
        arguments.name,
        arguments.udc,
        wishes,
        medium,
        arguments.max_speed,
        parse_id(arguments.id) if arguments.id else None,
        plan,
    )


def parser() -> argparse.ArgumentParser:
    """The command line."""
    # Written for readers of the code: in a terminal, quotation marks do.
    description, _, rest = (__doc__ or "").replace("``", "'").partition("\n")
    made = ArgumentParser(
        prog="rig gadget",
        description=description,
        epilog=rest,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument(
        *("--function", "-f"),
        action="append",
        default=[],
        metavar="KIND[,SETTING=VALUE...]",
        help=f"one of {', '.join(Kind)}; may be repeated (default: {Kind.MASS_STORAGE})",
    )
    made.add_argument("--directory", type=Path, help="of a disk: medium, journal, mount")
    made.add_argument("--size", default="256M", help="of the medium (default: %(default)s)")
    made.add_argument("--udc", default="dummy_udc.0", help="default: %(default)s")
    made.add_argument("--name", default="rig0", help="of the gadget (default: %(default)s)")
    made.add_argument("--max-speed", type=MaxSpeed, choices=list(MaxSpeed), default=MaxSpeed.HIGH)
    made.add_argument("--id", metavar="VVVV:PPPP", help="vendor and product, instead of the usual")
    made.add_argument("--plan", type=Path, help="file of the fault plan (default: no faults)")
    made.add_argument("--seed", type=int, help="instead of the plan's")
    add_option(made)
    made.add_argument("--supervised", action="store_true", help="events and commands by lines")
    return made


def main(argv: list[str] | None = None) -> int:
    """Run the daemon.

    Returns:
        0 after an end that was asked for, 2 if what was asked cannot be, 3 after a failure.
    """
    arguments = parser().parse_args(argv)
    start_logging()
    events = Events(sys.stdout.buffer if arguments.supervised else None)
    signal_fd = wake_on_signals()
    input_fd = sys.stdin.fileno() if arguments.supervised else None
    try:
        options = options_of(arguments)
        modules = [function.facts.module for function in options.functions()]
        kernel.ensure_gadget_support(modules, fuse=options.medium is not None)
        configfs = Configfs()
        ensure_dummy_udc(options.udc, options.max_speed, configfs)
        gadget = Gadget(options, events, configfs, Udcs(configfs))
        asked_for = is_asked_for(arguments.control)
        with (
            control_socket(arguments.control, "gadget", gadget.do, required=asked_for) as control,
            gadget,
        ):
            events.emit("ready", **gadget.ready_fields())
            run(gadget, events, input_fd, signal_fd, control)
    except (RigError, OSError) as error:
        if arguments.supervised:  # else the event is a line of the log as well
            events.emit("error", error=str(error))
        log.error("%s", error)
        return 2 if isinstance(error, UserError) else 3
    return 0
