"""What daemons tell, as a person wants it: sentences, states of machines, steps.  Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from rig.faults.rules.base import STRIKING
from rig.session.snapshot import DaemonRow, EndpointRow, MachineRow, PortRow

Event = dict[str, Any]
STRUCK = {
    "pause": "paused",
    "power-cycle": "without power",
    "reboot": "being rebooted",
    "kill": "down",
}
"""What a machine is while a fault of it lasts."""
RETURNS = frozenset({"plugged", "replugged"})
NOT_COUNTED = 0
MOMENTS = frozenset({"eject", "soft-disconnect", "unbind"})
"""Effects of the device layer that stay until they are undone."""


def sentence(process: str, event: Event) -> str:
    """Return what a daemon tells as a sentence; empty for what a person need not be told."""
    said = _SAID.get(str(event.get("event")))
    return "" if said is None else said(str(event.get("process", process)), event)


def moves_disk(event: Event) -> bool:
    """Whether a disk may have gone, or come back, with what a daemon tells."""
    if event.get("event") in {"fault", "released"}:
        return event.get("layer") in STRIKING
    return event.get("event") in RETURNS


def _fault(process: str, event: Event) -> str:
    by_hand = ", by hand" if event.get("by_hand") else ""
    what = event.get("effect") or event.get("status") or ""
    match = f" at match {event['match']}" if event.get("match") else ""
    urb, endpoint = event.get("urb"), event.get("endpoint", 0)
    where = f", URB {urb} of endpoint {endpoint:#04x}" if urb is not None else ""
    lba = f", LBA {event['lba']}" if event.get("lba") is not None else ""
    return f"{process}: fault '{event.get('rule')}' fired{match}{by_hand}: {what}{where}{lba}."


def _stalled(_: str, event: Event) -> str:
    tasks = ", ".join(str(task.get("name")) for task in event.get("tasks", ()))
    waits = f"; in state D: {tasks}" if tasks else ""
    return f"'{event.get('step')}' makes no progress for {event.get('quiet_s')} s{waits}."


def _released(process: str, event: Event) -> str:
    waited = f" after {event['waited_s']:.1f} s" if event.get("waited_s") is not None else ""
    return f"{process}: what fault '{event.get('rule')}' struck goes on{waited}."


_SAID: dict[str, Callable[[str, Event], str]] = {
    "fault": _fault,
    "released": _released,
    "replugged": lambda p, e: f"{p}: the disk was plugged in anew behind fault '{e.get('rule')}'.",
    "control": lambda p, e: f"{p}: {e.get('do')} {', '.join(map(str, e.get('rules', ())))}.",
    "stalled": _stalled,
    "went_on": lambda _, e: f"'{e.get('step')}' goes on.",
    "plugged": lambda p, e: f"{p}: device {e.get('device')} was plugged in.",
    "unplugged": lambda p, e: f"{p}: device {e.get('device')} was unplugged.",
    "front": lambda p, e: f"{p}: front end {e.get('name')} has come.",
    "front-lost": lambda p, e: f"{p}: the front end is lost: {e.get('reason')}",
    "reset": lambda p, _: f"{p}: the device's port was reset.",
    "violation": lambda p, e: f"{p}: {e.get('count')} URBs have run behind one that had failed.",
    "note": lambda _, e: f"Note: {e.get('text')}",
    "error": lambda p, e: f"{p}: {e.get('error')}",
}


class StruckMachines:
    """Which machines and daemons stand still or are away by a fault, from what the run tells."""

    def __init__(self) -> None:
        self._by_rule: dict[str, tuple[str, str]] = {}
        self._silent: dict[str, str] = {}

    def take(self, event: Event) -> None:
        """Take one event of the machine layer."""
        rule, effect = str(event.get("rule")), str(event.get("effect"))
        if event.get("event") == "fault" and effect in STRUCK:
            self._by_rule[rule] = str(event["machine"]), STRUCK[effect]
        elif event.get("event") == "fault":
            self._silent[rule] = str(event["daemon"])
        elif event.get("event") == "released":
            self._by_rule.pop(rule, None)
            self._silent.pop(rule, None)

    @property
    def silent(self) -> frozenset[str]:
        """The daemons that are killed or stopped and answer nothing."""
        return frozenset(self._silent.values())

    def of(self, machine: str) -> str:
        """Return what a machine is; empty for nothing."""
        return next((state for name, state in self._by_rule.values() if name == machine), "")


class LastingMoments:
    """What the gadget does for ever, by a rule of the device layer, until it is released."""

    def __init__(self) -> None:
        self.effects: list[str] = []

    def take(self, event: Event) -> None:
        """Take an event of the gadget."""
        effect = str(event.get("effect"))
        if event.get("event") != "fault" or effect not in MOMENTS:
            return
        if effect in self.effects:
            self.effects.remove(effect)  # another for_s takes the place of the one before
        if event.get("for_s") is None:
            self.effects.append(effect)


class _ToldEndpoint(msgspec.Struct, frozen=True):
    address: int
    kind: str
    queued: int
    in_flight: int
    stopped: bool
    done: int | None = None
    failed: int | None = None
    octets: int | None = None


class _ToldPort(msgspec.Struct, frozen=True):
    name: str
    device: int | None = None
    served: bool = False
    endpoints: list[_ToldEndpoint] = []


class _ToldStatus(msgspec.Struct, frozen=True):
    ports: list[_ToldPort]


def port_rows(status: object) -> tuple[PortRow, ...]:
    """Turn what a back end answers to ``status`` into rows.

    Raises:
        msgspec.ValidationError: It is no such answer.
    """
    return tuple(
        PortRow(port.name, port.device, port.served, tuple(map(_endpoint, port.endpoints)))
        for port in msgspec.convert(status, _ToldStatus).ports
    )


def _endpoint(told: _ToldEndpoint) -> EndpointRow:
    return EndpointRow(
        told.address,
        told.kind,
        told.queued,
        told.in_flight,
        told.stopped,
        told.done or NOT_COUNTED,
        told.failed or NOT_COUNTED,
        told.octets or NOT_COUNTED,
    )


def machine_row(
    name: str,
    kernel: str,
    *,
    there: bool,
    struck: str,
    daemons: tuple[DaemonRow, ...],
    now_s: float,
) -> MachineRow:
    """Return the row of a machine.

    Args:
        name: Its name.
        kernel: Its kernel's release.
        there: Whether it can be reached.
        struck: What a fault makes of it; empty for nothing.
        daemons: What of ours is there.
        now_s: In seconds since the session began.
    """
    return MachineRow(name, struck or ("up" if there else "down"), kernel, daemons, now_s)


def as_before(row: MachineRow, known: Sequence[MachineRow]) -> MachineRow:
    """Return a row whose state is as old as it is by the rows before."""
    for one in known:
        if (one.name, one.state) == (row.name, row.state):
            return msgspec.structs.replace(row, since_s=one.since_s)
    return row
