"""What must hold at every move, said in Linux's terms.  Pure.

The promise is that of ``usb_unlink_urb`` (its kerneldoc in ``drivers/usb/core/urb.c``): when an URB
ends in error or because it was unlinked, nothing behind it runs before its completion handler has
returned and all that was unlinked while the queue stood has been retired, too.
"""

from __future__ import annotations

from enum import StrEnum

from rig.sim.scenario import Handler
from rig.usb.urb import TransferType, stops_endpoint

BUFFER_BYTES = 4
"""Of every URB: enough to fail in its middle."""

MAX_WAITING = 64
"""Messages, commands or PDUs in one queue: far more than so few URBs can cause."""


class Rule(StrEnum):
    """What was broken."""

    BEHIND = "runs-behind"
    PLACE = "wrong-place"
    ORDER = "order"
    GIVEBACK = "giveback"
    UNLINK = "unlink-answer"
    STATUS = "status"
    DATA = "data"
    RESET = "reset"
    STUCK = "stuck"
    ENDLESS = "endless"
    GROWTH = "growth"
    RAISED = "raised"


class BrokenError(Exception):
    """A rule was broken.

    Args:
        rule: Which.
        text: What happened, one sentence.
    """

    def __init__(self, rule: Rule, text: str) -> None:
        super().__init__(text)
        self.rule = rule
        self.text = text


class Pipe:
    """One endpoint, as client, controller and judge see it.

    Args:
        address: Its address; 0 for both directions of endpoint 0.
        kind: Its transfer type.
        handler: Its client's.
        urbs: How many its client has to submit.
    """

    __slots__ = (
        "address",
        "command",
        "disabled",
        "floor",
        "group",
        "handler",
        "is_in",
        "key",
        "kind",
        "left",
        "name",
        "open",
        "page",
        "placed",
        "position",
        "ran",
        "running",
        "seen_command",
    )

    def __init__(self, address: int, kind: TransferType, handler: Handler, urbs: int) -> None:
        self.address = self.key = address
        self.kind = kind
        self.handler = handler
        self.is_in = address >= 0x80
        self.name = "ep0" if not address else f"0x{address:02x}"
        # The client: what it has still to submit, has open, and writes where.
        self.left = urbs
        self.open = 0
        self.command = 1
        self.page = 0
        self.placed = handler is Handler.UNLINK and not self.is_in and address != 0
        # The device: how far it has stored which command's octets; the controller's queue.
        self.position = 0
        self.seen_command = 0
        self.running: list[Urb] = []
        self.disabled = False
        # The judge: nothing above `floor` (0: none) runs before all in `group` are retired.
        self.floor = 0
        self.group: set[int] = set()
        self.ran = 0


class Urb:
    """One URB, as all see it.

    Args:
        number: The front end's kernel's for it.
        pipe: Its endpoint.
        setup: Of a control transfer.
    """

    __slots__ = (
        "address",
        "asked_back",
        "caused",
        "command",
        "data",
        "flagged",
        "given_back",
        "moved",
        "number",
        "page",
        "pipe",
        "setup",
        "status",
        "unlinked",
    )

    def __init__(self, number: int, pipe: Pipe, setup: bytes) -> None:
        self.number = number
        self.pipe = pipe
        self.setup = setup
        self.address = pipe.address | (setup[0] & 0x80 if setup else 0)
        self.command = pipe.command
        self.page = pipe.page
        self.data = b"" if pipe.is_in or setup else bytes((pipe.key, pipe.command & 255, 0, 0))
        self.status: int | None = None  # how the controller ended it
        self.moved = 0
        self.unlinked = False
        self.asked_back = False  # the back end has heard of it
        self.caused = False  # something has happened to it that explains an error
        self.given_back = False
        self.flagged = False  # BULK_CONTINUATION


def begin(urb: Urb) -> None:
    """An URB begins to run."""
    pipe = urb.pipe
    if pipe.floor and urb.number > pipe.floor:
        others = pipe.group - {urb.number}
        waits = min(others) if others else pipe.floor
        place = ""
        if pipe.placed and urb.page * BUFFER_BYTES != pipe.position and urb.page:
            place = (
                f"; its octets belong to {urb.page * BUFFER_BYTES}, the device would store them"
                f" at {pipe.position}"
            )
        raise BrokenError(
            Rule.BEHIND,
            f"URB {urb.number} of {pipe.name} runs behind URB {pipe.floor}, although the client is"
            f" not done with URB {waits}{place}.",
        )


def stop(urb: Urb) -> None:
    """An URB has failed or was unlinked: its queue must stand still."""
    if urb.given_back:
        return
    pipe, number = urb.pipe, urb.number
    pipe.group.add(number)
    if not pipe.floor or number < pipe.floor:
        pipe.floor = number


def retire(urb: Urb) -> None:
    """The client's handler for an URB has returned."""
    group = urb.pipe.group
    urb.given_back = True
    if group:
        group.discard(urb.number)
        if not group:
            urb.pipe.floor = 0


def stops(pipe: Pipe, status: int) -> bool:
    """Whether an URB's end with that status stops its queue."""
    return status != 0 and stops_endpoint(pipe.kind, status)


def moved(urb: Urb, count: int) -> None:
    """So many octets of an URB have crossed the bus, or it has failed there."""
    pipe = urb.pipe
    if urb.number <= pipe.ran:
        raise BrokenError(Rule.ORDER, f"URB {urb.number} of {pipe.name} ran behind URB {pipe.ran}.")
    pipe.ran = urb.number
    urb.moved = count
    if pipe.placed and count:
        _store(pipe, urb, count)


def _store(pipe: Pipe, urb: Urb, count: int) -> None:
    """The device stores octets behind those before, as ``f_mass_storage`` does."""
    if not urb.page:
        pipe.seen_command, pipe.position = urb.command, 0
    place = urb.page * BUFFER_BYTES
    if (pipe.seen_command, pipe.position) != (urb.command, place):
        raise BrokenError(
            Rule.PLACE,
            f"URB {urb.number} of {pipe.name} belongs to command {urb.command}, place {place}; the"
            f" device stored it in command {pipe.seen_command} at {pipe.position}.",
        )
    pipe.position += count


def check_giveback(urb: Urb, status: int, count: int, data: object, *, may_fail: bool) -> bool:
    """The client gets an URB back.

    Args:
        urb: The URB.
        status: What it is told.
        count: The actual length that it is told.
        data: IN data.
        may_fail: Whether the policy fails URBs to which nothing happened.

    Returns:
        Whether this is such an URB.
    """
    number = urb.number
    if count != urb.moved:
        raise BrokenError(
            Rule.STATUS, f"URB {number} moved {urb.moved} octets, its client is told {count}."
        )
    if urb.address >= 0x80 and data != in_data(number, count):
        raise BrokenError(Rule.DATA, f"URB {number} was given back with foreign data.")
    if status == 0 and urb.status != 0:
        raise BrokenError(Rule.STATUS, f"URB {number} was given back as if it had succeeded.")
    if status == 0 or urb.caused:
        return False
    if not may_fail:
        raise BrokenError(
            Rule.STATUS, f"URB {number} was failed, although nothing had happened to it."
        )
    return True


def in_data(number: int, count: int) -> bytes:
    """What the device sends in an URB."""
    return bytes((number & 255,)) * count
