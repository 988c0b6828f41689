"""``rig journal``: what is listed, in which words, and what is made anew."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from rig.errors import MachineError, UserError
from rig.gadget.journal import HEADER_BYTES, Injected, Op, Record, encode
from rig.gadget.journal_command import main, parse_lbas

DATA = b"d" * 1024
RECORDS = [
    Record(0, 10**18, Op.WRITE, 0, 0, 1024, DATA),
    Record(1, 10**18, Op.WRITE, 0, 4096, 1024, b"e" * 1024, Injected.LOST),
    Record(2, 10**18, Op.READ, 5, 4096, 512, b"", Injected.ERROR),
    Record(3, 10**18, Op.FLUSH, 0, 0, 0),
    Record(4, 10**18, Op.POWER_CUT, 0, 0, 0, value=512, volatile=True),
]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "journal.bin"
    path.write_bytes(b"".join(map(encode, RECORDS)))
    return path


def listed(capsys: pytest.CaptureFixture[str], *argv: str) -> list[int]:
    assert main([*argv, "--json"]) == 0
    lines = map(json.loads, capsys.readouterr().out.splitlines())
    return [line["sequence"] for line in lines]


@pytest.mark.parametrize(
    ("filters", "numbers"),
    [
        ([], [0, 1, 2, 3, 4]),
        (["--op", "write"], [0, 1]),
        (["--op", "power_cut"], [4]),
        (["--faulted"], [1, 2, 4]),
        (["--lba", "1"], [0]),
        (["--lba", "2-7"], []),
        (["--lba", "8-8"], [1, 2]),
        (["--lba", "9"], [1]),
        (["--faulted", "--op", "write"], [1]),
    ],
    ids=lambda value: " ".join(map(str, value)) or "none",
)
def test_a_filter_shows_what_it_names(
    file: Path, capsys: pytest.CaptureFixture[str], filters: list[str], numbers: list[int]
) -> None:
    assert listed(capsys, str(file), *filters) == numbers


def test_a_json_line_has_every_field_of_the_record_but_its_data(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main([str(file), "--json", "--op", "read"])
    assert json.loads(capsys.readouterr().out) == {
        "sequence": 2,
        "time_ns": 10**18,
        "op": "read",
        "offset_bytes": 4096,
        "length_bytes": 512,
        "error": "EIO",
        "injected": "error",
        "value": 0,
        "volatile": False,
    }


@pytest.mark.parametrize(
    ("record", "words"),
    [
        (Record(0, 0, Op.WRITE, 0, 0, 1024, DATA), "ok"),
        (RECORDS[1], "ok  lost: nothing was stored"),
        (RECORDS[2], "EIO  injected error: the medium was not touched"),
        (RECORDS[4], "ok  512 bytes that were not flushed are gone"),
        (
            Record(0, 0, Op.WRITE, 0, 0, 1024, DATA, Injected.TORN, 700),
            "torn: 700 of 1024 bytes were stored",
        ),
        (
            Record(0, 0, Op.WRITE, 0, 0, 1024, DATA, Injected.MISDIRECTED, 8192),
            "misdirected: stored at LBA 16",
        ),
        (
            Record(0, 0, Op.READ, 0, 0, 1024, b"", Injected.MISDIRECTED, 8192),
            "misdirected: served from LBA 16",
        ),
        (
            Record(0, 0, Op.READ, 0, 512, 1024, b"", Injected.FLIPPED, 512 * 8 + 19),
            "flipped: bit 3 of byte 2 of LBA 2",
        ),
        (
            Record(0, 0, Op.READ, 0, 0, 512, b"", Injected.STALE, 2),
            "stale: served as before the last 2 of its writes",
        ),
        (Record(0, 0, Op.FLUSH, 0, 0, 0, b"", Injected.LIED), "lied: nothing was flushed"),
        (Record(0, 0, Op.FLUSH, 0, 0, 0, b"", Injected.DELAY, 500), "answered 500 ms late"),
        (Record(0, 0, Op.FLUSH, 0, 0, 0, b"", Injected.HANG, 500), "hung, for 500 ms at most"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_was_done_is_told_in_words(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], record: Record, words: str
) -> None:
    path = tmp_path / "j"
    path.write_bytes(encode(record))
    main([str(path)])
    assert capsys.readouterr().out.splitlines()[1].endswith(words)


def test_a_torn_tail_is_told_in_a_sentence(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = file.stat().st_size
    with file.open("ab") as journal:
        journal.write(encode(RECORDS[0])[: HEADER_BYTES + 7])
    assert main([str(file), "--faulted"]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith(f"The journal ends within a record (at byte {whole}, 67 bytes)")
    assert "all before it is whole" in last


def test_damage_in_the_middle_is_told_in_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "j"
    path.write_bytes(encode(RECORDS[0]) + b"noise" + encode(RECORDS[1]))
    main([str(path)])
    assert "The journal is damaged at byte 1084, 5 bytes" in capsys.readouterr().out


def test_the_pristine_medium_has_what_a_fault_kept_from_it(file: Path, tmp_path: Path) -> None:
    out = tmp_path / "new.img"
    assert main([str(file), "--rebuild", str(out)]) == 0
    assert out.read_bytes() == DATA + bytes(3072) + b"e" * 1024


def test_the_medium_as_stored_has_not(file: Path, tmp_path: Path) -> None:
    out = tmp_path / "new.img"
    main([str(file), "--rebuild", str(out), "--as-stored", "--size-bytes", "8192"])
    assert out.read_bytes() == DATA + bytes(7168)


def test_a_medium_can_be_made_as_it_was_at_a_time(file: Path, tmp_path: Path) -> None:
    out = tmp_path / "new.img"
    main([str(file), "--rebuild", str(out), "--until", "0"])
    assert out.read_bytes() == DATA


def test_a_journal_that_lacks_records_is_not_passed_off_as_the_medium(tmp_path: Path) -> None:
    path, out = tmp_path / "j", tmp_path / "new.img"
    path.write_bytes(b"noise" + encode(RECORDS[0]))
    with pytest.raises(MachineError, match="damaged at byte 0, 5 bytes"):
        main([str(path), "--rebuild", str(out)])
    assert not out.exists()


def test_no_file_is_overwritten(file: Path) -> None:
    with pytest.raises(UserError, match="There is a file"):
        main([str(file), "--rebuild", str(file)])


def test_a_rebuilt_medium_takes_no_filter(file: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="takes no filter"):
        main([str(file), "--rebuild", str(tmp_path / "o"), "--op", "write"])


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        main([str(tmp_path / "none")])


@pytest.mark.parametrize("text", ["a", "1-", "-1", "1-b", ""])
def test_what_is_no_range_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="no range of LBAs"):
        parse_lbas(text)


@pytest.mark.parametrize("text", ["4095-2048", "4294967296", "0-4294967296", "²", "9" * 5000])
def test_a_range_that_no_disk_has_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="no range of LBAs") as caught:
        parse_lbas(text)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    "option",
    [
        "--size-bytes=-1",
        "--size-bytes=0",
        "--size-bytes=7",
        f"--size-bytes={2**41 + 512}",
        f"--size-bytes={10**30}",
        "--until=-1",
        "--until=x",
        f"--until={10**30}",
    ],
)
def test_a_number_that_cannot_be_is_refused_before_a_file_is_made(
    file: Path, tmp_path: Path, option: str
) -> None:
    out = tmp_path / "new.img"
    with pytest.raises(UserError, match=option.partition("=")[0]):
        main([str(file), "--rebuild", str(out), option])
    assert not out.exists()


def test_a_size_that_is_less_than_the_medium_had_is_refused(file: Path, tmp_path: Path) -> None:
    out = tmp_path / "new.img"
    with pytest.raises(UserError, match="had 5120 bytes at least, not 512"):
        main([str(file), "--rebuild", str(out), "--size-bytes", "512"])
    assert not out.exists()


@pytest.mark.parametrize("option", ["--until=3", "--size-bytes=512", "--as-stored"])
def test_what_is_of_use_for_rebuilding_alone_is_refused_without(file: Path, option: str) -> None:
    with pytest.raises(UserError, match="is of no use without '--rebuild'"):
        main([str(file), option])


@pytest.mark.parametrize("content", [b"{}\n" * 1000, b"x", b"\0" * 4096, b"RIJ1" + bytes(80)])
def test_a_file_without_a_record_is_no_journal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes
) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_bytes(content)
    with pytest.raises(UserError, match="is no journal: there is no record in it"):
        main([str(path)])
    assert capsys.readouterr().out == ""
    with pytest.raises(UserError, match="is no journal"):
        main([str(path), "--rebuild", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()


def test_what_is_no_regular_file_is_no_journal(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in ("/dev/zero", tmp_path, tmp_path / "pipe"):
        with pytest.raises(UserError, match="no regular file"):
            main([str(path)])


def test_an_empty_journal_is_one(tmp_path: Path) -> None:
    (tmp_path / "j").touch()
    assert main([str(tmp_path / "j")]) == 0


def test_a_journal_that_was_torn_at_its_first_record_is_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "j").write_bytes(encode(RECORDS[0])[:70])
    assert main([str(tmp_path / "j")]) == 0
    assert "ends within a record" in capsys.readouterr().out


def test_a_medium_is_made_as_it_was_before_the_damage(tmp_path: Path) -> None:
    path, out = tmp_path / "j", tmp_path / "new.img"
    path.write_bytes(encode(RECORDS[0]) + b"noise" + encode(RECORDS[2]))
    with pytest.raises(MachineError, match="'--until 0' makes it as it was before"):
        main([str(path), "--rebuild", str(out)])
    assert not out.exists()


def test_a_file_that_cannot_be_written_is_not_left(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    out = tmp_path / "new.img"
    with pytest.raises(MachineError, match="cannot be written: No space left"):
        main([str(file), "--rebuild", str(out)])
    assert not out.exists()
