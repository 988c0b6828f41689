"""Reading back: every sector of the file is in the runs, also where the read failed."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from rig.integrity.readback import CHUNK_BYTES, read_back
from rig.integrity.stamp import SectorKind, Stamp, encode_run

FIRST = Stamp(run_id=1, file_id=1, offset=0, lba=100, generation=1, writer=0, sequence=1)
SECTORS = 2 * CHUNK_BYTES // 512 + 8


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    # The file system of the temporary directory need not know O_DIRECT.
    monkeypatch.setattr(os, "O_DIRECT", 0)
    file = tmp_path / "stamped"
    file.write_bytes(encode_run(FIRST, SECTORS))
    return file


def break_reads(
    monkeypatch: pytest.MonkeyPatch, first: int, end: int, number: int = errno.EIO
) -> None:
    """Make every read that touches bytes ``first`` to ``end`` fail."""
    real = os.preadv

    def preadv(descriptor: int, buffers: list[memoryview], at: int) -> int:
        if at < end and at + len(buffers[0]) > first:
            raise OSError(number, os.strerror(number))
        return real(descriptor, buffers, at)

    monkeypatch.setattr(os, "preadv", preadv)


def test_a_file_is_one_run_across_chunks(path: Path) -> None:
    assert [(r.sector, r.count, r.kind) for r in read_back(path)] == [
        (0, SECTORS, SectorKind.STAMP)
    ]


def test_only_the_4_kib_that_cannot_be_read_are_unreadable(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_reads(monkeypatch, 8192, 8192 + 512)
    assert [(r.sector, r.count, r.kind) for r in read_back(path)] == [
        (0, 16, SectorKind.STAMP),
        (16, 8, SectorKind.UNREADABLE),
        (24, SECTORS - 24, SectorKind.STAMP),
    ]


def test_a_file_that_cannot_be_read_at_all_is_one_unreadable_run(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_reads(monkeypatch, 0, SECTORS * 512)
    assert [(r.sector, r.count, r.kind) for r in read_back(path)] == [
        (0, SECTORS, SectorKind.UNREADABLE)
    ]


def test_an_error_that_is_no_mediums_fault_is_not_an_observation(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_reads(monkeypatch, 0, 512, errno.EINVAL)
    with pytest.raises(OSError, match="Invalid argument"):
        read_back(path)


def test_an_empty_file_has_no_runs(path: Path) -> None:
    path.write_bytes(b"")
    assert read_back(path) == []


def test_a_part_of_a_file_is_read_with_the_rest_of_its_blocks(path: Path) -> None:
    assert [(r.sector, r.count) for r in read_back(path, 11, 6)] == [(8, 16)]


def test_of_a_part_behind_the_end_nothing_is_read(path: Path) -> None:
    assert read_back(path, SECTORS + 8, 8) == []
    assert [(r.sector, r.count) for r in read_back(path, SECTORS - 8, 99)] == [(SECTORS - 8, 8)]
