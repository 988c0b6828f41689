"""The loop of passes: what is asked for between two of them, what goes wrong, how it is left."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from rig.errors import CommandFailure, MachineError, UserError
from rig.experiments.run.disturbance import BACK_DEADLINE_S
from rig.experiments.run.observing import Hung
from rig.experiments.run.passes import Place
from rig.experiments.run.sitting import Scene
from rig.integrity.workloads.table import Kind, workload
from rig.lab.machine_faults import NotBackError
from rig.session.live.sitting import Sitting
from rig.session.snapshot import Mode

DEADLINE_S = 10.0
USUAL, RANDOM = workload("usual"), workload("random")


class FakeUse:
    """Two file systems, whose passes end at once; `does` is called in each."""

    def __init__(self) -> None:
        self.names = ["ext4", "vfat"]
        self.moves = 0
        self.patience: Any = None
        self.log: list[tuple[str, str]] = []
        self.does: Callable[[int], str] = lambda number: ""
        self.can_be_taken_up = False
        self.takes = 0
        self.back: list[str] = []

    def places(self) -> list[Place]:
        return [Place(name, f"/dev/sd{'abc'[self.moves]}1", 2048, 100) for name in self.names]

    def write_pass(self, name: str, kind: Kind) -> str:
        self.log.append((name, kind.name))
        return self.does(len(self.log))

    def take_up(self) -> list[str]:
        self.takes += 1
        if not self.can_be_taken_up:
            return []
        self.names = self.back
        return [f"{name} is in use again." for name in self.back]

    def given_up_words(self) -> Iterator[str]:
        yield "ext4 was given up by the host: it is gone."


class Stage:
    """A sitting on a thread of its own."""

    def __init__(self) -> None:
        self.use = FakeUse()
        self.heard: list[str] = []
        self.disturbance = SimpleNamespace(patience_s=BACK_DEADLINE_S, note=self.heard.append)
        self.calls: list[str] = []
        self.failure: BaseException | None = None
        self._changed = threading.Condition()
        self.sitting = Sitting(
            USUAL,
            room=lambda: None,
            changed=self._tell,
            opened=lambda _: self.calls.append("opened"),
            closed=lambda: self.calls.append("closed"),
        )
        self._thread = threading.Thread(target=self._write, daemon=True)

    @property
    def deeds(self) -> list[Callable[[], object]]:
        sitting = self.sitting
        return [sitting.pause, sitting.go, lambda: sitting.do(lambda scene: None)]

    def begin(self) -> None:
        self._thread.start()
        self.wait(lambda: self.sitting.mode is not Mode.STARTING)

    def wait(self, true: Callable[[], bool]) -> None:
        with self._changed:
            assert self._changed.wait_for(true, DEADLINE_S), self.sitting.words

    def leave(self) -> None:
        self.sitting.leave()
        self._thread.join(DEADLINE_S)
        assert not self._thread.is_alive()

    def _tell(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _write(self) -> None:
        scene = SimpleNamespace(use=self.use, disturbance=self.disturbance)
        try:
            self.sitting.write(cast("Scene", scene))
        except (MachineError, Hung) as error:
            self.failure = error


@pytest.fixture
def stage() -> Iterator[Stage]:
    one = Stage()
    yield one
    one.sitting.leave()


def test_passes_go_round_the_file_systems_until_it_is_left(stage: Stage) -> None:
    stage.begin()
    stage.wait(lambda: len(stage.use.log) >= 3)
    stage.leave()
    assert stage.use.log[:3] == [("ext4", "usual"), ("vfat", "usual"), ("ext4", "usual")]
    assert stage.calls == ["opened", "closed"]
    assert stage.sitting.mode is Mode.ENDING
    assert stage.sitting.workloads == ("usual",)
    assert stage.disturbance.patience_s == BACK_DEADLINE_S
    assert stage.failure is None


def test_a_paused_workload_writes_nothing_until_it_goes_on(stage: Stage) -> None:
    stage.begin()
    assert stage.sitting.pause()
    stage.wait(lambda: stage.sitting.mode is Mode.PAUSED)
    written = len(stage.use.log)
    assert not stage.sitting.pause()
    assert stage.sitting.do(lambda scene: len(stage.use.log)) == written
    assert stage.sitting.go()
    assert not stage.sitting.go()
    stage.wait(lambda: len(stage.use.log) > written)


def test_what_is_done_between_two_passes_gives_its_result_or_its_error(stage: Stage) -> None:
    def fail(scene: Scene) -> None:
        raise CommandFailure("The scan failed.")

    stage.begin()
    assert stage.sitting.do(lambda scene: 7) == 7
    with pytest.raises(CommandFailure, match="scan failed"):
        stage.sitting.do(fail)
    before = len(stage.use.log)
    stage.wait(lambda: len(stage.use.log) > before)


def test_a_mistake_of_the_rig_in_what_is_done_does_not_end_the_session(stage: Stage) -> None:
    def stumble(scene: Scene) -> None:
        raise KeyError("back")

    stage.begin()
    with pytest.raises(KeyError):
        stage.sitting.do(stumble)
    assert stage.sitting.do(lambda scene: 7) == 7
    stage.leave()
    assert stage.failure is None


def test_another_workload_is_written_from_the_next_pass_on(stage: Stage) -> None:
    stage.begin()
    assert stage.sitting.use(RANDOM) == "usual"
    stage.wait(lambda: stage.use.log[-1][1] == "random")
    stage.leave()
    assert stage.sitting.workloads == ("usual", "random")


def test_only_passes_that_wrote_all_are_counted(stage: Stage) -> None:
    stage.use.does = lambda number: "" if number > 2 else "The device is gone."
    stage.begin()
    stage.wait(lambda: stage.sitting.passes >= 1)
    assert len(stage.use.log) >= 3


def test_the_places_are_asked_for_anew_when_the_disk_has_come_back(stage: Stage) -> None:
    def move(number: int) -> str:
        stage.use.moves = 1
        return ""

    stage.use.does = move
    stage.begin()
    stage.wait(lambda: any(one.node == "/dev/sdb1" for one in stage.sitting.places))


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (CommandFailure("The machine coughed.", hint="Give it tea."), "coughed"),
        (Hung("'write ext4' did not return in 300 s"), "did not return"),
    ],
)
def test_what_cannot_go_on_is_said_and_waits_to_be_left(
    stage: Stage, error: Exception, said: str
) -> None:
    def fail(number: int) -> str:
        raise error

    stage.use.does = fail
    stage.begin()
    stage.wait(lambda: stage.sitting.mode is Mode.BROKEN)
    assert said in stage.sitting.words
    for deed in stage.deeds:
        with pytest.raises(MachineError, match=said):
            deed()
    stage.leave()
    assert stage.failure is error


def test_without_a_file_system_it_says_so_and_ends_as_any_run(stage: Stage) -> None:
    stage.use.names = []
    stage.begin()
    stage.wait(lambda: stage.sitting.mode is Mode.BROKEN)
    assert "given up by the host" in stage.sitting.words
    stage.leave()
    assert stage.failure is None


def test_while_the_disk_is_away_it_is_said_and_nothing_else_is_begun(stage: Stage) -> None:
    back, away = threading.Event(), NotBackError("The disk could not be read.")

    def lose(number: int) -> str:
        while not back.is_set():
            stage.use.patience.wait_for(away)
            back.wait(0.01)
        return ""

    stage.use.does = lose
    stage.begin()
    stage.wait(lambda: "away" in stage.sitting.words)
    with pytest.raises(MachineError, match=r"could not be read.*release"):
        stage.sitting.do(lambda scene: None)
    assert stage.sitting.pause()
    assert stage.sitting.go()
    back.set()
    stage.wait(lambda: len(stage.use.log) > 1)
    assert stage.sitting.do(lambda scene: 1) == 1


def test_a_disk_that_stays_away_is_not_waited_for_when_it_is_left(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rig.session.live.sitting.LEAVE_PATIENCE_S", 0.05)
    away = NotBackError("The disk could not be read.")

    def lose(number: int) -> str:
        while True:
            stage.use.patience.wait_for(away)
            threading.Event().wait(0.01)

    stage.use.does = lose
    stage.begin()
    stage.wait(lambda: "away" in stage.sitting.words)
    stage.leave()
    assert stage.failure is away


def test_what_has_not_begun_does_nothing(stage: Stage) -> None:
    for deed in stage.deeds:
        with pytest.raises(UserError, match="not begun"):
            deed()


def test_what_was_left_before_it_began_writes_nothing(stage: Stage) -> None:
    stage.sitting.leave()
    stage.begin()
    stage.leave()
    assert stage.use.log == []


def test_what_needs_no_disk_is_done_while_it_is_away(stage: Stage) -> None:
    back, away = threading.Event(), NotBackError("The disk could not be read.")

    def lose(number: int) -> str:
        while not back.is_set():
            stage.use.patience.wait_for(away)
            back.wait(0.01)
        return ""

    stage.use.does = lose
    stage.begin()
    stage.wait(lambda: stage.sitting.away)
    assert stage.sitting.do(lambda scene: 7, without_disk=True) == 7
    back.set()
    stage.wait(lambda: not stage.sitting.away)


def lose_all(stage: Stage) -> None:
    stage.use.names, stage.use.can_be_taken_up = [], True
    stage.begin()
    stage.wait(lambda: stage.sitting.away)


def test_what_was_given_up_is_waited_for_and_what_may_bring_it_back_can_be_done(
    stage: Stage,
) -> None:
    lose_all(stage)
    assert stage.sitting.mode is Mode.LIVE
    assert "Another policy, or plugging the device in anew" in stage.sitting.words
    with pytest.raises(MachineError, match="given up by the host"):
        stage.sitting.do(lambda scene: None)
    stage.use.back = ["ext4"]
    stage.sitting.do(lambda scene: stage.sitting.take_up(), without_disk=True)
    stage.wait(lambda: len(stage.use.log) > 1)
    assert not stage.sitting.away
    assert stage.heard == ["ext4 is in use again."]
    assert stage.sitting.notes == ("ext4 is in use again.",)


def test_what_was_given_up_is_looked_at_again_when_something_has_changed(stage: Stage) -> None:
    lose_all(stage)
    stage.sitting.look_again()
    stage.wait(lambda: stage.sitting.away)
    stage.use.back = ["ext4"]
    stage.sitting.look_again()
    stage.wait(lambda: len(stage.use.log) > 1)


def test_what_was_given_up_and_stays_so_does_not_keep_the_session(stage: Stage) -> None:
    lose_all(stage)
    assert stage.sitting.pause()
    assert stage.sitting.go()
    stage.leave()
    assert stage.failure is None


def test_a_disk_that_does_not_come_back_is_told_to_whoever_asked_and_waited_for_further(
    stage: Stage,
) -> None:
    away = NotBackError("The disk could not be read.")

    def never() -> list[str]:
        while True:
            stage.use.patience.wait_for(away)
            threading.Event().wait(0.01)

    stage.use.take_up = never  # type: ignore[method-assign]
    stage.begin()
    with pytest.raises(NotBackError):
        stage.sitting.do(lambda scene: stage.sitting.take_up(0.05), without_disk=True)
    before = len(stage.use.log)
    stage.wait(lambda: len(stage.use.log) > before)


def test_while_it_rests_the_disk_is_looked_for_when_something_may_have_befallen_it(
    stage: Stage,
) -> None:
    stage.begin()
    stage.sitting.pause()
    stage.sitting.look_again()
    stage.wait(lambda: stage.sitting.mode is Mode.PAUSED and stage.use.takes == 1)
    assert stage.use.names == ["ext4", "vfat"]
    assert not stage.sitting.away
