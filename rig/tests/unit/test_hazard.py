"""The hazard experiment's wishes, plan and report."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from rig.cli.exits import Exit
from rig.cli.hazard import _exit
from rig.cli.hazard import table as hazard_table
from rig.errors import UserError
from rig.experiments.hazard.report import Report, Row, Spread, Stand
from rig.experiments.hazard.wishes import Wishes, read_wishes
from rig.faults.reader import parse_plan
from rig.faults.rules.endpoint import EndpointFault, When
from rig.integrity.continuation import Outcome
from rig.splitdriver.policy import Policy

LOST = ["-EPROTO", "-ECONNRESET"]


def outcome(*moved_bytes: int, failed_s: float = 0.1) -> Outcome:
    return Outcome(LOST, list(moved_bytes), failed_s, 0.5, 2)


def row(policy: str = "hold", *, wrong: int = 0, runs: int = 2, fired: int = 2) -> Row:
    return Row.of(
        policy,
        0,
        outcomes=[outcome(0, 0)] * runs,
        arrivals=[Counter(wrong=32)] * wrong + [Counter()] * (runs - wrong),
        stood=[],
        fired=fired,
        resets=runs,
    )


def report(*rows: Row) -> Report:
    return Report(
        kernel="6.12",
        accelerator="tcg",
        processors=1,
        urbs=2,
        urb_bytes=16384,
        when="before",
        recovery="port-reset",
        aca_status="EPROTO",
        rows=rows,
    )


def test_a_row_adds_up_what_arrived_and_what_ran() -> None:
    made = Row.of(
        "naive",
        20,
        outcomes=[outcome(0, 16384, failed_s=0.1), outcome(0, 0, failed_s=0.3)],
        arrivals=[Counter(wrong=32, right=1), Counter()],
        stood=[Stand(0x02, 0.004), Stand(0x02, 0.006), Stand(0x81, 9.0), Stand(0x00, 9.0)],
        fired=2,
        resets=2,
    )

    assert (made.runs, made.runs_wrong, made.blocks_wrong, made.ran_behind) == (2, 1, 32, 1)
    assert made.stopped == Spread(2, 0.005, 0.006)  # of the endpoint that takes data alone
    assert made.failed == Spread(2, 0.2, 0.3)
    assert made.statuses == {"-EPROTO -ECONNRESET": 2}


@pytest.mark.parametrize(
    ("rows", "status"),
    [
        ((row("hold"), row("naive", wrong=2)), Exit.PASS),
        ((row("hold"), row("aca", wrong=1)), Exit.PASS),  # aca is to be found out
        ((row("hold", wrong=1),), Exit.FAIL),
        ((row("hold"), row("naive")), Exit.INDETERMINATE),  # the experiment saw nothing
        ((row("hold", fired=1),), Exit.INDETERMINATE),
    ],
)
def test_the_exit_status_is_about_hold_unless_nothing_was_shown(
    rows: tuple[Row, ...], status: Exit
) -> None:
    assert _exit(report(*rows)) is status


def test_the_table_has_a_line_for_each_row() -> None:
    made = hazard_table(report(row("hold"), row("naive", wrong=2)))

    assert made.row_count == 2
    assert [re.sub(r"\[.*?\]", "", str(cell)) for cell in made.columns[3].cells] == ["0", "2"]


def test_each_repetition_has_one_rule_in_a_phase_of_its_own() -> None:
    wishes = Wishes((Policy.HOLD,), (0, 20), repetitions=3, when=When.AFTER)

    faults = parse_plan(wishes.plan(), "hazard").faults

    assert len({fault.phase for fault in faults}) == len(faults) == 6
    assert all(
        isinstance(f, EndpointFault) and (f.nth, f.times, f.when) == (1, 1, When.AFTER)
        for f in faults
    )


def test_the_medium_has_room_for_every_range() -> None:
    wishes = Wishes((Policy.HOLD,), (0, 20), repetitions=96)

    assert wishes.medium_bytes >= 2 * 96 * 65536
    assert wishes.medium_bytes % (1 << 20) == 0


def test_both_daemons_get_the_policy_and_the_back_end_the_aca_status() -> None:
    setup = Wishes((Policy.ACA,), aca_status="EAGAIN").setup(
        Policy.ACA, "/store", Path("plan.toml")
    )

    assert setup.back[setup.back.index("--policy") + 1] == "aca"
    assert setup.front[setup.front.index("--policy") + 1] == "aca"
    assert setup.back[setup.back.index("--aca-status") + 1] == "EAGAIN"
    assert "--aca-status" not in setup.front


@pytest.mark.parametrize(
    ("wish", "said"),
    [
        ({"policies": ["hope"]}, "no policy 'hope'"),
        ({"policies": ["hold"], "urb_bytes": 1000}, "whole blocks"),
        ({"policies": ["hold"], "delays_ms": [-1]}, "from 0 to"),
        ({"policies": ["hold"], "recovery": "prayer"}, "no recovery 'prayer'"),
        ({"policies": ["aca"], "aca_status": "EIO"}, "no ACA status 'EIO'"),
        ({"policies": ["hold"], "kernel": "2.6.12"}, "no guest kernel"),
    ],
)
def test_a_bad_wish_is_told_in_a_sentence(wish: dict[str, object], said: str) -> None:
    with pytest.raises(UserError, match=said):
        read_wishes(**wish)  # type: ignore[arg-type]


def test_repeated_wishes_count_once() -> None:
    wishes = read_wishes(policies=["hold", "hold"], delays_ms=[0, 0, 5])

    assert (wishes.policies, wishes.delays_ms) == ((Policy.HOLD,), (0, 5))


@pytest.mark.parametrize(
    ("attachment", "place", "status", "port"),
    [
        ("dummy", "port", "EPROTO", "dummy_hcd.0/1"),
        ("xhci-raw", "cable", "EPROTO", "0000:00:1c.0/1"),
        ("ehci", "cable", "EPIPE", "0000:00:1c.0/1"),
    ],
)
def test_the_error_is_made_where_the_attachment_has_it(
    attachment: str, place: str, status: str, port: str
) -> None:
    wishes = read_wishes(policies=["hold"], attachment=attachment)
    rules = parse_plan(wishes.plan(), "plan.toml").rules(EndpointFault)
    assert {(rule.place, rule.status) for rule in rules} == {(place, status)}
    assert port in wishes.setup(Policy.HOLD, "/store", Path("plan.toml")).back


def test_a_controller_that_hides_the_error_is_refused() -> None:
    with pytest.raises(UserError, match="no attachment for this experiment 'ohci'"):
        read_wishes(policies=["hold"], attachment="ohci")
