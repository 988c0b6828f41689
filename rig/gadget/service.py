"""The daemon ``rig gadget``: a mass-storage gadget whose medium is a `Store`.

Events: ``ready`` once the UDC is bound; ``fault`` for every error injected into the medium;
``error`` with a sentence before an end that nobody asked for.  Commands: ``phase {name}``,
``status``, ``faults``.

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

from rig.daemon import CommandLines, Events, start_logging, wake_on_signals
from rig.errors import MachineError, RigError, UserError
from rig.faults.load import load_plan
from rig.gadget import kernel
from rig.gadget.assembly import Gadget, Options
from rig.gadget.configfs import Configfs
from rig.gadget.tree import MaxSpeed
from rig.gadget.udc import Udcs

log = logging.getLogger("rig.gadget")

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


def run(gadget: Gadget, events: Events, input_fd: int | None, signal_fd: int) -> None:
    """Serve until the input ends, a signal comes, or the store dies.

    Raises:
        MachineError: The store died.
        RemoteProtocolError: What came in is no command.
    """
    lines = CommandLines()
    with selectors.DefaultSelector() as selector:
        selector.register(signal_fd, selectors.EVENT_READ)
        selector.register(gadget.store, selectors.EVENT_READ)
        if input_fd is not None:
            selector.register(input_fd, selectors.EVENT_READ)
        while True:
            ready = {key.fd for key, _ in selector.select()}
            if signal_fd in ready:
                return
            if gadget.store.fileno() in ready and not gadget.store.pump():
                raise MachineError(f"The store ended by itself. {gadget.store.last_error}")
            if input_fd in ready:
                data = os.read(input_fd, 1 << 16)
                if not data:
                    return
                for command in lines.feed(data):
                    events.answer(command, gadget.do)


def parse_size(text: str) -> int:
    """Bytes of a size like ``256M``, ``1G`` or ``4096``.

    Raises:
        UserError: It is no size, or no whole number of blocks.
    """
    match = re.fullmatch(r"(\d+)([KMG]?)", text)
    size_bytes = int(match[1]) * _UNITS[match[2]] if match else 0
    if size_bytes < 1 << 20 or size_bytes % 512:
        raise UserError(
            f"'{text}' is no size for a medium.",
            hint="Give a multiple of 512 bytes from 1M on, like 256M or 1G.",
        )
    return size_bytes


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="rig gadget", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--directory", type=Path, required=True, help="medium, journal, mount")
    parser.add_argument("--size", default="256M", help="of the medium (default: %(default)s)")
    parser.add_argument("--udc", default="dummy_udc.0", help="default: %(default)s")
    parser.add_argument("--name", default="rig0", help="of the gadget (default: %(default)s)")
    parser.add_argument("--max-speed", type=MaxSpeed, choices=list(MaxSpeed), default=MaxSpeed.HIGH)
    parser.add_argument("--plan", type=Path, help="file of the fault plan (default: no faults)")
    parser.add_argument("--seed", type=int, help="instead of the plan's")
    parser.add_argument("--supervised", action="store_true", help="events and commands by lines")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the daemon.

    Returns:
        0 after an end that was asked for, 2 if what was asked cannot be, 3 after a failure.
    """
    arguments = _parser().parse_args(argv)
    start_logging()
    events = Events(sys.stdout.buffer if arguments.supervised else None)
    signal_fd = wake_on_signals()
    input_fd = sys.stdin.fileno() if arguments.supervised else None
    try:
        if arguments.plan:
            load_plan(arguments.plan, arguments.seed)  # a bad one starts nothing
        options = Options(
            arguments.name,
            arguments.directory,
            parse_size(arguments.size),
            arguments.udc,
            arguments.max_speed,
            arguments.plan,
            arguments.seed,
        )
        kernel.ensure_gadget_support(options.udc)
        configfs = Configfs()
        with Gadget(options, events, configfs, Udcs(configfs)) as gadget:
            events.emit("ready", **gadget.ready_fields())
            run(gadget, events, input_fd, signal_fd)
    except (RigError, OSError) as error:
        events.emit("error", error=str(error))
        log.error("%s", error)
        return 2 if isinstance(error, UserError) else 3
    return 0
