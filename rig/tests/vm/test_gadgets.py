"""Devices that are no disks, used through the split driver: serial, Ethernet, keyboard, several.

The tests of one composite device share it: to attach it takes longer than to use it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rig.experiments.run.places import STORE
from rig.lab.daemons import Daemon
from rig.lab.environment import LINK_ADDRESS
from rig.lab.lab import Lab
from rig.lab.machine import Machine
from rig.lab.strategy import LabState, Setup
from rig.tests.conftest import LabKeeper
from rig.tests.harness import on_guest

pytestmark = [pytest.mark.vm, pytest.mark.timeout(240)]

DEADLINE_S = 120.0
PEER = "/run/on_guest.py"
CLASS_DRIVERS = "cdc_acm cdc_ncm usbhid hid_generic evdev usb_storage"
LINK = ("--insecure", "--supervised")

BACK_SEED, FRONT_SEED = "1", "2"
BACK_ADDRESS, FRONT_ADDRESS = "10.79.0.1", "10.79.0.2"

KEY_A, KEY_B, KEY_LEFTSHIFT = 30, 48, 42  # include/uapi/linux/input-event-codes.h
LED_CAPSL = 1
AUTOREPEAT = 2
"""The value by which Linux tells of a key that is held for 250 ms (``drivers/input/input.c``)."""
# Modifiers, a reserved octet, the keys (HID usage tables 1.12, §10): a and b are 4 and 5.
REPORTS = {
    "0000040000000000": {(KEY_A, 1)},
    "0200040500000000": {(KEY_LEFTSHIFT, 1), (KEY_B, 1)},
    "0000000000000000": {(KEY_A, 0), (KEY_LEFTSHIFT, 0), (KEY_B, 0)},
}
CAPS_LOCK_LIT = "02"  # the output report's second bit: HID 1.11, appendix B.1

# SET_LINE_CODING with 9600 baud, one stop bit, no parity, 8 bits (USB PSTN 1.2, §6.3.10), as
# usbmon writes it (Documentation/usb/usbmon.rst).
LINE_CODING_9600 = "s 21 20 0000 0000 0007 7 = 80250000 000008"
WATCH_BUS = """
exec 3</sys/kernel/debug/usb/usbmon/1u
echo '{"event":"watching"}'
grep -q -m 1 "$0" <&3 && echo '{"event":"seen"}'
"""

Ends = tuple[Daemon, Daemon]
"""What runs on the back machine and on the front machine."""


class Machines:
    """The machines of a lab, and what runs at both ends of a device."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        for machine in (lab.back, lab.front):
            machine.put(Path(on_guest.__file__), PEER)
        # A machine of ours has no udev, which would do this.
        lab.front.check(f"modprobe -a {CLASS_DRIVERS}")

    def peer(self, machine: Machine, *arguments: str) -> Daemon:
        """Start one end."""
        return machine.start_daemon(["python3", PEER, *arguments], f"peer-{arguments[0]}")

    def host_tty(self, serial: str) -> str:
        """Wait until the front machine has the serial port of the device with a serial number."""
        find = f"grep -lx {serial} /sys/class/tty/ttyACM*/device/../serial"
        wait = f"timeout 30 sh -c 'until {find} 2>/dev/null; do sleep 0.1; done'"
        return f"/dev/{self.lab.front.check(wait, DEADLINE_S).stdout.split('/')[4]}"

    def serial(self, device: str, tty: str, count: int, baud: int = 115200) -> Ends:
        """Have both ends of a serial port exchange so many bytes each way, from now on."""
        back = self.peer(self.lab.back, "serial", device, str(baud), BACK_SEED, str(count))
        front = self.peer(self.lab.front, "serial", tty, str(baud), FRONT_SEED, str(count))
        # Not before both are open: what comes earlier a terminal echoes.
        for end in (back, front):
            end.wait_event("open", DEADLINE_S)
        for end in (back, front):
            end.ask("go", DEADLINE_S)
        return back, front

    def tcp(self, count: int) -> Ends:
        """The same over TCP."""
        back = self.peer(self.lab.back, "listen", BACK_ADDRESS, "5001", BACK_SEED, str(count))
        back.wait_event("listening", DEADLINE_S)
        front = self.peer(self.lab.front, "call", BACK_ADDRESS, "5001", FRONT_SEED, str(count))
        return back, front

    def join(self, *ports: str) -> Ends:
        """Start a back end that maps these ports, and a front end."""
        words = [word for port in ports for word in ("--port", port)]
        listener = self.lab.back.start_daemon(
            ["rig", "back", *words, "--listen", LINK_ADDRESS, *LINK], "back-end"
        )
        listener.wait_event("listening", DEADLINE_S)
        caller = self.lab.front.start_daemon(
            ["rig", "front", "--connect", LINK_ADDRESS, *LINK], "front-end"
        )
        return listener, caller


def both_have_all(ends: Ends, count: int) -> None:
    """Wait until each end has what the other sent; it must be that, octet for octet."""
    for end, other_seed in zip(ends, (FRONT_SEED, BACK_SEED), strict=True):
        wanted = on_guest.data_of(int(other_seed), count)
        got = end.wait_event("exchanged", DEADLINE_S)
        assert (got["bytes"], got["sent"]) == (count, True)
        assert got["sha256"] == hashlib.sha256(wanted).hexdigest()
    assert [end.stop() for end in ends] == [0, 0]


class Composite(Machines):
    """A composite device of four functions, attached to the front machine."""

    def __init__(self, lab: Lab) -> None:
        super().__init__(lab)
        functions = ("acm", "ncm", "hid", "mass-storage")
        lab.setup = Setup(
            gadget=(
                *("rig", "gadget", "--supervised", "--directory", STORE, "--size", "16M"),
                *(word for function in functions for word in ("--function", function)),
            ),
            back=("rig", "back", "--port", "dummy_hcd.0/1", "--listen", LINK_ADDRESS, *LINK),
            front=("rig", "front", "--connect", LINK_ADDRESS, *LINK),
        )
        lab.transition(LabState.ATTACHED)
        ready = lab.strategy.daemons["gadget"].wait_event("ready", DEADLINE_S)
        self.became: dict[str, Any] = {fields["function"]: fields for fields in ready["functions"]}
        self._ttys = self.became["acm"]["device"], self.host_tty(ready["serial"])
        self._connect()

    def talk(self, count: int, baud: int = 115200) -> Ends:
        """See `serial`."""
        return self.serial(*self._ttys, count, baud)

    def _connect(self) -> None:
        """Give both network cards addresses."""
        ncm = self.became["ncm"]
        found = self.lab.front.check(f"grep -lx {ncm['host_address']} /sys/class/net/*/address")
        host_interface = found.stdout.split("/")[4]
        for machine, interface, address in (
            (self.lab.back, ncm["interface"], BACK_ADDRESS),
            (self.lab.front, host_interface, FRONT_ADDRESS),
        ):
            machine.check(f"ip address add {address}/24 dev {interface}")
            # The usual fq_codel drops packets that waited for 5 ms, as many do under emulation.
            machine.check(f"tc qdisc replace dev {interface} root pfifo limit 1000")
            machine.check(f"ip link set {interface} up")
        # With its timer the driver drops what is due while all its URBs are on their way
        # (usbnet_start_xmit, called by cdc_ncm_txpath_bh whether the queue is stopped or not).
        timer = f"/sys/class/net/{host_interface}/cdc_ncm/tx_timer_usecs"
        self.lab.front.check(f"echo 0 > {timer}")

    def keyboard(self) -> str:
        """The input device behind vhci_hcd on the front machine."""
        below = "/sys/devices/platform/vhci_hcd.*/usb*/*/*/*/input/input*/event*"
        return f"/dev/input/{Path(self.lab.front.check(f'ls -d {below}').stdout.strip()).name}"


@pytest.fixture(scope="module")
def composite(lab_keeper: LabKeeper) -> Composite:
    """One device for the tests that do not take it apart."""
    return Composite(lab_keeper.booted())


@pytest.mark.parametrize("count", [256, 100_000])
def test_a_serial_port_carries_every_octet_both_ways(composite: Composite, count: int) -> None:
    both_have_all(composite.talk(count), count)


def test_a_change_of_a_serial_ports_speed_reaches_the_device(composite: Composite) -> None:
    watch = composite.lab.back.start_daemon(["sh", "-c", WATCH_BUS, LINE_CODING_9600], "usbmon")
    watch.wait_event("watching", DEADLINE_S)

    ends = composite.talk(5000, baud=9600)

    watch.wait_event("seen", DEADLINE_S)
    both_have_all(ends, 5000)


def test_a_network_card_carries_packets_and_a_stream_both_ways(composite: Composite) -> None:
    composite.lab.front.check(f"ping -c 1 -w 20 {BACK_ADDRESS}")
    composite.lab.back.check(f"ping -c 1 -w 20 {FRONT_ADDRESS}")

    both_have_all(composite.tcp(1 << 20), 1 << 20)


def test_a_keyboards_reports_are_input_events_and_its_lamps_are_set(composite: Composite) -> None:
    keyboard = composite.peer(composite.lab.back, "reports", composite.became["hid"]["device"])
    keyboard.wait_event("open", DEADLINE_S)
    host = composite.peer(composite.lab.front, "input", composite.keyboard())
    host.wait_event("open", DEADLINE_S)

    for octets, keys in REPORTS.items():
        keyboard.ask("report", octets=octets)
        for code, value in keys:
            host.wait_event("key", DEADLINE_S, code=code, value=value)
    host.ask("led", led=LED_CAPSL, on=1)
    keyboard.wait_event("report", DEADLINE_S, octets=CAPS_LOCK_LIT)

    assert [keyboard.stop(), host.stop()] == [0, 0]
    told = [e for e in host.events if e["event"] == "key" and e["value"] != AUTOREPEAT]
    assert len(told) == sum(len(keys) for keys in REPORTS.values())


def test_all_functions_of_a_device_are_usable_at_once(composite: Composite) -> None:
    serial = composite.talk(50_000)
    tcp = composite.tcp(1 << 19)
    disk = composite.lab.disk
    composite.lab.front.check(
        "dd if=/dev/urandom of=/run/data bs=1M count=1 status=none && "
        f"dd if=/run/data of={disk} bs=64k oflag=direct status=none && "
        f"dd if={disk} bs=64k count=16 iflag=direct status=none | cmp - /run/data",
        DEADLINE_S,
    )
    both_have_all(serial, 50_000)
    both_have_all(tcp, 1 << 19)


def gadget(machine: Machine, name: str, udc: str, *words: str) -> Daemon:
    """Start a gadget."""
    argv = ["rig", "gadget", "--name", name, "--udc", udc, "--supervised", *words]
    return machine.start_daemon(argv, f"gadget-{name}")


def test_several_gadgets_are_several_devices_and_leave_nothing(booted_lab: Lab) -> None:
    back = booted_lab.back
    words = ("--function", "source-sink,pattern=1", "--id", "0525:a4a0")
    source = gadget(back, "one", "dummy_udc.0", *words)
    killed = gadget(back, "two", "dummy_udc.1", "--function", "acm")
    for daemon in (source, killed):
        daemon.wait_event("ready", DEADLINE_S)
    back.check("test $(cat /sys/kernel/config/usb_gadget/one/functions/*/pattern) = 1")

    back.check(f"kill -9 {killed.pid()}")
    heir = gadget(back, "two", "dummy_udc.1", "--function", "hid", "--function", "hid")
    ready = heir.wait_event("ready", DEADLINE_S)

    nodes = [function["device"] for function in ready["functions"]]
    assert nodes == ["/dev/hidg0", "/dev/hidg1"]
    assert source.ask("status")["udc"] == "dummy_udc.0"
    assert [heir.stop(), source.stop()] == [0, 0]
    assert back.check("ls /sys/kernel/config/usb_gadget").stdout == ""


@pytest.fixture
def super_speed_lab(booted_lab: Lab) -> Iterator[Lab]:
    """A lab whose dummy_hcd is loaded as usual again afterwards."""
    yield booted_lab
    booted_lab.back.check("modprobe -r dummy_hcd && modprobe dummy_hcd")


def test_a_super_speed_gadget_is_used_at_super_speed(super_speed_lab: Lab) -> None:
    machines = Machines(super_speed_lab)
    fast = ("--function", "acm", "--max-speed", "super-speed")
    device = gadget(super_speed_lab.back, "fast", "dummy_udc.0", *fast)
    ready = device.wait_event("ready", DEADLINE_S)

    listener, caller = machines.join("dummy_hcd.0/1")
    caller.wait_event("attached", DEADLINE_S, speed="SUPER")
    tty = machines.host_tty(ready["serial"])

    assert device.ask("status")["speed"] == "super-speed"
    both_have_all(machines.serial(ready["functions"][0]["device"], tty, 100_000), 100_000)
    assert [daemon.stop() for daemon in (caller, listener, device)] == [0, 0, 0]


def test_devices_in_several_ports_share_one_link(booted_lab: Lab) -> None:
    machines = Machines(booted_lab)
    devices = [
        gadget(booted_lab.back, f"port{number}", f"dummy_udc.{number}", "--function", "acm")
        for number in range(2)
    ]
    ready = [device.wait_event("ready", DEADLINE_S) for device in devices]

    listener, caller = machines.join(*(f"dummy_hcd.{number}/1" for number in range(2)))
    ends = [
        machines.serial(one["functions"][0]["device"], machines.host_tty(one["serial"]), 50_000)
        for one in ready
    ]

    for pair in ends:
        both_have_all(pair, 50_000)
    assert [daemon.stop() for daemon in (caller, listener, *devices)] == [0] * 4
