from __future__ import annotations

import errno
import io
import json
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rig.errors import UserError
from rig.experiments.run.scan_service import (
    Access,
    JournalDamage,
    Line,
    decode_lines,
    decode_part,
    main,
    observe,
    scan_medium,
)
from rig.gadget.journal import HEADER_BYTES, Injected, Op, Record, encode
from rig.integrity.scan import Run
from rig.integrity.stamp import SECTOR_BYTES, SectorKind, Stamp
from rig.integrity.stamp import encode as encode_stamp

FOREIGN = b"\x5a" * SECTOR_BYTES


def stamp(lba: int) -> Stamp:
    return Stamp(run_id=7, file_id=1, offset=0, lba=lba, generation=1, writer=0, sequence=3)


def stamped(lba: int, count: int = 1) -> bytes:
    return b"".join(encode_stamp(stamp(lba).advanced(n)) for n in range(count))


def journal_lines(
    directory: Path, content: bytes, capsysbinary: pytest.CaptureFixture[bytes]
) -> list[Line]:
    file = directory / "journal.bin"
    file.write_bytes(content)
    assert main(["journal", str(file)]) == 0
    return list(decode_lines(capsysbinary.readouterr().out.decode()))


def write(sequence: int, payload: bytes, lba: int = 8, error: int = 0) -> Record:
    return Record(sequence, 1000, Op.WRITE, error, lba * SECTOR_BYTES, len(payload), payload)


def test_every_kind_of_access_is_a_line(
    tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    records = [
        Record(0, 1000, Op.READ, 0, 16 * SECTOR_BYTES, 4096),
        Record(1, 1001, Op.READ, errno.EIO, 0, SECTOR_BYTES),
        write(2, stamped(8, 2) + bytes(SECTOR_BYTES) + FOREIGN),
        write(3, stamped(8), error=errno.EIO),
        Record(4, 1004, Op.FLUSH, 0, 0, 0),
    ]

    lines = journal_lines(tmp_path, b"".join(map(encode, records)), capsysbinary)

    assert lines == [
        Access(0, 1000, "read", 16, 8),
        Access(1, 1001, "read", 0, 1, errno.EIO),
        Access(
            2,
            1000,
            "write",
            8,
            4,
            0,
            [
                Run(8, 2, SectorKind.STAMP, stamp(8)),
                Run(10, 1, SectorKind.ZERO),
                Run(11, 1, SectorKind.FOREIGN),
            ],
        ),
        Access(3, 1000, "write", 8, 1, errno.EIO, [Run(8, 1, SectorKind.STAMP, stamp(8))]),
        Access(4, 1004, "flush", 0, 0),
    ]


def test_a_line_names_the_fault_that_befell_the_access(
    tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    record = Record(0, 1000, Op.FLUSH, 0, 0, 0, injected=Injected.LIED)
    assert journal_lines(tmp_path, encode(record), capsysbinary) == [
        Access(0, 1000, "flush", 0, 0, injected="lied")
    ]


def test_damage_in_the_middle_is_a_line_and_hides_nothing_behind_it(
    tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    first, last = encode(write(0, stamped(8))), encode(write(1, stamped(9), 9))
    lines = journal_lines(tmp_path, first + b"garbage" + last, capsysbinary)
    assert [type(line) for line in lines] == [Access, JournalDamage, Access]
    damage = lines[1]
    assert isinstance(damage, JournalDamage)
    assert (damage.position, damage.length_bytes, damage.torn_tail) == (len(first), 7, False)


def test_a_torn_tail_is_told_as_such(
    tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    whole = encode(write(0, stamped(8)))
    lines = journal_lines(tmp_path, whole + whole[: HEADER_BYTES + 5], capsysbinary)
    assert lines[1:] == [
        JournalDamage("The journal ends within a record.", len(whole), HEADER_BYTES + 5, True)
    ]


def test_an_empty_journal_has_no_lines(
    tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    assert journal_lines(tmp_path, b"", capsysbinary) == []


def test_a_write_that_is_no_whole_sectors_is_observed_as_far_as_it_is() -> None:
    line = observe(write(0, stamped(8) + b"tail"))
    assert isinstance(line, Access)
    assert line.runs == [Run(8, 1, SectorKind.STAMP, stamp(8))]


def test_what_is_no_line_of_a_journal_is_refused() -> None:
    with pytest.raises(msgspec.DecodeError):
        list(decode_lines("Segmentation fault\n"))


RECORDS = st.builds(
    Record,
    sequence=st.integers(0, 1 << 40),
    time_ns=st.integers(0, 1 << 62),
    op=st.sampled_from(Op),
    error=st.sampled_from([0, errno.EIO]),
    offset_bytes=st.integers(0, 1 << 30).map(lambda lba: lba * SECTOR_BYTES),
    length_bytes=st.integers(0, 64).map(lambda count: count * SECTOR_BYTES),
    payload=st.lists(
        st.sampled_from([stamped(8), stamped(9), bytes(SECTOR_BYTES), FOREIGN, b"odd"]), max_size=4
    ).map(b"".join),
)


@given(st.lists(RECORDS, max_size=4))
def test_lines_read_back_as_they_were(records: list[Record]) -> None:
    lines = [observe(record) for record in records]
    text = "".join(msgspec.json.encode(line).decode() + "\n" for line in lines)
    assert list(decode_lines(text)) == lines


def test_only_the_ranges_of_a_sparse_medium_are_looked_at(tmp_path: Path) -> None:
    medium = tmp_path / "medium.img"
    with medium.open("wb") as file:
        for lba in (100, 101, 1 << 24, 5000):
            file.seek(lba * SECTOR_BYTES)
            file.write(encode_stamp(stamp(100).advanced(1)) if lba == 101 else stamped(lba))
        file.truncate(1 << 40)

    with medium.open("rb") as file:
        runs = scan_medium(file, [(1 << 24, 2), (99, 4)])

    assert runs == [
        Run(1 << 24, 1, SectorKind.STAMP, stamp(1 << 24)),
        Run((1 << 24) + 1, 1, SectorKind.ZERO),
        Run(99, 1, SectorKind.ZERO),
        Run(100, 2, SectorKind.STAMP, stamp(100)),
        Run(102, 1, SectorKind.ZERO),
    ]


def test_a_range_longer_than_a_chunk_is_one_run() -> None:
    count = 5000  # two chunks and a half
    medium = io.BytesIO(b"".join(encode_stamp(stamp(0).advanced(n)) for n in range(count)))
    assert scan_medium(medium, [(0, count)]) == [Run(0, count, SectorKind.STAMP, stamp(0))]


def test_what_lies_behind_the_end_is_covered_by_no_run() -> None:
    assert scan_medium(io.BytesIO(stamped(0)), [(0, 3), (7, 2)]) == [
        Run(0, 1, SectorKind.STAMP, stamp(0))
    ]


def test_the_command_tells_the_ranges_runs_as_one_list(
    tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    medium, ranges = tmp_path / "medium.img", tmp_path / "ranges.json"
    medium.write_bytes(stamped(0, 4))
    ranges.write_text("[[1, 2]]")
    assert main(["medium", str(medium), "--ranges", str(ranges)]) == 0
    told = capsysbinary.readouterr().out
    assert msgspec.json.decode(told, type=list[Run]) == [
        Run(1, 2, SectorKind.STAMP, stamp(0).advanced(1))
    ]


@pytest.mark.parametrize(
    "ranges", ["", "[", "{}", '[["1", 2]]', "[[1]]", "[[-1, 2]]", "[[1, -2]]", "\xff"]
)
def test_ranges_that_are_none_are_refused(tmp_path: Path, ranges: str) -> None:
    (tmp_path / "medium.img").touch()
    file = tmp_path / "ranges.json"
    file.write_bytes(ranges.encode("latin-1"))
    with pytest.raises(UserError, match=r"ranges\.json' holds no ranges"):
        main(["medium", str(tmp_path / "medium.img"), "--ranges", str(file)])


@pytest.mark.parametrize("kind", ["journal", "medium"])
@pytest.mark.parametrize(("name", "why"), [("none", "No such file"), (".", "Is a directory")])
def test_a_file_that_cannot_be_read_is_named(
    tmp_path: Path, kind: str, name: str, why: str
) -> None:
    more = ["--ranges", str(tmp_path / name)] if kind == "medium" else []
    with pytest.raises(UserError, match=f"cannot be read: {why}"):
        main([kind, str(tmp_path / name), *more])


def test_a_line_leaves_out_what_is_as_usual() -> None:
    line = msgspec.json.encode(observe(Record(4, 5, Op.FLUSH, 0, 0, 0)))
    told = json.loads(line)
    assert told == {"sequence": 4, "time_ns": 5, "op": "flush", "lba": 0, "blocks": 0}


def test_a_journal_that_grows_is_read_on_from_where_the_last_look_ended(
    tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    records = [encode(write(number, stamped(8))) for number in range(4)]
    file, end = tmp_path / "journal.bin", 0
    seen: list[Line] = []
    whole = b"".join(records)
    for length in (0, len(records[0]), len(whole) - 100, len(whole)):
        file.write_bytes(whole[:length])
        assert main(["journal", str(file), "--from", str(end)]) == 0
        _, lines, end = decode_part(capsysbinary.readouterr().out.decode())
        seen += lines
    assert end == len(whole)
    accesses = [one for one in seen if isinstance(one, Access)]
    assert [one.sequence for one in accesses] == [0, 1, 2, 3]
    (torn,) = [one for one in seen if isinstance(one, JournalDamage)]
    assert torn.torn_tail
    assert torn.position == 3 * len(records[0])
