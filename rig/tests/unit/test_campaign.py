"""Campaigns: each job is done once, wherever there is a place; no place's fault is a verdict."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from rig.campaign import attempts
from rig.campaign.campaign import Campaign
from rig.campaign.jobs import Done, Job, listed, plans
from rig.campaign.places import Places
from rig.campaign.rendering import Pool
from rig.campaign.report import LOCK, Report, claimed, finished_before
from rig.errors import MachineError, UserError
from rig.report.verdict import Outcome
from rig.tests.harness.fake_desk import FakeDesk, Office
from rig.tests.harness.stub_run import MANNERS
from rig.tests.unit.test_campaign_rendering import POOL


class Bench:
    """A campaign of stubs on places of a coordinator in memory.

    Args:
        directory: For all its files.
        names: Of the places.
    """

    def __init__(self, directory: Path, *names: str) -> None:
        self.directory = directory
        self.office = Office()
        for name in names:
            self.office.add(name)
        self.manners = directory / "manners.json"
        self.manners.write_text("{}")
        (directory / "pool.yaml").write_text(POOL)
        self.out = directory / "out"
        self.said: list[str] = []

    def run(self, jobs: list[Job], workers: int = 2, done: dict[str, Done] | None = None) -> Report:
        private = self.directory / "private"
        for made in (self.out, private):
            made.mkdir(exist_ok=True)
        desk = FakeDesk(self.office)
        campaign = Campaign(
            desk,
            Places(desk, {}, self.said.append),
            Pool(self.directory / "pool.yaml"),
            jobs,
            done or {},
            directory=self.out,
            private=private,
            more=[],
            wait_s=20.0,
            tell=self.said.append,
        )
        return campaign.run(workers)

    def behave(self, **manners: str) -> None:
        """Say how runs end at a place; elsewhere they pass."""
        self.manners.write_text(json.dumps(manners))


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    made = Bench(tmp_path, "lab1", "lab2")
    monkeypatch.setattr(attempts, "RIG", (sys.executable, "-m", "rig.tests.harness.stub_run"))
    monkeypatch.setenv(MANNERS, str(made.manners))
    return made


def jobs(count: int) -> list[Job]:
    return listed({"demo": "text"}, ["vfat"], count, "")


def test_every_job_is_done_once_and_every_place_is_given_back(bench: Bench) -> None:
    report = bench.run(jobs(4))
    assert [one.outcome for one in report.done] == [Outcome.PASS] * 4
    assert sum(report.places.values()) == 4
    assert report.verdict is Outcome.PASS
    assert {place.holder for place in bench.office.places.values()} == {""}
    assert {path.name for path in bench.out.glob("*/verdict.json")} == {"verdict.json"}
    assert not list((bench.directory / "private").iterdir())


def test_a_place_whose_machines_fail_is_broken_and_its_job_goes_elsewhere(bench: Bench) -> None:
    bench.behave(lab1="down")
    report = bench.run(jobs(3), workers=1)
    assert report.verdict is Outcome.PASS
    assert report.broken == {"lab1": "Machine 'back': reached: no."}
    assert report.places == {"lab2": 3}
    first = report.done[0].attempts[0]
    assert (first.place, first.is_places_fault, first.directory) == (
        "lab1",
        True,
        "demo-vfat-1.attempt1",
    )
    assert bench.office.places["lab1"].tags["rig"] == "broken"
    assert (bench.out / first.directory / "verdict.json").exists()


def test_wrong_data_on_a_sound_place_is_the_drivers(bench: Bench) -> None:
    bench.behave(lab1="fail", lab2="fail")
    report = bench.run(jobs(1))
    assert (report.verdict, report.done[0].why) == (Outcome.FAIL, "It is fail.")
    assert len(report.done[0].attempts) == 1
    assert not report.broken


def test_a_run_that_fails_where_nothing_is_lacking_is_done_once_more(bench: Bench) -> None:
    bench.behave(lab1="odd", lab2="odd")
    report = bench.run(jobs(1))
    assert report.done[0].outcome is Outcome.INFRASTRUCTURE
    assert len(report.done[0].attempts) == 2
    assert not report.broken


def test_a_job_under_which_places_fail_does_not_take_all_of_them(bench: Bench) -> None:
    names = ["lab1", "lab2", "lab3", "lab4"]
    for name in names:
        bench.office.add(name)
    bench.behave(**dict.fromkeys(names, "down"))
    report = bench.run(jobs(1))
    assert len(report.broken) == 3
    assert report.done[0].outcome is Outcome.INFRASTRUCTURE


def test_jobs_for_which_no_place_is_left_are_told(bench: Bench) -> None:
    bench.behave(lab1="down", lab2="down")
    report = bench.run(jobs(3))
    assert report.verdict is Outcome.INFRASTRUCTURE
    assert [job.name for job in report.left] == [job.name for job in jobs(3)]
    assert any("No place is left" in said for said in bench.said)


def test_what_a_run_refuses_ends_the_campaign(bench: Bench) -> None:
    bench.behave(lab1="usage", lab2="usage")
    with pytest.raises(UserError, match="There is no such plan"):
        bench.run(jobs(5))
    assert {place.holder for place in bench.office.places.values()} == {""}


def test_a_place_without_what_a_lab_needs_is_broken(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(desk: FakeDesk, place: str) -> None:
        raise MachineError(f"Exporter 'pi' of place '{place}' is gone.")

    monkeypatch.setattr(FakeDesk, "resources", refuse)
    report = bench.run(jobs(1))
    assert report.broken["lab1"] == "Exporter 'pi' of place 'lab1' is gone."


def test_what_was_done_is_not_done_again(bench: Bench) -> None:
    bench.behave(lab1="indeterminate", lab2="indeterminate")
    bench.run(jobs(2))
    before = finished_before(jobs(3), bench.out)
    assert set(before) == {"demo-vfat-1", "demo-vfat-2"}
    bench.behave()
    report = bench.run(jobs(3), done=before)
    assert report.verdict is Outcome.INDETERMINATE
    assert report.places["lab1"] >= 1
    assert len(report.done) == 3


def test_jobs_that_are_another_now_or_said_nothing_are_done_again(bench: Bench) -> None:
    bench.behave(lab1="odd", lab2="odd")
    bench.run(jobs(1))
    assert finished_before(jobs(1), bench.out) == {}
    bench.behave()
    bench.run(jobs(1))
    assert set(finished_before(jobs(1), bench.out)) == {"demo-vfat-1"}
    assert finished_before(listed({"demo": "other"}, ["vfat"], 1, ""), bench.out) == {}


def test_all_plans_come_before_the_first_repetition() -> None:
    made = listed({"a": "", "dir/b.toml": ""}, ["vfat", "ext4,vfat"], 2, "")
    names = ["a-vfat", "a-ext4-vfat", "b-vfat", "b-ext4-vfat"]
    assert [job.name for job in made] == [f"{n}-{k}" for k in (1, 2) for n in names]


def test_two_plans_of_one_name_are_refused() -> None:
    with pytest.raises(UserError, match="Two jobs have the name 'a-vfat-1'"):
        listed({"one/a.toml": "", "two/a.toml": ""}, ["vfat"], 1, "")


def test_a_directory_stands_for_its_plans(tmp_path: Path) -> None:
    for name in ("b.toml", "a.toml", "c.txt"):
        (tmp_path / name).write_text("")
    found = plans(["demo", str(tmp_path)])
    assert found == ["demo", str(tmp_path / "a.toml"), str(tmp_path / "b.toml")]
    (tmp_path / "none").mkdir()
    with pytest.raises(UserError, match="has no fault plans"):
        plans([str(tmp_path / "none")])


def test_a_directory_is_one_campaigns_at_a_time(tmp_path: Path) -> None:
    with (
        claimed(tmp_path / "out"),
        pytest.raises(UserError, match="Another campaign"),
        claimed(tmp_path / "out"),
    ):
        pass
    with claimed(tmp_path / "out"):
        assert (tmp_path / "out" / LOCK).exists()


def test_a_directory_that_is_somebody_elses_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(UserError, match="not empty, and no campaign's"), claimed(tmp_path):
        pass
