from __future__ import annotations

import json
import os
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rig.errors import UserError
from rig.integrity.judgement import Finding, SectorClass, View
from rig.report.rundir import RunDirectory
from rig.report.summary import summarize
from rig.report.verdict import CheckedFileSystem, FaultRule, Faults, Outcome, Verdict

VERDICT = Verdict(
    verdict=Outcome.FAIL,
    reasons=("Host view, LBA 9: zeroed.",),
    sectors=dict.fromkeys(SectorClass, 0) | {SectorClass.ZEROED: 1},
    views={"host": {SectorClass.ZEROED: 1}},
    findings=(
        Finding(View.HOST, SectorClass.ZEROED, 9, None, "/mnt/ä", 512, "x", "zeros", 1, 4, "Zero."),
    ),
    checks=(CheckedFileSystem("ext4", True, 0, "clean\n"),),
    faults=Faults.of((FaultRule("cut", "endpoint", 1, 1),)),
    durations_s={"boot": 1.25, "total": 2.5},
    kernel="6.12.9-amd64",
    policy="hold",
    seed=2005,
    plan="demo",
    file_systems=("ext4",),
    attachment="dummy",
    link="tcp",
    accelerator="kvm",
    boot_retries=1,
    rig_version="0.1.0",
)


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("time.strftime", lambda form: "20250102-030405")


def test_a_run_directory_is_named_by_time_and_run() -> None:
    directory = RunDirectory.create("demo")
    assert directory.path == Path("runs/20250102-030405-demo")
    assert directory.path.is_dir()


def test_runs_of_the_same_second_get_directories_of_their_own() -> None:
    names = [RunDirectory.create("demo").path.name for _ in range(3)]
    assert names == [f"20250102-030405-demo{end}" for end in ("", "-2", "-3")]


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("two words", "two-words"),
        ("../../etc", "..-..-etc"),
        ("a/b\nc", "a-b-c"),
        ("Größe", "Gr-e"),
        ("..", ".."),
        ("-rf", "-rf"),
        ("x" * 300, "x" * 80),
    ],
)
def test_a_runs_name_never_leaves_the_directory_of_runs(name: str, safe: str) -> None:
    assert RunDirectory.create(name).path == Path("runs") / f"20250102-030405-{safe}"


def test_a_named_directory_is_made_with_its_parents(tmp_path: Path) -> None:
    assert RunDirectory.create("demo", tmp_path / "a" / "b").path.is_dir()
    assert not Path("runs").exists()


def test_an_empty_directory_is_taken(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    assert RunDirectory.create("demo", tmp_path / "out").path == tmp_path / "out"


def test_a_directory_that_holds_something_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".hidden").write_text("mine")
    with pytest.raises(UserError, match=r"out' is not empty\. Name another with --out\."):
        RunDirectory.create("demo", tmp_path / "out")
    assert (tmp_path / "out" / ".hidden").read_text() == "mine"


@pytest.mark.parametrize("name", ["file", "file/below"])
def test_a_file_in_the_way_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=f"/{name}' cannot be made: "):
        RunDirectory.create("demo", tmp_path / name)


def test_a_file_named_runs_is_in_the_way() -> None:
    Path("runs").touch()
    with pytest.raises(UserError, match="cannot be made: File exists"):
        RunDirectory.create("demo")


def test_a_directory_that_cannot_be_written_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Not by its mode: root may write everywhere.
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(UserError, match="cannot be made: Permission denied"):
        RunDirectory.create("demo", tmp_path / "out")


def test_an_unused_directory_is_discarded() -> None:
    directory = RunDirectory.create("demo")
    directory.discard()
    assert not directory.path.exists()


def test_a_used_directory_is_kept() -> None:
    directory = RunDirectory.create("demo")
    directory.write("seed", "1\n")
    directory.discard()
    assert directory.file("seed").read_text() == "1\n"


def test_the_verdict_reads_back_as_it_was() -> None:
    directory = RunDirectory.create("demo")
    directory.conclude(VERDICT)
    written = directory.file("verdict.json").read_bytes()
    assert msgspec.json.decode(written, type=Verdict) == VERDICT


def test_the_verdict_has_the_promised_keys() -> None:
    directory = RunDirectory.create("demo")
    directory.conclude(VERDICT)
    told = json.loads(directory.file("verdict.json").read_text())
    assert told["verdict"] == "fail"
    assert told["sectors"]["zeroed"] == 1
    assert set(told["sectors"]) == {str(c) for c in SectorClass}
    assert (told["faults"]["planned"], told["faults"]["fired"]) == (1, 1)
    assert told["durations_s"]["total"] == 2.5
    assert (told["kernel"], told["policy"], told["seed"]) == ("6.12.9-amd64", "hold", 2005)


def test_the_summary_lies_beside_the_verdict() -> None:
    directory = RunDirectory.create("demo")
    directory.conclude(VERDICT)
    assert directory.file("summary.txt").read_text() == summarize(VERDICT)


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=400))
def test_any_name_gives_one_directory_below_runs(name: str) -> None:
    directory = RunDirectory.create(name)
    assert [p.name for p in directory.path.parents] == ["runs", ""]
    directory.path.rmdir()
