"""What happened, for people: one line for each event, with the place where it happened.  Pure."""

from __future__ import annotations

from enum import StrEnum

from rig.splitdriver.backend import Action, Discard, Perform, Start
from rig.splitdriver.frontend import AnswerUnlink, GiveBack
from rig.splitdriver.messages import Complete, Message, Resume, Submit, Unlink
from rig.usb.urb import status_name
from rig.usb.usbip import CmdSubmit, CmdUnlink


class Place(StrEnum):
    """Where something happens."""

    CLIENT = "client"
    KERNEL = "front's kernel"
    FRONT = "front end"
    LINK = "link"
    BACK = "back end"
    DEVICE = "controller"


class Story:
    """The events of one schedule."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def tell(self, move: int, place: Place, text: str) -> None:
        """Add an event.

        Args:
            move: The number of the move in which it happened.
            place: Where.
            text: What.
        """
        self.lines.append(f"{move:4}  {place:<14}  {text}")


def command_text(command: CmdSubmit | CmdUnlink) -> str:
    """Return a command of the front's kernel."""
    if isinstance(command, CmdUnlink):
        return f"CMD_UNLINK {command.seqnum} of URB {command.target}"
    return f"CMD_SUBMIT {command.seqnum}"


def message_text(message: Message) -> str:
    """Return a message in the words of ``docs/protocol.md``."""
    match message:
        case Submit():
            return f"SUBMIT {message.urb_id}{', clear' if message.clear else ''}"
        case Unlink():
            return f"UNLINK {message.urb_id}{', local' if message.local else ''}"
        case Complete():
            quiet = ", quiet" if message.quiet else ""
            return (
                f"COMPLETE {message.urb_id}, {status_name(message.status)},"
                f" {message.actual_bytes} octets, epoch {message.epoch}{quiet}"
            )
        case Resume():
            return f"RESUME 0x{message.endpoint_address:02x}, epoch {message.epoch}"
        case _:
            return type(message).__name__.upper()


def pdu_text(pdu: GiveBack | AnswerUnlink) -> str:
    """Return a PDU in the words of USB/IP."""
    if isinstance(pdu, GiveBack):
        return f"RET_SUBMIT {pdu.seqnum}, {status_name(pdu.status)}, {pdu.actual_bytes} octets"
    return f"RET_UNLINK {pdu.seqnum}"


def action_text(action: Action) -> str:
    """Return what the back end does to the device."""
    match action:
        case Start(urb, continues):
            return f"starts URB {urb.urb_id}{', flagged to be taken back' if continues else ''}"
        case Perform(urb, operation):
            return f"has the kernel perform URB {urb.urb_id}, {type(operation).__name__}"
        case Discard(urb_id):
            return f"discards URB {urb_id}"
        case _:
            return "resets the port"
