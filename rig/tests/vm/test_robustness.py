"""What a link must bear: unlinks at the worst moment, a device that blocks, large transfers."""

from __future__ import annotations

import errno
import time

import pytest

from rig.experiments.run.places import STORE
from rig.lab.daemons import Daemon
from rig.lab.environment import LINK_ADDRESS
from rig.lab.lab import Lab
from rig.lab.strategy import LabState
from rig.lab.waits import Awaited
from rig.tests.harness import transfer_client
from rig.tests.harness.guests import LINK, node_of, silent_kernels, split_setup, start_client
from rig.tests.harness.unlinks import try_unlinks
from rig.usb.urb import MAX_TRANSFER_BYTES

pytestmark = [pytest.mark.vm, pytest.mark.timeout(240)]

DEADLINE_S = 90.0
ANSWER_S = 4.0
"""Less than what blocks takes, so that an answer in this time was not held up by it."""
DISK_UDC = "/sys/kernel/config/usb_gadget/disk/UDC"
UNLINKS = 500
MIB = 1 << 20

ONE_URB = """
from rig.usb.usbtest import Case, perform
for piece in 32 << 10, 4 << 20:
    print(perform("{node}", Case(5, "one URB of two pieces", length_bytes=piece, queued=2))[0])
"""
"""Two pieces of memory, one URB (``usb_sg_init``, drivers/usb/core/message.c): more than usbfs, or
one ``kmalloc``, could hold."""


@pytest.mark.parametrize("window", [1, 4])
def test_unlinks_at_the_moment_of_completion_lose_and_double_nothing(
    booted_lab: Lab, window: int
) -> None:
    figures = try_unlinks(booted_lab, UNLINKS, window=window)

    assert figures["submitted"] == figures["reaped"] > UNLINKS
    assert figures["late"] + figures["raced"] + figures["cut"] + figures["untouched"] >= UNLINKS
    # It was the worst moment: some had just run, some were about to.
    assert figures["raced"] > 0
    assert figures["untouched"] > 0
    assert figures["violations"] == 0  # dummy_hcd stops exactly, whatever the window


def test_one_urb_of_one_and_of_four_mebibytes_is_carried_both_ways(booted_lab: Lab) -> None:
    lab, front = booted_lab, booted_lab.front
    front.check("modprobe usbtest")
    with silent_kernels(lab, "usbtest .* perform_sglist failed.* status -22"):
        lab.setup = split_setup(("--function", "loopback"), awaits=Awaited.USBTEST)
        lab.transition(LabState.ATTACHED)
        # Not by usbfs, whose own memory ends at the same limit: this is the front end's answer.
        told = front.check(f"python3 -c '{ONE_URB.format(node=lab.found)}'", DEADLINE_S).stdout
        assert [int(word) for word in told.split()] == [0, errno.EINVAL]
        sizes = (MIB, MAX_TRANSFER_BYTES, MAX_TRANSFER_BYTES + 1)
        client = start_client(
            front, transfer_client, "echo", lab.found, *(str(size) for size in sizes)
        )
        client.wait_event("done", DEADLINE_S)
        for size in sizes[:2]:
            echoed = client.wait_event("echoed", DEADLINE_S, bytes=size)
            assert echoed["statuses"] == ["0", "0"]
            assert echoed["moved"] == [size, size]
            assert echoed["same"]
        refused_by_usbfs = client.wait_event("refused", DEADLINE_S, bytes=sizes[2])
        assert refused_by_usbfs["error"] == "ENOMEM"
        assert client.stop() == 0
        lab.transition(LabState.BOOTED)


class TwoPorts:
    """A disk and a source of data, in two ports on one link."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        # Nobody but the test is to talk to the disk.
        lab.front.check("! [ -d /sys/module/usb_storage ] || modprobe -r usb_storage")
        lab.front.check("! [ -d /sys/module/usbtest ] || modprobe -r usbtest")
        self.disk = self._gadget("disk", 0, "--directory", STORE, "--size", "16M")
        self.source = self._gadget("source", 1, "--function", "source-sink")
        self.serials = [
            gadget.wait_event("ready", DEADLINE_S)["serial"] for gadget in (self.disk, self.source)
        ]
        ports = ("--port", "dummy_hcd.0/1", "--port", "dummy_hcd.1/1")
        self.back = lab.back.start_daemon(
            ["rig", "back", *ports, "--listen", LINK_ADDRESS, *LINK], "back-end"
        )
        self.back.wait_event("listening", DEADLINE_S)
        self.front = lab.front.start_daemon(
            ["rig", "front", "--connect", LINK_ADDRESS, *LINK], "front-end"
        )
        self.nodes = [node_of(lab.front, serial) for serial in self.serials]

    def _gadget(self, name: str, number: int, *words: str) -> Daemon:
        udc = ("--udc", f"dummy_udc.{number}", "--name", name, "--supervised")
        return self.lab.back.start_daemon(["rig", "gadget", *udc, *words], f"gadget-{name}")

    def stop(self) -> None:
        for daemon in (self.front, self.back, self.source, self.disk):
            assert daemon.stop() == 0


def test_a_device_whose_reset_blocks_holds_up_no_other(booted_lab: Lab) -> None:
    two = TwoPorts(booted_lab)
    store = f"$(pgrep -P {two.disk.pid()})"
    reader = start_client(booted_lab.front, transfer_client, "read", two.nodes[1])
    reader.wait_event("reading", DEADLINE_S)

    # The gadget's thread waits for its medium, and answers no SET_CONFIGURATION meanwhile; a reset
    # ends with one, to which the kernel gives 5 s (USB_CTRL_SET_TIMEOUT) before it gives up the
    # device and enumerates it anew.
    booted_lab.back.check(f"kill -STOP {store}")
    resetter = start_client(booted_lab.front, transfer_client, "reset", two.nodes[0])
    resetter.wait_event("resetting", DEADLINE_S)
    counts = [reader.ask("count", ANSWER_S)]
    until_s = time.monotonic() + DEADLINE_S
    while "reset" not in {event["event"] for event in resetter.events}:
        assert time.monotonic() < until_s
        counts.append(reader.ask("count", ANSWER_S))
        two.back.ask("status", ANSWER_S)
        two.front.ask("status", ANSWER_S)
    ended = resetter.wait_event("reset", ANSWER_S)
    print(f"{ended}: {len(counts)} looks, {counts[-1] - counts[0]} transfers meanwhile")
    assert ended["seconds"] > 4.0
    assert ended["status"] == "-ENODEV"
    assert counts[-1] - counts[0] > 50
    assert "back-lost" not in {event["event"] for event in two.front.events}

    booted_lab.back.check(f"kill -CONT {store} && echo > {DISK_UDC}")
    booted_lab.back.check(f"echo dummy_udc.0 > {DISK_UDC}")
    node_of(booted_lab.front, two.serials[0])
    assert reader.stop() == 0
    two.stop()
