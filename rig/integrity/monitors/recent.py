"""The last URBs of both ends, for a display.  Pure."""

from __future__ import annotations

from collections import OrderedDict

import msgspec

from rig.usb.urblog import Kind, Place, UrbEvent


class SeenUrb(msgspec.Struct, frozen=True):
    """One URB, as far as it is known.  Times are Unix times by the clock of their machine.

    Attributes:
        device: Which device, as the link numbers it.
        urb: Its number.
        endpoint: Its address; bit 7 for IN.
        length_bytes: That were asked for.
        front_ns: When the front end got it; 0: its log has not told of it.
        back_ns: When the back end got it; 0 likewise.
        front_ended_ns: When the front end gave it back; 0: not yet.
        back_ended_ns: When it came back from the controller; 0: not yet.
        unlinked: It was wanted back.
        status: As it was told last; None: it is under way.
        moved_bytes: That have moved.
        opcode: Of the SCSI command that it carries the wrapper of; None for others.
        lba: Of that command.
    """

    device: int
    urb: int
    endpoint: int
    length_bytes: int
    front_ns: int = 0
    back_ns: int = 0
    front_ended_ns: int = 0
    back_ended_ns: int = 0
    unlinked: bool = False
    status: int | None = None
    moved_bytes: int = 0
    opcode: int | None = None
    lba: int = 0


class RecentUrbs:
    """Keeps the last URBs.

    Args:
        kept: So many.
    """

    def __init__(self, kept: int) -> None:
        self._kept = kept
        self._urbs: OrderedDict[tuple[int, int], SeenUrb] = OrderedDict()

    def feed(self, event: UrbEvent) -> None:
        """Take an event of either end."""
        key = event.device, event.urb
        known = self._urbs.get(key)
        if event.kind is Kind.SUBMIT:
            self._submitted(key, known, event)
        elif known is not None:
            self._went_on(key, known, event)

    def last(self, count: int) -> tuple[SeenUrb, ...]:
        """Return the last ones, the latest last."""
        return tuple(self._urbs.values())[-count:] if count > 0 else ()

    def _submitted(self, key: tuple[int, int], known: SeenUrb | None, event: UrbEvent) -> None:
        urb = known or SeenUrb(event.device, event.urb, event.endpoint, event.length_bytes)
        if event.place is Place.FRONT:
            urb = msgspec.structs.replace(urb, front_ns=event.t_ns)
        else:  # the front end does not look into wrappers
            urb = msgspec.structs.replace(
                urb, back_ns=event.t_ns, opcode=event.opcode, lba=event.lba
            )
        self._urbs[key] = urb
        if len(self._urbs) > self._kept:
            self._urbs.popitem(last=False)

    def _went_on(self, key: tuple[int, int], known: SeenUrb, event: UrbEvent) -> None:
        front = event.place is Place.FRONT
        if event.kind is Kind.UNLINK:
            self._urbs[key] = msgspec.structs.replace(known, unlinked=True)
        elif event.kind is (Kind.GIVEBACK if front else Kind.END):
            told = {"front_ended_ns" if front else "back_ended_ns": event.t_ns}
            if front or not known.front_ended_ns:  # what the client was given stands
                told |= {"status": event.status, "moved_bytes": event.length_bytes}
            self._urbs[key] = msgspec.structs.replace(known, **told)
