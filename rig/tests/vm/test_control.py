"""Faults of a lab that runs: changed by hand from outside, the same every time, and never for ever.

One machine pair with all processes that bring faults about: the back end, a relay in the link, a
gadget that plays the disk itself, and its store.
"""

from __future__ import annotations

import io
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rig.cli.main import run
from rig.daemon import Events
from rig.errors import UserError
from rig.experiments.run.places import BACK_BEHIND_LINK, STORE
from rig.experiments.run.trace import Clocks, Told, fired, lines_of
from rig.faults.plan import Plan
from rig.faults.reader import parse_plan
from rig.lab.daemons import Daemon
from rig.lab.environment import LINK_ADDRESS
from rig.lab.hands import Hands
from rig.lab.lab import Lab
from rig.lab.machine_faults import MachineFaults
from rig.lab.strategy import LabState, Setup
from rig.tests.conftest import LabKeeper

PAUSES = pytest.mark.guests(why="nothing can make a host's processors stand still")
pytestmark = [pytest.mark.vm, pytest.mark.nightly, pytest.mark.timeout(300)]

DEADLINE_S = 60.0
PLAN = "/run/rig-control-plan.toml"
SECURITY = ("--insecure", "--supervised")
HANG_S = 2.0
ONE_READ = "dd if={disk} of=/dev/null bs=64k count=1 iflag=direct status=none"
WRITES = "dd if=/dev/zero of={disk} bs=64k count=24 oflag=direct conv=fsync status=none"
READS = "dd if={disk} of=/dev/null bs=64k count=24 iflag=direct status=none"

COUNTING = """
name = "counting"
seed = 2005

[[fault]]
name = "cut"
layer = "endpoint"
phase = "write"
direction = "out"
stage = "data"
every = 9
times = 2
when = "middle"
status = "EPROTO"

[[fault]]
name = "luck"
layer = "endpoint"
phase = "read"
direction = "in"
opcode = 0x28
probability = 0.1
times = 3
when = "after"
status = "EILSEQ"

[[fault]]
name = "refused"
layer = "medium"
phase = "write"
op = "write"
probability = 0.1
times = 3
error = "EIO"

[[fault]]
name = "late"
layer = "medium"
phase = "read"
op = "read"
nth = 17
effect = "delay"
delay_s = 0.1

[[fault]]
name = "tag"
layer = "device"
phase = "read"
opcode = 0x28
nth = 15
effect = "csw-tag"
"""


class Site:
    """A lab with all processes that bring faults about."""

    def __init__(self, lab: Lab, directory: Path) -> None:
        self.lab = lab
        self._plan = directory / "plan.toml"
        self._plan.write_text(COUNTING)

    def attach(self) -> None:
        """Start all anew, with the plan and a fresh medium."""
        lab = self.lab
        lab.transition(LabState.BOOTED)
        lab.back.check(f"rm -rf {STORE}")
        lab.back.put(self._plan, PLAN)
        plan = ("--plan", PLAN, "--supervised")
        disk = ("--function", "bot-storage", "--directory", STORE, "--size", "16M")
        port = ("--port", "dummy_hcd.0/1", "--listen", BACK_BEHIND_LINK, "--insecure")
        relay = ("--listen", LINK_ADDRESS, "--connect", BACK_BEHIND_LINK, "--supervised")
        lab.setup = Setup(
            gadget=("rig", "gadget", *disk, *plan),
            back=("rig", "back", *port, *plan),
            link=("rig", "link", *relay),
            front=("rig", "front", "--connect", LINK_ADDRESS, *SECURITY),
        )
        lab.transition(LabState.ATTACHED)

    def daemon(self, name: str) -> Daemon:
        return self.lab.strategy.daemons[name]

    def phase(self, name: str | None) -> None:
        for daemon in ("gadget", "back"):
            self.daemon(daemon).ask("phase", name=name)

    def do(self, command: str) -> float:
        """Let the front machine do something with the disk; return how long it took."""
        began_s = time.monotonic()
        self.lab.front.check(command.format(disk=self.lab.disk), DEADLINE_S)
        return time.monotonic() - began_s

    def fired(self) -> dict[str, list[tuple[str, int | None]]]:
        """What each process says that it fired."""
        names = ("back", "gadget", "link")
        told = [Told("back", name, self.daemon(name).events) for name in names]
        return fired(lines_of(told, Clocks()))

    def fault(self, *words: str) -> None:
        """Say ``rig fault`` on the station."""
        assert run(["fault", words[0], "--lab", str(self.lab.directory), *words[1:]]) == 0


@pytest.fixture(scope="module")
def site(lab_keeper: LabKeeper, tmp_path_factory: pytest.TempPathFactory) -> Site:
    site = Site(lab_keeper.booted(), tmp_path_factory.mktemp("control"))
    site.attach()
    return site


@pytest.fixture(autouse=True)
def no_rule_is_left(site: Site) -> Iterator[None]:
    yield
    site.fault("clear")


def test_the_same_plan_and_seed_fire_the_same_faults_in_the_same_order(site: Site) -> None:
    first = exercise(site)
    site.attach()
    assert exercise(site) == first
    rules = {process: {rule for rule, _ in fired} for process, fired in first.items()}
    assert rules == {
        "back/back": {"cut", "luck"},
        "back/store": {"refused", "late"},
        "back/gadget": {"tag"},
    }


def exercise(site: Site) -> dict[str, list[tuple[str, int | None]]]:
    """Write and read; return what fired."""
    site.phase("write")
    site.do(WRITES)
    site.phase("read")
    site.do(READS)
    site.phase(None)
    return site.fired()


def test_a_rule_that_is_added_from_outside_fires_and_is_listed(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    site.lab.front.check("dmesg -C")
    endpoint = ("layer=endpoint", "name=live", "direction=in", "stage=status", "times=-1")
    site.fault("add", *endpoint, "nth=2", "when=before", "status=EPROTO", "--disarmed")
    site.do(ONE_READ)
    site.fault("fire", "live")
    site.do(ONE_READ)
    assert "reset high-speed USB device" in site.lab.front.check("dmesg").stdout
    told = site.daemon("back").wait_event("fault", DEADLINE_S, rule="live")
    assert told["by_hand"]
    capsys.readouterr()
    site.fault("list", "--json", "--process", "back")
    (back,) = json.loads(capsys.readouterr().out)
    assert back["process"] == "back/back"
    assert [(rule["rule"]["name"], rule["fired"]) for rule in back["rules"]][-1] == ("live", 1)
    # The same on the machine itself.
    listed = site.lab.back.check("rig fault list", DEADLINE_S).stdout
    assert all(f"back/{name} (" in listed for name in ("back", "gadget", "link", "store"))
    site.lab.back.check("rig fault remove live", DEADLINE_S)
    with pytest.raises(UserError, match="There is no rule 'live'"):
        site.fault("arm", "live")


def test_what_a_process_cannot_bring_about_is_a_sentence(site: Site) -> None:
    words = ("layer=endpoint", "direction=in", "nth=1", "when=before", "status=EPROTO")
    with pytest.raises(UserError, match="needs a process 'cable'"):
        site.fault("add", *words, "place=cable")
    with pytest.raises(UserError, match="'effect' 'nak'"):
        site.fault("add", "layer=device", "effect=nak", "nth=1", "residue_bytes=1")


HANGS = {
    "medium": ("gadget", "layer=medium", "op=read", "effect=hang", f"release_after_s={HANG_S:g}"),
    "device": ("gadget", "layer=device", "opcode=0x28", "effect=nak", f"for_s={HANG_S:g}"),
    "link": ("link", "layer=link", "effect=stall", f"for_s={HANG_S:g}"),
}
"""Of each layer whose faults hang: who tells, and the rule."""


@pytest.mark.parametrize("layer", HANGS)
def test_a_hang_ends_at_its_deadline_and_is_told(site: Site, layer: str) -> None:
    process, *rule = HANGS[layer]
    daemon = site.daemon(process)
    seen = len(daemon.events)
    site.fault("add", *rule, f"name=hang-{layer}", "nth=1")
    taken_s = site.do(ONE_READ)
    told = daemon.wait_event("released", DEADLINE_S, since=seen)
    assert (told["layer"], told["rule"], told["by"]) == (layer, f"hang-{layer}", "deadline")
    assert HANG_S <= told["waited_s"] < HANG_S + 5.0
    assert taken_s < DEADLINE_S / 2
    site.do(ONE_READ)


def machine_plan(effect: str) -> Plan:
    daemon = '\ndaemon = "back"' if effect == "stop-daemon" else ""
    return parse_plan(
        f'name = "p"\n[[fault]]\nlayer = "machine"\nname = "hang"\neffect = "{effect}"\n'
        f'machine = "back"\nfor_s = {HANG_S}\nat_s = 0{daemon}\n',
        "p",
    )


@pytest.mark.parametrize("effect", ["stop-daemon", pytest.param("pause", marks=PAUSES)])
def test_what_stands_still_goes_on_at_its_deadline_and_is_told(site: Site, effect: str) -> None:
    out = io.BytesIO()
    hands = Hands(site.lab.strategy, lambda _: None)
    with MachineFaults(machine_plan(effect), hands, Events(out)) as faults:
        faults.set_phase("write")
        site.do(ONE_READ)
        faults.settle(DEADLINE_S)
    told: list[dict[str, Any]] = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [event["event"] for event in told] == ["fault", "released"]
    assert (told[1]["rule"], told[1]["by"]) == ("hang", "deadline")
    assert HANG_S <= told[1]["waited_s"] < HANG_S + 5.0
    site.do(ONE_READ)


def test_what_hangs_is_released_from_outside(site: Site) -> None:
    daemon = site.daemon("gadget")
    seen = len(daemon.events)
    hang = ("layer=medium", "op=read", "effect=hang", "release_after_s=100", "nth=1")
    site.fault("add", *hang, "name=long")
    read = ONE_READ.format(disk=site.lab.disk)
    site.lab.front.check(f"({read}; echo $? >/run/long) </dev/null >/dev/null 2>&1 &")
    daemon.wait_event("fault", DEADLINE_S, since=seen, rule="long")
    site.fault("release")
    told = daemon.wait_event("released", DEADLINE_S, since=seen, rule="long")
    assert told["by"] == "command"
    wait = "until test -s /run/long; do sleep 0.1; done; cat /run/long"
    assert site.lab.front.check(f"timeout 30 sh -c '{wait}'", DEADLINE_S).stdout == "0\n"
