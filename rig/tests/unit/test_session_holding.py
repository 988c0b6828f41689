from __future__ import annotations

import io
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from rig.cli import main as cli
from rig.errors import UserError
from rig.experiments.run.options import RunOptions
from rig.faults.reader import parse_plan
from rig.progress import Progress, Silent
from rig.report.rundir import RunDirectory
from rig.report.verdict import Faults, Outcome, Verdict
from rig.session import holding
from rig.session.holding import Held, hold_on_screen, hold_plainly, keep, settings_of
from rig.session.live.start import session_options
from rig.session.plain.lines import Ended
from rig.session.talk.saving import MARK
from rig.tests.harness.fake_deeds import FakeDeeds

PASS = Verdict(
    verdict=Outcome.PASS,
    reasons=(),
    sectors={},
    views={},
    findings=(),
    checks=(),
    faults=Faults.of(()),
    durations_s={"total": 1.0},
    kernel="6.12",
    policy="hold",
    seed=1,
    plan="calm",
    file_systems=("ext4",),
    accelerator="tcg",
    boot_retries=0,
    rig_version="0",
)


DEADLINE_S = 20.0
MAIN = threading.main_thread().ident or 0


class FakeEngine(FakeDeeds):
    """An engine without a lab."""

    def __init__(self, directory: RunDirectory) -> None:
        super().__init__()
        self.directory = directory
        self.verdict: Verdict | None = None
        self.began_s: float | None = 0.0
        self.abandoned = False
        self.lab_words = ("--lab", "hosts", "--lg-env", "lab.yaml")

    @classmethod
    @contextmanager
    def open(
        cls, options: RunOptions, out: Path | None, progress: Progress
    ) -> Iterator[FakeEngine]:
        with progress.step("start the machines"):
            engine = cls(RunDirectory.create("session", out))
        try:
            yield engine
        finally:
            engine.leave()
            engine.wait(0)

    def leave(self) -> None:
        self.done.append("leave")

    def wait(self, deadline_s: float) -> bool:
        if self.verdict is None:
            self.verdict = PASS
            self.directory.conclude(PASS)
        return True


@pytest.fixture
def hold(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Held]:
    """Hold a session without a lab."""
    monkeypatch.setattr(holding, "Engine", FakeEngine)

    def run(*lines: str, strict: bool = False) -> Held:
        return hold_plainly(session_options(), tmp_path / "run", lines, strict=strict)

    return run


def test_a_session_leaves_its_journal_in_the_run_directory(
    hold: Callable[..., Held], tmp_path: Path
) -> None:
    held = hold("recipe write-lost", "note here")
    assert (held.verdict, held.ended) == (PASS, Ended(0, lost=False))
    lines = (tmp_path / "run" / "session.jsonl").read_text().splitlines()
    assert [msgspec.json.decode(line)["line"] for line in lines] == [
        "recipe write-lost",
        "note here",
    ]


def test_answers_go_to_the_output_and_nothing_else_does(
    hold: Callable[..., Held], capsys: pytest.CaptureFixture[str]
) -> None:
    hold("policy")
    said = capsys.readouterr()
    assert said.out == "The policy is hold.\n"
    assert "Everything is checked and read back" in said.err


def test_it_is_said_what_a_long_end_waits_for(
    hold: Callable[..., Held], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ended = iter([False, True])
    finish = FakeEngine.wait
    monkeypatch.setattr(
        FakeEngine, "wait", lambda self, for_s: next(ended, True) and finish(self, for_s)
    )
    hold("policy")
    assert "After 20 s: usual writes on ext4." in capsys.readouterr().err


def test_a_signal_before_there_is_a_session_ends_the_command(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def build(*_: object) -> None:
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(FakeEngine, "open", build)
    monkeypatch.setattr(holding, "Engine", FakeEngine)
    with pytest.raises(SystemExit) as ended:
        hold_plainly(session_options(), tmp_path / "run", [], strict=False)
    assert ended.value.code == 128 + signal.SIGTERM


def test_a_signal_in_the_midst_of_it_has_it_end_in_order(
    hold: Callable[..., Held], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakeEngine, "reset", lambda _: signal.pthread_kill(MAIN, signal.SIGTERM))
    held = hold("reset", *["wait paused 60"] * 3)
    assert held.verdict == PASS


def test_a_saved_plan_is_replayed_in_the_same_lab(
    hold: Callable[..., Held], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    hold("recipe write-lost", f"save {tmp_path}/mine.toml")
    assert "--lab hosts --lg-env lab.yaml --fs ext4" in capsys.readouterr().out


# Odd moments


def interrupted() -> Iterator[str]:
    yield "note here"
    raise KeyboardInterrupt


def test_ctrl_c_between_two_lines_of_a_pipe_has_it_end_in_order(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(holding, "Engine", FakeEngine)
    held = hold_plainly(session_options(), tmp_path / "run", interrupted(), strict=False)
    assert held.verdict == PASS
    assert (tmp_path / "run" / "verdict.json").exists()


def test_ctrl_c_twice_at_the_end_gives_the_report_up(
    hold: Callable[..., Held], monkeypatch: pytest.MonkeyPatch
) -> None:
    engines: list[FakeEngine] = []

    def interrupt(engine: FakeEngine, deadline_s: float) -> bool:
        engines.append(engine)
        if engine.abandoned:
            return False
        raise KeyboardInterrupt

    monkeypatch.setattr(FakeEngine, "wait", interrupt)
    with pytest.raises(KeyboardInterrupt):
        hold("policy")
    assert engines[-1].abandoned


def a_closed_pipe() -> io.TextIOWrapper:
    reader, writer = os.pipe()
    os.close(reader)
    return os.fdopen(writer, "w")


def silence() -> Iterator[str]:
    threading.Event().wait(DEADLINE_S)
    yield "note too late"


def test_a_reader_that_has_gone_ends_it_before_the_next_line_is_typed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(holding, "Engine", FakeEngine)
    monkeypatch.setattr("sys.stdout", a_closed_pipe())
    held = hold_plainly(session_options(), tmp_path / "run", silence(), strict=False)
    assert held.ended == Ended(0, lost=True)
    assert (tmp_path / "run" / "session.jsonl").read_text() == ""


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM])
def test_a_terminal_that_closes_before_there_is_a_screen_has_it_end_in_order(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, number: int
) -> None:
    monkeypatch.setattr(holding, "Engine", FakeEngine)
    monkeypatch.setattr(holding, "basis", lambda *_: None)
    monkeypatch.setattr(holding, "run_screen", lambda *_: signal.raise_signal(number))
    with pytest.raises(SystemExit) as ended:
        hold_on_screen(session_options(), tmp_path / "run", Silent())
    assert ended.value.code == 128 + number
    assert (tmp_path / "run" / "verdict.json").exists()


def test_without_an_input_there_are_no_lines(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(holding, "Engine", FakeEngine)
    monkeypatch.setattr("sys.stdin", None)
    assert cli.run(["session", "--out", str(tmp_path / "run")]) == 0


def test_octets_that_are_no_text_cost_their_line_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(holding, "Engine", FakeEngine)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"\xff\npolicy\n"), "utf-8"))
    assert cli.run(["session", "--out", str(tmp_path / "run")]) == 0
    said = capsys.readouterr().out
    assert "error: There is no command" in said
    assert "The policy is hold." in said


# What a replay needs


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({}, "--fs ext4 --kernel 6.12 --client usb-storage"),
        ({"file_systems": "ext4,vfat"}, "--fs ext4,vfat --kernel 6.12 --client usb-storage"),
        ({"driver": "usbip"}, "--fs ext4 --kernel 6.12 --driver usbip --client usb-storage"),
        (
            {"attachment": "xhci", "file_systems": "vfat"},
            "--fs vfat --kernel 6.12 --client usb-storage --attachment xhci",
        ),
    ],
)
def test_the_surroundings_are_options_of_a_run(more: dict[str, str], words: str) -> None:
    settings = settings_of(session_options(**more))  # type: ignore[arg-type]
    assert " ".join(settings.words) == words
    assert settings.split == ("driver" not in more)


# Plans that are saved


def test_a_plan_is_written_and_written_again(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    for name in ("one", "two"):
        keep(str(file), f'{MARK}x\nname = "{name}"\n')
    assert parse_plan(file.read_text(), "mine").name == "two"


def test_another_file_is_not_overwritten(tmp_path: Path) -> None:
    file = tmp_path / "thesis.txt"
    file.write_text("years of work")
    with pytest.raises(UserError, match="is no plan of a session"):
        keep(str(file), MARK)
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match="is no text"):
        keep(str(file), MARK)
    assert file.read_bytes() == b"\xff\xfe"


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be written: No such file or directory"):
        keep(str(tmp_path / "nowhere" / "mine.toml"), MARK)
    with pytest.raises(UserError, match="cannot be written: Is a directory"):
        keep(str(tmp_path), MARK)


# The command


@pytest.mark.parametrize(
    ("lines", "options", "status"),
    [
        ("policy\n", (), 0),
        ("moon\npolicy\n", (), 0),
        ("moon\npolicy\n", ("--strict",), 2),
        ("policy\n", ("--strict",), 0),
    ],
)
def test_the_verdict_is_the_exit_status_unless_a_strict_session_met_a_mistake(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    lines: str,
    options: tuple[str, ...],
    status: int,
) -> None:
    monkeypatch.setattr(holding, "Engine", FakeEngine)
    monkeypatch.setattr("sys.stdin", io.StringIO(lines))
    out = tmp_path / "run"
    assert cli.run(["session", "--out", str(out), *options]) == status
    said = capsys.readouterr().out
    assert "Verdict: PASS" in said
    assert said.splitlines()[-1] == f"Verdict: PASS. All of it is in {out}/"


def test_commands_come_from_a_file(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(holding, "Engine", FakeEngine)
    story = tmp_path / "story.txt"
    story.write_text("# policy?\npolicy\n")
    assert cli.run(["session", str(story), "--out", str(tmp_path / "run")]) == 0
    assert capsys.readouterr().out.startswith("The policy is hold.\n")


def test_a_file_that_is_not_there_is_told_before_anything_is_started(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read: No such file"):
        cli.run(["session", str(tmp_path / "none"), "--out", str(tmp_path / "run")])
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--fs", "moonfs"), "moonfs"),
        (("--policy", "moon"), "no policy 'moon'"),
        (("--workload", "moon"), "workload 'moon'"),
        (("--mib", "9000"), "do not fit"),
    ],
)
def test_a_wish_that_cannot_be_is_told_before_anything_is_started(
    options: tuple[str, ...], said: str
) -> None:
    with pytest.raises(UserError, match=said):
        cli.run(["session", "--plain", *options])
