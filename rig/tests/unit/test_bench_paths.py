"""Which steps attach a disk by each path, on machines that note them."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest

from rig.experiments.bench.paths import Bench
from rig.lab.crew import Crew
from rig.lab.daemons import Daemon
from rig.lab.environment import Link, Role
from rig.lab.lab import Lab
from rig.lab.machine import CompletedCommand
from rig.lab.paths import PathName
from rig.progress import Silent

FRONT_PORT = 210
"""Of vhci_hcd: the first of the eighth controller."""

SIZE_BYTES = 1 << 25
DISKS = {"dummy_hcd.2/": "/dev/sda", "vhci_hcd.0/": "/dev/sda", "vhci_hcd.7/": "/dev/sdb"}
"""Where the kernel shows a disk, by what it is behind."""


class FakeMachine:
    def __init__(self, name: str, log: list[str]) -> None:
        self.name = name
        self.log = log

    def run(self, command: str, timeout_s: float) -> CompletedCommand:
        last = command.rsplit(maxsplit=1)[-1]
        self.log.append(f"{self.name}: {last if 'python3' in command else command.strip()}")
        found = DISKS.get(last, "2-1" if last == "dummy_hcd.1/" else "")
        return CompletedCommand(command, f"{found}\n", "", 0)

    check = run

    def start_daemon(self, argv: Sequence[str], name: str) -> Daemon:
        self.log.append(f"{self.name} start {name}: {' '.join(argv)}")

        def wait_event(event: str, deadline_s: float) -> dict[str, Any]:
            self.log.append(f"{name} {event}")
            return {"port": FRONT_PORT}

        def ask(do: str, deadline_s: float, *, node: str) -> int:
            self.log.append(f"{name} {do} {node}")
            return SIZE_BYTES

        return cast("Daemon", SimpleNamespace(wait_event=wait_event, ask=ask, name=name))


@pytest.fixture
def log() -> list[str]:
    return []


def bench(
    log: list[str], speed: str = "high", options: Sequence[str] = (), link: Link = Link.TCP
) -> Bench:
    crew = Crew()
    for role in Role:
        crew.machines[role] = cast("Any", FakeMachine(role.value, log))
    lab = SimpleNamespace(
        strategy=SimpleNamespace(crew=crew),
        back=crew.machines[Role.BACK],
        front=crew.machines[Role.FRONT],
    )
    return Bench(cast("Lab", lab), speed, link, options, Silent())


def position(log: list[str], beginning: str) -> int:
    return next(i for i, line in enumerate(log) if line.startswith(beginning))


def test_each_path_has_its_own_disk(log: list[str]) -> None:
    disks = bench(log).attach()
    found = {path: (disk.agent.name, disk.node) for path, disk in disks.items()}
    assert found == {
        PathName.DIRECT: ("agent-back", "/dev/sda"),
        PathName.USBIP: ("agent-front", "/dev/sda"),
        PathName.SPLIT: ("agent-front", "/dev/sdb"),
    }
    assert all(disk.size_bytes == SIZE_BYTES for disk in disks.values())


def test_the_disk_driver_comes_to_the_back_machine_when_the_others_are_taken(
    log: list[str],
) -> None:
    bench(log).attach()
    loaded = position(log, "back: dummy_hcd.2/")
    assert position(log, "back: usbip bind -b 2-1") < loaded
    assert position(log, "back listening") < loaded


@pytest.mark.parametrize(
    ("speed", "words"), [("high", "high-speed 0 32"), ("super", "super-speed 1 32")]
)
def test_the_gadgets_are_as_fast_as_asked(log: list[str], speed: str, words: str) -> None:
    bench(log, speed).attach()
    assert f"sh {words} 0 1 2" in log[position(log, "back start gadget")]


def test_both_ends_get_the_options(log: list[str]) -> None:
    bench(log, options=("--policy", "naive")).attach()
    for beginning in ("back start back", "front start front"):
        assert log[position(log, beginning)].endswith("--policy naive")


@pytest.mark.parametrize("link", Link)
def test_both_ends_meet_on_the_link(log: list[str], link: Link) -> None:
    bench(log, link=link).attach()
    for beginning in ("back start back", "front start front"):
        assert " ".join(link.options) in log[position(log, beginning)]
