from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from rig.errors import (
    ApiViolationError,
    CommandFailure,
    LaunchFailure,
    LostVMError,
    MachineError,
)
from rig.lab import guest, space, strategy
from rig.lab.environment import Role
from rig.lab.lab import Lab
from rig.lab.paths import PathName
from rig.lab.strategy import LabState, Setup
from rig.lab.waits import Awaited
from rig.tests.harness.fake_lab import SETUP, make_path, open_lab

Opener = Callable[..., "Lab"]


@pytest.fixture
def open_fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Opener]:
    monkeypatch.setenv("PATH", make_path(tmp_path / "bin"))
    monkeypatch.setattr(strategy, "wait_for", lambda *wanted: f"/dev/{wanted[1]}")
    opened = []

    def opener(mode: str = "boots") -> Lab:
        manager = open_lab(tmp_path, mode)
        opened.append(manager)
        return manager.__enter__()

    yield opener
    for manager in opened:
        manager.__exit__(None, None, None)


def alive(pid: int) -> bool:
    with suppress(FileNotFoundError, ProcessLookupError):
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        return state != "Z"
    return False


def test_a_lab_goes_up_and_down_through_its_states(open_fake: Opener) -> None:
    lab = open_fake()
    lab.setup = SETUP
    lab.transition(LabState.ATTACHED)
    assert (lab.state, lab.disk) == (LabState.ATTACHED, "/dev/disk")
    assert set(lab.strategy.daemons) == {"gadget", "back", "front"}
    lab.transition(LabState.BOOTED)
    assert (lab.state, lab.disk, lab.strategy.daemons) == (LabState.BOOTED, "", {})
    lab.transition(LabState.OFF)
    assert lab.processes() == []


def test_a_client_that_waits_for_nothing_is_attached_at_once(
    open_fake: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(strategy, "wait_for", lambda *wanted: pytest.fail("there is no wait"))
    lab = open_fake()
    lab.setup = replace(SETUP, awaits=Awaited.NOTHING)
    lab.transition("attached")
    assert (lab.found, lab.disk) == ("", "")


def test_only_a_disk_is_a_disk(open_fake: Opener) -> None:
    lab = open_fake()
    lab.setup = replace(SETUP, awaits=Awaited.USBTEST)
    lab.transition("attached")
    assert (lab.found, lab.disk) == ("/dev/usbtest", "")


def test_another_path_is_taken_between_the_same_machines(open_fake: Opener) -> None:
    lab = open_fake()
    lab.setup = SETUP
    lab.transition("attached")
    machines = lab.processes()
    # What was brought up is taken down, whatever the setup says by then.
    lab.setup = Setup(SETUP.gadget, path=PathName.DIRECT)
    lab.transition("booted")
    assert lab.strategy.daemons == {}
    lab.transition("attached")
    assert set(lab.strategy.daemons) == {"gadget"}
    assert lab.client is lab.back
    assert lab.processes() == machines


def test_without_a_setup_there_is_no_client(open_fake: Opener) -> None:
    with pytest.raises(ApiViolationError, match="no client"):
        _ = open_fake().client


def test_a_lab_can_be_booted_again(open_fake: Opener) -> None:
    lab = open_fake()
    lab.transition("booted")
    first = lab.processes()
    lab.transition("off")
    lab.transition("booted")
    assert lab.back.run("echo up").stdout == "up\n"
    assert not set(first) & set(lab.processes())


def test_daemons_need_a_setup(open_fake: Opener) -> None:
    lab = open_fake()
    with pytest.raises(ApiViolationError, match="without a setup cannot be bound"):
        lab.transition("bound")
    assert lab.state is LabState.OFF


def test_a_lab_cannot_be_told_to_break(open_fake: Opener) -> None:
    with pytest.raises(ApiViolationError, match="'broken'"):
        open_fake().transition("broken")


def test_machines_that_are_off_are_not_handed_out(open_fake: Opener) -> None:
    with pytest.raises(ApiViolationError, match="The front machine is off"):
        _ = open_fake().front


def test_a_broken_lab_stays_broken_and_says_why(open_fake: Opener) -> None:
    lab = open_fake("bad-option")
    with pytest.raises(LaunchFailure, match="invalid option"):
        lab.transition("booted")
    assert lab.state is LabState.BROKEN
    for _ in range(2):
        with pytest.raises(MachineError, match="The lab is broken: QEMU for machine 'back'"):
            lab.transition("off")


@pytest.mark.parametrize(
    ("mode", "words"), [("bad-option", "invalid option"), ("dies-late", "no such device")]
)
def test_a_qemu_that_does_not_start_shows_its_words_and_command(
    open_fake: Opener, mode: str, words: str
) -> None:
    with pytest.raises(LaunchFailure, match=rf"did not start \(exit status 1\).*{words}") as caught:
        open_fake(mode).transition("booted")
    assert "qemu-system-x86_64 -kernel" in caught.value.hint


def test_a_qemu_that_does_not_answer_is_ended(open_fake: Opener) -> None:
    lab = open_fake("deaf")
    lab.strategy.driver(Role.BACK).start_deadline_s = 0.3
    with pytest.raises(LaunchFailure, match=r"did not start \(exit status -9\)"):
        lab.transition("booted")


def test_a_qemu_that_ends_is_a_lost_machine(open_fake: Opener) -> None:
    with pytest.raises(LostVMError, match=r"exit status 7|carry out"):
        open_fake("ends").transition("booted")


def test_a_panic_is_a_lost_machine_with_its_console(open_fake: Opener) -> None:
    lab = open_fake("panics")
    with pytest.raises(LostVMError, match="sysrq triggered crash"):
        lab.transition("booted")
    log = (lab.directory / "back" / "console.log").read_text()
    assert "end Kernel panic" in log


def test_a_silent_boot_is_tried_once_more_and_counted(
    open_fake: Opener, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guest, "FIRST_LINE_DEADLINE_S", 0.3)
    lab = open_fake(f"silent-once:{tmp_path}/marker")
    lab.transition("booted")
    assert lab.boot_retries == 1


def test_a_boot_that_stays_silent_breaks_the_lab(
    open_fake: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guest, "FIRST_LINE_DEADLINE_S", 0.2)
    lab = open_fake("silent")
    with pytest.raises(LostVMError, match="did not print"):
        lab.transition("booted")
    assert lab.boot_retries == 1


def fail(lab: Lab) -> None:
    """Meet an error of which nobody knows the reason."""
    lab.transition("booted")
    raise MachineError("A daemon does not answer.")


FULL = r"Machine 'back' stands still: .*, for there is no space left under '.*/lab/back'"


def test_a_boot_that_is_silent_because_the_disk_is_full_says_so_and_is_not_tried_again(
    open_fake: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guest, "FIRST_LINE_DEADLINE_S", 0.2)
    monkeypatch.setattr(space, "FULL_BYTES", 1 << 62)
    lab = open_fake("full")
    with pytest.raises(LaunchFailure, match=FULL):
        lab.transition("booted")
    assert lab.boot_retries == 0


@pytest.mark.parametrize("full", [True, False])
def test_whatever_fails_when_a_disk_cannot_be_written_fails_for_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, full: bool
) -> None:
    monkeypatch.setenv("PATH", make_path(tmp_path / "bin"))
    monkeypatch.setattr(space, "FULL_BYTES", 1 << 62 if full else 0)
    said = FULL if full else "could not write its disk, for an error was met under"
    with pytest.raises(LaunchFailure, match=said), open_lab(tmp_path, "full-later") as lab:
        fail(lab)


def test_an_error_that_is_no_full_disks_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", make_path(tmp_path / "bin"))
    with pytest.raises(MachineError, match="does not answer"), open_lab(tmp_path) as lab:
        fail(lab)


def test_no_machine_is_booted_where_there_is_no_room_for_its_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", make_path(tmp_path / "bin"))
    monkeypatch.setattr(space, "BOOT_BYTES", 1 << 62)
    with (
        pytest.raises(LaunchFailure, match=r"no space left under '.*/lab' .*\(--out\)"),
        open_lab(tmp_path),
    ):
        pass
    assert [*(tmp_path / "lab").iterdir()] == []


def test_a_daemon_that_ends_at_once_breaks_the_lab_with_its_log(open_fake: Opener) -> None:
    lab = open_fake()
    lab.setup = strategy.Setup(("sh", "-c", "echo no UDC >&2; exit 4"), ("true",), ("true",))
    with pytest.raises(MachineError, match="'gadget' on 'back' ended with status 4") as caught:
        lab.transition("bound")
    assert "no UDC" in caught.value.hint


def test_a_command_on_a_machine_has_output_and_status(open_fake: Opener) -> None:
    lab = open_fake()
    lab.transition("booted")
    done = lab.front.run("echo out; echo err >&2; exit 7")
    assert (done.stdout, done.stderr, done.status) == ("out\n", "err\n", 7)
    with pytest.raises(CommandFailure, match=r"'front', 'echo why >&2; false' ended with status 1"):
        lab.front.check("echo why >&2; false")
    with pytest.raises(CommandFailure, match=r"'sleep 60' did not end in 0\.1 s"):
        lab.front.run("sleep 60", timeout_s=0.1)


def test_files_go_to_a_machine_and_back(open_fake: Opener, tmp_path: Path) -> None:
    lab = open_fake()
    lab.transition("booted")
    (tmp_path / "a").write_bytes(b"\0bytes")
    lab.back.put(tmp_path / "a", f"{tmp_path}/b")
    lab.back.get(f"{tmp_path}/b", tmp_path / "c")
    assert (tmp_path / "c").read_bytes() == b"\0bytes"
    with pytest.raises(CommandFailure, match="copy of root@"):
        lab.back.get("/no/such/file", tmp_path / "d")


def test_a_closed_lab_leaves_only_its_logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", make_path(tmp_path / "bin"))
    with open_lab(tmp_path) as lab:
        lab.transition("booted")
        pids, private = lab.processes(), lab.private
    assert len(pids) == 4
    assert not any(alive(pid) for pid in pids)
    assert not private.exists()
    left = {str(path.relative_to(lab.directory)) for path in lab.directory.rglob("*.*")}
    assert left == {
        "environment.yaml",
        *(f"{role}/{log}.log" for role in ("back", "front") for log in ("console", "qemu")),
    }


def test_a_daemon_that_a_user_started_is_stopped_with_the_lab(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", make_path(tmp_path / "bin"))
    with open_lab(tmp_path) as lab:
        lab.transition("booted")
        daemon = lab.front.start_daemon(SETUP.gadget, "workload")
        daemon.wait_event("ready", 20.0)
    assert daemon.ended
    assert daemon.events[-1]["event"] == "stopped"


def test_a_stubborn_qemu_is_killed(open_fake: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rig.lab.qemu.MONITOR_DEADLINE_S", 0.3)
    lab = open_fake("stubborn")
    lab.transition("booted")
    pids = lab.processes()
    lab.transition("off")
    assert not any(alive(pid) for pid in pids)


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_outlives_the_station_however_it_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: signal.Signals
) -> None:
    monkeypatch.setenv("PATH", make_path(tmp_path / "bin"))
    argv = [sys.executable, "-m", "rig.tests.harness.fake_lab", str(tmp_path)]
    pipe = subprocess.PIPE
    with subprocess.Popen(argv, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL) as station:
        assert station.stdout
        pids = [int(pid) for pid in station.stdout.readline().split()]
        ends = [os.pidfd_open(pid) for pid in pids]
        station.send_signal(end)
        station.wait(20.0)
        assert station.stdin
        station.stdin.close()
    assert len(pids) == 4
    for ended in ends:
        # Readable when the process has ended (pidfd_open(2)); the kill is not instantaneous.
        assert select.select([ended], [], [], 10.0)[0]
        os.close(ended)
