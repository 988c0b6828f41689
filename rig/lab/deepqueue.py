"""``rig deepqueue`` on a machine of the lab: start it, have its block device, stop it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rig.lab.daemons import Daemon, Event
from rig.lab.machine import Machine

READY_DEADLINE_S = 60.0
STOP_DEADLINE_S = 20.0

PREPARE = """
! [ -d /sys/module/usb_storage ] || modprobe -r usb_storage
[ -d /sys/module/nbd ] || modprobe nbd
"""
"""The kernel's own driver would meet each new disk first, and die with its first commands."""


class DeepQueue:
    """A deep-queue client that runs.

    Args:
        daemon: ``rig deepqueue``.
    """

    def __init__(self, daemon: Daemon) -> None:
        self.daemon = daemon

    def wait_ready(self, deadline_s: float = READY_DEADLINE_S) -> str:
        """Return the node of the block device, ``/dev/nbd0``; wait for one if there is none now.

        A disk that was plugged in anew may have another one than before.

        Raises:
            MachineError: None came in time.
        """
        since, block = 0, ""
        for position, event in enumerate(self.daemon.events, start=1):
            if event["event"] in ("ready", "gone"):
                since, block = position, event["block"] if event["event"] == "ready" else ""
        return block or str(self.daemon.wait_event("ready", deadline_s, since)["block"])

    def counters(self) -> dict[str, Any]:
        """Return what it has done (`rig.deepqueue.counters.Counters`).

        Raises:
            MachineError: It does not answer.
        """
        counters: dict[str, Any] = self.daemon.ask("counters")
        return counters

    def failed_attempts(self, since: int = 0) -> list[Event]:
        """Return what failed so far (`rig.deepqueue.disk.Failure`), whether a retry mended it."""
        return [one for one in self.daemon.events[since:] if one["event"] == "attempt-failed"]

    def stop(self) -> None:
        """Stop it; its block device ends.  What is mounted on it is to be unmounted before."""
        self.daemon.stop(STOP_DEADLINE_S)


@contextmanager
def deep_queue(
    machine: Machine,
    controller: str = "vhci_hcd",
    *,
    urbs: int = 8,
    urb_bytes: int = 16384,
    deadline_s: float | None = None,
    stall_resets: bool = False,
) -> Iterator[DeepQueue]:
    """Run a deep-queue client on a machine for a while.

    Args:
        machine: On which the disk is used; no disk there may be in use by usb-storage.
        controller: Behind which the disk is, as `rig.lab.paths.DevicePath.controller` names it.
        urbs: The most URBs of a data stage, all in flight.
        urb_bytes: Of each.
        deadline_s: Of a command; None for sd's.
        stall_resets: Recover from a stalled data stage as from any error, and do not wait for a
            status that a device without a real stall never sends.

    Raises:
        MachineError: It could not be started.
    """
    machine.check(PREPARE)
    argv = ["rig", "deepqueue", "--supervised", "--controller", controller]
    argv += ["--urbs", str(urbs), "--urb-bytes", str(urb_bytes)]
    argv += ["--deadline", f"{deadline_s:g}"] if deadline_s is not None else []
    argv += ["--stall-resets"] if stall_resets else []
    client = DeepQueue(machine.start_daemon(argv, "deepqueue"))
    try:
        yield client
    finally:
        client.stop()
