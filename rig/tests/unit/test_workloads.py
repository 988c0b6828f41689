"""Every workload of the table: what it tells is what it did, also when the kernel says no."""

from __future__ import annotations

import errno
import mmap
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from rig.errors import UserError
from rig.integrity.filemap import FileMap
from rig.integrity.filesystems import FILE_SYSTEMS, RAW, FileSystem
from rig.integrity.judgement import Judgement, SectorClass, combine
from rig.integrity.ledger import ZEROS, CacheLost, Event, FlushStarted, WriteStarted
from rig.integrity.model import Model
from rig.integrity.oracle import Oracle
from rig.integrity.readback import read_back
from rig.integrity.scan import scan
from rig.integrity.stamp import SECTOR_BYTES
from rig.integrity.workloads.make import make_workload
from rig.integrity.workloads.pen import Outcome
from rig.integrity.workloads.table import USUAL, WORKLOADS, Kind, described, workload
from rig.integrity.workloads.writing import Settings

RUN_ID = 5
BYTES = 512 << 10
BTRFS, VFAT = FILE_SYSTEMS["btrfs"], FILE_SYSTEMS["vfat"]
KINDS = list(WORKLOADS)


def settings_of(kind: Kind, **more: Any) -> Settings:
    of_kind = {
        "passes": kind.passes,
        "again": kind.again,
        "order": kind.order,
        "access": kind.access,
        **kind.sizes(BYTES),
    }
    return Settings(**{"run_id": RUN_ID, "seed": 1, **of_kind, **more})


class Bench:
    """A workload in a plain directory, with a model at the other end."""

    def __init__(self, directory: Path, name: str, row: FileSystem = BTRFS, **more: Any) -> None:
        self.events: list[Event] = []
        self.progress: list[tuple[int, int]] = []
        kind = workload(name)
        self.settings = settings_of(kind, **more)
        self.workload = make_workload(
            kind.pattern,
            self.settings,
            row=row,
            directory=directory,
            start_lba=0,
            tell=self.events.extend,
            progress=lambda done, total: self.progress.append((done, total)),
        )

    def judge(self) -> Judgement:
        model = Model()
        model.apply_all(self.events)
        oracle = Oracle(model, FileMap([]), RUN_ID)
        return combine(
            oracle.judge_host(n, scan(path.read_bytes(), 0) if path.exists() else [])
            for n, path in self.workload.paths.items()
        )

    def count(self, sector_class: SectorClass) -> int:
        return self.judge().counts[sector_class]

    @property
    def sectors(self) -> int:
        return self.settings.bytes_total // SECTOR_BYTES


def failing(real: Callable[..., Any], calls: set[int], number: int) -> Callable[..., Any]:
    count = 0

    def call(*args: object) -> Any:
        nonlocal count
        count += 1
        if count in calls:
            raise OSError(number, os.strerror(number))
        return real(*args)

    return call


@pytest.mark.parametrize("name", KINDS)
def test_without_errors_every_sector_is_promised_and_there(tmp_path: Path, name: str) -> None:
    bench = Bench(tmp_path, name)
    outcome = bench.workload.run()
    assert (outcome.stopped, outcome.errors, outcome.given_up_blocks) == ("", [], 0)
    assert outcome.files == list(bench.workload.paths)
    judged = bench.judge()
    assert {c: n for c, n in judged.counts.items() if n} == {SectorClass.OK: bench.sectors}


@pytest.mark.parametrize("name", KINDS)
def test_progress_ends_at_the_total(tmp_path: Path, name: str) -> None:
    bench = Bench(tmp_path, name)
    bench.workload.run()
    done = [one for one, _ in bench.progress]
    assert done == sorted(done)
    assert bench.progress[-1][0] == bench.progress[-1][1]


@pytest.mark.parametrize("name", KINDS)
def test_writing_again_promises_all_that_a_lost_disk_left_open(tmp_path: Path, name: str) -> None:
    bench = Bench(tmp_path, name)
    bench.workload.run()
    bench.events.append(CacheLost())
    assert bench.workload.run_again().stopped == ""
    assert bench.count(SectorClass.OK) == bench.sectors


@pytest.mark.parametrize("name", [name for name in KINDS if name != "mmap"])
def test_an_fsync_that_fails_is_no_false_alarm(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(tmp_path, name, flush_bytes=4096)
    calls = set(range(8, 200, 7))
    monkeypatch.setattr(os, "fsync", failing(os.fsync, calls, errno.EIO))
    outcome = bench.workload.run()
    assert outcome.errors
    assert outcome.retries
    assert not bench.judge().failed


@pytest.mark.parametrize("name", KINDS)
def test_a_full_disk_ends_it_with_a_sentence_and_is_no_finding(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(tmp_path, name)
    full = set(range(6, 10_000))
    monkeypatch.setattr(os, "pwrite", failing(os.pwrite, full, errno.ENOSPC))
    outcome: Outcome = bench.workload.run()
    assert outcome.stopped == "Writing ended early: no space is left."
    assert not bench.judge().failed


@pytest.mark.parametrize("row", [BTRFS, VFAT], ids=lambda row: row.name)
@pytest.mark.parametrize("fails", ["replace", "sync"])
def test_a_replacement_that_was_cut_short_may_have_happened_or_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, row: FileSystem, fails: str
) -> None:
    bench = Bench(tmp_path, "truncate-rename", row)
    bench.workload.run()
    with monkeypatch.context() as patch:
        if fails == "replace":
            patch.setattr(Path, "replace", failing(Path.replace, set(range(99)), errno.EROFS))
        else:
            patch.setattr(
                "rig.integrity.workloads.replace.sync_directory",
                failing(lambda _: None, set(range(99)), errno.EROFS),
            )
        outcome = bench.workload.run_again()
    assert "became read-only" in outcome.stopped
    judged = bench.judge()
    assert not judged.failed
    assert judged.counts[SectorClass.INDETERMINATE] == bench.sectors // len(bench.workload.paths)


@pytest.mark.parametrize(("row", "lost"), [(BTRFS, True), (VFAT, False)], ids=["btrfs", "vfat"])
def test_only_where_a_rename_is_not_atomic_a_file_may_be_gone_after_a_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, row: FileSystem, lost: bool
) -> None:
    bench = Bench(tmp_path, "truncate-rename", row)
    bench.workload.run()
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", failing(Path.replace, set(range(99)), errno.ENODEV))
        bench.workload.run_again()
    bench.events.append(CacheLost())
    bench.workload.paths[1].unlink()
    assert (bench.count(SectorClass.LOST) > 0) is lost


def test_what_was_cut_off_is_told_as_zeros(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "truncate-rename")
    bench.workload.run()
    cuts = [e for e in bench.events if isinstance(e, WriteStarted) and e.generation == ZEROS]
    assert len(cuts) == bench.settings.files * bench.settings.passes
    assert not any(file.in_place for file in bench.workload.mapped())


def test_small_files_are_promised_only_with_their_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(tmp_path, "small-files", attempts=1, passes=1)
    monkeypatch.setattr(
        "rig.integrity.workloads.small.sync_directory",
        failing(lambda _: None, {2}, errno.EIO),
    )
    outcome = bench.workload.run()
    assert outcome.given_up_blocks == 16
    assert bench.count(SectorClass.INDETERMINATE) == 16 * 8


def test_writers_at_once_mix_and_each_of_their_flushes_is_told_when_it_begins(
    tmp_path: Path,
) -> None:
    bench = Bench(tmp_path, "writers", block_bytes=4096, bytes_total=5 * 8 * 4096)
    bench.workload.run()
    shared = bench.settings.ids[-1]
    begun = [e.number for e in bench.events if isinstance(e, FlushStarted)]
    assert begun == sorted(set(begun))
    runs = scan(bench.workload.paths[shared].read_bytes(), 0)
    assert {run.stamp.writer for run in runs if run.stamp} == {0, 1, 2, 3}


def test_a_page_of_a_mapping_that_cannot_be_had_is_an_error_and_no_signal(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "mmap", attempts=1)
    real = mmap.mmap

    class Short:
        """The file is cut while it is mapped: behind its end a store has no page."""

        def __call__(self, descriptor: int, size: int) -> mmap.mmap:
            mapping = real(descriptor, size)
            os.ftruncate(descriptor, 0)
            return mapping

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mmap, "mmap", Short())
        outcome = bench.workload.run()
    assert {(call, number) for call, _, number, _ in outcome.errors} == {("write", errno.EIO)}
    assert outcome.given_up_blocks > 0
    assert not bench.judge().failed


@pytest.mark.parametrize("name", [k for k, row in WORKLOADS.items() if row.on_raw_device])
def test_on_the_raw_device_stamps_carry_their_lba_from_the_beginning(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = tmp_path / "sda1"
    node.write_bytes(bytes(1 << 20))
    monkeypatch.setattr(os, "O_DIRECT", 0)
    block = workload(name).sizes(BYTES, raw=True)["block_bytes"]
    sizes = workload(name).sizes(BYTES, raw=True)
    bench = Bench(node, name, RAW, **sizes, first_block=(64 << 10) // block)
    assert bench.workload.run().stopped == ""
    (file,) = bench.workload.mapped()
    (extent,) = file.extents
    assert extent.file_sector == extent.lba == 128
    model = Model()
    model.apply_all(bench.events)
    assert all(e.direct for e in bench.events if isinstance(e, WriteStarted))
    runs = read_back(node, extent.file_sector, extent.count)
    assert {run.stamp.lba - run.sector for run in runs if run.stamp} == {0}
    judged = Oracle(model, FileMap([file]), RUN_ID).judge_host(file.file_id, runs)
    assert judged.counts[SectorClass.OK] == bench.sectors


def test_an_unknown_workload_is_answered_with_the_known_ones() -> None:
    with pytest.raises(UserError, match="'fast' is not known") as caught:
        workload("fast")
    assert all(name in caught.value.hint for name in WORKLOADS)


def test_the_table_says_a_sentence_about_each() -> None:
    lines = described().splitlines()
    assert len(lines) == len(WORKLOADS)
    assert all(line.split()[0] in WORKLOADS and line.endswith(".") for line in lines)


@pytest.mark.parametrize("bytes_each", [256 << 10, 1 << 20, 4 << 20, 16 << 20])
@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("raw", [False, True])
def test_sizes_are_possible_settings_and_no_more_than_wished(
    name: str, bytes_each: int, raw: bool
) -> None:
    sizes = workload(name).sizes(bytes_each, raw=raw)
    msgspec.convert({"run_id": 1, "seed": 1, **sizes}, Settings).validate()
    assert sizes["bytes_total"] <= bytes_each


def test_the_usual_workload_writes_what_it_always_wrote() -> None:
    assert workload(USUAL).sizes(16 << 20) == {
        "bytes_total": 16 << 20,
        "files": 2,
        "block_bytes": 1 << 20,
        "flush_bytes": 4 << 20,
    }
