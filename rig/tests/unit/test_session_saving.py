from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rig.errors import RigError
from rig.faults.plan import DataClass, Expect, Fault, Plan
from rig.faults.reader import parse_plan
from rig.faults.rules.device import DeviceFault
from rig.faults.rules.medium import MediumFault, MediumKind
from rig.session.snapshot import Sample
from rig.session.talk.recipes import RECIPES
from rig.session.talk.saving import Settings, replay_mib
from rig.tests.harness.fake_deeds import LIVE, Seat

RULE = "arm layer=endpoint direction=out status=EPROTO when=before"
FILE = "mine.toml"


@pytest.fixture
def seat() -> Seat:
    return Seat()


def saved(seat: Seat) -> Plan:
    seat.ask(f"save {FILE}", at_s=99.0)
    return parse_plan(seat.files[FILE], FILE)


def only(seat: Seat) -> Fault:
    (rule,) = saved(seat).faults
    return rule


def head(seat: Seat) -> str:
    saved(seat)
    return "\n".join(line for line in seat.files[FILE].splitlines() if line.startswith("#"))


# Which rules


def test_a_rule_that_counts_keeps_its_trigger_and_gets_the_phase(seat: Seat) -> None:
    seat.ask(f"{RULE} nth=7 name=x", at_s=30.0)
    rule = only(seat)
    assert (rule.name, rule.nth, rule.at_s, rule.phase) == ("x", 7, None, "write")


def test_a_phase_that_was_given_stays(seat: Seat) -> None:
    seat.ask(f"{RULE} nth=7 phase=read")
    assert only(seat).phase == "read"


@pytest.mark.parametrize(("given", "moment"), [("0", 31.3), ("2", 33.3)])
def test_a_rule_of_the_clock_gets_its_moment_in_the_writing(
    seat: Seat, given: str, moment: float
) -> None:
    seat.ask(f"{RULE} at_s={given}", at_s=31.26)
    assert only(seat).at_s == pytest.approx(moment)


def test_what_fired_by_hand_gets_the_moment(seat: Seat) -> None:
    seat.ask(f"{RULE} nth=5000 times=3 name=x", at_s=10.0)
    seat.ask("fire x", at_s=44.4)
    rule = only(seat)
    assert (rule.name, rule.nth, rule.at_s, rule.times) == ("x", None, 44.4, 1)


def test_each_firing_by_hand_is_a_rule(seat: Seat) -> None:
    seat.ask(f"{RULE} nth=5000 name=x", at_s=10.0)
    seat.ask("fire x", at_s=20.0)
    seat.ask("fire x", at_s=30.0)
    assert [(rule.name, rule.at_s) for rule in saved(seat).faults] == [("x", 20.0), ("x-2", 30.0)]


def test_what_fired_by_hand_and_by_itself_is_both(seat: Seat) -> None:
    seat.ask(f"{RULE} nth=5 name=x", at_s=10.0)
    seat.ask("fire x", at_s=20.0)
    seat.deeds.fired("x", 2)
    assert [(rule.nth, rule.at_s) for rule in saved(seat).faults] == [(5, None), (None, 20.0)]


def test_a_power_cut_of_the_clock_has_no_blocks(seat: Seat) -> None:
    seat.ask("arm layer=medium op=write effect=power-cut lba=[0,9] nth=5000 name=x", at_s=10.0)
    seat.ask("fire x", at_s=20.0)
    rule = only(seat)
    assert isinstance(rule, MediumFault)
    assert (rule.kind, rule.at_s, rule.lba) == (MediumKind.POWER_CUT, 20.0, None)


@pytest.mark.parametrize("last", ["remove x", "undo"])
def test_what_was_taken_back_before_it_fired_is_left_out(seat: Seat, last: str) -> None:
    seat.ask(f"{RULE} nth=5 name=x")
    seat.ask(last)
    assert saved(seat).faults == ()


def test_what_was_removed_after_it_had_fired_stays(seat: Seat) -> None:
    seat.ask(f"{RULE} nth=5 name=x")
    seat.deeds.fired("x")
    seat.ask("remove x")
    assert only(seat).name == "x"


def test_what_was_undone_after_it_had_fired_stays(seat: Seat) -> None:
    seat.ask(f"{RULE} nth=5 times=4 name=x")
    seat.deeds.fired("x", 2)
    seat.ask("undo")
    assert only(seat).name == "x"


def test_a_removal_that_was_undone_is_none(seat: Seat) -> None:
    seat.ask(f"{RULE} nth=5 name=x")
    seat.ask("remove x")
    seat.ask("undo")
    assert only(seat).name == "x"


def test_a_disarmed_rule_that_never_fired_is_named_in_the_head(seat: Seat) -> None:
    seat.ask(f"{RULE} nth=5 name=x")
    seat.ask("disarm x")
    assert saved(seat).faults == ()
    assert "# Not here, for it never fired: x" in head(seat)


def test_a_rule_of_the_clock_that_waited_disarmed_has_the_moment_of_its_arming(seat: Seat) -> None:
    seat.ask(f"{RULE} at_s=1 name=x", at_s=10.0)
    seat.ask("disarm x", at_s=10.5)
    seat.ask("rearm x", at_s=20.0)
    assert only(seat).at_s == 20.0


@pytest.mark.parametrize("back", ["plug", "undo"])
def test_an_unplugging_lasts_until_the_plugging(seat: Seat, back: str) -> None:
    seat.ask("unplug", at_s=20.0)
    seat.deeds.change(ports=())
    seat.ask(back, at_s=24.5)
    rule = only(seat)
    assert isinstance(rule, DeviceFault)
    assert (rule.at_s, rule.for_s) == (20.0, 4.5)


def test_two_unpluggings_are_two_rules(seat: Seat) -> None:
    seat.deeds.change(ports=())
    for moment in (20.0, 30.0):
        seat.ask("unplug", at_s=moment)
        seat.ask("plug", at_s=moment + 2)
    rules = [rule for rule in saved(seat).faults if isinstance(rule, DeviceFault)]
    assert [(rule.at_s, rule.for_s) for rule in rules] == [(20.0, 2.0), (30.0, 2.0)]


def test_the_rules_of_the_sessions_own_plan_come_first() -> None:
    text = 'name = "p"\nseed = 9\n[[fault]]\nlayer = "medium"\nop = "write"\nnth = 3\n'
    seat = Seat(Settings(parse_plan(text, "p")))
    for rule in parse_plan(text, "p").faults:
        seat.deeds.add([rule])
    seat.ask(f"{RULE} nth=5 name=x")
    plan = saved(seat)
    assert ([rule.name for rule in plan.faults], plan.seed) == (["medium-1", "x"], 9)


# The head


def test_what_is_no_fault_is_told_in_the_head(seat: Seat) -> None:
    seat.ask("note the green light\x1b is off", at_s=12.34)
    seat.ask("policy naive", at_s=15.0)
    seat.ask("reset", at_s=16.0)
    said = head(seat)
    assert "# 12.3 s: note the green light\\x1b is off" in said
    assert "# 15.0 s: policy naive" in said
    assert "# 16.0 s: reset" in said


def test_a_note_that_was_undone_is_not_told(seat: Seat) -> None:
    seat.ask("note nothing")
    seat.ask("undo")
    assert "nothing" not in head(seat)


def test_the_line_that_replays_it_has_the_surroundings(seat: Seat) -> None:
    seat.ask("workload random")
    seat.ask("policy naive")
    said = "# Replay: rig run --plan mine.toml --fs ext4 --workload usual,random --policy naive"
    assert said in head(seat)


def test_without_a_split_driver_no_policy_is_asked_for() -> None:
    seat = Seat(Settings(Plan(name="calm"), split=False))
    assert "--policy" not in head(seat)


@pytest.mark.parametrize(
    ("verdict", "findings", "expect", "classes"),
    [
        ("pass so far", (), Expect.PASS, ()),
        ("indeterminate: given up", (), Expect.INDETERMINATE, ()),
        (
            "fail: x",
            ("Medium view, LBA 7: corrupt: a bit is turned; generation 1 should be there.",),
            Expect.FAIL,
            (DataClass.CORRUPT,),
        ),
        (
            "fail: x",
            ("Host view, LBA 7: old data: generation 1 is there, generation 2 should be.",),
            Expect.FAIL,
            (DataClass.LOST, DataClass.STALE, DataClass.FOREIGN, DataClass.ZEROED),
        ),
        ("", (), Expect.PASS, ()),
    ],
)
def test_what_has_come_out_is_expected(
    seat: Seat,
    verdict: str,
    findings: tuple[str, ...],
    expect: Expect,
    classes: tuple[DataClass, ...],
) -> None:
    seat.deeds.change(verdict=verdict, findings=findings)
    plan = saved(seat)
    assert (plan.expect, plan.classes) == (expect, classes)


# The size


def test_a_replay_writes_for_as_long_as_the_last_moment_wants() -> None:
    plan = parse_plan('name = "p"\n[[fault]]\nlayer = "medium"\nop = "write"\nat_s = 55.0\n', "p")
    seen = LIVE
    quick = 2e6  # of the sample
    wanted = (55.0 + 5.0) * quick * 1.5 / (1 << 20)
    assert replay_mib(plan.faults, seen, 1, ["usual"]) == pytest.approx(wanted, abs=1)
    assert replay_mib(plan.faults, seen, 2, ["usual"]) == pytest.approx(wanted / 2, abs=1)
    assert replay_mib(plan.faults, seen, 1, ["random"]) == pytest.approx(wanted * 2, abs=1)


def test_a_replay_writes_as_many_matches_as_a_rule_counts() -> None:
    plan = parse_plan('name = "p"\n[[fault]]\nlayer = "medium"\nop = "write"\nnth = 800\n', "p")
    assert replay_mib(plan.faults, LIVE, 1, ["usual"]) == 100


def test_moments_beyond_what_a_run_can_write_are_told() -> None:
    seat = Seat(Settings(Plan(name="calm"), most_mib=100))
    seat.deeds.change(samples=(Sample(1.0, 5e6, 0.0),))
    seat.ask(f"{RULE} at_s=0", at_s=60.0)
    *_, said = seat.ask(f"save {FILE}")
    assert "room for 100 MiB" in said
    assert "--mib 100" in seat.files[FILE]


# All of it

LINES = st.one_of(
    st.sampled_from(
        [
            *(f"recipe {name}" for name in RECIPES),
            *("undo", "unplug", "unplug 3", "plug", "kill back", "note x", "pause", "go", "verify"),
            *("policy naive", "workload random", "reset", "release"),
        ]
    ),
    st.tuples(
        st.sampled_from(["fire", "disarm", "rearm", "remove"]), st.sampled_from(list(RECIPES)[:3])
    ).map(" ".join),
    st.sampled_from(list(RECIPES)[:3]).map("recipe {}".format),
)


@given(st.lists(st.tuples(LINES, st.booleans()), max_size=25))
def test_whatever_was_done_makes_a_good_plan(lines: list[tuple[str, bool]]) -> None:
    seat = Seat()
    seat.deeds.change(ports=())
    for number, (line, fires) in enumerate(lines):
        try:
            seat.ask(line, at_s=10.0 + number)
        except RigError:
            continue
        for row in seat.deeds.now.faults if fires else ():
            seat.deeds.fired(row.name, row.planned if row.planned > 0 else 1)
    plan = saved(seat)
    assert len({rule.name for rule in plan.faults}) == len(plan.faults)
    assert all(rule.phase for rule in plan.faults)
