from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

import pytest

import rig
from rig import __version__
from rig.cli import main as cli
from rig.cli.machine import MACHINE_COMMANDS
from rig.errors import LaunchFailure, MachineError, RigError, UserError
from rig.experiments.run import run as lab_run
from rig.experiments.run.options import RunOptions
from rig.integrity.judgement import SectorClass
from rig.progress import Progress
from rig.report.rundir import RunDirectory
from rig.report.verdict import Faults, Outcome, Verdict

CHECKOUT = Path(rig.__file__).parent.parent
PLAN = 'name = "mine"\n'
COMMANDS = ("run", "conformance", "doctor", "image", *MACHINE_COMMANDS)

Ended = tuple[int, str, str]
Call = Callable[..., Ended]


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty directory, and no QEMU, ssh or Debian tool to be found."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("PYTHONPATH", str(CHECKOUT))
    monkeypatch.setenv("RIG_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Call:
    """Run a command in this process; return its status, output and errors."""

    def run(*argv: str) -> Ended:
        monkeypatch.setattr(sys, "argv", ["rig", *argv])
        with pytest.raises(SystemExit) as end:
            cli.main()
        status = end.value.code
        assert isinstance(status, int)
        return (int(status), *capfd.readouterr())

    return run


def instead(monkeypatch: pytest.MonkeyPatch, does: Callable[[], object]) -> None:
    """Have a run in the lab be something else."""

    def run(options: RunOptions, out: Path | None, progress: Progress) -> object:
        return does()

    monkeypatch.setattr(lab_run, "run", run)


def spawn(*argv: str, code: Sequence[str] = ("-m", "rig")) -> Ended:
    done = subprocess.run(
        [sys.executable, *code, *argv], capture_output=True, text=True, check=False, timeout=60
    )
    return done.returncode, done.stdout, done.stderr


def one_sentence(err: str) -> bool:
    """Whether it is a line for people, and no traceback."""
    lines = err.splitlines()
    return len(lines) == 1 and lines[0].startswith("rig: ") and lines[0][-1] in ".?"


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ("--colour", "No such option: --colour"),
        ("sprint", "No such command 'sprint'"),
        ("runn", "Did you mean 'run'?"),
        ("run --speed 3", "No such option: --speed"),
        ("run demo", "unexpected extra argument"),
        ("run --seed many", "Invalid value for '--seed'"),
        ("run --seed 1.5", "Invalid value for '--seed'"),
        ("run --seed", "'--seed' requires an argument"),
        ("run --seed -4", "Seed -4 is negative"),
        ("run --fs ntfs", "The file system 'ntfs' is not known"),
        ("run --fs ext4,ext4", "names one twice"),
        ("run --kernel 5.4", "There is no guest kernel '5.4'"),
        ("run --plan nowhere.toml", "There is no plan file 'nowhere.toml'"),
        ("run --plan .", "Plan file '.' cannot be read"),
        ("image", "Missing command. 'rig image --help'"),
        ("image burn", "No such command 'burn'"),
        ("image build --kernel 5.4", "There is no guest kernel '5.4'"),
        ("doctor now", "unexpected extra argument"),
        ("scan journal nowhere", "The file 'nowhere' cannot be read"),
    ],
)
def test_a_wrong_argument_is_told_in_a_sentence_and_starts_nothing(
    call: Call, tmp_path: Path, argv: str, said: str
) -> None:
    status, out, err = call(*argv.split())
    assert (status, out) == (2, "")
    assert said in err
    assert one_sentence(err), err
    assert list(Path().iterdir()) == []
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (PLAN + "speed = 1\n", "unknown key 'speed'"),
        ('name = "mine"\nseed = "one"\n', "'seed' is 'one'"),
        (PLAN + '[[fault]]\nlayer = "medium"\nopp = "write"\n', "line 4: fault 1 (medium)"),
        (PLAN + '[[fault]]\nlayer = "medium"\nop = "eat"\n', "line 4: fault 1 (medium)"),
        (PLAN + '[[fault]]\nlayer = "moon"\n', "unknown layer 'moon'"),
        ("name = 'x", "not valid TOML"),
    ],
)
def test_a_bad_plan_is_told_with_its_place(
    call: Call, tmp_path: Path, text: str, said: str
) -> None:
    plan = tmp_path / "mine.toml"
    plan.write_text(text)
    status, out, err = call("run", "--plan", str(plan))
    assert (status, out) == (2, "")
    assert err.startswith(f"rig: {plan}")
    assert said in err
    assert one_sentence(err), err
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize(
    ("attachment", "words", "said"),
    [
        ("uhci", ("plan", "check"), "There is no attachment 'uhci'."),
        ("dummy", ("plan", "check"), "is to happen on the cable, and this attachment has none"),
        ("ehci", ("run", "--attachment", "xhci", "--plan"), "is for attachment 'ehci', not for"),
    ],
)
def test_a_plan_that_cannot_be_plugged_in_is_refused_before_anything_starts(
    call: Call, tmp_path: Path, attachment: str, words: tuple[str, ...], said: str
) -> None:
    plan = tmp_path / "mine.toml"
    rule = 'layer = "endpoint"\nplace = "cable"\ndirection = "in"\nnth = 1\nwhen = "after"\n'
    rule += 'status = "EPIPE"\n'
    plan.write_text(f'name = "mine"\nattachment = "{attachment}"\n[[fault]]\n{rule}')
    status, out, err = call(*words, str(plan))
    assert (status, out) == (2, "")
    assert said in err
    assert one_sentence(err), err
    assert list(Path().iterdir()) == []


def test_a_run_directory_in_use_is_refused_before_anything_starts(
    call: Call, tmp_path: Path
) -> None:
    status, out, err = call("run", "--out", str(tmp_path))
    assert (status, out) == (2, "")
    assert "is not empty. Name another with --out." in err
    assert one_sentence(err)
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize("argv", ["run --fs ntfs", "sprint"])
def test_a_wrong_argument_is_a_sentence_to_a_shell_too(argv: str) -> None:
    status, out, err = spawn(*argv.split())
    assert (status, out) == (2, "")
    assert one_sentence(err), err


@pytest.mark.parametrize("command", sorted(MACHINE_COMMANDS))
def test_a_machines_command_refuses_what_it_does_not_know(call: Call, command: str) -> None:
    status, out, err = call(command, "--no-such-option")
    assert (status, out) == (2, "")
    assert f"rig {command}" in err


def test_the_version_is_printed(call: Call) -> None:
    assert call("--version") == (0, f"{__version__}\n", "")


@pytest.mark.parametrize("argv", [(), ("--help",)])
def test_the_help_lists_every_command(call: Call, argv: tuple[str, ...]) -> None:
    status, out, err = call(*argv)
    assert (status, err) == (0, "")
    words = {line.split()[0] for line in out.splitlines() if line.strip()}
    assert words >= set(COMMANDS)
    assert out.startswith("Usage: rig ")


@pytest.mark.parametrize("argv", ["run", "doctor", "image", "image build", "scan", "back"])
def test_each_command_has_a_help(call: Call, argv: str) -> None:
    status, out, err = call(*argv.split(), "--help")
    assert (status, err) == (0, "")
    assert out.lower().startswith(f"usage: rig {argv}")


class Without(MetaPathFinder):
    """A machine on which some packages are not installed."""

    def __init__(self, *names: str) -> None:
        self.names = names

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname.partition(".")[0] in self.names:
            raise ModuleNotFoundError(f"No module named {fullname!r}", name=fullname)
        return None


ON_A_MACHINE = (
    "import sys\n"
    "from rig.tests.unit.test_cli import Without\n"
    "for name in [n for n in sys.modules if n.split('.')[0] in ('typer', 'rich', 'labgrid')]:\n"
    "    del sys.modules[name]\n"
    "for name in [n for n in sys.modules if n.startswith('rig.')]:\n"
    "    del sys.modules[name]\n"
    "sys.meta_path.insert(0, Without('typer', 'rich', 'labgrid', 'pyfuse3'))\n"
    "from rig.cli.main import main\n"
    "main()\n"
)


def test_a_machine_without_typer_says_what_a_stations_command_lacks() -> None:
    status, out, err = spawn("run", code=("-c", ON_A_MACHINE))
    assert (status, out) == (2, "")
    assert "This machine lacks typer" in err
    assert one_sentence(err), err


def test_a_machine_without_typer_runs_its_own_commands() -> None:
    status, _, err = spawn("back", code=("-c", ON_A_MACHINE))
    assert status == 2
    assert "the following arguments are required: --port" in err
    assert "Traceback" not in err


def test_a_machine_without_fuse_says_what_the_store_lacks() -> None:
    words = ("--medium", "m", "--journal", "j", "--mount", "d", "--size-bytes", "4096")
    status, out, err = spawn("store", *words, code=("-c", ON_A_MACHINE))
    assert (status, out) == (2, "")
    assert "This machine lacks pyfuse3, which 'rig store' needs." in err
    assert one_sentence(err), err


def test_a_machine_without_fuse_tells_how_a_store_is_called() -> None:
    status, out, _ = spawn("store", "--help", code=("-c", ON_A_MACHINE))
    assert status == 0
    assert out.startswith("usage: rig store")
    status, _, err = spawn("store", "--mediums", code=("-c", ON_A_MACHINE))
    assert status == 2
    assert "'rig store --help' tells more." in err


@pytest.mark.parametrize(
    "words",
    [
        ("-m", "rig", "plan", "list"),
        ("-m", "rig", "plan", "check", "demo"),
        ("-m", "rig", "journal", "--help"),
        ("-m", "rig", "fault", "--help"),
        ("-m", "rig", "--help"),
        ("-m", "rig.tests.plans", "--help"),
    ],
    ids=" ".join,
)
def test_an_output_that_nobody_reads_ends_any_command_quietly(words: tuple[str, ...]) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    with os.fdopen(write_end, "wb") as nobody:
        done = subprocess.run(
            [sys.executable, *words], stdout=nobody, stderr=subprocess.PIPE, check=False, timeout=60
        )
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, b"")


@pytest.mark.parametrize("words", [("plan", "list"), ("journal", "--help")], ids=" ".join)
def test_an_output_that_is_full_is_told_in_one_sentence(words: tuple[str, ...]) -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "rig", *words],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            timeout=60,
        )
    assert done.returncode == 3
    assert one_sentence(done.stderr), done.stderr


def test_what_others_wrote_reaches_no_terminal_as_a_command(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> object:
        raise UserError("It is called '\x1b[2J\r\u202e'.")

    instead(monkeypatch, fail)
    _, _, err = call("run")
    assert err == "rig: It is called '\\x1b[2J\\r\\u202e'.\n"


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (UserError("The run directory is gone."), 2),
        (MachineError("The machine fell silent."), 3),
        (LaunchFailure("QEMU did not start.", hint="Install it."), 3),
        (RigError("Something else went wrong."), 3),
        (OSError(28, "No space left on device", "runs/x"), 3),
    ],
)
def test_an_error_is_a_sentence_and_a_status(
    call: Call, monkeypatch: pytest.MonkeyPatch, error: Exception, status: int
) -> None:
    def fail() -> object:
        raise error

    instead(monkeypatch, fail)
    ended, out, err = call("run")
    assert (ended, out) == (status, "")
    assert str(error) in err
    assert one_sentence(err), err


def test_an_interruption_is_a_sentence_and_status_130(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt() -> object:
        raise KeyboardInterrupt

    instead(monkeypatch, interrupt)
    status, out, err = call("run")
    assert (status, out) == (130, "")
    assert err.startswith("rig: Interrupted")
    assert one_sentence(err), err


@pytest.mark.parametrize("argv", [["--help"], ["--version"], ["scan", "journal", "file"]])
def test_a_reader_that_is_gone_is_no_error_to_tell(argv: list[str]) -> None:
    Path("file").write_bytes(b"damage")
    read_end, write_end = os.pipe()
    os.close(read_end)
    done = subprocess.run(
        [sys.executable, "-m", "rig", *argv],
        stdout=write_end,
        stderr=subprocess.PIPE,
        check=False,
        timeout=60,
    )
    os.close(write_end)
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, b"")


@pytest.mark.parametrize(
    ("argv", "status"),
    [
        ("image list", 128 + signal.SIGPIPE),
        ("explore --schedules 10", 128 + signal.SIGPIPE),
        ("explore --schedules 0", 2),
    ],
)
def test_a_reader_that_is_gone_makes_no_run_a_failed_one(argv: str, status: int) -> None:
    """Both streams may go into one pipe; status 1 would say that data are wrong."""
    read_end, write_end = os.pipe()
    os.close(read_end)
    done = subprocess.run(
        [sys.executable, "-m", "rig", *argv.split()],
        stdout=write_end,
        stderr=write_end,
        check=False,
        timeout=60,
    )
    os.close(write_end)
    assert done.returncode == status


def test_an_output_that_was_closed_before_the_start_is_no_error() -> None:
    shell = '"$0" -m rig explore --schedules 10 >&- 2>&-'
    done = subprocess.run(["/bin/sh", "-c", shell, sys.executable], check=False, timeout=60)
    assert done.returncode == 0


def verdict(outcome: Outcome) -> Verdict:
    return Verdict(
        verdict=outcome,
        reasons=("A reason.",),
        sectors=dict.fromkeys(SectorClass, 0),
        views={},
        findings=(),
        checks=(),
        faults=Faults(),
        durations_s={},
        kernel="6.12",
        policy="hold",
        seed=1,
        plan="mine",
        file_systems=("ext4",),
        attachment="dummy",
        link="tcp",
        accelerator="tcg",
        boot_retries=0,
        rig_version=__version__,
    )


def finish(outcome: Outcome, out: Path) -> tuple[RunDirectory, Verdict]:
    directory = RunDirectory.create("mine", out)
    directory.conclude(verdict(outcome))
    return directory, verdict(outcome)


@pytest.mark.parametrize(
    ("outcome", "status"),
    [
        (Outcome.PASS, 0),
        (Outcome.FAIL, 1),
        (Outcome.INFRASTRUCTURE, 3),
        (Outcome.INDETERMINATE, 4),
    ],
)
def test_each_verdict_has_its_status_and_shows_the_summary(
    call: Call, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, outcome: Outcome, status: int
) -> None:
    instead(monkeypatch, lambda: finish(outcome, tmp_path / "out"))
    ended, out, _ = call("run")
    assert ended == status
    assert (tmp_path / "out" / "summary.txt").read_text() in out
    assert f"All of it is in {tmp_path / 'out'}/" in out


def test_json_prints_the_verdicts_file_and_nothing_else(
    call: Call, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    instead(monkeypatch, lambda: finish(Outcome.FAIL, tmp_path / "out"))
    status, out, err = call("run", "--json")
    assert (status, err) == (1, "")
    assert out == (tmp_path / "out" / "verdict.json").read_text()
