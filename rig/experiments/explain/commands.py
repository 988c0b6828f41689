"""The SCSI commands in a back end's log of URBs: which URBs each was made of.  Pure.

A bulk-only device has one command at a time: its wrapper, its data, its status (BOT §5).  So what
goes over the bulk endpoints behind a wrapper belongs to it, until the next one.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence

import msgspec

from rig.usb.bot import CSW_BYTES
from rig.usb.urb import DIRECTION_IN
from rig.usb.urblog import Kind, UrbEvent

_ENDPOINT = 0x0F


class Piece(msgspec.Struct):
    """One URB of a command's data, as the controller had it.

    Attributes:
        urb: Its number, the same on both ends.
        endpoint: Its address.
        length_bytes: Of its buffer.
        start_ns: When it was given to the controller; Unix time of the back machine.
        end_ns: When it ended; 0 if it did not.
        status: How; 0 or a negative errno.
        moved_bytes: So much of it.
        at_bytes: So many of the command's bytes had moved before it.
    """

    urb: int
    endpoint: int
    length_bytes: int
    start_ns: int
    end_ns: int = 0
    status: int = 0
    moved_bytes: int = 0
    at_bytes: int = 0


class Command(msgspec.Struct):
    """A SCSI command.

    Attributes:
        urb: The number of its wrapper's URB.
        opcode: What it does.
        lba: Where.
        start_ns: When its wrapper was given to the controller; Unix time of the back machine.
        pieces: Its data, in the order in which they were given to the controller.
        status_urb: The number of its status' URB; 0 if it was never asked for.
    """

    urb: int
    opcode: int
    lba: int
    start_ns: int
    pieces: list[Piece] = []
    status_urb: int = 0

    def carrier(self, at_bytes: int) -> Piece | None:
        """Return the URB that moved a byte, counted from the command's first; None: nobody did."""
        for piece in self.pieces:
            if piece.at_bytes <= at_bytes < piece.at_bytes + piece.moved_bytes:
                return piece
        return None

    def failed(self) -> list[Piece]:
        """Return the URBs that ended in an error."""
        return [piece for piece in self.pieces if piece.status]


def commands_of(events: Iterable[UrbEvent]) -> list[Command]:
    """Return the commands of one device, in their order.

    Args:
        events: Of the back end's log.
    """
    found: list[Command] = []
    open_pieces: dict[int, Piece] = {}
    moved = 0
    for event in events:
        match event.kind:
            case Kind.START if event.opcode is not None:
                command = Command(event.urb, event.opcode, event.lba, event.t_ns)
                found.append(command)
                open_pieces, moved = {}, 0
            case Kind.START if found and event.endpoint & _ENDPOINT:
                if event.endpoint & DIRECTION_IN and event.length_bytes == CSW_BYTES:
                    found[-1].status_urb = event.urb
                    continue
                piece = Piece(event.urb, event.endpoint, event.length_bytes, event.t_ns)
                open_pieces[event.urb] = piece
                found[-1].pieces.append(piece)
            case Kind.END if event.urb in open_pieces:
                piece = open_pieces.pop(event.urb)
                piece.end_ns, piece.status = event.t_ns, event.status
                piece.moved_bytes, piece.at_bytes = event.length_bytes, moved
                moved += event.length_bytes
    return found


def command_at(commands: Sequence[Command], time_ns: int) -> Command | None:
    """Return the command that a device was about at a time; None: it had none yet."""
    place = bisect_right(commands, time_ns, key=lambda command: command.start_ns)
    return commands[place - 1] if place else None
