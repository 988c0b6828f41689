"""What ``rig back`` is asked for: its command line, checked before anything is mapped."""

from __future__ import annotations

import argparse
from functools import partial

import msgspec

from rig.arguments import ArgumentParser
from rig.control.server import add_option
from rig.errors import UserError
from rig.net.address import DEFAULT_PORT, listen, parse_address
from rig.reactor import Reactor
from rig.splitdriver.messages import MAX_PORTS, Role
from rig.splitdriver.policy import ACA_STATUSES, DEFAULT_ACA_STATUS, Policy
from rig.splitdriver.transport import security, virtio_port
from rig.splitdriver.transport.handshake import Gate
from rig.splitdriver.transport.meeting import Admitted, Door, MakeDoor, Rejected
from rig.splitdriver.transport.virtio_port import PortDoor

MAX_WINDOW = 64
NO_FAULTS_IN_A_WINDOW = (
    "A window above 1 and endpoint faults do not go together: what stands behind an induced error"
    " is in the controller already, and runs."
)


class Rules(msgspec.Struct, frozen=True):
    """What happens on an endpoint behind an error.

    Attributes:
        policy: The policy.
        window: Of a bulk endpoint, under `Policy.HOLD`.
        aca_status: What `Policy.ACA` fails URBs with.
        time_stops: Tell of every endpoint that has stopped for how long it did.
        lane: Let a lane forward what needs no decision, if there is one.
    """

    policy: Policy = Policy.HOLD
    window: int = 1
    aca_status: int = ACA_STATUSES[DEFAULT_ACA_STATUS]
    time_stops: bool = False
    lane: bool = True


def parser() -> argparse.ArgumentParser:
    """Return the command line of ``rig back``."""
    arguments = ArgumentParser(
        prog="rig back",
        description="Map USB ports of this machine and serve them to a front end.",
    )
    arguments.add_argument(
        "--port",
        required=True,
        action="append",
        help="3-1.4 or dummy_hcd.0/1; may be given again for further ports",
    )
    arguments.add_argument(
        "--listen",
        default=f"127.0.0.1:{DEFAULT_PORT}",
        metavar="HOST:PORT",
        help="for front ends, or virtio:NAME for a port of virtio-serial",
    )
    security.add_options(arguments, Role.BACK)
    arguments.add_argument(
        "--policy",
        type=Policy,
        choices=list(Policy),
        default=Policy.HOLD,
        help="behind an error; the front end's must be the same (default: %(default)s)",
    )
    arguments.add_argument(
        "--aca-status",
        choices=sorted(ACA_STATUSES),
        help=f"what policy aca fails URBs with (default: {DEFAULT_ACA_STATUS})",
    )
    arguments.add_argument(
        "--window",
        type=int,
        default=1,
        metavar="N",
        help="URBs of a bulk endpoint in the controller at a time, under policy hold; above 1 only"
        " on controllers where that is exact (default: %(default)s)",
    )
    arguments.add_argument(
        "--time-stops", action="store_true", help="tell for how long each endpoint stood still"
    )
    arguments.add_argument(
        "--no-lane", action="store_true", help="forward all in Python, for measurements"
    )
    arguments.add_argument("--urb-log", metavar="FILE", help="note every URB for 'rig monitor'")
    arguments.add_argument("--plan", help="fault plan whose endpoint rules apply to the port")
    arguments.add_argument("--seed", type=int, help="instead of the plan's own")
    add_option(arguments)
    arguments.add_argument("--supervised", action="store_true", help="speak JSON lines with a lab")
    return arguments


def rules_of(options: argparse.Namespace) -> Rules:
    """Check the options that go together.

    Raises:
        UserError: They contradict each other.
    """
    if not 1 <= options.window <= MAX_WINDOW:
        raise UserError(f"A window of {options.window} cannot be.", hint=f"Take 1 to {MAX_WINDOW}.")
    if options.window > 1 and options.policy is not Policy.HOLD:
        raise UserError(
            f"A window is for policy hold, not for {options.policy}.",
            hint="Leave --window out, or take --policy hold.",
        )
    if options.window > 1 and options.plan is not None:
        raise UserError(
            NO_FAULTS_IN_A_WINDOW,
            hint="Leave out --window or --plan.",
        )
    if len(options.port) > MAX_PORTS:
        raise UserError(
            f"One link carries {MAX_PORTS} ports, not {len(options.port)}.",
            hint="Start another 'rig back' for the others, with a --listen of its own.",
        )
    if options.aca_status is not None and options.policy is not Policy.ACA:
        raise UserError(
            f"--aca-status is for policy aca, not for {options.policy}.",
            hint="Leave it out, or take --policy aca.",
        )
    if options.seed is not None and options.plan is None:
        raise UserError("--seed is of no use without --plan.", hint="Leave it out, or name a plan.")
    status = ACA_STATUSES[options.aca_status or DEFAULT_ACA_STATUS]
    return Rules(options.policy, options.window, status, options.time_stops, not options.no_lane)


def door_of(options: argparse.Namespace, reactor: Reactor) -> MakeDoor:
    """Return how the place of ``--listen`` is made, which may raise `UserError`, too.

    Raises:
        UserError: The options contradict each other, or nobody can come there.
    """
    name = virtio_port.name_of(options.listen)
    if name is not None:
        security.require_none(options, Role.BACK)
        return partial(PortDoor, virtio_port.find(name), reactor)
    host, number = parse_address(options.listen)
    wanted = security.from_options(options, Role.BACK, host)

    def gate(admitted: Admitted, rejected: Rejected) -> Door:
        listener = listen((host, number))
        return Gate(listener, wanted, reactor, admitted=admitted, rejected=rejected)

    return gate
