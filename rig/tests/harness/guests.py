"""What tests of real kernels ask of a lab's machines again and again."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from rig.lab.daemons import Daemon
from rig.lab.environment import LINK_ADDRESS
from rig.lab.lab import Lab
from rig.lab.machine import Machine
from rig.lab.strategy import Setup
from rig.lab.waits import Awaited

LINK = ("--insecure", "--supervised")

FIND = r"""
timeout {deadline_s:g} sh -c '
while :; do
  for serial in $(grep -lx {serial} /sys/bus/usb/devices/*/serial 2>/dev/null); do
    cd "${{serial%/serial}}" 2>/dev/null || continue
    case $(readlink -f .) in *vhci_hcd*) ;; *) continue ;; esac
    if [ -n "$(cat bConfigurationValue 2>/dev/null)" ]; then
      printf "/dev/bus/usb/%03d/%03d\n" "$(cat busnum)" "$(cat devnum)"
      exit
    fi
  done
  sleep 0.1
done'
"""

SHOWN = 5
"""Levels below are shown on the console: warnings and worse (``include/linux/kern_levels.h``)."""
KEPT = "/run/rig-printk"

HARMLESS = (r"hrtimer: interrupt took", r"clocksource: ", r"workqueue: .* hogged CPU")
"""What a kernel says under emulation on a busy station."""

_KERNEL_LINE = re.compile(r"^\[ *\d+\.\d+\] (?P<words>.*)")


def split_setup(gadget: tuple[str, ...], *, window: int = 1, awaits: Awaited) -> Setup:
    """Return the split driver between a gadget on dummy_udc.0 and the front machine."""
    wide = ("--window", str(window)) if window > 1 else ()
    return Setup(
        gadget=("rig", "gadget", "--udc", "dummy_udc.0", "--supervised", *gadget),
        back=("rig", "back", "--port", "dummy_hcd.0/1", "--listen", LINK_ADDRESS, *LINK, *wide),
        front=("rig", "front", "--connect", LINK_ADDRESS, *LINK),
        awaits=awaits,
    )


def node_of(machine: Machine, serial: str, deadline_s: float = 60.0) -> str:
    """Wait until a device behind vhci_hcd is configured; return its usbfs node."""
    command = FIND.format(serial=serial, deadline_s=deadline_s)
    return machine.check(command, deadline_s + 30.0).stdout.strip()


def start_client(machine: Machine, client: ModuleType, *arguments: str) -> Daemon:
    """Copy a program of `rig.tests.harness` to a machine, and start it there."""
    source = Path(str(client.__file__))
    machine.put(source, f"/run/{source.name}")
    argv = ["python3", f"/run/{source.name}", *arguments]
    return machine.start_daemon(argv, source.stem)


@contextmanager
def silent_kernels(lab: Lab, *expected: str) -> Iterator[None]:
    """Demand that both kernels warn of nothing.

    vhci_hcd says two lines for every unlink, which are no warnings; meanwhile they are not shown.

    Args:
        lab: Its machines.
        expected: Regular expressions of what they may say.

    Raises:
        AssertionError: One of them warned.
    """
    machines = (lab.back, lab.front)
    for machine in machines:
        machine.check(f"cat /proc/sys/kernel/printk >{KEPT} && dmesg -n {SHOWN}")
    since = {machine.name: machine.console.position for machine in machines if machine.console}
    yield
    for machine in machines:
        machine.check(f"cat {KEPT} >/proc/sys/kernel/printk")
    said = [
        f"{machine.name}: {match['words']}"
        for machine in machines
        if machine.console
        for line in machine.console.since(since[machine.name])
        if (match := _KERNEL_LINE.match(line))
    ]
    harmless = (*HARMLESS, *expected)
    bad = [line for line in said if not any(re.search(words, line) for words in harmless)]
    assert not bad, bad
