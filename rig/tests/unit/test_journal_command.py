"""``rig journal``: what is listed, in which words, and what is made anew."""

from __future__ import annotations

import json
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
    assert out.read_bytes() == DATA


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
