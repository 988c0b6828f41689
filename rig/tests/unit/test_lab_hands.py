"""What is done to a machine for each deed, on machines that note it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from rig.errors import ApiViolationError
from rig.faults.rules.machine import DaemonName, MachineRole
from rig.lab.environment import Role
from rig.lab.guest import Guest
from rig.lab.hands import Hands
from rig.lab.strategy import RigStrategy, Setup
from rig.lab.timetable import Deed, Step


class World:
    """A lab that notes what is done to it."""

    def __init__(self) -> None:
        self.log: list[str] = []
        names = ("gadget", "back", "front")
        self.crew = SimpleNamespace(
            machines={role: self._machine(role.value) for role in Role},
            daemons={name: self._daemon(name) for name in names},
            stop_deadline_s=1.0,
            replace=self._replace,
        )
        self.strategy = SimpleNamespace(
            crew=self.crew,
            setup=Setup(("rig", "gadget"), ("rig", "back"), ("rig", "front")),
            powering=SimpleNamespace(
                unit=lambda role: SimpleNamespace(
                    pause=lambda: self.log.append(f"{role} paused"),
                    resume=lambda: self.log.append(f"{role} resumed"),
                    kill=lambda: self.log.append(f"{role} killed"),
                    keep_command=Guest.keep_command,
                ),
                cut_power=lambda role: self.log.append(f"{role} off"),
                power_up=lambda role: self.log.append(f"{role} on"),
            ),
        )
        self.hands = Hands(
            cast("RigStrategy", self.strategy), lambda name: self.log.append(f"{name} started")
        )

    def do(self, deed: Deed, machine: MachineRole, daemon: DaemonName | None = None) -> list[str]:
        self.log.clear()
        self.hands.do(Step(deed, machine, daemon, None, "rule", 0.0))
        return self.log

    def _machine(self, name: str) -> Any:
        return SimpleNamespace(
            check=lambda command, deadline_s: self.log.append(f"{name}: {command}")
        )

    def _daemon(self, name: str) -> Any:
        return SimpleNamespace(
            pid=lambda: 77,
            stop=lambda deadline_s: self.log.append(f"{name} stop"),
            wait_event=lambda event, deadline_s: self.log.append(f"{name} {event}"),
        )

    def _replace(self, role: Role, name: str, argv: tuple[str, ...]) -> Any:
        self.log.append(f"{role} replaces {name} by {' '.join(argv)}")
        return self._daemon(name)


BACK, FRONT = MachineRole.BACK, MachineRole.FRONT
KEEP = "back: mount -o remount,sync /var/lib/rig && sync"
GADGET = ["back replaces gadget by rig gadget", "gadget ready", "gadget started"]
BACK_END = ["back replaces back by rig back", "back listening", "back started"]
FRONT_END = ["front replaces front by rig front", "front started"]


@pytest.mark.parametrize(
    ("deed", "machine", "daemon", "done"),
    [
        (Deed.KILL_DAEMON, BACK, DaemonName.GADGET, ["back: kill -KILL 77"]),
        (Deed.STOP_DAEMON, FRONT, DaemonName.FRONT, ["front: kill -STOP 77"]),
        (Deed.CONTINUE_DAEMON, BACK, DaemonName.BACK, ["back: kill -CONT 77"]),
        (Deed.START_DAEMON, BACK, DaemonName.BACK, BACK_END),
        (Deed.START_DAEMON, FRONT, DaemonName.FRONT, FRONT_END),
        (Deed.PAUSE, BACK, None, ["back paused"]),
        (Deed.RESUME, FRONT, None, ["front resumed"]),
        (Deed.KILL, FRONT, None, ["front killed"]),
        (Deed.CUT_POWER, BACK, None, ["back off"]),
        (Deed.SHUT_DOWN, BACK, None, ["back stop", "gadget stop", "back: sync", "back off"]),
        (Deed.BRING_UP, BACK, None, ["back on", KEEP, *GADGET, *BACK_END]),
        (Deed.BRING_UP, FRONT, None, ["front on", *FRONT_END]),
    ],
)
def test_each_deed_is_done_to_its_machine(
    deed: Deed, machine: MachineRole, daemon: DaemonName | None, done: list[str]
) -> None:
    assert World().do(deed, machine, daemon) == done


def test_a_daemon_that_stands_still_goes_on_before_it_is_told_to_end() -> None:
    world = World()
    world.do(Deed.STOP_DAEMON, BACK, DaemonName.GADGET)
    off = ["back stop", "gadget stop", "back: sync", "back off"]
    assert world.do(Deed.SHUT_DOWN, BACK) == ["back: kill -CONT 77", *off]
    assert world.do(Deed.SHUT_DOWN, BACK) == off


@pytest.mark.parametrize("ended", [Deed.CONTINUE_DAEMON, Deed.CUT_POWER])
def test_a_daemon_that_stands_still_no_longer_needs_nothing_before_its_end(ended: Deed) -> None:
    world = World()
    world.do(Deed.STOP_DAEMON, FRONT, DaemonName.FRONT)
    world.do(ended, FRONT, DaemonName.FRONT if ended is Deed.CONTINUE_DAEMON else None)
    assert world.do(Deed.SHUT_DOWN, FRONT)[0] == "front stop"


def test_a_lab_without_a_setup_has_nothing_to_start() -> None:
    world = World()
    world.strategy.setup = None
    with pytest.raises(ApiViolationError):
        world.do(Deed.START_DAEMON, BACK, DaemonName.BACK)
