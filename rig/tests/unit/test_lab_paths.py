"""Each path's steps, in order, on machines and daemons that note them."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest

from rig.errors import MachineError
from rig.lab.crew import Crew
from rig.lab.environment import Role
from rig.lab.machine import CompletedCommand, Machine
from rig.lab.paths import Direct, PathName, Split, UsbIp
from rig.lab.strategy import Setup
from rig.lab.waits import Awaited, wait_command, wait_for


class FakeMachine:
    def __init__(self, name: str, log: list[str]) -> None:
        self.name = name
        self.log = log
        self.answer = CompletedCommand("", "1-1\n", "", 0)

    def run(self, command: str, timeout_s: float) -> CompletedCommand:
        words = command.split()
        short = " ".join(words[-1:] if "python3" in words else words[:4])
        self.log.append(f"{self.name}: {short}")
        return self.answer

    check = run

    def start_daemon(self, argv: Sequence[str], name: str) -> Any:
        self.log.append(f"{self.name} start {name}")
        return SimpleNamespace(
            wait_event=lambda event, deadline_s: self.log.append(f"{name} {event}"),
            stop=lambda deadline_s: self.log.append(f"{name} stop"),
            machine_lost=True,
        )


@pytest.fixture
def log() -> list[str]:
    return []


@pytest.fixture
def crew(log: list[str]) -> Crew:
    crew = Crew()
    for role in Role:
        crew.machines[role] = cast("Machine", FakeMachine(role.value, log))
    return crew


def test_the_setup_says_which_path(log: list[str]) -> None:
    made = {name: Setup(("gadget",), path=name).device_path() for name in PathName}
    assert isinstance(made[PathName.SPLIT], Split)
    assert isinstance(made[PathName.USBIP], UsbIp)
    assert isinstance(made[PathName.DIRECT], Direct)
    assert {name: path.client for name, path in made.items()} == {
        PathName.SPLIT: Role.FRONT,
        PathName.USBIP: Role.FRONT,
        PathName.DIRECT: Role.BACK,
    }


def test_the_split_path_starts_both_ends_at_once_if_both_are_wanted(
    crew: Crew, log: list[str]
) -> None:
    path = Split(("rig", "back"), ("rig", "front"), 1.0)
    path.begin(crew, attach=True)
    path.wait_served(crew)
    path.attach(crew)
    path.detach(crew)
    path.withdraw(crew)
    assert log == [
        "back start back",
        "front start front",
        "back listening",
        "front attached",
        "front stop",
        "back stop",
    ]


def test_a_relay_stands_between_both_ends_if_there_is_one(crew: Crew, log: list[str]) -> None:
    path = Split(("rig", "back"), ("rig", "front"), 1.0, ("rig", "link"))
    path.begin(crew, attach=True)
    path.wait_served(crew)
    path.withdraw(crew)
    assert log == [
        "back start back",
        "back start link",
        "front start front",
        "back listening",
        "link listening",
        "link stop",
        "back stop",
    ]


def test_the_front_end_is_started_when_it_is_wanted(crew: Crew, log: list[str]) -> None:
    path = Split(("rig", "back"), ("rig", "front"), 1.0)
    path.begin(crew, attach=False)
    assert log == ["back start back"]
    path.attach(crew)
    assert log[1:] == ["front start front", "front attached"]


def test_usbip_exports_the_gadgets_device_and_takes_it_back(crew: Crew, log: list[str]) -> None:
    path = UsbIp("dummy_hcd", 1.0)
    path.begin(crew, attach=True)
    path.wait_served(crew)
    path.attach(crew)
    path.detach(crew)
    path.withdraw(crew)
    assert log == [
        "back start usbipd",
        "usbipd listening",
        "back: dummy_hcd",
        "back: usbip bind -b 1-1",
        "front: usbip attach -r 10.77.0.1",
        "front: bash -c ' cd",
        "back: usbip unbind -b 1-1",
        "usbipd stop",
    ]


def test_the_direct_path_does_nothing(crew: Crew, log: list[str]) -> None:
    path = Direct("dummy_hcd")
    path.begin(crew, attach=True)
    path.wait_served(crew)
    path.attach(crew)
    path.detach(crew)
    path.withdraw(crew)
    assert (log, crew.daemons) == ([], {})


def test_nothing_is_not_waited_for(crew: Crew, log: list[str]) -> None:
    assert wait_for(crew.machines[Role.FRONT], Awaited.NOTHING, "vhci_hcd", 1.0) == ""
    assert log == []


def test_what_is_found_is_returned(crew: Crew) -> None:
    assert wait_for(crew.machines[Role.FRONT], Awaited.DISK, "vhci_hcd", 1.0) == "1-1"


def test_a_wait_in_vain_tells_what_there_is_instead(crew: Crew) -> None:
    machine = crew.machines[Role.FRONT]
    cast("FakeMachine", machine).answer = CompletedCommand("", "USB: 3-1\nblock: vda\n", "", 1)
    with pytest.raises(MachineError, match="'front' did not show the driver usbtest") as caught:
        wait_for(machine, Awaited.USBTEST, "vhci_hcd", 1.0)
    assert caught.value.hint == "It has USB: 3-1 block: vda"


def test_the_driver_is_loaded_before_the_wait() -> None:
    loads, _, wait = wait_command(Awaited.TTY, "vhci_hcd", 2.5).partition(" && ")
    assert loads == "{ [ -d /sys/module/cdc_acm ] || modprobe cdc_acm; }"
    assert wait.startswith("python3 -I -S -c ")
    assert wait.endswith(" 2.5 tty vhci_hcd")
