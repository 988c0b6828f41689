"""Errors on disks and machines that may be lost, without machines."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import cast

import msgspec
import pytest

from rig.errors import LostVMError, MachineError
from rig.experiments.fidelity import fidelity
from rig.experiments.fidelity.cells import Injection
from rig.experiments.fidelity.fidelity import Trials
from rig.experiments.fidelity.monitor import Record, Told
from rig.experiments.fidelity.plugged import Plugged
from rig.experiments.fidelity.report import Data, Fidelity, Observation
from rig.experiments.fidelity.wishes import read_wishes
from rig.faults.rules.endpoint import When
from rig.lab.daemons import Daemon
from rig.lab.environment import Role
from rig.lab.health import Health
from rig.lab.lab import Lab
from rig.lab.paths import PathName
from rig.lab.strategy import LabState
from rig.progress import Silent
from rig.tests.harness.fidelity_cells import INJECTION, PROTO, TOLD, observation, write_once
from rig.usb.urb import Direction

# On machines that may be lost.


class FakeDisk:
    """A disk with which something goes wrong where `World` says so."""

    def __init__(self, world: World, path: PathName) -> None:
        self.world, self.path, self.tried = world, path, 0

    def observe(self, injection: Injection, path: PathName) -> Observation:
        assert path is self.path
        self.tried += 1
        act = self.world.acts.get((path, injection.when))
        if act is not None and (act == "always" or self.tried > 1):
            if act == "crash":
                self.world.lab.back.health.lose(LostVMError("It crashed.", hint="RIP: 0010:stub+1"))
            raise MachineError("The disk does not recover.")
        return observation(injection=injection, path=path)

    def stop(self) -> None:
        pass


class World:
    """Labs without machines; ``acts`` by path and moment: ``always``, ``crash``, ``once``."""

    def __init__(self) -> None:
        self.acts: dict[tuple[PathName, When], str] = {}
        self.labs = 0
        self.plugs: list[PathName] = []
        self.lab = SimpleNamespace()
        self.plug: Callable[[Lab, str, PathName, int], Plugged] = self.plug_in

    @contextmanager
    def open_lab(self, attachment: str, number: int) -> Iterator[Lab]:
        self.labs += 1
        assert (attachment, number) == ("xhci-raw", self.labs)
        self.lab = SimpleNamespace(
            state=LabState.BOOTED,
            transition=lambda _: None,
            back=SimpleNamespace(health=Health("back")),
            front=SimpleNamespace(health=Health("front")),
        )
        yield cast("Lab", self.lab)

    def plug_in(self, lab: Lab, attachment: str, path: PathName, number: int) -> Plugged:
        assert (attachment, number) == ("xhci-raw", len(self.plugs) + 1)
        lab.back.health.check()
        self.plugs.append(path)
        return cast("Plugged", FakeDisk(self, path))

    def found(self) -> list[str]:
        wishes = read_wishes(
            attachments=["xhci-raw"],
            paths=["split", "usbip"],
            statuses=["EPROTO"],
            directions=["in"],
        )
        trials = Trials(wishes, self.open_lab, self.plug, Silent())
        return [f"{one.path} {one.injection.when} {one.note}" for one in trials.at("xhci-raw")]


WELL = [f"{path} {when} " for path in ("split", "usbip") for when in When]


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(fidelity, "AFTERMATH_S", 0.0)
    return World()


def test_each_path_gets_its_disk_once_if_all_is_well(world: World) -> None:
    assert world.found() == WELL
    assert (world.labs, world.plugs) == (1, [PathName.SPLIT, PathName.USBIP])


def test_a_disk_that_an_error_has_spoilt_is_replaced_for_the_next_one(world: World) -> None:
    world.acts[PathName.SPLIT, When.MIDDLE] = "once"
    assert world.found() == WELL
    assert (world.labs, len(world.plugs)) == (1, 3)


def test_an_error_that_spoils_a_new_disk_is_told_so(world: World) -> None:
    world.acts[PathName.SPLIT, When.MIDDLE] = "always"
    found = world.found()
    assert found.pop(1) == "split middle The disk does not recover."
    assert found == [WELL[0], *WELL[2:]]
    assert world.labs == 1


def test_a_machine_that_is_lost_is_replaced_and_the_error_tried_again(world: World) -> None:
    world.acts[PathName.USBIP, When.AFTER] = "crash"
    assert world.found() == WELL
    assert world.labs == 2


def test_machines_that_cannot_even_attach_a_disk_end_it(world: World) -> None:
    def fail(*_: object) -> Plugged:
        raise MachineError("It is not served.")

    world.plug = fail
    with pytest.raises(MachineError, match="not served"):
        world.found()


def test_how_a_machine_was_lost_is_said(world: World) -> None:
    world.acts[PathName.SPLIT, When.BEFORE] = "always"
    crash = LostVMError("The kernel crashed", hint="RIP: 0010:stub_rx+0x1")

    def plug(lab: Lab, attachment: str, path: PathName, number: int) -> Plugged:
        if number == 1:
            lab.back.health.lose(crash)
        world.plugs.append(path)
        return cast("Plugged", FakeDisk(world, path))

    world.plug = plug
    assert world.found()[0] == "split before The kernel crashed, in stub_rx+0x1"
    assert world.labs == 2


# One error on one disk.


class FakeAgent:
    """Watches a disk whose driver tells what it is made to tell."""

    def __init__(self, seen: list[Record], lost: int = 0) -> None:
        self.seen, self.lost = seen, lost
        self.held, self.asked = 0, list[str]()
        self.fails: list[str] = []

    def wait_event(self, event: str, _: float) -> None:
        assert event == "ready"

    def stop(self) -> None:
        self.asked.append("stop")

    def ask(self, do: str, *_: float, **args: object) -> object:
        self.asked.append(do)
        if do == "end":
            records_ = [list(msgspec.structs.astuple(one)) for one in self.seen]
            return {"records": records_, "lines": ["usb 1-1: something"], "lost": self.lost}
        carries = do in {"read", "write"}
        told = {"errno": self.fails.pop(0) if carries and self.fails else "", "taken_s": 0.1}
        if do == "write" and not told["errno"]:
            self.held = int(str(args["number"]))
        return {**told, "number": self.held} if do == "read" else told


class FakeFailing:
    """Makes errors; ``faults`` tells one more each time that a phase was over."""

    def __init__(self) -> None:
        self.phases: list[object] = []

    def ask(self, do: str, **args: object) -> object:
        if do == "phase":
            self.phases.append(args["name"])
        return {"fired": {"rule": self.phases.count(None)}}


def plugged(agents: dict[Role, FakeAgent], client: Role, failing: FakeFailing) -> Plugged:
    def machine(role: Role) -> SimpleNamespace:
        return SimpleNamespace(start_daemon=lambda *_: agents[role])

    lab = SimpleNamespace(disk="/dev/sda", strategy=SimpleNamespace(client=client, machine=machine))
    return Plugged(cast("Lab", lab), cast("Daemon", failing))


def test_an_error_is_made_once_and_seen_on_both_machines() -> None:
    agents = {
        Role.BACK: FakeAgent(write_once(PROTO, 2048)),
        Role.FRONT: FakeAgent([*write_once(PROTO, 0), *write_once(0, 4096)]),
    }
    failing = FakeFailing()
    disk = plugged(agents, Role.FRONT, failing)
    seen = disk.observe(INJECTION, PathName.SPLIT)
    disk.stop()
    assert (seen.fired, seen.below, seen.above) == (1, TOLD, Told(PROTO, 0))
    assert (seen.sent, seen.data, seen.lines) == (2, Data.RIGHT, ("something",))
    assert failing.phases == [INJECTION.name, None]
    assert agents[Role.BACK].asked == ["begin", "end", "stop"]
    # Calm, the error, and what the disk then holds.
    front = ["patience", "write", "read", "begin", "write", "end", "read", "stop"]
    assert agents[Role.FRONT].asked == front


def test_the_ports_error_has_the_ports_status_and_what_has_moved_below_it() -> None:
    agents = {
        Role.BACK: FakeAgent(write_once(0, 2048)),
        Role.FRONT: FakeAgent(write_once(PROTO, 2048)),
    }
    at_port = msgspec.structs.replace(INJECTION, attachment="dummy")
    seen = plugged(agents, Role.FRONT, FakeFailing()).observe(at_port, PathName.SPLIT)
    assert (seen.below, seen.fidelity) == (TOLD, Fidelity.SAME)


def test_a_reader_that_is_told_of_an_error_has_no_data() -> None:
    agent = FakeAgent([])
    disk = plugged({Role.BACK: agent}, Role.BACK, FakeFailing())
    agent.fails = ["", "", "EIO"]
    reads = msgspec.structs.replace(INJECTION, direction=Direction.IN)
    seen = disk.observe(reads, PathName.DIRECT)
    assert (seen.errno, seen.data, seen.fidelity) == ("EIO", Data.NONE, Fidelity.UNSEEN)


def test_events_that_were_lost_are_said() -> None:
    disk = plugged({Role.BACK: FakeAgent([], lost=3)}, Role.BACK, FakeFailing())
    assert disk.observe(INJECTION, PathName.DIRECT).note == "usbmon lost events"


def test_a_disk_that_does_not_recover_is_said() -> None:
    agent = FakeAgent([])
    disk = plugged({Role.BACK: agent}, Role.BACK, FakeFailing())
    agent.fails = ["EIO"] * 9
    with pytest.raises(MachineError, match="does not recover: EIO"):
        disk.observe(INJECTION, PathName.DIRECT)
