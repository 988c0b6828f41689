"""Both ends under another policy: only where they are there, and told if the disk is no good."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from rig.errors import MachineError
from rig.experiments.run.options import check_recovery
from rig.experiments.run.sitting import Scene
from rig.lab.machine_faults import NotBackError
from rig.session.live import engine as engines
from rig.session.live.engine import Engine
from rig.session.live.start import session_options
from rig.session.live.switch import switch
from rig.session.live.watch import Watch
from rig.session.snapshot import DaemonRow, MachineRow, Mode, PortRow, Snapshot

UP = MachineRow("front", "up", "", (DaemonRow("front", True),))
ACA = check_recovery("aca")


class Bench(Engine):
    """An engine without a run: what there is is what a test says."""

    def __init__(self, *back: MachineRow) -> None:
        self._snapshot = Snapshot(machines=(*back, UP))
        self._sitting = cast(
            "Any",
            SimpleNamespace(
                mode=Mode.LIVE,
                waiting=False,
                policies=(),
                set_mode=lambda mode, words: None,
                take_up=self._take_up,
                look_again=self._look_again,
            ),
        )
        self.directory = cast("Any", SimpleNamespace(file=lambda name: None))

        self.looks_again = False
        self.disk_is_away = False

    def _take_up(self, for_s: float) -> None:
        if self.disk_is_away:
            raise NotBackError(f"The disk could not be read again in {for_s:g} s.")

    def _look_again(self) -> None:
        self.looks_again = True

    def wait_for_disk(self) -> None:
        self._sitting.waiting = True

    def unplug(self) -> None:
        self._snapshot = Snapshot(machines=self._snapshot.machines, ports=(PortRow("1-1"),))

    @property
    def policies(self) -> tuple[str, ...]:
        return self._sitting.policies

    def begin_anew(self, scene: object) -> None:
        self._switch(cast("Scene", scene), cast("Watch", SimpleNamespace(rules=None)), ACA)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (MachineRow("back", "without power"), "machine .back. is without power.*wait live"),
        (MachineRow("back", "up", "", (DaemonRow("back", False),)), "back end is away.*Wait"),
    ],
)
def test_ends_that_are_away_are_not_started_anew(row: MachineRow, said: str) -> None:
    with pytest.raises(MachineError, match=said):
        Bench(row).begin_anew(None)


def test_without_a_device_there_is_nothing_to_attach() -> None:
    bench = Bench(MachineRow("back", "up"))
    bench.unplug()
    with pytest.raises(MachineError, match=r"Nothing is plugged in.*Plug it in"):
        bench.begin_anew(None)


def test_an_end_that_nobody_knows_of_is_named() -> None:
    lab = SimpleNamespace(strategy=SimpleNamespace(crew=SimpleNamespace(daemons={"front": None})))
    scene = SimpleNamespace(lab=lab, options=session_options())
    with pytest.raises(MachineError, match="back end is not there"):
        switch(cast("Scene", scene), ACA, Path("plan.toml"), cast("Any", None))


def test_a_policy_under_which_no_file_system_comes_back_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(engines, "switch", lambda *_: None)
    lab = SimpleNamespace(setup=1)
    use = SimpleNamespace(names=[], given_up_words=lambda: iter(["ext4 was given up."]))
    with pytest.raises(MachineError, match=r"no use under policy aca.*ext4 was given up"):
        Bench(MachineRow("back", "up")).begin_anew(SimpleNamespace(use=use, lab=lab))


def test_a_policy_that_an_end_may_have_begun_is_told_although_the_other_did_not_come(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(scene: Scene, *_: object) -> None:
        cast("Any", scene.lab).setup = 2
        raise MachineError("The front end did not attach.")

    monkeypatch.setattr(engines, "switch", fail)
    bench = Bench(MachineRow("back", "up"))
    with pytest.raises(MachineError, match="did not attach"):
        bench.begin_anew(SimpleNamespace(lab=SimpleNamespace(setup=1)))
    assert bench.policies == ("aca (EPROTO)",)


def test_while_others_look_for_the_disk_it_is_looked_at_behind_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(engines, "switch", lambda *_: None)
    bench = Bench(MachineRow("back", "up"))
    bench.wait_for_disk()
    bench.begin_anew(SimpleNamespace(lab=SimpleNamespace(setup=1)))
    assert bench.looks_again


def test_a_disk_that_does_not_come_back_under_a_policy_is_told_with_what_may_help(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(engines, "switch", lambda *_: None)
    bench = Bench(MachineRow("back", "up"))
    bench.disk_is_away = True
    with pytest.raises(MachineError, match=r"Under policy aca .*the disk could not.*'policy' with"):
        bench.begin_anew(SimpleNamespace(lab=SimpleNamespace(setup=1)))
