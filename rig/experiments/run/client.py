"""Who uses the disk: the kernel's usb-storage, or a client with many URBs in flight."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import Protocol

from rig.lab.attachment import Attachment
from rig.lab.deepqueue import DeepQueue, deep_queue
from rig.lab.lab import Lab
from rig.lab.waits import Awaited, wait_for
from rig.report.verdict import HostSide


class Client(StrEnum):
    """The clients by name."""

    USB_STORAGE = "usb-storage"
    DEEP_QUEUE = "deep-queue"

    @property
    def awaits(self) -> Awaited:
        """What the lab waits for when it attaches the device."""
        return Awaited.DISK if self is Client.USB_STORAGE else Awaited.NOTHING


class DiskUser(Protocol):
    """Uses the disk, and makes a block device of it."""

    def find(self, deadline_s: float) -> str:
        """Wait for the block device, and return its node.

        Raises:
            MachineError: It is not there in time.
        """

    def told(self, kernel_log: str) -> HostSide:
        """Tell what it had to do behind errors.

        Args:
            kernel_log: Of the machine, from the run's beginning on.
        """


class UsbStorage:
    """The kernel's driver.

    Args:
        lab: Attached.
    """

    def __init__(self, lab: Lab) -> None:
        self._lab = lab

    def find(self, deadline_s: float) -> str:
        """See `DiskUser`."""
        return wait_for(self._lab.client, Awaited.DISK, self._lab.strategy.controller, deadline_s)

    def told(self, kernel_log: str) -> HostSide:
        """See `DiskUser`."""
        return HostSide(resets_in(kernel_log))


class ManyInFlight:
    """The deep-queue client.

    Args:
        client: It runs.
    """

    def __init__(self, client: DeepQueue) -> None:
        self._client = client

    def find(self, deadline_s: float) -> str:
        """See `DiskUser`."""
        return self._client.wait_ready(deadline_s)

    def told(self, kernel_log: str) -> HostSide:
        """See `DiskUser`."""
        seconds = [
            round(float(event["taken_s"]), 3)
            for event in self._client.daemon.events
            if event["event"] == "recovered"
        ]
        return HostSide(resets_in(kernel_log), tuple(seconds))


def resets_in(kernel_log: str) -> int:
    """Count the resets of a device that a kernel's log tells of (``drivers/usb/core/hub.c``)."""
    return sum(": reset " in line and " USB device " in line for line in kernel_log.splitlines())


@contextmanager
def used_by(client: Client, lab: Lab, attachment: Attachment) -> Iterator[DiskUser]:
    """Have the attached disk used for a while.

    Args:
        client: Who is to use it.
        lab: Attached.
        attachment: What the gadget is plugged into.

    Raises:
        MachineError: The client could not be started.
    """
    if client is Client.USB_STORAGE:
        yield UsbStorage(lab)
        return
    # An error on the cable is none of the device's: it has no status to give behind a STALL.
    resets = attachment.has_cable
    with deep_queue(lab.client, lab.strategy.controller, stall_resets=resets) as daemon:
        yield ManyInFlight(daemon)
