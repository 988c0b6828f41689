"""A conformance test, told by machines that answer at once, and fail where told to."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import msgspec
import pytest
from rich.console import Console as Terminal

from rig.cli.conformance import table
from rig.errors import LostVMError, MachineError, UserError
from rig.experiments.conformance import conformance
from rig.experiments.conformance import path as conformance_path
from rig.experiments.conformance.conformance import check_wishes
from rig.experiments.conformance.path import PathTest
from rig.experiments.conformance.report import (
    CaseResult,
    PathReport,
    Report,
    Result,
    crash_words,
    trouble,
    usbtest_words,
)
from rig.lab.console import Console
from rig.lab.health import Health
from rig.lab.lab import Lab
from rig.lab.paths import PathName
from rig.lab.waits import Awaited
from rig.progress import Silent
from rig.tests.harness.fake_lab import SETUP, make_image

OOPS = "[    9.37] Oops: general protection fault, probably: 0000 [#1] PREEMPT SMP"


class World:
    """What the machines do: ``acts`` has something for some cases, the others pass."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.acts: dict[int, Callable[[FakeLab], str]] = {}
        self.unplugged: Callable[[FakeLab], None] = lambda lab: None
        self.log: list[str] = []
        self.labs = 0

    @contextmanager
    def open(self, before: int) -> Iterator[Lab]:
        assert before == self.labs
        self.labs += 1
        lab = FakeLab(self)
        try:
            yield cast("Lab", lab)
        finally:
            self.log.append("close")
            for machine in (lab.back, lab.front):
                machine.console.end("It was powered off.")


class FakeMachine:
    def __init__(self, world: World, lab: FakeLab, name: str) -> None:
        self.name = name
        self.health = Health(name)
        self.console = Console(name, world.directory / f"{name}{world.labs}.log", self.health)
        self._lab = lab

    def start_daemon(self, argv: Sequence[str], name: str) -> FakeLab:
        assert argv == ["rig", "usbtest", "/dev/bus/usb/003/002", "--supervised"]
        self._lab.ended = False
        return self._lab

    def check(self, command: str) -> None:
        assert command.endswith("sched/preempt")

    def print(self, *lines: str) -> None:
        self.console.feed("".join(f"{line}\n" for line in lines).encode())


class FakeLab:
    """A lab, and the usbtest client in it."""

    found = "/dev/bus/usb/003/002"
    setup = None

    def __init__(self, world: World) -> None:
        self.world = world
        self.back = FakeMachine(world, self, "back")
        self.front = self.client = FakeMachine(world, self, "front")
        self.strategy = SimpleNamespace(daemons={})
        self.ended = False

    def transition(self, state: str) -> None:
        self.world.log.append(str(state))
        if state == "booted":
            self.world.unplugged(self)

    def wait_event(self, event: str, deadline_s: float) -> None:
        assert event == "ready"

    def stop(self) -> None:
        self.ended = True

    def ask(self, do: str, deadline_s: float, case: int, times: int) -> dict[str, object]:
        self.world.log.append(f"case {case}")
        act = self.world.acts.get(case)
        status = act(self) if act else "0"
        return {"case": case, "name": "", "status": status, "duration_s": 0.25}


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(conformance_path, "AFTERMATH_S", 0.0)
    return World(tmp_path)


def run(world: World, *cases: int) -> PathReport:
    return PathTest(cases, 1, SETUP, world.open, Silent()).run()


def results(report: PathReport) -> dict[int, Result]:
    return {case.case: case.result for case in report.cases}


def hang(lab: FakeLab) -> str:
    raise MachineError("No reply in 1 s.")


def oops(lab: FakeLab) -> str:
    lab.back.print(OOPS, "[    9.38] RIP: 0010:stub_rx_loop+0x559/0xf00 [usbip_host]")
    lab.back.console.quiet()
    lab.front.health.check()
    raise AssertionError("the other machine's loss must end the wait")


def test_cases_that_pass_run_on_one_pair_of_machines(world: World) -> None:
    report = run(world, 1, 2)
    assert results(report) == {1: Result.PASS, 2: Result.PASS}
    assert (report.machine_pairs, report.passed) == (1, True)
    assert world.log == ["booted", "attached", "case 1", "case 2", "close"]


def test_an_errno_is_a_result_with_usbtests_words_and_the_device_is_plugged_anew(
    world: World,
) -> None:
    def fail(lab: FakeLab) -> str:
        lab.front.print("usbtest 3-1:1.0: TEST 13:  set/clear 8 halts")
        lab.front.print("[ 1.0] usbtest 3-1:1.0: halts failed, iterations left 3")
        return "EPIPE"

    world.acts[13] = fail
    report = run(world, 13, 14)
    assert results(report) == {13: Result.FAIL, 14: Result.PASS}
    case = report.cases[0]
    assert (case.told, case.detail) == ("EPIPE", "halts failed, iterations left 3")
    assert (report.machine_pairs, report.passed) == (1, False)
    assert world.log[2:] == ["case 13", "booted", "attached", "case 14", "close"]


def test_a_daemon_that_ended_by_itself_is_told_with_the_failure(world: World) -> None:
    def fail(lab: FakeLab) -> str:
        lab.strategy.daemons["front"] = SimpleNamespace(ended=True)
        return "ENODEV"

    world.acts[1] = fail
    assert run(world, 1).cases[0].detail == "front ended"


def test_a_case_that_the_driver_does_not_know_is_not_supported(world: World) -> None:
    world.acts[1] = lambda lab: "EOPNOTSUPP"
    report = run(world, 1)
    assert (report.cases[0].told, report.passed) == ("not supported", False)


def test_a_hang_is_a_result_and_the_rest_runs_on_new_machines(world: World) -> None:
    world.acts[11] = hang
    report = run(world, 11, 12)
    assert results(report) == {11: Result.HANG, 12: Result.PASS}
    assert report.machine_pairs == 2
    assert world.log[2:4] == ["case 11", "close"]


def test_an_oops_on_the_other_machine_is_the_cases_result(world: World) -> None:
    world.acts[24] = oops
    report = run(world, 24, 29)
    assert results(report) == {24: Result.CRASH, 29: Result.PASS}
    assert "machine 'back' crashed: Oops:" in report.cases[0].detail
    assert report.cases[0].detail.endswith("in stub_rx_loop+0x559/0xf00")
    assert report.machine_pairs == 2


def test_a_crash_that_comes_after_the_result_counts(world: World) -> None:
    def late(lab: FakeLab) -> str:
        lab.front.health.lose(LostVMError("It is gone."))
        return "ESHUTDOWN"

    world.acts[24] = late
    assert run(world, 24).cases[0].result is Result.CRASH


def test_a_kernels_warning_is_a_result_even_if_the_case_passes(world: World) -> None:
    def warn(lab: FakeLab) -> str:
        lab.back.print("[   3.25] WARNING: CPU: 0 PID: 7 at drivers/usb/core/urb.c:380")
        return "0"

    world.acts[5] = warn
    report = run(world, 5, 6)
    assert results(report) == {5: Result.WARNING, 6: Result.PASS}
    assert report.cases[0].detail == "WARNING: CPU: 0 PID: 7 at drivers/usb/core/urb.c:380"


def test_a_warning_counts_for_its_own_case_only(world: World) -> None:
    def warn(lab: FakeLab) -> str:
        lab.back.print("WARNING: CPU: 0 PID: 7")
        return "EPROTO"

    world.acts[5] = warn
    world.acts[6] = lambda lab: "EPROTO"
    assert results(run(world, 5, 6)) == {5: Result.WARNING, 6: Result.FAIL}


def test_a_client_that_ends_on_machines_that_are_well_is_no_result(world: World) -> None:
    def end(lab: FakeLab) -> str:
        lab.ended = True
        raise MachineError("The daemon ended.")

    world.acts[1] = end
    with pytest.raises(MachineError, match="The daemon ended"):
        run(world, 1, 2)


def test_a_device_that_cannot_be_plugged_anew_needs_new_machines(world: World) -> None:
    def stuck(lab: FakeLab) -> None:
        if world.labs == 1 and "case 1" in world.log:
            raise MachineError("The daemon does not end.")

    world.acts[1] = lambda lab: "EIO"
    world.unplugged = stuck
    report = run(world, 1, 2)
    assert results(report) == {1: Result.FAIL, 2: Result.PASS}
    assert report.machine_pairs == 2


def test_the_wishes_name_paths_and_cases() -> None:
    wishes = check_wishes(["usbip", "split", "usbip"], "6.1", "naive", "24,11", 3)
    assert wishes.paths == (PathName.USBIP, PathName.SPLIT)
    assert wishes.cases == (24, 11)
    setup = wishes.setup(PathName.SPLIT)
    assert setup.awaits is Awaited.USBTEST
    assert setup.back[-2:] == setup.front[-2:] == ("--policy", "naive")


def test_no_policy_is_named_unless_it_is_wished_for() -> None:
    setup = check_wishes(["split"], "6.12", None, None, 1).setup(PathName.SPLIT)
    assert "--policy" not in (*setup.back, *setup.front)


@pytest.mark.parametrize(
    ("path", "kernel", "policy", "cases"),
    [
        ("xen", "6.12", None, None),
        ("split", "2.6", None, None),
        ("split", "6.1", "xen", None),
        ("split", "6.1", None, "15"),
        ("split", "6.1", None, ""),
    ],
)
def test_a_wish_that_cannot_be_is_refused(
    path: str, kernel: str, policy: str | None, cases: str | None
) -> None:
    with pytest.raises(UserError):
        check_wishes([path], kernel, policy, cases, 1)


def test_all_paths_are_tested_and_the_report_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image, opened = make_image(tmp_path), []

    class Test:
        def __init__(self, cases: Sequence[int], times: int, setup: object, *rest: object) -> None:
            self.path = setup.path.value  # type: ignore[attr-defined]
            opened.append((self.path, tuple(cases), times))

        def run(self) -> PathReport:
            return PathReport(self.path, 1, ())

    monkeypatch.setattr(conformance, "basis", lambda kernel, progress: (image, "tcg"))
    monkeypatch.setattr(conformance, "PathTest", Test)
    wishes = check_wishes(["direct", "split"], "6.12", None, "1,2", 7)
    report = conformance.run(wishes, tmp_path, Silent())
    assert opened == [("direct", (1, 2), 7), ("split", (1, 2), 7)]
    left = (tmp_path / "conformance.json").read_bytes()
    assert msgspec.json.decode(left, type=Report) == report


def report(*paths: PathReport) -> Report:
    return Report("6.12.1", "tcg", "hold", 1, paths)


def test_the_split_driver_decides_where_it_was_tested() -> None:
    bad = CaseResult(24, "", Result.CRASH, "", 1.0)
    good = CaseResult(24, "", Result.PASS, "0", 1.0)
    usbip, split = PathReport("usbip", 2, (bad,)), PathReport("split", 1, (good,))
    assert report(usbip, split).judged is split
    assert report(usbip).judged is usbip
    assert (usbip.passed, split.passed) == (False, True)


def test_the_table_has_a_line_for_each_case_and_the_kernels_words_untouched() -> None:
    crash = CaseResult(24, "unlinks", Result.CRASH, "", 1.0, "Oops: 0000 [#1] SMP")
    good = CaseResult(24, "unlinks", Result.PASS, "0", 0.25)
    both = report(PathReport("usbip", 2, (crash,)), PathReport("split", 1, (good,)))
    terminal = Terminal(width=120)
    with terminal.capture() as captured:
        terminal.print(table(both))
    text = captured.get()
    assert "kernel 6.12.1" in text
    (line,) = (line for line in text.splitlines() if "unlinks" in line)
    cells = [cell.strip() for cell in line.strip("│ ").split("│")]
    assert cells == ["24", "unlinks", "crash", "1.00", "pass", "0.25", "Oops: 0000 [#1] SMP"]


@pytest.mark.parametrize("line", [OOPS, "WARNING: CPU: 1 PID: 3", "BUG: sleeping", "refcount_t: u"])
def test_a_kernels_complaint_is_seen(line: str) -> None:
    assert trouble(["usb 1-1: new device", line]) == line.removeprefix("[    9.37] ")


def test_ordinary_lines_are_no_complaint() -> None:
    assert trouble(["vhci_hcd: unlink->seqnum 7", "WARNING! out of paper"]) == ""


def test_usbtests_last_words_of_a_failure_are_found() -> None:
    lines = [
        "usbtest 3-1:1.0: TEST 7:  write 4 sglists",
        "usbtest 3-1:1.0: perform_sglist failed, iterations left 3, status -22",
        "vhci_hcd vhci_hcd.0: failed",
    ]
    assert usbtest_words(lines) == "perform_sglist failed, iterations left 3, status -22"
    assert usbtest_words(lines[:1]) == ""


def test_a_loss_without_a_place_is_told_as_it_is() -> None:
    assert crash_words("QEMU ended.", "no registers here") == "QEMU ended."


def test_a_policy_without_the_split_driver_is_refused() -> None:
    with pytest.raises(UserError, match="path is not among those to test"):
        check_wishes(["usbip"], "6.12", "aca", None, 1)
    assert check_wishes(["usbip", "split"], "6.12", "aca", None, 1).policy == "aca"
