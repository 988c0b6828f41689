"""What goes away in the middle of a transfer: either daemon, the network, the device.

A writer on ext4 is at work on the front machine, file by file, each with an fsync.  Its kernel
must learn of it, nobody may sleep for ever, and afterwards the disk comes back without a reboot,
with all that fsync had confirmed.  One machine pair and one disk for all; nothing is made quicker
than by default (heartbeat 5 s; SCSI commands 30 s, which no disturbance here has to wait for).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from rig.experiments.conformance.report import trouble
from rig.experiments.run.places import STORE
from rig.lab.daemons import Daemon
from rig.lab.lab import Lab
from rig.lab.machine import Machine
from rig.lab.strategy import LabState, Setup, wait_for_disk
from rig.lab.waits import Awaited
from rig.tests.conftest import LabKeeper
from rig.tests.harness import disk_client
from rig.tests.harness.guests import split_setup, start_client

pytestmark = [pytest.mark.vm, pytest.mark.timeout(240)]

NOTICED_WITHIN_S = 60.0
MOST_SLEEP_S = 60.0
DEADLINE_S = 60.0
FILES = 3
MOUNT = "/mnt/disturbed"
UDC = "/sys/kernel/config/usb_gadget/rig0/UDC"
MKFS = "mkfs.ext4 -q -F -J size=4 -N 1024 -E nodiscard,lazy_itable_init=0,lazy_journal_init=1"
# Not by taking an interface down: what has another route is then told by a reset, not by silence.
LINK_DEVICE = "$(ip -o -4 address show to 10.77.0.0/24 | cut -d' ' -f2)"
CUT = f"modprobe sch_netem && tc qdisc add dev {LINK_DEVICE} root netem loss 100%"
MEND = f"tc qdisc del dev {LINK_DEVICE} root"


@dataclass
class Site:
    """A lab with a file system that is written to."""

    lab: Lab
    watchers: list[Daemon] = field(default_factory=list)
    files: int = 0  # so many are known to be on the medium

    def prepare(self, setup: Setup | None = None, *watched: Machine) -> None:
        lab = self.lab
        gadget = ("--directory", STORE, "--size", "16M")
        lab.setup = setup or split_setup(gadget, awaits=Awaited.DISK)
        lab.transition(LabState.ATTACHED)
        for machine in watched or (lab.back, lab.front):
            machine.check("echo 60 >/proc/sys/kernel/hung_task_timeout_secs")
            self.watchers.append(start_client(machine, disk_client, "watch"))
        lab.front.check(f"mkdir -p {MOUNT} && {MKFS} {lab.disk}", DEADLINE_S)
        self.mount(lab.disk)

    def mount(self, disk: str) -> None:
        self.lab.front.check(f"mount -t ext4 -o noatime {disk} {MOUNT}", DEADLINE_S)

    def write(self) -> Daemon:
        """Have a writer at work; return it when it has written some files."""
        writer = start_client(self.lab.front, disk_client, "write", MOUNT, str(self.files))
        writer.wait_event("synced", DEADLINE_S, number=self.files + FILES - 1)
        return writer

    def read(self) -> None:
        """All that was confirmed must be there."""
        reader = start_client(self.lab.front, disk_client, "check", MOUNT, str(self.files))
        assert reader.wait_event("checked", DEADLINE_S)["bad"] == []
        reader.stop()

    def disturb(self, disturb: Callable[[], object], mend: Callable[[], object]) -> str:
        """Disturb a writer and mend it; return how long all took, in words."""
        front = self.lab.front
        writer = self.write()
        started_s = time.monotonic()
        disturb()
        failed = writer.wait_event("failed", NOTICED_WITHIN_S)
        noticed_s = time.monotonic() - started_s
        assert writer.stop() == 0
        self.files = failed["number"]
        front.check(f"umount {MOUNT}", DEADLINE_S)
        unmounted_s = time.monotonic() - started_s
        mend()
        disk = wait_for_disk(front, DEADLINE_S)
        self.mount(disk)
        self.read()
        again_s = time.monotonic() - started_s
        return f"failed {noticed_s:.1f} s, unmounted {unmounted_s:.1f} s, read {again_s:.1f} s"

    def use(self) -> None:
        """The disk that came back can be written, too."""
        writer = self.write()
        self.files = writer.wait_event("synced", DEADLINE_S)["number"] + FILES
        writer.stop()

    def nobody_sleeps(self) -> str:
        """Return who slept longest, which was not too long."""
        longest = max((w.ask("longest") for w in self.watchers), key=lambda one: one["seconds"])
        assert longest["seconds"] <= MOST_SLEEP_S, longest
        for machine in (self.lab.back, self.lab.front):
            assert machine.console is not None
            assert trouble(machine.console.since(0)) == ""
        return f"{longest['task']} slept {longest['seconds']} s"

    def daemon(self, name: str) -> Daemon:
        return self.lab.strategy.daemons[name]

    def kill(self, name: str) -> None:
        machine = self.lab.back if name == "back" else self.lab.front
        machine.check(f"kill -9 {self.daemon(name).pid()}")

    def start_again(self, name: str) -> None:
        machine = self.lab.back if name == "back" else self.lab.front
        assert self.lab.setup is not None
        argv = self.lab.setup.back if name == "back" else self.lab.setup.front
        self.daemon(name).stop()
        self.lab.strategy.daemons[name] = machine.start_daemon(argv, f"{name}-again")


@pytest.fixture(scope="module")
def site(lab_keeper: LabKeeper) -> Iterator[Site]:
    site = Site(lab_keeper.booted())
    site.prepare()
    yield site
    # The next test's lab must not find a file system that is in use.
    site.lab.front.run(f"umount {MOUNT}", DEADLINE_S)


@pytest.fixture(autouse=True)
def nobody_sleeps_for_ever(site: Site, request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    print(f"\n{request.node.name}: {site.nobody_sleeps()}")


@pytest.mark.parametrize("name", ["back", "front"])
def test_a_daemon_that_is_killed_in_a_transfer(site: Site, name: str) -> None:
    print(site.disturb(lambda: site.kill(name), lambda: site.start_again(name)))


def test_a_link_that_is_cut_in_a_transfer(site: Site) -> None:
    machines = (site.lab.back, site.lab.front)
    front, seen = site.daemon("front"), len(site.daemon("front").events)

    def cut() -> None:
        for machine in machines:
            machine.check(CUT)

    def mend() -> None:
        for machine in machines:
            machine.check(MEND)

    print(site.disturb(cut, mend))

    lost = front.wait_event("back-lost", DEADLINE_S, since=seen)
    assert "Nothing was heard" in lost["reason"]


def test_a_device_that_is_unplugged_in_a_transfer(site: Site) -> None:
    back = site.lab.back

    print(
        site.disturb(
            lambda: back.check(f"echo > {UDC}"), lambda: back.check(f"echo dummy_udc.0 > {UDC}")
        )
    )

    site.use()
