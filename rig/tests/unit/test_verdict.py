from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from rig.integrity.judgement import Finding, Guilty, Judgement, SectorClass, View, told
from rig.report.verdict import (
    CheckedFileSystem,
    Evidence,
    FaultRule,
    Faults,
    Outcome,
    decide,
)

CLEAN = CheckedFileSystem("ext4", True, 0, "clean")
DAMAGED = CheckedFileSystem("vfat", False, 1, "Checking.\nThe FATs differ.\n")
FIRED = FaultRule("cut", "endpoint", 2, 2)
MISSED = FaultRule("cut", "endpoint", 2, 1)


def judgement(*sentences: str, ok: int = 0, indeterminate: int = 0) -> Judgement:
    findings = [
        Finding(View.HOST, SectorClass.LOST, 7, None, "", None, "", "", 1, sentence=sentence)
        for sentence in sentences
    ]
    counts = dict.fromkeys(SectorClass, 0) | {
        SectorClass.OK: ok,
        SectorClass.INDETERMINATE: indeterminate,
        SectorClass.LOST: len(findings),
    }
    return Judgement(counts, findings)


def faults(*rules: FaultRule) -> Faults:
    return Faults.of(rules)


def test_right_data_clean_file_systems_and_fired_faults_pass() -> None:
    evidence = Evidence({"host": judgement(ok=8)}, (CLEAN,), faults(FIRED))
    assert decide(evidence) == (Outcome.PASS, ())


def test_a_finding_in_any_view_fails() -> None:
    evidence = Evidence({"host": judgement(ok=8), "arrival": judgement("LBA 7 is wrong.")})
    assert decide(evidence) == (Outcome.FAIL, ("LBA 7 is wrong.",))


def test_findings_are_told_in_the_order_of_the_views() -> None:
    views = {"host": judgement("One.", "Two."), "medium": judgement("Three.")}
    assert decide(Evidence(views))[1] == ("One.", "Two.", "Three.")


LOST = Finding(View.HOST, SectorClass.LOST, 7, None, "/mnt/a", 512, "write 2", "write 1", 1)


def test_what_two_views_show_alike_is_told_once_and_names_both() -> None:
    in_medium = told(replace(LOST, view=View.MEDIUM))
    counts = dict.fromkeys(SectorClass, 0)
    views = {
        "host": Judgement(counts, [told(LOST), told(replace(LOST, lba=9))]),
        "medium": Judgement(counts, [in_medium, told(replace(LOST, view=View.MEDIUM, lba=11))]),
        "arrival": Judgement(counts, [told(replace(LOST, view=View.ARRIVAL, arrival=3))]),
    }
    reasons = decide(Evidence(views))[1]
    assert [reason.partition(" (")[0] for reason in reasons] == [
        "Host and medium views, LBA 7",
        "Host view, LBA 9",
        "Medium view, LBA 11",
        "Arrival view, LBA 7",
    ]
    assert reasons[0] == in_medium.sentence.replace("Medium view", "Host and medium views")


def test_views_that_blame_others_are_told_one_by_one() -> None:
    blamed = replace(LOST, view=View.MEDIUM, guilty=Guilty.MEDIUM, because="it lies")
    counts = dict.fromkeys(SectorClass, 0)
    views = {"host": Judgement(counts, [told(LOST)]), "medium": Judgement(counts, [told(blamed)])}
    assert len(decide(Evidence(views))[1]) == 2


def test_a_damaged_file_system_fails_with_its_checkers_last_word() -> None:
    outcome, reasons = decide(Evidence({"host": judgement(ok=8)}, (CLEAN, DAMAGED)))
    assert outcome is Outcome.FAIL
    assert reasons == ("vfat is damaged: The FATs differ.",)


@pytest.mark.parametrize("output", ["", "\n \n"])
def test_a_silent_checker_is_told_as_such(output: str) -> None:
    damaged = CheckedFileSystem("xfs", False, 1, output)
    assert decide(Evidence({}, (damaged,)))[1] == ("xfs is damaged: its checker said nothing",)


def test_wrong_data_is_told_before_a_damaged_file_system() -> None:
    reasons = decide(Evidence({"host": judgement("LBA 7 is wrong.")}, (DAMAGED,)))[1]
    assert reasons == ("LBA 7 is wrong.", "vfat is damaged: The FATs differ.")


def test_sectors_that_no_fsync_confirmed_leave_it_open() -> None:
    views = {"host": judgement(indeterminate=3), "medium": judgement(indeterminate=2)}
    outcome, reasons = decide(Evidence(views))
    assert outcome is Outcome.INDETERMINATE
    assert [reason.split()[0] for reason in reasons] == ["5"]


def test_a_fault_that_fired_too_rarely_leaves_it_open() -> None:
    outcome, reasons = decide(Evidence({"host": judgement(ok=8)}, (), faults(FIRED, MISSED)))
    assert outcome is Outcome.INDETERMINATE
    assert reasons == ("Fault 'cut' fired 1 times of 2.",)


def test_a_fault_without_limit_that_never_fired_leaves_it_open() -> None:
    never = FaultRule("cut", "endpoint", -1, 0)
    outcome, reasons = decide(Evidence({"host": judgement(ok=8)}, (), faults(never)))
    assert (outcome, reasons) == (Outcome.INDETERMINATE, ("Fault 'cut' never fired.",))


def test_a_fault_without_limit_needs_to_fire_once_only() -> None:
    once = FaultRule("cut", "endpoint", -1, 1)
    assert decide(Evidence({"host": judgement(ok=8)}, (), faults(once)))[0] is Outcome.PASS


def test_what_the_run_did_not_do_is_told_first() -> None:
    evidence = Evidence(
        {"host": judgement(indeterminate=1)}, (), faults(MISSED), ("The workload stopped.",)
    )
    outcome, reasons = decide(evidence)
    assert outcome is Outcome.INDETERMINATE
    assert reasons[0] == "The workload stopped."
    assert len(reasons) == 3


def test_wrong_data_outweighs_all_that_is_open() -> None:
    evidence = Evidence(
        {"host": judgement("LBA 7 is wrong.", indeterminate=1)},
        (),
        faults(MISSED),
        ("The workload stopped.",),
    )
    assert decide(evidence) == (Outcome.FAIL, ("LBA 7 is wrong.",))


def test_firings_without_limit_are_not_planned() -> None:
    total = faults(FIRED, FaultRule("slow", "medium", -1, 5))
    assert (total.planned, total.fired) == (2, 7)


RULES = st.builds(
    FaultRule,
    rule=st.just("r"),
    layer=st.just("endpoint"),
    planned=st.integers(-1, 3).filter(bool),
    fired=st.integers(0, 3),
)
VIEWS = st.builds(
    judgement,
    ok=st.integers(0, 2),
    indeterminate=st.integers(0, 2),
)
WRONG = st.builds(judgement, st.just("Wrong."))


@given(
    st.lists(st.one_of(VIEWS, WRONG), max_size=3),
    st.lists(st.sampled_from([CLEAN, DAMAGED]), max_size=2),
    st.lists(RULES, max_size=3),
    st.lists(st.just("Not all was done."), max_size=1),
)
def test_wrong_beats_open_beats_pass(
    views: Sequence[Judgement],
    checks: Sequence[CheckedFileSystem],
    rules: Sequence[FaultRule],
    unproven: Sequence[str],
) -> None:
    evidence = Evidence(
        {str(n): view for n, view in enumerate(views)},
        tuple(checks),
        faults(*rules),
        tuple(unproven),
    )
    outcome, reasons = decide(evidence)
    wrong = any(view.failed for view in views) or DAMAGED in checks
    rare = any(r.fired < (r.planned if r.planned > 0 else 1) for r in rules)
    unsure = any(view.counts[SectorClass.INDETERMINATE] for view in views)
    if wrong:
        assert outcome is Outcome.FAIL
    elif rare or unsure or unproven:
        assert outcome is Outcome.INDETERMINATE
    else:
        assert outcome is Outcome.PASS
    assert bool(reasons) == (outcome is not Outcome.PASS)
