"""What a host sees when the link is late, stands still, breaks, or does what no link does.

One machine pair and one mounted disk for all.  Each fault is a rule with a phase of its own; the
test says when the phase begins.
"""

from __future__ import annotations

import dataclasses
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rig.experiments.run.places import BACK_BEHIND_LINK, STORE
from rig.lab.daemons import Daemon
from rig.lab.deepqueue import deep_queue
from rig.lab.environment import LINK_ADDRESS
from rig.lab.waits import Awaited
from rig.tests.conftest import LabKeeper
from rig.tests.harness.guests import split_setup
from rig.tests.vm.test_disturbances import DEADLINE_S, MOUNT, Site

pytestmark = [pytest.mark.vm, pytest.mark.nightly, pytest.mark.timeout(240)]

READ_BYTES = 64 << 10
HEARTBEAT_S = 5.0

RULES = {
    "late": 'effect = "delay"\ndelay_ms = 150\nat_s = 0\nfor_s = 20',
    "uneven": 'effect = "jitter"\ndelay_ms = 500\nat_s = 0\nfor_s = 20',
    "narrow": 'effect = "bandwidth"\nbytes_per_s = 40000\nat_s = 0\nfor_s = 20',
    "still": 'effect = "stall"\nway = "to-back"\nfor_s = 2.5\nat_bytes = 20\nnth = 2',
    "cut": 'effect = "cut"\nway = "to-back"\nat_bytes = 3\nnth = 20',
    "reset": 'effect = "cut"\nreset = true\nway = "to-back"\nnth = 20',
    "front-closed": 'effect = "half-open"\nend = "front"\nfor_s = 30\nnth = 20',
    "back-closed": 'effect = "half-open"\nend = "back"\nfor_s = 30\nnth = 20',
    "partition": 'effect = "partition"\nfor_s = 8\nnth = 20',
    "submitted-twice": 'effect = "duplicate"\nway = "to-back"\nnth = 20',
    "completed-twice": 'effect = "duplicate"\nway = "to-front"\nnth = 20',
    # What is swapped with a heartbeat or another endpoint's does no harm: until two of one are.
    "submits-swapped": 'effect = "reorder"\nway = "to-back"\nevery = 3\ntimes = 50',
    "ends-swapped": 'effect = "reorder"\nway = "to-front"\nevery = 3\ntimes = 50',
}


class Timed(Site):
    """A site that tells how long a read takes, and what the front machine's kernel says."""

    def read_s(self) -> float:
        """Read from the disk, past the cache; return how long that took on the front machine."""
        timed = f"time -p dd if={self.lab.disk} of=/dev/null bs={READ_BYTES} count=1 iflag=direct"
        said = self.lab.front.check(f"bash -c '{timed}'", DEADLINE_S).stderr
        found = re.search(r"real (\d+\.\d+)", said)
        assert found is not None, said
        return float(found[1])

    def kernel_since(self, position: int) -> str:
        console = self.lab.front.console
        assert console is not None
        return "\n".join(console.since(position))

    def position(self) -> int:
        console = self.lab.front.console
        assert console is not None
        return console.position


class Relayed(Timed):
    """A site with a relay in its link."""

    def prepare_relayed(self, directory: Path) -> None:
        rules = (
            f'[[fault]]\nname = "{name}"\nphase = "{name}"\nlayer = "link"\n{rule}\n'
            for name, rule in RULES.items()
        )
        plan = directory / "link.toml"
        plan.write_text('name = "link"\n' + "".join(rules))
        self.lab.back.put(plan, "/run/link.toml")
        setup = split_setup(("--directory", STORE, "--size", "16M"), awaits=Awaited.DISK)
        back = [BACK_BEHIND_LINK if word == LINK_ADDRESS else word for word in setup.back]
        relay = ("--listen", LINK_ADDRESS, "--connect", BACK_BEHIND_LINK)
        link = ("rig", "link", *relay, "--plan", "/run/link.toml", "--supervised")
        self.prepare(dataclasses.replace(setup, back=back, link=link))

    @property
    def relay(self) -> Daemon:
        return self.daemon("link")

    def begin(self, name: str) -> None:
        self.relay.ask("phase", name=name)


@pytest.fixture(scope="module")
def site(lab_keeper: LabKeeper, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Relayed]:
    site = Relayed(lab_keeper.booted())
    site.prepare_relayed(tmp_path_factory.mktemp("plan"))
    yield site
    site.lab.front.run(f"umount {MOUNT}", DEADLINE_S)


@pytest.mark.parametrize(
    ("name", "least_s"), [("late", 0.9), ("uneven", 0.5), ("narrow", READ_BYTES / 40000)]
)
def test_a_slow_link_is_slow_and_breaks_nothing(site: Relayed, name: str, least_s: float) -> None:
    """A READ has three URBs, each of which goes there and back."""
    before, usual_s = site.position(), site.read_s()
    site.begin(name)
    took_s = site.read_s()
    site.relay.ask("release")
    again_s = site.read_s()
    print(f"{name}: {usual_s} s, {took_s} s, {again_s} s")
    assert took_s > least_s
    assert again_s < took_s
    assert "reset" not in site.kernel_since(before)
    assert "disconnect" not in site.kernel_since(before)


def test_a_link_that_stands_still_for_a_while_is_waited_for(site: Relayed) -> None:
    before, seen = site.position(), len(site.relay.events)
    site.begin("still")
    assert site.read_s() > 2.0
    released = site.relay.wait_event("released", DEADLINE_S, since=seen, rule="still")
    assert released["by"] == "deadline"
    assert "disconnect" not in site.kernel_since(before)


BREAKS = {
    # The words by which each end learns of it; None: it is told nothing, and waits.
    "cut": ("closed the link", "closed the link"),
    "reset": ("broke", "broke"),
    "front-closed": ("closed the link", "Nothing was heard"),
    "back-closed": ("Nothing was heard", "closed the link"),
    "partition": ("Nothing was heard", "Nothing was heard"),
    "submitted-twice": ("submitted", "submitted"),
    "completed-twice": ("completed, but is not open", "completed, but is not open"),
}


@pytest.mark.parametrize("name", BREAKS)
def test_a_link_that_breaks_is_an_unplug_and_the_disk_comes_back(site: Relayed, name: str) -> None:
    front, back, relay = site.daemon("front"), site.daemon("back"), site.relay
    seen = {daemon: len(daemon.events) for daemon in (front, back, relay)}
    before = site.position()
    started_s = time.monotonic()

    print(name, site.disturb(lambda: site.begin(name), lambda: None))

    fault = relay.wait_event("fault", DEADLINE_S, since=seen[relay], rule=name)
    assert fault["layer"] == "link"
    at_front, at_back = BREAKS[name]
    lost = front.wait_event("back-lost", DEADLINE_S, since=seen[front])
    assert at_front in lost["reason"]
    gone = back.wait_event("front-lost", DEADLINE_S, since=seen[back])
    assert at_back in gone["reason"]
    assert "USB disconnect" in site.kernel_since(before)
    if "Nothing was heard" in (at_front, at_back):
        assert time.monotonic() - started_s > HEARTBEAT_S
    print(site.nobody_sleeps())


@pytest.mark.parametrize(
    ("name", "notices", "event", "complaint"),
    [
        ("submits-swapped", "back", "front-lost", "was submitted behind URB"),
        ("ends-swapped", "front", "back-lost", "was completed before URB"),
    ],
)
def test_urbs_or_ends_that_are_swapped_are_noticed_by_who_gets_them(
    site: Relayed, name: str, notices: str, event: str, complaint: str
) -> None:
    """Several URBs of an endpoint must be in flight for that, which usb-storage never has."""
    front, relay, daemon = site.lab.front, site.relay, site.daemon(notices)
    front.run(f"umount {MOUNT}", DEADLINE_S)
    with deep_queue(front) as client:
        block = client.wait_ready()
        seen = {one: len(one.events) for one in (relay, daemon)}
        site.begin(name)
        front.run(f"dd if=/dev/zero of={block} bs=128k count=4 oflag=direct", DEADLINE_S)
        relay.wait_event("fault", DEADLINE_S, since=seen[relay], rule=name)
        lost = daemon.wait_event(event, DEADLINE_S, since=seen[daemon])
        relay.ask("phase", name=None)
        assert complaint in lost["reason"]
        assert client.wait_ready()
