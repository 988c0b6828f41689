"""The daemon ``rig cable``: the wire between a gadget on usbip-vudc and QEMU's ``usb-redir``.

It runs where QEMU runs.  One end is the UNIX socket of usb-redir's chardev; the other is TCP, where
the gadget's machine connects and hands its socket to vudc.  Whoever connects says a secret first:
on the station's loopback anybody could.

Events: ``listening`` with the port, ``attached`` when the gadget's machine has connected,
``plugged`` when QEMU was told of the device, ``unplugged``, ``fault`` for every error that was
made, ``error`` with a sentence before an end that nobody asked for.  Commands: ``status``, and
those of `rig.control.commands`.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import socket
import sys
import time
from pathlib import Path

from rig.arguments import ArgumentParser
from rig.cable.controllers import Controller, check_plan
from rig.cable.ends import CableService
from rig.control.server import add_option, is_asked_for, served_by_reactor
from rig.daemon import Events, start_logging
from rig.errors import MachineError, RigError, UserError
from rig.faults.load import load_plan
from rig.faults.plan import NO_FAULTS
from rig.faults.rules.endpoint import EndpointFault, Place
from rig.faults.triggers import Injector
from rig.reactor import Reactor, supervise

_log = logging.getLogger("rig.cable")


def connect(path: Path) -> socket.socket:
    """Connect to the socket of QEMU's chardev, which is there before QEMU runs its guest.

    Raises:
        MachineError: It is not there.
    """
    stream = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        stream.connect(str(path))
    except OSError as error:
        stream.close()
        raise MachineError(
            f"QEMU's end of the cable, '{path}', cannot be reached: {error.strerror}.",
            hint="The machine must be running, with a usb-redir device on that socket.",
        ) from error
    return stream


def read_secret(path: Path) -> bytes:
    """Return what the gadget's machine has to say.

    Raises:
        UserError: There is none.
    """
    try:
        secret = path.read_bytes().strip()
    except OSError as error:
        raise UserError(f"The secret's file '{path}' cannot be read: {error.strerror}.") from error
    if not secret:
        raise UserError(f"The secret's file '{path}' is empty.")
    return secret


def hurry() -> None:
    """Run before all that is not urgent, where that is allowed.

    A wire does not wait for a processor.  How long a transfer has been out when it is taken back is
    known only if both are seen when they happen.
    """
    with contextlib.suppress(PermissionError):
        os.sched_setscheduler(
            0, os.SCHED_RR, os.sched_param(os.sched_get_priority_min(os.SCHED_RR))
        )


def parser() -> argparse.ArgumentParser:
    """The command line."""
    description, _, rest = (__doc__ or "").partition("\n")
    made = ArgumentParser(prog="rig cable", description=description, epilog=rest)
    made.add_argument("--usb-redir", type=Path, required=True, help="socket of QEMU's chardev")
    made.add_argument(
        "--secret", type=Path, required=True, help="file with what the gadget's machine says first"
    )
    made.add_argument("--controller", type=Controller, choices=list(Controller), required=True)
    made.add_argument("--plan", help="fault plan whose endpoint rules for the cable apply")
    made.add_argument("--seed", type=int, help="instead of the plan's own")
    add_option(made)
    made.add_argument("--supervised", action="store_true", help="speak JSON lines with a lab")
    return made


def main(argv: list[str]) -> int:
    """Run ``rig cable`` until it is stopped.

    Returns:
        0 after an end that was asked for, 2 if what was asked cannot be, 3 after a failure.
    """
    options = parser().parse_args(argv)
    start_logging()
    events = Events(sys.stdout.buffer if options.supervised else None)
    try:
        return _run(options, events)
    except RigError as error:
        if options.supervised:  # else the event is a line of the log as well
            events.emit("error", error=str(error))
        _log.error("%s", error)
        return 2 if isinstance(error, UserError) else 3


def _run(options: argparse.Namespace, events: Events) -> int:
    secret = read_secret(options.secret)
    plan = NO_FAULTS if options.plan is None else load_plan(options.plan, options.seed)
    check_plan(plan, options.controller)
    injector = Injector(plan.at(Place.CABLE), EndpointFault, time.monotonic)
    qemu = connect(options.usb_redir)
    hurry()
    with contextlib.closing(Reactor()) as reactor:
        listener = socket.create_server(("127.0.0.1", 0))
        service = CableService(
            options.controller,
            qemu,
            listener,
            secret=secret,
            injector=injector,
            events=events,
            reactor=reactor,
        )
        supervise(reactor, events, service.obey, supervised=options.supervised)
        asked_for = is_asked_for(options.control)
        try:
            with served_by_reactor(
                reactor, options.control, "cable", service.obey, required=asked_for
            ):
                events.emit("listening", port=listener.getsockname()[1])
                reactor.run()
        finally:
            service.close()
        if service.failure is not None:
            raise service.failure
    return 0
