"""Which errors can be made where: the rows of the table, and why some are missing.  Pure."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import msgspec

from rig.cable.controllers import OHCI_OUT_BYTES, Controller, check_rule
from rig.errors import UserError
from rig.faults.rules.endpoint import (
    STATUS_DIRECTION,
    EndpointFault,
    EndpointStatus,
    Place,
    When,
)
from rig.lab.attachment import DUMMY
from rig.lab.paths import PathName
from rig.usb.urb import Direction

ATTACHMENTS = (DUMMY.name, *Controller)
"""In the table's order."""

REQUEST_BYTES = 4096
"""Of the one READ or WRITE: a page is one piece of memory, so it is one URB, and one transfer on
every wire but OHCI's."""

OPCODES = {Direction.OUT: 0x2A, Direction.IN: 0x28}
"""WRITE(10) and READ(10)."""

RULE = """
[[fault]]
name = "{name}"
phase = "{name}"
layer = "endpoint"
place = "{place}"
direction = "{direction}"
status = "{status}"
when = "{when}"
opcode = {opcode}
stage = "data"
nth = {nth}
"""


class Injection(msgspec.Struct, frozen=True, order=True):
    """An error of a command's data.

    Attributes:
        attachment: What the gadget is plugged into.
        direction: Of the data.
        status: That is asked for.
        when: Relative to the data.
        halt: The device's endpoint is halted, too.  Else it knows nothing of the error.
    """

    attachment: str
    direction: Direction
    status: EndpointStatus
    when: When
    halt: bool = False

    @property
    def label(self) -> str:
        """Names the error, whatever the direction and the moment."""
        return f"{self.status} halted" if self.halt else str(self.status)

    @property
    def name(self) -> str:
        """Names it in a plan, and the phase in which it happens."""
        return f"{self.direction}-{self.label.replace(' ', '-')}-{self.when}"

    @property
    def opcode(self) -> int:
        """Of the SCSI command whose data it befalls."""
        return OPCODES[self.direction]

    @property
    def place(self) -> Place:
        """Where it is made."""
        return Place.PORT if self.attachment == DUMMY.name else Place.CABLE

    def rule(self) -> str:
        """Return the rule of a plan that makes it, once, in a phase of its own."""
        nth, when = 1, self.when
        if self.attachment == Controller.OHCI and self.direction is Direction.OUT:
            # Packet by packet: each is a transfer on the wire.
            packets = REQUEST_BYTES // OHCI_OUT_BYTES
            nth = {When.BEFORE: 1, When.MIDDLE: packets // 2 + 1, When.AFTER: packets}[when]
            when = When.AFTER if when is When.AFTER else When.BEFORE
        text = RULE.format(
            name=self.name,
            place=self.place,
            direction=self.direction,
            status=self.status,
            when=when,
            opcode=self.opcode,
            nth=nth,
        )
        return f"{text}halt = true\n" if self.halt else text

    def fault(self) -> EndpointFault:
        """Return the rule as the layers know it."""
        return EndpointFault(
            name=self.name,
            nth=1,
            direction=self.direction,
            status=self.status,
            when=self.when,
            place=self.place,
        )


def plan(injections: tuple[Injection, ...]) -> str:
    """Return a fault plan with a rule for each."""
    return 'name = "fidelity"\nseed = 0\n' + "".join(one.rule() for one in injections)


def refusal(injection: Injection) -> str:
    """Return why an error cannot be made, or ""."""
    only = STATUS_DIRECTION.get(injection.status, injection.direction)
    if only is not injection.direction:
        return f"no controller reports it of {injection.direction.upper()} transfers"
    if injection.place is Place.PORT:
        return ""
    if injection.halt:
        return "only `rig back` can halt an endpoint of the device"
    try:
        check_rule(injection.fault(), Controller(injection.attachment))
    except UserError as error:
        return error.message.rpartition(": ")[2].rstrip(".")
    return ""


def injections(attachment: str) -> tuple[Injection, ...]:
    """Return all errors that can be made at an attachment, in the table's order."""
    return tuple(one for one in _asked(attachment) if not refusal(one))


def refused(attachment: str) -> dict[str, list[str]]:
    """Return what cannot be made at an attachment: statuses and directions, by the reason.

    Where only some moments of an error cannot be, they are named.
    """
    why_not = {one: refusal(one) for one in _asked(attachment)}
    made = {(one.direction, one.label) for one, why in why_not.items() if not why}
    found: dict[str, dict[str, None]] = {}
    for one, why in why_not.items():
        if why:
            moment = f" {one.when}" if (one.direction, one.label) in made else ""
            found.setdefault(why, {})[f"{one.direction.upper()} {one.label}{moment}"] = None
    return {why: list(names) for why, names in found.items()}


def no_path(attachment: str, path: PathName) -> str:
    """Return why a path has no errors at an attachment, or ""."""
    if attachment == DUMMY.name and path is not PathName.SPLIT:
        return "the error is made in the port of `rig back`, and this path has none"
    return ""


def _asked(attachment: str) -> Iterator[Injection]:
    errors = [(status, False) for status in EndpointStatus]
    errors.insert(errors.index((EndpointStatus.EPIPE, False)) + 1, (EndpointStatus.EPIPE, True))
    for direction, (status, halt), when in product(Direction, errors, When):
        yield Injection(attachment, direction, status, when, halt)
