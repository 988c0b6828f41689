"""Who is guilty: each way in which the views can disagree."""

from __future__ import annotations

import msgspec
import pytest

from rig.integrity.evidence import MediumJournal, Served
from rig.integrity.filemap import Extent, FileMap, MappedFile
from rig.integrity.guilt import Jury
from rig.integrity.judgement import Finding, Guilty, Judgement, Reread, SectorClass, View
from rig.integrity.ledger import Flushed, WriteReturned, WriteStarted
from rig.integrity.model import Model
from rig.integrity.oracle import Arrival, Oracle
from rig.integrity.scan import Run, scan
from rig.integrity.stamp import SECTOR_BYTES, Stamp, encode

RUN_ID = 9
SECTORS = 4
A, B = 100, 200
ZERO = bytes(SECTOR_BYTES)


class Stack:
    """Two files that were written by two promised writes each, and what each layer saw of it."""

    def __init__(self) -> None:
        self.model = Model()
        self.map = FileMap(
            [
                MappedFile(f, f"/{f}", SECTORS * SECTOR_BYTES, True, [Extent(0, lba, SECTORS)])
                for f, lba in ((1, A), (2, B))
            ]
        )
        self.oracle = Oracle(self.model, self.map, RUN_ID)
        for file_id in (1, 2):
            for number in (1, 2):
                self.model.apply(WriteStarted(file_id, 0, SECTORS, number, number))
                self.model.apply_all([WriteReturned(file_id, number), Flushed(file_id)])
        self.medium = dict(
            [(A + i, self.data(1, 2, i)) for i in range(SECTORS)]
            + [(B + i, self.data(2, 2, i)) for i in range(SECTORS)]
        )
        self.writes = [
            self.arrival(10, A, *self.file(1, 1)),
            self.arrival(11, B, *self.file(2, 1)),
            self.arrival(12, A, *self.file(1, 2)),
            self.arrival(13, B, *self.file(2, 2)),
        ]
        self.reads: list[Served] = []
        self.flushes = [14]
        self.volatile = False
        self.tapped: list[Arrival] | None = None

    def data(self, file_id: int, number: int, sector: int) -> bytes:
        lba = (A if file_id == 1 else B) + sector
        offset = sector * SECTOR_BYTES
        return encode(Stamp(RUN_ID, file_id, offset, lba, number, 0, number))

    def file(self, file_id: int, number: int) -> list[bytes]:
        return [self.data(file_id, number, i) for i in range(SECTORS)]

    @staticmethod
    def arrival(number: int, lba: int, *data: bytes, errno: int = 0, injected: str = "") -> Arrival:
        return Arrival(number, errno, scan(b"".join(data), lba), injected)

    def store(self, lba: int, *data: bytes) -> None:
        self.medium.update(dict(enumerate(data, lba)))

    def runs(self) -> list[Run]:
        return [run for lba, data in sorted(self.medium.items()) for run in scan(data, lba)]

    def blame(self, judgement: Judgement) -> list[Finding]:
        journal = MediumJournal(self.writes, self.reads, self.flushes, self.volatile)
        jury = Jury(self.oracle, journal, self.runs(), self.tapped)
        return jury.blame(judgement).findings

    def blame_medium(self) -> list[Finding]:
        return self.blame(self.oracle.judge_medium(self.runs()))

    def blame_arrivals(self) -> list[Finding]:
        return self.blame(self.oracle.judge_arrivals(self.writes))

    def blame_host(self, *data: bytes, reread: Reread | None = None) -> list[Finding]:
        judgement = self.oracle.judge_host(1, scan(b"".join(data), 0))
        seen = [msgspec.structs.replace(f, reread=reread) for f in judgement.findings]
        return self.blame(Judgement(judgement.counts, seen))


def only(findings: list[Finding]) -> Finding:
    (finding,) = findings
    assert finding.guilty is not None
    assert f"Guilty: the {finding.guilty}; {finding.because}." in finding.sentence
    return finding


def test_of_right_data_nobody_is_guilty() -> None:
    stack = Stack()
    assert stack.blame_medium() == stack.blame_arrivals() == []


# -- bad writes -----------------------------------------------------------------------------------


def lost_on_the_way() -> Stack:
    stack = Stack()
    del stack.writes[2]
    stack.store(A, *stack.file(1, 1))
    return stack


def test_a_promised_write_that_never_arrived_is_the_transports() -> None:
    finding = only(lost_on_the_way().blame_medium())
    assert (finding.guilty, finding.sector_class) == (Guilty.TRANSPORT, SectorClass.LOST)
    assert "never arrived" in finding.because
    assert finding.keys.arrivals == (10,)
    assert finding.keys.expected_writes == (2,)


def test_what_never_arrived_and_was_not_sent_is_the_hosts() -> None:
    stack = lost_on_the_way()
    stack.tapped = [stack.arrival(1, A, *stack.file(1, 1))]
    assert only(stack.blame_medium()).guilty is Guilty.HOST
    stack.tapped.append(stack.arrival(2, A, *stack.file(1, 2)))
    assert only(stack.blame_medium()).guilty is Guilty.TRANSPORT


def test_a_first_write_that_never_arrived_is_the_transports() -> None:
    stack = Stack()
    del stack.writes[2], stack.writes[0]
    for lba in range(A, A + SECTORS):
        del stack.medium[lba]
    finding = only(stack.blame_medium())
    assert (finding.guilty, finding.sector_class) == (Guilty.TRANSPORT, SectorClass.ZEROED)


def test_a_refusal_of_which_the_host_was_not_told_is_the_transports() -> None:
    stack = Stack()
    stack.writes[2] = stack.arrival(12, A, *stack.file(1, 2), errno=5)
    stack.store(A, *stack.file(1, 1))
    finding = only(stack.blame_medium())
    assert finding.guilty is Guilty.TRANSPORT
    assert "refused write 12 with errno 5" in finding.because
    assert finding.keys.arrivals == (10, 12)


def misdirected() -> Stack:
    """The last write of the second file arrives over the first."""
    stack = Stack()
    stack.writes[3] = stack.arrival(13, A, *stack.file(2, 2))
    stack.store(A, *stack.file(2, 2))
    stack.store(B, *stack.file(2, 1))
    return stack


def test_what_arrived_elsewhere_is_the_transports_in_every_view() -> None:
    stack = misdirected()
    arrival = only(stack.blame_arrivals())
    assert (arrival.guilty, arrival.lba, arrival.belongs_lba) == (Guilty.TRANSPORT, A, B)
    assert arrival.keys.arrivals == (13,)
    over, lost = stack.blame_medium()
    assert over.guilty is lost.guilty is Guilty.TRANSPORT
    assert over.keys.arrivals == (12, 13)
    assert (over.keys.seen_file_id, over.keys.seen_write, over.keys.file_id) == (2, 2, 1)
    assert "never arrived" in lost.because


def test_what_was_sent_elsewhere_is_the_hosts() -> None:
    stack = misdirected()
    stack.tapped = list(stack.writes)
    assert only(stack.blame_arrivals()).guilty is Guilty.HOST
    stack.tapped[3] = stack.arrival(13, B, *stack.file(2, 2))
    assert only(stack.blame_arrivals()).guilty is Guilty.TRANSPORT


def test_an_old_write_that_arrives_again_is_the_transports() -> None:
    stack = Stack()
    stack.writes.append(stack.arrival(15, A, *stack.file(1, 1)))
    stack.store(A, *stack.file(1, 1))
    finding = only(stack.blame_medium())
    assert (finding.guilty, finding.keys.arrivals) == (Guilty.TRANSPORT, (12, 15))


# -- bad media ------------------------------------------------------------------------------------


def test_what_arrived_and_is_not_there_is_the_mediums() -> None:
    stack = Stack()
    stack.store(A, *stack.file(1, 1))
    finding = only(stack.blame_medium())
    assert (finding.guilty, finding.keys.arrivals) == (Guilty.MEDIUM, (12,))


def test_a_fault_of_the_medium_is_named() -> None:
    stack = Stack()
    stack.writes[2] = stack.arrival(12, A, *stack.file(1, 2), injected="lost")
    stack.store(A, *stack.file(1, 1))
    assert "a fault (lost) changed write 12" in only(stack.blame_medium()).because


def test_data_of_ours_that_no_write_brought_is_the_mediums() -> None:
    stack = Stack()
    stack.store(150, stack.data(1, 2, 3))
    finding = only(stack.blame_medium())
    assert (finding.guilty, finding.lba, finding.belongs_lba) == (Guilty.MEDIUM, 150, A + 3)


@pytest.mark.parametrize(("flushes", "guilty"), [([5], Guilty.TRANSPORT), ([5, 14], Guilty.MEDIUM)])
def test_of_a_medium_with_a_cache_the_flush_decides(flushes: list[int], guilty: Guilty) -> None:
    stack = Stack()
    stack.volatile = True
    stack.flushes = flushes
    stack.store(A, *stack.file(1, 1))
    assert only(stack.blame_medium()).guilty is guilty


# -- bad reads ------------------------------------------------------------------------------------


def test_a_bad_read_of_good_data_is_the_transports() -> None:
    stack = Stack()
    finding = only(stack.blame_host(*stack.file(2, 2)))
    assert finding.guilty is Guilty.TRANSPORT
    assert "the medium holds the right data" in finding.because


@pytest.mark.parametrize(
    "read", [Served(20, A, SECTORS, 5), Served(20, A - 8, 64, 0, "misdirected")]
)
def test_a_read_that_the_medium_answered_wrongly_is_its_own(read: Served) -> None:
    stack = Stack()
    stack.reads = [read, Served(21, A, SECTORS, 0, "delay"), Served(22, B, SECTORS, 5)]
    finding = only(stack.blame_host(*stack.file(2, 2)))
    assert (finding.guilty, finding.keys.arrivals) == (Guilty.MEDIUM, (20,))


def test_a_file_that_is_wrong_over_a_right_disk_is_the_hosts() -> None:
    stack = Stack()
    finding = only(stack.blame_host(*stack.file(2, 2), reread=Reread.FILE_ONLY))
    assert finding.guilty is Guilty.HOST


def test_what_a_medium_still_has_in_its_cache_was_read_badly() -> None:
    stack = Stack()
    stack.volatile = True
    stack.store(A, *stack.file(1, 1))
    assert only(stack.blame_host(*[ZERO] * SECTORS)).guilty is Guilty.TRANSPORT


def test_what_the_host_sees_wrong_of_a_wrong_medium_is_a_bad_write() -> None:
    finding = only(lost_on_the_way().blame_host(*Stack().file(1, 1)))
    assert "never arrived" in finding.because


# -- cutting --------------------------------------------------------------------------------------


def test_a_finding_is_cut_where_the_guilty_differ() -> None:
    stack = Stack()
    stack.store(A, *stack.file(1, 1))
    stack.writes[2] = stack.arrival(12, A, *stack.file(1, 2)[:2])
    first, second = stack.blame_medium()
    assert (first.guilty, first.lba, first.count) == (Guilty.MEDIUM, A, 2)
    assert (second.guilty, second.lba, second.count) == (Guilty.TRANSPORT, A + 2, 2)
    assert second.offset == 2 * SECTOR_BYTES


def test_a_sector_whose_place_is_unknown_is_blamed_on_nobody() -> None:
    finding = Finding(View.HOST, SectorClass.LOST, None, None, "/x", 0, "", "", 1)
    judgement = Stack().blame(Judgement({}, [finding]))
    assert judgement[0].guilty is None
