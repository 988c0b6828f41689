"""A chain of causes: from the host's command, by the URB that carried it, to where it arrived."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner

from rig.cli.app import app, call
from rig.errors import UserError
from rig.experiments.explain.chain import Traffic, chain_of
from rig.experiments.explain.commands import Command, Piece, command_at, commands_of
from rig.experiments.explain.recorded import FILES, JOURNAL, URBS, Recorded
from rig.experiments.explain.words import chain_words, explain, moment
from rig.experiments.run.scan_service import Access
from rig.experiments.run.trace import NAME as TRACE
from rig.experiments.run.trace import Line, write_trace
from rig.integrity.filemap import Extent, MappedFile
from rig.integrity.judgement import Finding, Guilty, Keys, SectorClass, View
from rig.integrity.scan import Run
from rig.integrity.stamp import SectorKind, Stamp
from rig.report.record import leave
from rig.report.verdict import Faults, Outcome, Verdict
from rig.usb.urblog import HEADER, Kind, Place, UrbEvent

S = 1_000_000_000
MS = 1_000_000
PIECE = 16384


def back(kind: Kind, urb: int, at_ms: int, **more: int) -> UrbEvent:
    fields = {"endpoint": 0x02, "length_bytes": PIECE} | more
    return UrbEvent(kind, Place.BACK, 1, urb, t_ns=S + at_ms * MS, **fields)


def front(kind: Kind, urb: int, at_ms: int, **more: int) -> UrbEvent:
    return UrbEvent(kind, Place.FRONT, 1, urb, endpoint=0x02, t_ns=S + at_ms * MS, **more)


NAIVE = [
    back(Kind.START, 10, 0, length_bytes=31, opcode=0x2A, lba=2304),
    back(Kind.END, 10, 1, length_bytes=31),
    back(Kind.START, 11, 2),
    back(Kind.END, 11, 3, status=-71, length_bytes=0),
    back(Kind.START, 12, 4),
    back(Kind.END, 12, 5),
    back(Kind.START, 13, 6),
    back(Kind.END, 13, 7),
]
"""URB 11 fails before its data moved, and 12 and 13 run all the same."""
KERNEL = [
    front(Kind.SUBMIT, 11, 1, length_bytes=PIECE),
    front(Kind.SUBMIT, 12, 1, length_bytes=PIECE),
    front(Kind.GIVEBACK, 11, 9, status=-71),
    front(Kind.UNLINK, 12, 10),
]
STAMP = Stamp(run_id=7, file_id=1, offset=PIECE, lba=2336, generation=1, writer=0, sequence=1)
ARRIVAL = Access(48, S + 5 * MS, "write", 2304, 32, 0, [Run(2304, 32, SectorKind.STAMP, STAMP)])
FAULT = Line(S + 3 * MS, 0, "back", "back", "fault", "endpoint", "early", 5)
TRAFFIC = Traffic(commands_of(NAIVE), KERNEL, [FAULT])
FINDING = Finding(
    view=View.ARRIVAL,
    sector_class=SectorClass.MISDIRECTED,
    lba=2304,
    belongs_lba=2336,
    file="/mnt/a",
    offset=0,
    expected="its own",
    seen="another's",
    count=32,
    arrival=48,
    sentence="Arrival view, LBAs 2304 to 2335: misdirected.",
    guilty=Guilty.TRANSPORT,
    because="It arrived wrong.",
    keys=Keys(arrivals=(48,)),
)


def verdict(*findings: Finding) -> Verdict:
    return Verdict(
        verdict=Outcome.FAIL if findings else Outcome.PASS,
        reasons=(),
        sectors={},
        views={},
        findings=findings,
        checks=(),
        faults=Faults(),
        durations_s={},
        kernel="6.12",
        policy="naive",
        seed=1,
        plan="transient",
        file_systems=("vfat",),
        accelerator="tcg",
        boot_retries=0,
        rig_version="1",
    )


@pytest.fixture
def recorded(tmp_path: Path) -> Recorded:
    leave(verdict(FINDING), tmp_path / "verdict.json")
    (tmp_path / JOURNAL).write_bytes(msgspec.json.encode(ARRIVAL) + b"\n")
    file = MappedFile(1, "/mnt/a", 32768, True, [Extent(0, 2304, 64)])
    (tmp_path / FILES).write_bytes(msgspec.json.encode([file]))
    write_trace(tmp_path / TRACE, [FAULT])
    for machine, events in (("back", NAIVE), ("front", KERNEL)):
        (tmp_path / machine).mkdir()
        octets = HEADER + b"".join(event.pack() for event in events)
        (tmp_path / machine / URBS).write_bytes(octets)
    return Recorded(tmp_path)


def test_what_follows_a_wrapper_is_its_commands() -> None:
    (command,) = commands_of(NAIVE)
    assert (command.urb, command.opcode, command.lba) == (10, 0x2A, 2304)
    assert [(one.urb, one.moved_bytes, one.at_bytes) for one in command.pieces] == [
        *((11, 0, 0), (12, PIECE, 0), (13, PIECE, PIECE))
    ]
    assert [one.urb for one in command.failed()] == [11]


def test_a_status_is_no_data_and_the_next_wrapper_begins_anew() -> None:
    more = [
        back(Kind.START, 14, 8, endpoint=0x81, length_bytes=13),
        back(Kind.END, 14, 9, endpoint=0x81, length_bytes=13),
        back(Kind.START, 15, 10, length_bytes=31, opcode=0x28, lba=8),
        back(Kind.START, 16, 11, endpoint=0x81, length_bytes=512),
        back(Kind.END, 16, 12, endpoint=0x81, length_bytes=512),
    ]
    first, second = commands_of([*NAIVE, *more])
    assert (first.status_urb, len(first.pieces)) == (14, 3)
    assert [(one.urb, one.at_bytes) for one in second.pieces] == [(16, 0)]


def test_control_transfers_and_what_came_before_any_wrapper_are_left_out() -> None:
    alone = [back(Kind.START, 1, 0, endpoint=0x80), back(Kind.START, 2, 1)]
    assert commands_of(alone) == []
    (command,) = commands_of([*NAIVE, back(Kind.START, 20, 9, endpoint=0x00)])
    assert 20 not in [one.urb for one in command.pieces]


def test_the_urb_that_moved_a_byte_is_found_by_what_moved_before() -> None:
    (command,) = commands_of(NAIVE)
    found = [command.carrier(at) for at in (0, PIECE - 1, PIECE, 2 * PIECE)]
    assert [one.urb if one else None for one in found] == [12, 12, 13, None]


def test_a_device_is_about_the_last_command_that_began() -> None:
    one, two = Command(1, 0x2A, 0, 5), Command(2, 0x2A, 0, 9)
    assert [command_at([one, two], t) for t in (4, 5, 8, 9)] == [None, one, one, two]


def test_the_chain_names_command_urbs_fault_and_arrival_in_order_of_time() -> None:
    chain = chain_of(2304, ARRIVAL, TRAFFIC)
    assert [(step.where, step.urb, step.rule) for step in chain.steps] == [
        ("back, controller", 10, ""),
        ("front, vhci", 11, ""),
        ("front, vhci", 12, ""),
        ("back, controller", 11, ""),
        ("back, back", 0, "early"),
        ("back, medium", 0, ""),
        ("back, controller", 12, ""),
        ("front, vhci", 11, ""),
        ("front, vhci", 12, ""),
    ]
    told = "\n".join(chain_words(chain))
    assert "WRITE 10 at LBA 2304 begins, by URB 10; its data are URBs 11 to 13" in told
    assert "URB 11 of 16384 bytes failed with -EPROTO: 0 bytes moved" in told
    assert "URB 12 of 16384 bytes ended well behind URB 11, which had failed: 16384 bytes" in told
    assert "rule 'early' of layer endpoint fires, at its match 5" in told
    assert "URB 11 is given back: -EPROTO, 0 bytes" in told
    assert "the kernel wants back URB 12" in told


def test_without_a_log_of_urbs_there_are_arrival_and_fault() -> None:
    chain = chain_of(2304, ARRIVAL, Traffic(faults=[FAULT]))
    assert [step.where for step in chain.steps] == ["back, back", "back, medium"]
    assert chain.steps[0].what.endswith("the last before this")


def test_an_urb_that_never_ended_is_told() -> None:
    command = Command(10, 0x2A, 2304, S, [Piece(11, 2, PIECE, S + MS)])
    assert command.carrier(0) is None
    command.pieces[0].status = -108
    told = "\n".join(chain_words(chain_of(2304, ARRIVAL, Traffic([command]))))
    assert "was given to the controller, and never ended" in told


def test_what_the_medium_answered_and_a_fault_did_is_told() -> None:
    refused = msgspec.structs.replace(ARRIVAL, error=5, injected="torn")
    (step,) = chain_of(2304, refused, Traffic()).steps
    assert "answered with errno 5; a fault of the medium: torn" in step.what


def test_a_sector_is_explained_from_a_run_directory(recorded: Recorded) -> None:
    told = "\n".join(explain(recorded, 2304))
    assert told.startswith("LBA 2304: /mnt/a, offset 0.\n")
    assert "Arrival view, LBAs 2304 to 2335: misdirected." in told
    assert "Writes that arrived there: 1." in told
    assert "write 48: file 1, offset 16384, generation 1" in told
    assert "How write 48 came to LBA 2304:" in told
    assert "rule 'early'" in told


def test_a_sector_of_which_nothing_is_wrong_is_told_so(recorded: Recorded) -> None:
    told = "\n".join(explain(recorded, 2350))
    assert "LBA 2350: /mnt/a, offset 23552." in told
    assert "Nothing is wrong there" in told
    assert "No write to it arrived" in told


def test_a_verdict_has_a_chain_for_each_wrong_write_once(recorded: Recorded) -> None:
    medium = msgspec.structs.replace(FINDING, view=View.MEDIUM, arrival=None)
    nowhere = msgspec.structs.replace(FINDING, lba=None)
    (chain,) = recorded.chains([FINDING, medium, nowhere])
    assert (chain.lba, chain.arrival) == (2304, 48)


def test_the_end_is_behind_all_that_lay_or_was_written(recorded: Recorded) -> None:
    assert recorded.end_lba == 2304 + 64


def test_clocks_are_those_that_the_trace_tells(recorded: Recorded) -> None:
    what = {"offset_ns": 2 * S, "trips": 8}
    write_trace(recorded.path / TRACE, [Line(S, 5, "back", "station", "clock", what=what), FAULT])
    again = Recorded(recorded.path)
    assert again.clock("back").stamp(3 * S).t_ns == S
    assert again.clock("front").stamp(3 * S).t_ns == 3 * S


def test_what_is_no_run_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is no directory of a run"):
        _ = Recorded(tmp_path).verdict


def test_a_log_that_is_none_is_refused(recorded: Recorded) -> None:
    (recorded.path / "back" / URBS).write_bytes(b"something else")
    with pytest.raises(UserError, match=r"urbs\.bin' is damaged, or cannot be read"):
        _ = Recorded(recorded.path).traffic


@pytest.mark.parametrize("name", [JOURNAL, FILES, TRACE])
def test_a_file_that_was_cut_off_is_told_by_its_name(recorded: Recorded, name: str) -> None:
    path = recorded.path / name
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(UserError, match=f"{name}' is damaged"):
        list(explain(Recorded(recorded.path), 2304))


def test_a_journal_that_is_missing_is_no_journal_without_writes(recorded: Recorded) -> None:
    (recorded.path / JOURNAL).unlink()
    told = "\n".join(explain(Recorded(recorded.path), 2304))
    assert "the run's journal.jsonl is missing" in told
    assert "No write" not in told


# What the medium did.

STRAY = msgspec.structs.replace(
    ARRIVAL, sequence=49, time_ns=S + 7 * MS, lba=2336, injected="misdirected"
)
MEDIUM_FAULT = Line(S + 7 * MS, 0, "back", "store", "fault", "medium", "medium-1", 1)


def test_what_strayed_in_the_medium_is_told_with_its_rule(recorded: Recorded) -> None:
    lines = b"".join(msgspec.json.encode(one) + b"\n" for one in (ARRIVAL, STRAY))
    (recorded.path / JOURNAL).write_bytes(lines)
    write_trace(recorded.path / TRACE, [FAULT, MEDIUM_FAULT])
    again = Recorded(recorded.path)
    told = "\n".join(explain(again, 2304))
    assert "How write 49 came to LBA 2336:" in told
    assert "rule 'medium-1'" in told
    seen = msgspec.structs.replace(FINDING, view=View.MEDIUM, arrival=None)
    assert [(one.lba, one.arrival) for one in again.chains([seen])] == [(2304, 48), (2336, 49)]


def test_a_fault_of_the_medium_is_no_cause_of_a_write_to_which_none_happened() -> None:
    traffic = msgspec.structs.replace(TRAFFIC, faults=[FAULT, MEDIUM_FAULT])
    late = msgspec.structs.replace(ARRIVAL, time_ns=S + 8 * MS)
    rules = [step.rule for step in chain_of(2304, late, traffic).steps if step.rule]
    assert "medium-1" not in rules
    assert [s.rule for s in chain_of(2336, STRAY, traffic).steps if s.rule][-1] == "medium-1"


def test_a_moment_is_a_time_of_day() -> None:
    assert moment(86_400 * S + 3_723 * S + 4_000) == "01:02:03.000004"


@pytest.mark.parametrize(("words", "told"), [(["2304"], "LBA 2304"), ([], "LBA 2304")])
def test_the_command_explains(recorded: Recorded, words: list[str], told: str) -> None:
    done = CliRunner().invoke(app, ["explain", str(recorded.path), *words])
    assert (done.exit_code, told in done.output) == (0, True)


def test_the_command_refuses_what_was_never_written(recorded: Recorded) -> None:
    done = CliRunner().invoke(app, ["explain", str(recorded.path), "999999"])
    assert "The last one that was is 2367" in str(done.exception)


def test_a_run_without_findings_is_told_in_a_line(recorded: Recorded) -> None:
    leave(verdict(), recorded.path / "verdict.json")
    done = CliRunner().invoke(app, ["explain", str(recorded.path)])
    assert done.output == "Verdict: PASS; nothing is wrong.\n"


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("-1", "'-1' is no LBA: an LBA is never negative"),
        ("many", "it is no whole number"),
        ("9" * 5000, "it is no whole number"),
        ("--frob", "No such option: --frob"),
        ("-x", "No such option: -x"),
    ],
)
def test_what_is_no_lba_is_called_so(tmp_path: Path, word: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        call(["explain", str(tmp_path), word])
