"""Reading again: the file by its sectors, the disk by its LBAs."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest

from rig.errors import UserError
from rig.integrity import second_look
from rig.integrity.looks import SecondLook, Wanted, Wish
from rig.integrity.stamp import Stamp, encode_run

FIRST = Stamp(run_id=1, file_id=7, offset=0, lba=16, generation=1, writer=0, sequence=1)


@pytest.fixture
def wish(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Wish:
    """A file of 32 sectors, and a disk on which it lies at LBA 16."""
    monkeypatch.setattr(os, "O_DIRECT", 0)
    monkeypatch.setattr(second_look, "drop_caches", lambda: None)
    data = encode_run(FIRST, 32)
    (tmp_path / "file").write_bytes(data)
    (tmp_path / "disk").write_bytes(bytes(16 * 512) + data)
    return Wish(str(tmp_path / "disk"), [Wanted(7, str(tmp_path / "file"), 8, 8, 24)])


def answer(wish: Wish | bytes, monkeypatch: pytest.MonkeyPatch) -> SecondLook:
    text = wish if isinstance(wish, bytes) else msgspec.json.encode(wish)
    out = io.BytesIO()
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(text)))
    monkeypatch.setattr(sys, "stdout", SimpleNamespace(buffer=out))
    assert second_look.main([]) == 0
    return msgspec.json.decode(out.getvalue(), type=SecondLook)


def test_the_file_and_the_disk_are_both_read(wish: Wish, monkeypatch: pytest.MonkeyPatch) -> None:
    look = answer(wish, monkeypatch)
    assert [(f.file_id, [(r.sector, r.count) for r in f.runs]) for f in look.files] == [
        (7, [(8, 8)])
    ]
    assert [(run.sector, run.count, run.stamp) for run in look.disk] == [(24, 8, FIRST.advanced(8))]


def test_without_a_disk_or_an_lba_only_the_file_is_read(
    wish: Wish, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert answer(msgspec.structs.replace(wish, disk=""), monkeypatch).disk == []
    nowhere = [msgspec.structs.replace(wish.wanted[0], lba=None)]
    assert answer(msgspec.structs.replace(wish, wanted=nowhere), monkeypatch).disk == []


def test_a_file_that_is_gone_shows_nothing(wish: Wish, monkeypatch: pytest.MonkeyPatch) -> None:
    Path(wish.wanted[0].path).unlink()
    assert answer(wish, monkeypatch).files[0].runs == []


def test_a_wish_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="holds no wish"):
        answer(b"[]", monkeypatch)


def test_a_disk_that_is_not_there_is_named(wish: Wish, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="/nowhere' cannot be read again: No such file"):
        answer(msgspec.structs.replace(wish, disk="/nowhere"), monkeypatch)
