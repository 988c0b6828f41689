"""What a session shows of a disk that is away: for how long, and that nothing on it is of use."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any, cast

import pytest

from rig.experiments.run.passes import Place
from rig.integrity.workloads.table import workload
from rig.session.live.start import session_options
from rig.session.live.view import View
from rig.session.snapshot import MachineRow, Mode, PortRow

HERE = PortRow("1-1", 3, linked=True)


class Stage:
    """A session in the middle of its writing."""

    def __init__(self) -> None:
        self.use: Any = SimpleNamespace(
            given_up={},
            looked_s=None,
            octets=0,
            recoveries=[],
            given_up_words=lambda: iter(()),
        )
        self.sitting = SimpleNamespace(
            mode=Mode.LIVE,
            words="",
            away=False,
            policies=(),
            places=[Place("ext4", "/dev/sda1", 2048, 99)],
            scene=SimpleNamespace(use=self.use),
            kind=workload("usual"),
            file_system="ext4",
            passes=1,
        )
        self.watch = SimpleNamespace(
            machines=(MachineRow("back", "up"),),
            ports=(HERE,),
            samples=(),
            urbs=tuple,
            faults=(),
            log=(),
            told=(),
            step="",
        )
        directory = SimpleNamespace(path="runs/1")
        self.view = View(session_options(), cast("Any", directory), cast("Any", self.sitting))
        self.view.watch = cast("Any", self.watch)

    def state(self, at_s: float) -> str:
        (row,) = self.view.snapshot(at_s).file_systems
        return row.state


@pytest.fixture
def stage() -> Stage:
    return Stage()


def test_a_disk_that_is_there_is_mounted(stage: Stage) -> None:
    assert stage.state(7.0) == "mounted"
    assert stage.view.snapshot(8.0).away_s == 0


@pytest.mark.parametrize(
    "missing",
    [
        {"ports": (PortRow("1-1"),)},
        {"ports": (PortRow("1-1", 3, linked=False),)},
        {"machines": (MachineRow("back", "without power"),)},
    ],
)
def test_a_disk_that_cannot_be_there_is_away_before_the_workload_misses_it(
    stage: Stage, missing: dict[str, Any]
) -> None:
    vars(stage.watch).update(missing)
    stage.view.snapshot(10.0)
    assert stage.state(14.0) == "unusable: the disk has been away for 4 s"
    vars(stage.watch).update(ports=(HERE,), machines=(MachineRow("back", "up"),))
    assert stage.state(15.0) == "mounted"
    vars(stage.watch).update(missing)
    assert stage.state(20.0) == "unusable: the disk has been away for 0 s"


def test_a_disk_that_the_workload_waits_for_is_away(stage: Stage) -> None:
    stage.sitting.away = True
    assert stage.state(10.0).startswith("unusable")
    assert stage.view.snapshot(12.5).away_s == 2.5


def test_what_was_given_up_is_told_with_the_reason_although_the_disk_is_away(stage: Stage) -> None:
    stage.sitting.away = True
    stage.use.given_up = {"ext4": "it cannot be mounted"}
    assert stage.state(10.0) == "given up: it cannot be mounted"


def test_at_the_end_nothing_is_missed(stage: Stage) -> None:
    stage.sitting.mode = Mode.ENDING
    stage.watch.ports = (PortRow("1-1"),)
    assert stage.view.snapshot(10.0).away_s == 0


def test_the_moment_of_the_last_look_is_told_by_the_sessions_clock(stage: Stage) -> None:
    assert stage.view.snapshot(50.0).looked_s is None
    stage.use.looked_s = time.monotonic() - 20.0
    assert stage.view.snapshot(50.0).looked_s == pytest.approx(30.0, abs=5.0)
