"""Passes of workloads on a disk: what the workload's daemon is asked for, and what counts."""

from __future__ import annotations

import dataclasses
from contextlib import AbstractContextManager, nullcontext
from types import SimpleNamespace
from typing import Any, cast

import pytest

from rig.experiments.run.disturbance import Followed
from rig.experiments.run.options import RunOptions, check_wishes
from rig.experiments.run.passes import LongUse, Place
from rig.experiments.run.use import WRITINGS
from rig.integrity.workloads.table import WORKLOADS, workload
from rig.lab.machine_faults import NotBackError
from rig.session.live.start import SMALLEST_LUN_MIB, session_options

BYTES = 1 << 20
USUAL, RANDOM = workload("usual"), workload("random")


class Daemon:
    """Notes what it is asked for; writes as `outcomes` say, one after the other."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.outcomes: list[dict[str, Any]] = []
        self.events: list[dict[str, Any]] = []
        self.written = 0
        self.refuses = ""

    def ask(self, do: str, deadline_s: float = 0.0, **args: Any) -> Any:
        self.asked.append((do, args))
        match do:
            case "write" | "write_again":
                self.written += 100
                usual = {"stopped": "", "given_up_blocks": 0, "written_bytes": self.written}
                return usual | (self.outcomes.pop(0) if self.outcomes else {})
            case "revive" if self.refuses:
                return {"refused": self.refuses}
            case "status":
                place = {"fs": "ext4", "node": "/dev/sda1", "start_lba": 2048, "count": 9}
                return [place | {"target": "/run/rig/mnt/ext4", "files": []}]
        return []

    def ask_hearing(self, do: str, hear: object, deadline_s: float, **args: Any) -> Any:
        return self.ask(do, deadline_s, **args)

    def of(self, *commands: str) -> list[dict[str, Any]]:
        return [args for do, args in self.asked if do in commands]


class World:
    def __init__(self, file_systems: str = "ext4") -> None:
        self.daemon = Daemon()
        self.follows: list[Followed | NotBackError] = []
        options = check_wishes("calm", file_systems, "6.12", None)
        self.options: RunOptions = dataclasses.replace(options, bytes_each=BYTES)
        self.use = LongUse(
            cast("Any", self.daemon),
            self.options,
            1,
            disturbance=cast("Any", SimpleNamespace(follow=self._follow, hear=None)),
            part=self._part,
        )

    def _follow(self, daemon: object, *, suspect: bool) -> Followed:
        told = self.follows.pop(0) if self.follows else Followed(moved=False)
        if isinstance(told, NotBackError):
            raise told
        return told

    @staticmethod
    def _part(name: str) -> AbstractContextManager[None]:
        return nullcontext()


@pytest.fixture
def world() -> World:
    return World()


def test_the_first_pass_makes_the_files_and_the_next_writes_them_again(world: World) -> None:
    for _ in range(3):
        assert world.use.write_pass("ext4", USUAL) == ""
    assert [do for do, _ in world.daemon.asked] == ["write", "write_again", "write_again"]
    assert world.daemon.of("write_again") == [{"fs": "ext4", "writing": 0}] * 2


def test_a_workload_that_is_taken_up_again_goes_on_with_its_own_files(world: World) -> None:
    for kind in (USUAL, RANDOM, USUAL, RANDOM):
        world.use.write_pass("ext4", kind)
    assert [args["writing"] for args in world.daemon.of("write_again")] == [0, 1]


def test_what_is_promised_is_of_the_workloads_that_were_begun(world: World) -> None:
    assert world.use.promised_sectors == {"ext4": 0}
    world.use.write_pass("ext4", USUAL)
    assert world.use.promised_sectors == {"ext4": BYTES // 512}
    world.use.write_pass("ext4", RANDOM)
    assert world.use.promised_sectors == {"ext4": (BYTES + BYTES // 2) // 512}


def test_workloads_on_the_raw_device_lie_one_behind_the_other() -> None:
    world = World("raw")
    for kind in (USUAL, RANDOM):
        world.use.write_pass("raw", kind)
    first, second = world.daemon.of("write")
    assert "first_block" not in first
    assert second["first_block"] * second["block_bytes"] == BYTES


def test_octets_are_counted_once_although_a_writing_counts_all_of_its_passes(world: World) -> None:
    for _ in range(3):
        world.use.write_pass("ext4", USUAL)
    assert world.use.octets == 300


def test_a_pass_that_did_not_write_all_says_why_and_the_next_may_mend_it(world: World) -> None:
    world.daemon.outcomes = [{"given_up_blocks": 3}]
    assert "could not be confirmed" in world.use.write_pass("ext4", USUAL)
    assert world.use.write_pass("ext4", USUAL) == ""
    world.use.end_passes()
    assert world.use.unproven == []


def test_what_the_last_pass_left_open_is_written_again_in_the_end(world: World) -> None:
    world.daemon.outcomes = [{"given_up_blocks": 3}]
    world.use.write_pass("ext4", USUAL)
    world.use.end_passes()
    assert len(world.daemon.of("write_again")) == 1
    assert world.use.unproven == []


def test_what_cannot_be_confirmed_in_the_end_is_said(world: World) -> None:
    world.daemon.outcomes = [{"given_up_blocks": 3}] * 9
    world.use.write_pass("ext4", USUAL)
    world.use.end_passes()
    assert len(world.daemon.of("write", "write_again")) == WRITINGS
    (said,) = world.use.unproven
    assert said.startswith("Workload usual on ext4 did not write all")


def test_a_session_without_a_pass_proves_nothing(world: World) -> None:
    world.use.end_passes()
    assert world.use.unproven == ["Nothing was written."]


def test_what_was_promised_is_read_before_it_is_overwritten_behind_a_disk_that_went(
    world: World,
) -> None:
    world.daemon.outcomes = [{"stopped": "The device is gone."}]
    world.follows = [Followed(moved=True)]
    world.use.write_pass("ext4", USUAL)
    assert world.daemon.of("read_back") == [{"fs": "ext4"}]
    assert [one.fs for one in world.use.recoveries] == ["ext4"]
    assert world.use.moves == 1


def test_a_file_system_that_was_shut_down_on_a_disk_that_is_there_is_mounted_anew(
    world: World,
) -> None:
    world.daemon.outcomes = [{"stopped": "The file system became read-only."}]
    world.use.write_pass("ext4", USUAL)
    assert world.daemon.of("revive") == [{"fs": "ext4"}]


def test_a_disk_that_is_away_is_waited_for_as_long_as_somebody_has_patience(world: World) -> None:
    seen: list[NotBackError] = []
    away = NotBackError("It is away.")
    world.use.patience = cast("Any", SimpleNamespace(wait_for=seen.append))
    world.follows = [away, away, Followed(moved=True)]
    assert world.use.write_pass("ext4", USUAL) == ""
    assert seen == [away, away]


def test_without_patience_a_disk_that_is_away_is_an_error(world: World) -> None:
    world.follows = [NotBackError("It is away.")]
    with pytest.raises(NotBackError):
        world.use.write_pass("ext4", USUAL)


def test_the_places_of_file_systems_are_the_daemons(world: World) -> None:
    assert world.use.places() == [Place("ext4", "/dev/sda1", 2048, 9)]


def test_a_session_has_a_small_disk_a_relay_and_logs_of_urbs() -> None:
    options = session_options()
    assert options.plan.faults == ()
    assert options.relayed
    assert options.notes_urbs
    assert options.lun_mib == SMALLEST_LUN_MIB


def test_a_sessions_disk_has_room_for_every_workload_on_each_file_system() -> None:
    options = session_options(file_systems="ext4,btrfs,vfat", bytes_each=8 << 20)
    needed = sum(kind.sizes(8 << 20)["bytes_total"] for kind in WORKLOADS.values())
    assert options.partition_bytes > 2 * needed


def test_without_the_split_driver_a_session_has_neither_relay_nor_logs() -> None:
    options = session_options(driver="direct")
    assert not options.relayed
    assert not options.notes_urbs


def given_up(world: World) -> None:
    world.use.prepare("/dev/sda")
    world.use.write_pass("ext4", USUAL)
    world.follows = [Followed(moved=True, lost={"ext4": "it cannot be mounted"})]
    world.use.follow()
    assert world.use.names == []
    assert world.use.can_be_taken_up


def test_what_was_given_up_is_mounted_and_read_before_it_is_written_again(world: World) -> None:
    given_up(world)
    (said,) = world.use.take_up()
    assert said.startswith("ext4 is in use again")
    assert world.use.names == ["ext4"]
    assert [do for do, _ in world.daemon.asked[-3:]] == ["revive", "read_back", "map"]
    assert not world.use.can_be_taken_up


def test_what_cannot_be_mounted_stays_given_up_for_the_newer_reason(world: World) -> None:
    given_up(world)
    world.daemon.refuses = "it is worse now"
    assert world.use.take_up() == []
    assert world.use.given_up == {"ext4": "it is worse now"}


def test_what_was_never_made_cannot_be_taken_up(world: World) -> None:
    world.use.give_up_all("the disk could not be partitioned")
    assert not world.use.can_be_taken_up
    assert world.use.take_up() == []


def test_when_the_disk_was_seen_is_known_only_after_it_was(world: World) -> None:
    assert world.use.looked_s is None
    world.follows = [NotBackError("It hides.")]
    with pytest.raises(NotBackError):
        world.use.follow()
    assert world.use.looked_s is None
    world.use.follow()
    assert world.use.looked_s is not None
