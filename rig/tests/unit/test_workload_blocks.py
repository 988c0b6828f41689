"""The workload: what it tells is what it did, also when the kernel says no."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from rig.errors import UserError
from rig.integrity.filemap import Extent, FileMap, MappedFile
from rig.integrity.filesystems import FILE_SYSTEMS, FileSystem
from rig.integrity.judgement import Judgement, SectorClass, combine
from rig.integrity.ledger import Event, Flushed, WriteReturned, WriteStarted
from rig.integrity.model import Model
from rig.integrity.oracle import Oracle
from rig.integrity.scan import scan
from rig.integrity.stamp import SECTOR_BYTES, UNKNOWN_LBA, Stamp, decode
from rig.integrity.workloads import writing
from rig.integrity.workloads.blocks import Blocks
from rig.integrity.workloads.pen import Outcome
from rig.integrity.workloads.writing import Settings

SETTINGS = Settings(
    run_id=5, seed=1, files=2, bytes_total=128 << 10, block_bytes=4096, flush_bytes=16 << 10
)
BTRFS, VFAT = FILE_SYSTEMS["btrfs"], FILE_SYSTEMS["vfat"]


class Bench:
    """A workload on a plain directory, with a ledger at the other end."""

    def __init__(
        self, directory: Path, settings: Settings = SETTINGS, row: FileSystem = BTRFS
    ) -> None:
        self.events: list[Event] = []
        self.progress: list[tuple[int, int]] = []
        self.workload = Blocks(
            settings,
            row=row,
            directory=directory,
            start_lba=0,
            tell=self.events.extend,
            progress=lambda done, total: self.progress.append((done, total)),
        )

    def run(self) -> Outcome:
        return self.workload.run()

    def judge(self) -> Judgement:
        ledger = Model()
        ledger.apply_all(self.events)
        oracle = Oracle(ledger, FileMap([]), SETTINGS.run_id)
        return combine(
            oracle.judge_host(number, scan(path.read_bytes(), 0))
            for number, path in self.workload.paths.items()
        )

    def count(self, sector_class: SectorClass) -> int:
        return self.judge().counts[sector_class]


def failing(
    real: Callable[..., int | None], calls: set[int], number: int
) -> Callable[..., int | None]:
    """A system call that fails on its n-th calls, counted from 1."""
    count = 0

    def call(*args: object) -> int | None:
        nonlocal count
        count += 1
        if count in calls:
            raise OSError(number, os.strerror(number))
        return real(*args)

    return call


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


FSYNCS_OF_CREATION = 3
"""Two files and their directory."""


def test_a_workload_without_errors_leaves_every_sector_acknowledged(bench: Bench) -> None:
    outcome = bench.run()
    assert bench.judge().counts[SectorClass.OK] == SETTINGS.bytes_total // SECTOR_BYTES
    assert outcome == Outcome(
        files=[1, 2],
        written_bytes=(32 + 8) * 4096,
        errors=[],
        retries=0,
        given_up_blocks=0,
        stopped="",
    )


def test_the_second_pass_overwrites_a_quarter_chosen_by_the_seed(tmp_path: Path) -> None:
    chosen: list[list[tuple[int, int]]] = []
    for seed in (1, 1, 2):
        directory = tmp_path / str(len(chosen))
        directory.mkdir()
        bench = Bench(directory, msgspec.structs.replace(SETTINGS, seed=seed))
        bench.run()
        starts = [e for e in bench.events if isinstance(e, WriteStarted) and e.generation == 2]
        chosen.append([(e.file_id, e.first_sector) for e in starts])
    assert chosen[0] == chosen[1] != chosen[2]
    assert len(set(chosen[0])) == 2 * 4


def test_a_write_is_told_before_it_begins(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.pwrite

    def pwrite(descriptor: int, data: bytes, at: int) -> int:
        stamp = decode(bytes(data[:SECTOR_BYTES]))
        assert isinstance(stamp, Stamp)
        told = {e.sequence for e in bench.events if isinstance(e, WriteStarted)}
        assert stamp.sequence in told
        return real(descriptor, data, at)

    monkeypatch.setattr(os, "pwrite", pwrite)
    bench.run()


def test_a_failed_fsync_is_retried_with_a_new_generation(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsync = failing(os.fsync, {FSYNCS_OF_CREATION + 2}, errno.EIO)
    monkeypatch.setattr(os, "fsync", fsync)
    outcome = bench.run()
    assert outcome.errors == [("fsync", 1, errno.EIO, 1)]
    assert (outcome.retries, outcome.given_up_blocks) == (1, 0)
    assert bench.count(SectorClass.OK) == SETTINGS.bytes_total // SECTOR_BYTES


def test_only_the_blocks_that_failed_are_written_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "pwrite", failing(os.pwrite, {2}, errno.EIO))
    outcome = bench.run()
    again = [e for e in bench.events if isinstance(e, WriteStarted) and e.generation == 2]
    assert [(e.file_id, e.first_sector) for e in again] == [(1, 8)]
    assert outcome.errors == [("write", 1, errno.EIO, 1)]
    assert bench.count(SectorClass.OK) == SETTINGS.bytes_total // SECTOR_BYTES


def test_a_block_that_always_fails_is_given_up_and_indeterminate(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = set(range(FSYNCS_OF_CREATION + 1, FSYNCS_OF_CREATION + 1 + SETTINGS.attempts))
    monkeypatch.setattr(os, "fsync", failing(os.fsync, tries, errno.EIO))
    outcome = bench.run()
    assert outcome.given_up_blocks == 4
    assert outcome.errors == [("fsync", 1, errno.EIO, SETTINGS.attempts)]
    judgement = bench.judge()
    assert not judgement.failed
    # Pass 2 confirms those of the four blocks that it overwrites.
    assert 0 <= judgement.counts[SectorClass.INDETERMINATE] <= 4 * 8


def test_a_file_system_that_became_read_only_ends_the_workload_with_a_sentence(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = set(range(6, 1000))
    monkeypatch.setattr(os, "pwrite", failing(os.pwrite, calls, errno.EROFS))
    outcome = bench.run()
    assert outcome.stopped == "Writing ended early: the file system became read-only."
    assert outcome.retries == 0
    assert not bench.judge().failed


def test_a_short_write_is_continued(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, data, at: real(fd, data[:1000], at))
    bench.run()
    assert bench.count(SectorClass.OK) == SETTINGS.bytes_total // SECTOR_BYTES


def test_stamps_carry_their_lba_once_an_in_place_map_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def mapped(
        paths: dict[int, Path], row: FileSystem, start_lba: int, *, moves: bool
    ) -> list[MappedFile]:
        assert not moves
        return [
            MappedFile(n, str(path), 65536, row.in_place, [Extent(0, 1000 * n, 128)])
            for n, path in paths.items()
        ]

    monkeypatch.setattr(writing, "map_files", mapped)
    bench = Bench(tmp_path, row=VFAT)
    bench.run()
    for number, path in bench.workload.paths.items():
        for run in scan(path.read_bytes(), 0):
            assert run.stamp is not None
            known = 1000 * number + run.sector
            assert run.stamp.lba == (known if run.stamp.generation > 1 else UNKNOWN_LBA)


def test_a_map_that_cannot_be_had_leaves_stamps_without_lbas(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def mapped(*_: object, **__: object) -> list[MappedFile]:
        raise OSError(errno.EIO, "cannot map")

    monkeypatch.setattr(writing, "map_files", mapped)
    bench = Bench(tmp_path, row=VFAT)
    assert bench.run().stopped == ""
    assert bench.count(SectorClass.OK) == SETTINGS.bytes_total // SECTOR_BYTES


def test_files_that_cannot_be_created_end_the_workload_and_say_why(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", failing(os.fsync, {1}, errno.EIO))
    outcome = bench.run()
    assert outcome.stopped == "The files could not be created: Input/output error."
    assert outcome.errors == [("create", 0, errno.EIO, 1)]
    assert bench.events == []


def test_writing_again_confirms_what_a_disk_that_went_away_left_open(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = set(range(FSYNCS_OF_CREATION + 2, 1000))
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", failing(os.fsync, gone, errno.ENODEV))
        assert bench.run().stopped
    assert bench.count(SectorClass.INDETERMINATE) > 0

    outcome = bench.workload.run_again()
    assert (outcome.stopped, outcome.given_up_blocks, outcome.errors) == ("", 0, [])
    assert bench.count(SectorClass.OK) == SETTINGS.bytes_total // SECTOR_BYTES
    assert bench.count(SectorClass.INDETERMINATE) == 0


def test_progress_ends_at_the_total(bench: Bench) -> None:
    bench.run()
    done, total = bench.progress[-1]
    assert done == total
    assert [d for d, _ in bench.progress] == sorted(d for d, _ in bench.progress)


def test_every_write_is_followed_by_its_end_and_a_flush(bench: Bench) -> None:
    bench.run()
    started = [e.sequence for e in bench.events if isinstance(e, WriteStarted)]
    returned = [e.sequence for e in bench.events if isinstance(e, WriteReturned)]
    assert started == returned == list(range(1, len(started) + 1))
    assert isinstance(bench.events[-1], Flushed)


@pytest.mark.parametrize(
    "wrong",
    [
        {"files": 0},
        {"block_bytes": 1000},
        {"bytes_total": 100_000},
        {"first_file_id": 0},
        {"attempts": 0},
        {"bytes_total": 0},
    ],
)
def test_impossible_settings_are_refused_before_anything_is_written(
    tmp_path: Path, wrong: dict[str, int]
) -> None:
    with pytest.raises(UserError):
        Bench(tmp_path, msgspec.structs.replace(SETTINGS, **wrong))
    assert list(tmp_path.iterdir()) == []
