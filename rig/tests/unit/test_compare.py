"""The same plan at every attachment, with whoever can carry the disk; and what is said of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from typer.testing import CliRunner

from rig.cable.controllers import XHCI_ATTEMPTS
from rig.cli.app import app, call
from rig.cli.compare import command_of, exit_of, leave_page, table
from rig.cli.exits import Exit
from rig.errors import MachineError, UserError
from rig.experiments.compare import compare
from rig.experiments.compare.document import document
from rig.experiments.compare.fitting import fit, statuses
from rig.experiments.compare.joining import NAME, join, read_report
from rig.experiments.compare.report import Report, Row, Subject
from rig.experiments.compare.wishes import ATTACHED, DRIVERS, read_wishes
from rig.experiments.run.client import Client, resets_in
from rig.experiments.run.options import RunOptions
from rig.experiments.run.plugging import check_driver
from rig.faults.load import load_plan
from rig.faults.plan import Plan
from rig.faults.rules.device import DeviceFault
from rig.faults.rules.endpoint import EndpointFault, Place
from rig.guest_images.image import GuestImage
from rig.integrity.judgement import SectorClass, View
from rig.lab.attachment import ATTACHMENTS
from rig.lab.paths import PathName
from rig.lab.strategy import LabState
from rig.progress import Silent
from rig.report.rundir import RunDirectory
from rig.report.verdict import FaultRule, Faults, HostSide, Outcome, Verdict
from rig.splitdriver.policy import Policy
from rig.tests.harness.fake_lab import make_image

TRANSIENT = load_plan("transient")
NOTHING = dict.fromkeys(SectorClass, 0)
QUIET = HostSide()


def verdict(
    outcome: Outcome = Outcome.PASS,
    *,
    wrong: int = 0,
    lost: int = 0,
    fired: int = 1,
    host: HostSide = QUIET,
) -> Verdict:
    """A verdict as a run gives it, with blocks at wrong LBAs and lost ones."""
    seen = outcome is not Outcome.INFRASTRUCTURE
    views = {
        View.ARRIVAL.value: NOTHING | {SectorClass.MISDIRECTED: wrong},
        View.MEDIUM.value: NOTHING | {SectorClass.LOST: lost},
    }
    return Verdict(
        verdict=outcome,
        reasons=() if seen else ("The front machine is lost.",),
        sectors=NOTHING,
        views=views if seen else {},
        findings=(),
        checks=(),
        faults=Faults.of((FaultRule("early", "endpoint", 1, fired),)),
        durations_s={},
        kernel="6.12",
        policy="hold",
        seed=1,
        plan="transient",
        file_systems=("vfat",),
        accelerator="tcg",
        boot_retries=0,
        rig_version="1",
        host=host,
    )


HOLD = Subject("dummy", PathName.SPLIT, "hold")
USBIP = Subject("xhci", PathName.USBIP)


def row(subject: Subject, *verdicts: Verdict) -> Row:
    return Row.of(subject, ("EPROTO",), verdicts)


def report(*rows: Row, **more: Any) -> Report:
    head = Report(
        command="rig compare transient",
        date="2026-11-22",
        plan="transient",
        client="deep-queue",
        file_systems=("vfat",),
        delay_ms=20,
        kernel="6.12.9",
        accelerator="tcg",
        repetitions=2,
        rows=rows,
    )
    return msgspec.structs.replace(head, **more)


def errors(plan: Plan) -> tuple[EndpointFault, ...]:
    return plan.rules(EndpointFault)


@pytest.mark.parametrize(
    ("attachment", "place", "status"),
    [
        ("dummy", Place.PORT, "EPROTO"),
        ("xhci", Place.CABLE, "EPROTO"),
        ("xhci-raw", Place.CABLE, "EPROTO"),
        ("ehci", Place.CABLE, "EPIPE"),
    ],
)
def test_errors_are_made_where_and_as_an_attachment_can(
    attachment: str, place: Place, status: str
) -> None:
    fitted = fit(TRANSIENT, ATTACHMENTS[attachment])
    assert {(rule.place, rule.status) for rule in errors(fitted)} == {(place, status)}
    assert statuses(fitted) == (status,)


def test_a_transaction_error_lasts_until_xhcis_driver_tells_of_it() -> None:
    fitted = errors(fit(TRANSIENT, ATTACHMENTS["xhci"]))
    assert {rule.times for rule in fitted} == {XHCI_ATTEMPTS}
    counted = [
        (rule.nth or 0) + number * (XHCI_ATTEMPTS - 1)
        for number, rule in enumerate(errors(TRANSIENT))
    ]
    assert [rule.nth for rule in fitted] == counted


def test_a_fitted_plan_differs_in_nothing_else() -> None:
    again = fit(fit(TRANSIENT, ATTACHMENTS["ehci"]), ATTACHMENTS["dummy"])
    kept = [msgspec.structs.replace(rule, status="EPROTO") for rule in errors(again)]
    assert kept == list(errors(TRANSIENT))
    medium = load_plan("medium-errors")
    assert fit(medium, ATTACHMENTS["ehci"]).faults == medium.faults


@pytest.mark.parametrize("driver", [PathName.USBIP, PathName.DIRECT])
def test_where_no_port_and_no_cable_is_the_device_halts(driver: PathName) -> None:
    fitted = fit(TRANSIENT, ATTACHMENTS["dummy"], driver)
    assert not errors(fitted)
    assert [rule.nth for rule in fitted.rules(DeviceFault)] == [2, 5, 8]
    assert statuses(fitted) == ("EPIPE by the device",)
    check_driver(fitted, driver)


def test_every_driver_has_a_row_at_every_attachment() -> None:
    wishes = read_wishes(plan="transient")
    assert len(wishes.subjects) == len(ATTACHED) * len(DRIVERS)
    assert not wishes.without


def test_who_has_no_place_for_the_errors_is_named_and_left_out() -> None:
    wishes = read_wishes(plan="halts", attachments=["dummy"])
    assert len(wishes.subjects) == len(Policy)
    assert set(wishes.without) == {"dummy: the kernel's USB/IP", "dummy: no split driver"}


@pytest.mark.parametrize(
    ("wish", "said"),
    [
        ({"drivers": ["xen"]}, "There is no driver 'xen'"),
        ({"attachments": ["uhci"]}, "There is no attachment 'uhci'"),
        ({"client": "uas"}, "There is no client 'uas'"),
        ({"delay_ms": -1}, "A delay must be from 0"),
        ({"kernel": "5.4"}, "no guest kernel '5.4'"),
        ({"file_systems": "nope"}, "file system 'nope' is not known"),
        ({"file_systems": "vfat,vfat"}, "names one twice"),
        ({"drivers": ["hold", "hold"]}, "--driver hold is there twice"),
        ({"attachments": ["xhci", "xhci"]}, "--attachment xhci is there twice"),
        ({"plan": "machine-power-cycle", "attachments": ["xhci"]}, "does not go with attachment"),
        (
            {"plan": "halts", "attachments": ["dummy"], "drivers": ["usbip"]},
            "needs the back end's port",
        ),
    ],
)
def test_what_cannot_be_compared_is_refused(wish: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        read_wishes(**{"plan": "transient"} | wish)


@pytest.mark.parametrize(
    "words",
    [
        *(["nope"], ["--driver", "xen"], ["--fs", "nope"], ["--client", "uas"], ["--kernel", "5"]),
        ["machine-power-cycle", "--attachment", "xhci"],
        ["--driver", "hold", "--driver", "hold"],
    ],
)
def test_what_is_refused_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError):
        call(["compare", *words])
    with pytest.raises(UserError):
        call(["compare", *words, "--out", "there"])
    assert list(tmp_path.iterdir()) == []


def test_a_comparison_that_cannot_begin_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise MachineError("There is no image.")

    monkeypatch.setattr(compare, "basis", fail)
    with pytest.raises(MachineError):
        call(["compare", "--out", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()


def test_a_subject_that_a_run_refuses_is_named_and_left_out() -> None:
    wishes = read_wishes(plan="machine-power-cycle", drivers=["hold"])
    assert [one.attachment for one in wishes.subjects] == ["dummy"]
    assert "does not go with attachment" in wishes.without["xhci: split, hold"]


def test_a_repetition_is_a_run_under_the_fitted_plan(tmp_path: Path) -> None:
    wishes = read_wishes(plan="transient", attachments=["xhci"])
    options = wishes.options(USBIP, tmp_path / "plan.toml")
    assert (options.driver, options.client) == (PathName.USBIP, Client.DEEP_QUEUE)
    assert options.attachment.name == "xhci"
    assert options.plan == wishes.fitted(USBIP)
    assert options.plan_text == (tmp_path / "plan.toml").read_text()
    assert wishes.options(Subject("xhci", PathName.SPLIT, "aca"), tmp_path / "p").policy_words


def test_a_row_counts_runs_in_which_data_arrived_elsewhere() -> None:
    verdicts = [
        verdict(Outcome.FAIL, wrong=96, host=HostSide(3, (0.5, 1.5))),
        verdict(Outcome.FAIL, wrong=32, lost=8, host=HostSide(5, (2.5,))),
        verdict(host=HostSide(4)),
        verdict(Outcome.INFRASTRUCTURE),
    ]
    one = row(HOLD, *verdicts)
    assert (one.runs, one.wrong_runs, one.wrong_blocks, one.lost_runs) == (3, 2, 128, 1)
    assert (one.resets, one.recovery_s, one.longest_s) == (4, 1.5, 2.5)
    assert one.verdicts == {"fail": 2, "pass": 1}
    assert one.broken == {"The front machine is lost.": 1}


def test_a_run_without_all_its_faults_is_counted_as_such() -> None:
    assert row(HOLD, verdict(), verdict(fired=0)).fired == 1


@pytest.mark.parametrize(
    ("rows", "ends"),
    [
        ((row(HOLD, verdict()), row(USBIP, verdict(Outcome.FAIL, wrong=8))), Exit.PASS),
        ((row(HOLD, verdict(Outcome.FAIL, wrong=8)),), Exit.FAIL),
        ((row(HOLD, verdict(Outcome.FAIL, lost=8)),), Exit.FAIL),
        ((row(HOLD, verdict()), row(USBIP, verdict(Outcome.INFRASTRUCTURE))), Exit.INFRASTRUCTURE),
        ((row(HOLD, verdict(fired=0)),), Exit.INDETERMINATE),
    ],
)
def test_the_exit_status_is_about_hold(rows: tuple[Row, ...], ends: Exit) -> None:
    assert exit_of(report(*rows)) is ends


def test_the_page_says_k_of_n_and_what_was_not_tried() -> None:
    wrong = row(USBIP, verdict(Outcome.FAIL, wrong=96), verdict(fired=0))
    page = document(report(row(HOLD, verdict()), wrong, without={"dummy: x": "It has none."}))
    assert "| dummy | split, hold | EPROTO | 1 | 1 pass | 0 of 1 | 0 | 0 of 1 | 0 | - |" in page
    assert "| xhci | the kernel's USB/IP | EPROTO | 2 | 1 fail, 1 pass | **1 of 2** | 96 |" in page
    assert "- dummy: x: not tried. It has none." in page
    assert "- xhci, the kernel's USB/IP: in 1 runs not every planned fault fired." in page


AGAIN = {"command": "rig compare --driver usbip", "date": "2026-11-23"}


def test_a_row_that_is_measured_anew_takes_the_place_of_the_old_one() -> None:
    old = report(row(USBIP, verdict(Outcome.FAIL, wrong=96)), row(HOLD, verdict()))
    joined = join([old, report(row(USBIP, verdict()), **AGAIN)])
    assert [(one.subject, one.wrong_runs, one.date) for one in joined.rows] == [
        (USBIP, 0, "2026-11-23"),
        (HOLD, 0, "2026-11-22"),
    ]
    assert join([joined]) == joined


def test_what_was_tried_later_is_not_called_untried() -> None:
    never = {"xhci: the kernel's USB/IP": "It has none.", "dummy: x": "It has none."}
    joined = join([report(row(HOLD, verdict()), without=never), report(row(USBIP, verdict()))])
    assert joined.without == {"dummy: x": "It has none."}


@pytest.mark.parametrize(
    "other", [{"kernel": "6.1.170"}, {"repetitions": 3}, {"plan": "halts"}, {"delay_ms": 5}]
)
def test_rows_of_other_conditions_are_not_put_together(other: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="cannot be in one table"):
        join([report(row(HOLD, verdict())), report(row(USBIP, verdict()), **other)])


def test_a_page_of_several_comparisons_says_of_each_row_when_it_was_measured() -> None:
    page = document(join([report(row(HOLD, verdict())), report(row(USBIP, verdict()), **AGAIN)]))
    assert "Generated by `rig compare --join` from the rows of several comparisons" in page
    assert "| 0 of 1 | 0 | 0 of 1 | 0 | - | 2026-11-22 |" in page
    assert "| 0 of 1 | 0 | 0 of 1 | 0 | - | 2026-11-23 |" in page
    told = "- Measured by `rig compare --driver usbip` on 2026-11-23: xhci, the kernel's USB/IP."
    assert told in page


def test_a_page_can_be_joined_again(tmp_path: Path) -> None:
    made = report(row(HOLD, verdict()))
    leave_page(made, tmp_path / "page.md")
    assert (tmp_path / "page.md").read_text() == document(made)
    assert read_report(tmp_path / "page.json") == made
    (tmp_path / "page.json").rename(tmp_path / NAME)
    assert read_report(tmp_path) == made


@pytest.mark.parametrize(("left", "said"), [(None, "cannot be read"), ("{}", "is not what")])
def test_what_cannot_be_joined_is_named(tmp_path: Path, left: str | None, said: str) -> None:
    if left is not None:
        (tmp_path / NAME).write_text(left)
    with pytest.raises(UserError, match=said):
        read_report(tmp_path)


def test_nothing_is_measured_where_former_comparisons_are_joined(tmp_path: Path) -> None:
    leave_page(report(row(HOLD, verdict())), tmp_path / "page.md")
    words = ["compare", "--join", str(tmp_path / "page.json")]
    done = CliRunner().invoke(app, [*words, "--write", str(tmp_path / "again.md")])
    assert done.exit_code == Exit.PASS
    assert "Generated by `rig compare transient`" in (tmp_path / "again.md").read_text()
    refused = CliRunner().invoke(app, [*words, "--driver", "hold"])
    assert isinstance(refused.exception, UserError)


def test_the_table_has_a_line_for_each_way() -> None:
    assert table(report(row(HOLD, verdict()), row(USBIP, verdict()))).row_count == 2


def test_the_command_is_told_without_what_is_usual() -> None:
    given = (("--driver", ["hold"], ["naive"]), ("--fs", ["vfat"], ["vfat"]))
    assert command_of("transient", given) == "rig compare transient --driver hold"


def test_resets_are_counted_in_a_kernels_log() -> None:
    log = (
        "[    9.1] usb 3-1: new high-speed USB device number 2 using vhci_hcd\n"
        "[   12.3] usb 3-1: reset high-speed USB device number 2 using vhci_hcd\n"
        "[   14.0] usb 3-1: reset SuperSpeed USB device number 2 using vhci_hcd\n"
    )
    assert resets_in(log) == 2


class Stage:
    """Labs and runs that are over at once.

    Attributes:
        log: What was opened, closed and run.
        spoils: Told of each run's lab; may break it.
    """

    def __init__(self) -> None:
        self.log: list[str] = []
        self.spoils: Callable[[SimpleNamespace], None] = lambda lab: None

    @contextmanager
    def open(self, image: GuestImage, directory: Path, **_: object) -> Iterator[SimpleNamespace]:
        """Stands for `Lab.open`."""
        name = f"{directory.parent.name}/{directory.name}"
        self.log.append(f"open {name}")
        lab = SimpleNamespace(state=LabState.OFF, strategy=SimpleNamespace(machines={}))
        lab.transition = lambda state: setattr(lab, "state", state)
        yield lab
        self.log.append(f"close {name}")

    def story(self, options: RunOptions, directory: RunDirectory, _: object) -> SimpleNamespace:
        """Stands for `Story`."""

        def tell(image: GuestImage, accelerator: str, lab: SimpleNamespace) -> Verdict:
            self.log.append(f"{directory.path.parent.name}/{directory.path.name}")
            self.spoils(lab)
            return verdict()

        return SimpleNamespace(tell=tell)


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Stage:
    stage = Stage()
    monkeypatch.setattr(compare, "Lab", stage)
    monkeypatch.setattr(compare, "Story", stage.story)
    monkeypatch.setattr(compare, "set_delay", lambda lab, ms: stage.log.append(f"{ms} ms"))
    monkeypatch.setattr(compare, "basis", lambda kernel, progress: (make_image(tmp_path), "tcg"))
    return stage


WISHES = read_wishes(
    plan="transient", attachments=["dummy", "xhci"], drivers=["naive", "usbip"], repetitions=2
)


def test_the_machines_of_an_attachment_stay_for_all_its_runs(stage: Stage, tmp_path: Path) -> None:
    reports: list[Report] = []
    told = compare.run(WISHES, "rig compare", tmp_path / "out", Silent(), reports.append)
    assert stage.log == [
        *("open dummy/lab-1", "5 ms", "split-naive/01", "split-naive/02"),
        *("usbip/01", "usbip/02", "close dummy/lab-1"),
        *("open xhci/lab-1", "5 ms", "split-naive/01", "split-naive/02"),
        *("usbip/01", "usbip/02", "close xhci/lab-1"),
    ]
    assert [row.runs for row in told.rows] == [2, 2, 2, 2]
    kept = (tmp_path / "out" / NAME).read_bytes()
    assert msgspec.json.decode(kept, type=Report) == told
    assert [len(one.rows) for one in reports] == [1, 2, 3, 4]


def test_machines_that_were_spoilt_are_replaced(stage: Stage, tmp_path: Path) -> None:
    stage.spoils = lambda lab: lab.transition(LabState.BROKEN)
    wishes = read_wishes(plan="transient", attachments=["dummy"], drivers=["hold"], repetitions=2)
    compare.run(wishes, "rig compare", tmp_path / "out", Silent())
    assert [line for line in stage.log if "lab" in line] == [
        *("open dummy/lab-1", "close dummy/lab-1", "open dummy/lab-2", "close dummy/lab-2")
    ]
