"""A slower link between the machines of a lab: whatever crosses it, whoever carries URBs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rig.lab.lab import Lab

COMMAND_DEADLINE_S = 30.0

_SET = """
set -e
card=$(ip -o -4 address show to {address} | {{ read -r _ name _; echo "$name"; }})
if [ {delay_ms} = 0 ]; then
    tc qdisc del dev "$card" root 2>/dev/null || true
else
    modprobe sch_netem
    tc qdisc replace dev "$card" root netem delay {delay_ms}ms limit 100000
fi
"""
"""Lets a machine's packets to the link wait (tc-netem(8)).  The default limit of 1000 packets is a
bandwidth limit by another name."""


def set_delay(lab: Lab, delay_ms: int) -> None:
    """Have both machines hold back what they send on the link.

    Args:
        lab: Booted.
        delay_ms: So long, each way; 0: no longer.

    Raises:
        MachineError: A machine did not do it.
    """
    for role, machine in lab.strategy.machines.items():
        command = _SET.format(address=lab.strategy.crew.addresses[role], delay_ms=delay_ms)
        machine.check(command, COMMAND_DEADLINE_S)


@contextmanager
def delayed(lab: Lab, delay_ms: int) -> Iterator[None]:
    """Do that for a while.

    Raises:
        MachineError: A machine did not do it.
    """
    try:
        set_delay(lab, delay_ms)
        yield
    finally:
        set_delay(lab, 0)
