"""Whether a rule can be brought about on the disk, the device and the machines that are there.

Pure: what is there comes from a snapshot.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rig.errors import MachineError, UserError
from rig.faults.phases import PHASES
from rig.faults.plan import Fault
from rig.faults.rules.base import BLOCK_BYTES, Rule
from rig.faults.rules.endpoint import EndpointFault
from rig.faults.rules.machine import MachineFault
from rig.session.snapshot import UP, EndpointRow, MachineRow, Snapshot
from rig.usb.urb import DIRECTION_IN, Direction

NUMBER = 0x0F
TITLES = {"back": "gadget machine 'back'"}
WAIT_HINT = "'wait live' waits until it is back; 'release' ends what keeps it away."


def check_rule(rule: Fault, seen: Snapshot) -> None:
    """Let a rule pass that could fire on what is there.

    Raises:
        UserError: It names an endpoint, a block or a phase that there is not.
        MachineError: The machine where it would fire is down.
    """
    if rule.phase is not None and rule.phase not in PHASES:
        raise UserError(
            f"No workload has a phase '{rule.phase}'.", hint=f"There are: {', '.join(PHASES)}."
        )
    check_lbas(rule, seen.disk_blocks)
    if isinstance(rule, EndpointFault):
        rows = [row for port in seen.ports for row in port.endpoints]
        check_endpoint(rule, rows)
    check_machine_is_up(rule.machine.value if isinstance(rule, MachineFault) else "back", seen)


def check_lbas(rule: Rule[Any, Any], blocks: int) -> None:
    """Let a rule pass whose blocks are all on the disk.

    Args:
        rule: Any.
        blocks: Size of the disk; 0: it is not known.

    Raises:
        UserError: They are not.
    """
    lbas: tuple[int, int] | None = getattr(rule, "lba", None)
    if lbas is not None and blocks and max(lbas) >= blocks:
        raise UserError(
            f"LBA {max(lbas)} is out of range: the disk has {blocks} blocks of {BLOCK_BYTES}"
            f" octets, 0 to {blocks - 1}."
        )


def check_endpoint(rule: EndpointFault, rows: Iterable[EndpointRow]) -> None:
    """Let a rule pass whose endpoint the device has.

    Args:
        rule: With or without the number of an endpoint.
        rows: Endpoints of the device; none: they are not known.

    Raises:
        UserError: It has none of that number and direction.
    """
    there = {row.address: row for row in rows if row.address & NUMBER}
    if rule.endpoint is None or not there:
        return
    address = rule.endpoint | (DIRECTION_IN if rule.direction is Direction.IN else 0)
    if address in there:
        return
    known = ", ".join(f"{_words(row.address)} ({row.kind})" for row in there.values())
    raise UserError(f"The device has no endpoint {_words(address)}.", hint=f"It has {known}.")


def _words(address: int) -> str:
    return f"{address & NUMBER} {'IN' if address & DIRECTION_IN else 'OUT'}"


def check_machine_is_up(name: str, seen: Snapshot) -> MachineRow | None:
    """Return a machine that is up; None if it is not known yet.

    Raises:
        UserError: There is no such machine.
        MachineError: It is not up.
    """
    if not seen.machines:
        return None
    row = next((row for row in seen.machines if row.name == name), None)
    if row is None:
        there = ", ".join(row.name for row in seen.machines)
        raise UserError(f"There is no machine '{name}'.", hint=f"There are: {there}.")
    if row.state != UP:
        raise MachineError(
            f"The {_titled(name)} is {row.state}, for {seen.at_s - row.since_s:.0f} s now.",
            hint=WAIT_HINT,
        )
    return row


def coming_back(process: str, machine: str, seen: Snapshot) -> MachineError:
    """Return what is to be said when a process cannot be asked that was there before.

    Args:
        process: Its kind.
        machine: Where it was.
        seen: How things are; of what was struck just now nothing is seen yet.
    """
    row = next((row for row in seen.machines if row.name == machine), None)
    what = f"The {_titled(machine)}"
    if row is None or row.state == UP:
        said = f"{what} was struck just now, or its process '{process}' was: it is coming back."
    else:
        since_s = seen.at_s - row.since_s
        said = f"{what} is {row.state}, for {since_s:.0f} s now, and '{process}' with it."
    return MachineError(said, hint=f"Nothing was armed. {WAIT_HINT}")


def _titled(machine: str) -> str:
    return TITLES.get(machine, f"{machine} machine")
