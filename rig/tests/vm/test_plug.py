"""What the front end's port shows when something happens at the back end's."""

from __future__ import annotations

import pytest

from rig.experiments.run.places import STORE
from rig.lab.environment import Link
from rig.lab.lab import Lab
from rig.lab.strategy import LabState, Setup, wait_for_disk

pytestmark = [pytest.mark.vm, pytest.mark.timeout(240)]

# Not the UDC's soft_connect: after that dummy_hcd does not enumerate the device again (-EPROTO).
UDC = "/sys/kernel/config/usb_gadget/rig0/UDC"
DEADLINE_S = 60.0
# The kernel takes leave of a disk some time after its port was detached.
NO_DISK = "while readlink /sys/block/sd* | grep -q vhci_hcd; do sleep 0.05; done"

# One only: the one before it may still be on its way out.
ONE_DISK = "until [ $(readlink /sys/block/sd* | grep -c vhci_hcd) = 1 ]; do sleep 0.05; done"
READ = "dd if={disk} bs=64k count=16 iflag=direct status=none | sha256sum"


def setup(link: Link, *options: str) -> Setup:
    """A disk behind the split driver; the options are of both its ends."""
    return Setup(
        gadget=(
            *("rig", "gadget", "--directory", STORE, "--size", "16M"),
            *("--udc", "dummy_udc.0", "--supervised"),
        ),
        back=(
            *("rig", "back", "--port", "dummy_hcd.0/1", "--listen", *link.options),
            *("--supervised", *options),
        ),
        front=("rig", "front", "--connect", *link.options, "--supervised", *options),
    )


@pytest.fixture
def attached_lab(booted_lab: Lab) -> Lab:
    booted_lab.setup = setup(Link.TCP)
    booted_lab.transition(LabState.ATTACHED)
    return booted_lab


def test_unplug_and_plug_show_on_the_front_ends_port(attached_lab: Lab) -> None:
    front = attached_lab.strategy.daemons["front"]

    for _ in range(4):  # the first in the middle of the kernel's look at the new disk
        seen = len(front.events)
        attached_lab.back.check(f"echo > {UDC}")
        front.wait_event("detached", DEADLINE_S, since=seen)
        attached_lab.front.check(NO_DISK, DEADLINE_S)
        attached_lab.back.check(f"echo dummy_udc.0 > {UDC}")
        front.wait_event("attached", DEADLINE_S, since=seen)
        disk = wait_for_disk(attached_lab.front, DEADLINE_S)

    attached_lab.front.check(f"dd if={disk} of=/dev/null bs=64k count=4 iflag=direct")


def test_no_driver_of_the_back_machine_binds_what_is_in_a_mapped_port(attached_lab: Lab) -> None:
    bound = attached_lab.back.check("readlink /sys/bus/usb/devices/1-1:1.0/driver")

    assert bound.stdout.strip().endswith("/usbfs")
    assert attached_lab.back.run("ls /sys/block | grep ^sd").stdout == ""


@pytest.mark.parametrize(
    ("link", "options"),
    [
        (Link.TCP, ["--no-lane"]),
        pytest.param(
            Link.VIRTIO,
            [],
            marks=pytest.mark.guests(why="hosts have no virtio-serial between them"),
        ),
    ],
    ids=["over TCP without lanes", "over virtio-serial"],
)
def test_an_end_that_is_killed_is_an_unplug_and_another_one_serves_again(
    booted_lab: Lab, link: Link, options: list[str]
) -> None:
    lab, strategy = booted_lab, booted_lab.strategy
    lab.setup = setup(link, *options)
    lab.transition(LabState.ATTACHED)
    for machine in (lab.back, lab.front):
        machine.check("python3 -c 'import rig.splitdriver.lane._lane'")  # it is compiled for them
    disk = wait_for_disk(lab.front, DEADLINE_S)
    lab.front.check(f"dd if=/dev/urandom of={disk} bs=64k count=16 oflag=direct")
    written = lab.front.check(READ.format(disk=disk)).stdout

    for name, machine in (("back", lab.back), ("front", lab.front)):
        machine.check(f"kill -9 {strategy.daemons[name].pid()}")
        again = lab.setup.back if name == "back" else lab.setup.front
        seen = len(strategy.daemons["front"].events) if name == "back" else 0
        strategy.daemons[name] = machine.start_daemon(again, f"{name}-again")
        strategy.daemons["front"].wait_event("attached", DEADLINE_S, since=seen)
        lab.front.check(ONE_DISK, DEADLINE_S)
        disk = wait_for_disk(lab.front, DEADLINE_S)
        assert lab.front.check(READ.format(disk=disk)).stdout == written


def test_a_second_front_end_is_told_that_it_is_not_wanted(attached_lab: Lab) -> None:
    assert attached_lab.setup is not None

    second = attached_lab.front.start_daemon(attached_lab.setup.front, "second")

    lost = second.wait_event("back-lost", DEADLINE_S)
    assert "Another front end is using this back end." in lost["reason"]
    assert not attached_lab.strategy.daemons["front"].ended


HIDDEN = "$(grep -l 1209 /sys/bus/usb/devices/*/idVendor | head -n 1 | xargs dirname)"
RESET_HIDDEN = f"""
set -e
node=$(printf /dev/bus/usb/%03d/%03d $(cat {HIDDEN}/busnum) $(cat {HIDDEN}/devnum))
for i in 1 2 3; do
    python3 -c "import fcntl; fcntl.ioctl(open('$node', 'wb'), 0x5514)"  # USBDEVFS_RESET
done
"""
AUTHORIZE_HIDDEN = f"for i in 0 1 0 1; do echo $i > {HIDDEN}/authorized; done"
READ = "dd if={disk} of=/dev/null bs=64k count=64 iflag=direct"


def test_a_port_that_is_detached_by_hand_is_shown_again_and_the_link_stays(
    attached_lab: Lab,
) -> None:
    front, daemon = attached_lab.front, attached_lab.strategy.daemons["front"]
    (number,) = daemon.ask("status", DEADLINE_S)["ports"].values()
    seen = len(daemon.events)

    front.check(f"echo {number} > /sys/devices/platform/vhci_hcd.0/detach")
    broke = daemon.wait_event("port-broke", DEADLINE_S, since=seen)
    daemon.wait_event("attached", DEADLINE_S, since=seen)

    assert broke["port"] == number
    front.check(NO_DISK, DEADLINE_S)
    front.check(READ.format(disk=wait_for_disk(front, DEADLINE_S)), DEADLINE_S)
    assert "back-lost" not in {event["event"] for event in daemon.events}


def test_the_hidden_device_may_be_reset_and_configured_by_hand(attached_lab: Lab) -> None:
    front, daemon = attached_lab.front, attached_lab.strategy.daemons["front"]
    disk = wait_for_disk(front, DEADLINE_S)
    # Every READ ends in a short status, behind which the fence is needed.
    for by_hand in RESET_HIDDEN, AUTHORIZE_HIDDEN:
        front.check(f"{READ.format(disk=disk)} & {by_hand}\nwait $!", DEADLINE_S)
        front.check(READ.format(disk=disk), DEADLINE_S)
    lost = {"port-broke", "back-lost"} & {event["event"] for event in daemon.events}
    assert not lost
