"""What a host sees when daemons and machines stand still, die, and come back.

One machine pair and one mounted disk for all; the machines are struck as `rig run` strikes them.
The last test leaves a lab of which nothing can be used any more.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Any

import pytest

from rig.daemon import Events
from rig.errors import LostVMError
from rig.faults.reader import parse_plan
from rig.lab.hands import Hands
from rig.lab.machine_faults import MachineFaults
from rig.lab.strategy import wait_for_disk
from rig.tests.conftest import LabKeeper
from rig.tests.vm.test_disturbances import DEADLINE_S, MOUNT
from rig.tests.vm.test_link_faults import Timed

pytestmark = [
    *(pytest.mark.vm, pytest.mark.nightly, pytest.mark.timeout(240)),
    # One plan has all of them, and is refused as a whole.
    pytest.mark.guests(why="pauses machines, which nothing can do to hosts"),
]

BACK_DEADLINE_S = 150.0

RULES = {
    "front-end-stopped": 'machine = "front"\neffect = "stop-daemon"\ndaemon = "front"\nfor_s = 2.5',
    "back-end-stopped": 'machine = "back"\neffect = "stop-daemon"\ndaemon = "back"\nfor_s = 2.5',
    "back-paused": 'machine = "back"\neffect = "pause"\nfor_s = 2.5',
    "back-end-killed": 'machine = "back"\neffect = "kill-daemon"\ndaemon = "back"',
    "front-end-killed": 'machine = "front"\neffect = "kill-daemon"\ndaemon = "front"',
    "gadget-killed": 'machine = "back"\neffect = "kill-daemon"\ndaemon = "gadget"',
    "back-stopped-for-long": (
        'machine = "back"\neffect = "stop-daemon"\ndaemon = "back"\nfor_s = 8'
    ),
    "back-paused-for-long": 'machine = "back"\neffect = "pause"\nfor_s = 8',
    "power-cycle": 'machine = "back"\neffect = "power-cycle"\nfor_s = 1',
    "reboot": 'machine = "back"\neffect = "reboot"',
    "front-power-cycle": 'machine = "front"\neffect = "power-cycle"',
    "front-killed": 'machine = "front"\neffect = "kill"',
}
STOPPED_BEFORE = "stopped-before-reboot"
"""In the phase of the reboot: the back end stands still when it is told to end."""
WAITED_FOR = ("front-end-stopped", "back-end-stopped", "back-paused")
UNPLUGS = (
    *("back-end-killed", "front-end-killed", "gadget-killed"),
    *("back-stopped-for-long", "back-paused-for-long", "power-cycle", "reboot"),
)


class Struck(Timed):
    """A site whose machines can be struck."""

    faults: MachineFaults
    told: io.BytesIO

    def strike(self, name: str) -> None:
        self.faults.set_phase(name)

    def settle(self) -> None:
        self.faults.settle(BACK_DEADLINE_S)
        self.faults.set_phase(None)

    def told_of(self, rule: str) -> list[dict[str, Any]]:
        told = [json.loads(line) for line in self.told.getvalue().splitlines()]
        return [event for event in told if event["rule"] == rule]

    def events(self, rule: str) -> list[str]:
        return [event["event"] for event in self.told_of(rule)]


@pytest.fixture(scope="module")
def site(lab_keeper: LabKeeper) -> Iterator[Struck]:
    site = Struck(lab_keeper.booted())
    site.prepare(None, site.lab.front)
    hands = Hands(site.lab.strategy, lambda _: None)
    hands.keep_medium()
    stop = 'machine = "back"\neffect = "stop-daemon"\ndaemon = "back"\nfor_s = 60'
    rules = [
        (STOPPED_BEFORE, "reboot", stop),
        *((name, name, rule) for name, rule in RULES.items()),
    ]
    text = 'name = "machines"\n' + "".join(
        f'[[fault]]\nname = "{name}"\nphase = "{phase}"\nlayer = "machine"\nat_s = 0\n{rule}\n'
        for name, phase, rule in rules
    )
    site.told = io.BytesIO()
    with MachineFaults(parse_plan(text, "machines.toml"), hands, Events(site.told)) as faults:
        site.faults = faults
        yield site
    if not site.lab.front.health.lost:
        site.lab.front.run(f"umount {MOUNT}", DEADLINE_S)


@pytest.mark.parametrize("name", WAITED_FOR)
def test_what_stands_still_for_a_while_is_waited_for(site: Struck, name: str) -> None:
    before = site.position()
    site.strike(name)
    site.settle()
    site.read_s()
    assert site.events(name) == ["fault", "released"]
    assert "disconnect" not in site.kernel_since(before)
    assert "reset" not in site.kernel_since(before)


@pytest.mark.parametrize("name", UNPLUGS)
def test_what_dies_is_an_unplug_and_the_disk_comes_back(site: Struck, name: str) -> None:
    before = site.position()
    print(name, site.disturb(lambda: site.strike(name), site.settle))
    assert site.events(name) == ["fault", "released"]
    assert "USB disconnect" in site.kernel_since(before)
    print(site.nobody_sleeps())


def test_a_daemon_that_stood_still_when_its_machine_was_rebooted_ended_at_once(
    site: Struck,
) -> None:
    began, over = site.told_of(STOPPED_BEFORE)
    assert (over["event"], over["deed"], over["by"]) == ("released", "shut-down", "end")
    print(f"stopped, continued and shut down in {over['t'] - began['t']:.1f} s")
    assert over["t"] - began["t"] < site.lab.strategy.crew.stop_deadline_s


def test_a_front_machine_without_power_finds_what_it_had_confirmed(site: Struck) -> None:
    writer = site.write()
    site.files = max(event["number"] for event in writer.events if event["event"] == "synced") + 1
    site.strike("front-power-cycle")
    site.settle()
    site.lab.front.check(f"mkdir -p {MOUNT}")
    site.mount(wait_for_disk(site.lab.front, DEADLINE_S))
    site.read()


def test_a_machine_that_is_killed_is_lost_and_nobody_waits_for_it(site: Struck) -> None:
    site.strike("front-killed")
    site.settle()
    assert site.events("front-killed") == ["fault"]
    assert site.lab.front.health.wait_for_loss(DEADLINE_S)
    with pytest.raises(LostVMError, match="ended by itself"):
        site.lab.front.run("true")
