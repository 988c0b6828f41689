"""Whether a run's data bring the faults of its plan to their turn, and what is said if not."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from rig.errors import MachineError, UserError
from rig.experiments.run import run
from rig.experiments.run.options import RunOptions, check_wishes
from rig.experiments.run.reach import explained, phase_of, unlikely
from rig.faults.load import shipped_plans
from rig.faults.phases import Phase
from rig.integrity.filesystems import MIB
from rig.progress import Silent
from rig.report.verdict import Evidence, FaultRule, Faults, Outcome, decide

PLAN = """name = "one"
seed = 1
[[fault]]
name = "late"
layer = "medium"
op = "write"
phase = "write"
error = "EIO"
"""


def options(keys: str, tmp_path: Path, mib: int = 1, **more: int) -> RunOptions:
    """A run on vfat under a plan with one rule about the medium's writes."""
    file = tmp_path / "plan.toml"
    file.write_text(PLAN + keys)
    return check_wishes(str(file), "vfat", "6.12", None, bytes_each=mib * MIB, **more)  # type: ignore[arg-type]


def mib_of(sentence: str) -> int:
    """The size that a sentence tells to give."""
    return int(sentence.partition("--mib ")[2].split()[0])


@pytest.mark.parametrize("name", shipped_plans())
def test_shipped_plans_are_reached_by_the_usual_size(name: str) -> None:
    attachment = "dummy" if "cable" not in name else None
    found = check_wishes(name, "ext4,vfat", "6.12", None, attachment=attachment)
    assert list(unlikely(found)) == []


@pytest.mark.parametrize(
    "keys", ["nth = 600", "every = 600", "nth = 1\nspace = 9000000", "nth = 590\ntimes = 11"]
)
def test_a_fault_far_behind_what_is_written_is_called_unlikely(keys: str, tmp_path: Path) -> None:
    (told,) = unlikely(options(keys, tmp_path))
    often = " 11 times" if "times" in keys else ""
    assert f"Fault 'late' will hardly fire{often}: that takes" in told
    enough = mib_of(told)
    assert 5 <= enough <= 10
    assert not list(unlikely(options(keys, tmp_path, enough)))


class Notes(Silent):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def note(self, text: str) -> None:
        """See `Silent.note`."""
        self.told.append(text)


def test_a_run_says_so_before_its_machines_boot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_image(*_: object) -> None:
        raise MachineError("There is no image.")

    monkeypatch.setattr(run, "basis", no_image)
    notes = Notes()
    with pytest.raises(MachineError):
        run.run(options("nth = 600", tmp_path), tmp_path / "out", notes)
    (told,) = notes.told
    assert "will hardly fire" in told


@pytest.mark.parametrize("keys", ["nth = 80", "probability = 0.001", "at_s = 60.0"])
def test_of_what_may_be_reached_nothing_is_said(keys: str, tmp_path: Path) -> None:
    assert not list(unlikely(options(keys, tmp_path)))


def test_what_no_size_brings_is_called_so(tmp_path: Path) -> None:
    (told,) = unlikely(options("nth = 100000000", tmp_path))
    assert "No --mib brings enough" in told


def test_only_rules_about_stamped_data_are_estimated() -> None:
    demo = {
        rule.name: phase_of(rule) for rule in check_wishes("demo", "vfat", "6.12", None).plan.faults
    }
    assert demo["write-lost"] is demo["medium-refuses"] is Phase.WRITE
    assert demo["read-lost"] is Phase.READ
    assert demo["status-lost"] is demo["command-lost"] is None


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ("nth = 600", "it waits for match 600, and fewer came. Give --mib 8 or more"),
        ("nth = 90", "it waits for match 90, and fewer came. Give --mib 2 or more"),
        ("nth = 600\ntimes = 2", "match 600 and those up to 601, and fewer"),
        ("every = 700", "it waits for every 700th match, and fewer came"),
        ("every = 70\ntimes = 9", "it waits for every 70th match, 9 times, and fewer came"),
        ("nth = 1\nspace = 9000000", "match 1 behind 9000000 bytes, and fewer came"),
        ("probability = 0.001", "each match had a chance of 0.001 only. Give --mib 2"),
        ("at_s = 60.0", "it waits for 60 s, and no match came then. Give --mib 2"),
    ],
)
def test_a_fault_that_did_not_fire_is_told_with_the_mend(
    keys: str, said: str, tmp_path: Path
) -> None:
    missed = Faults.of((FaultRule("late", "medium", 2, 0),))
    evidence = Evidence({}, faults=explained(missed, options(keys, tmp_path)))
    outcome, (reason,) = decide(evidence)
    assert outcome is Outcome.INDETERMINATE
    assert reason.startswith("Fault 'late' fired 0 times of 2: ")
    assert said in reason


def test_where_the_estimate_was_wrong_twice_as_much_is_asked_for(tmp_path: Path) -> None:
    missed = Faults.of((FaultRule("late", "medium", 1, 0),))
    (rule,) = explained(missed, options("nth = 10", tmp_path, 3)).rules
    assert mib_of(rule.why) == 6


def test_of_what_fired_or_was_not_planned_nothing_is_said(tmp_path: Path) -> None:
    told = Faults.of((FaultRule("late", "medium", 1, 1), FaultRule("other", "medium", 1, 0)))
    assert explained(told, options("nth = 1", tmp_path)) == told


def test_blocks_beyond_the_disk_are_refused_with_the_size_that_has_them(tmp_path: Path) -> None:
    keys = "nth = 1\nlba = [300000, 300010]"
    with pytest.raises(UserError, match="would never fire") as told:
        options(keys, tmp_path)
    enough = mib_of(told.value.hint or "")
    assert options(keys, tmp_path, enough).lun_bytes > 300_000 * 512
    with pytest.raises(UserError):
        options(keys, tmp_path, enough - 1)
    with pytest.raises(UserError) as told:
        options(keys, tmp_path, lun_mib=64)
    assert told.value.hint == "Give --lun-mib 147 or more, or other LBAs."
    assert options(keys, tmp_path, lun_mib=147).lun_mib == 147


def test_a_verdict_of_a_former_rig_has_no_reason_why(tmp_path: Path) -> None:
    told = {"rule": "late", "layer": "medium", "planned": 1, "fired": 0}
    assert msgspec.convert(told, FaultRule).why == ""
