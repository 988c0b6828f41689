"""The whole inquiry: three views, a second look, and who is guilty, from observations alone."""

from __future__ import annotations

from rig.integrity.evidence import MediumJournal, Served
from rig.integrity.filemap import Extent, FileMap, MappedFile
from rig.integrity.inquiry import Inquiry, Observations, inquire
from rig.integrity.judgement import Guilty, Reread, SectorClass, View
from rig.integrity.ledger import Flushed, WriteReturned, WriteStarted
from rig.integrity.looks import FileLook, SecondLook
from rig.integrity.model import Model
from rig.integrity.oracle import Arrival
from rig.integrity.scan import Run
from rig.integrity.stamp import SectorKind, Stamp

RUN_ID, LBA, SECTORS = 4, 100, 8
MAP = FileMap([MappedFile(1, "/f", SECTORS * 512, True, [Extent(0, LBA, SECTORS)])])


def stamped(at: int, count: int = SECTORS, first: int = 0) -> Run:
    stamp = Stamp(RUN_ID, 1, first * 512, LBA + first, 1, 0, 1)
    return Run(at, count, SectorKind.STAMP, stamp)


def ask(host: list[Run], **more: object) -> Inquiry:
    model = Model()
    model.apply_all([WriteStarted(1, 0, SECTORS, 1, 1), WriteReturned(1, 1), Flushed(1)])
    reads = [Served(1, LBA, SECTORS, 5)]
    seen = Observations(
        host=[FileLook(1, host)],
        medium=[stamped(LBA)],
        journal=MediumJournal([Arrival(0, 0, [stamped(LBA)])], reads),
        **more,  # type: ignore[arg-type]
    )
    return inquire(model, MAP, RUN_ID, seen)


def test_of_a_good_run_each_view_is_ok_and_nobody_is_guilty() -> None:
    found = ask([stamped(0)])
    assert set(found.views) == set(View)
    for judgement in found.views.values():
        assert judgement.counts[SectorClass.OK] == SECTORS
        assert judgement.findings == []


def test_what_could_not_be_read_names_the_medium_that_answered_with_an_error() -> None:
    (finding,) = ask([Run(0, SECTORS, SectorKind.UNREADABLE)]).views[View.HOST].findings
    assert (finding.guilty, finding.keys.arrivals, finding.reread) == (Guilty.MEDIUM, (1,), None)


def test_what_could_be_read_again_is_forgiven() -> None:
    look = SecondLook([FileLook(1, [stamped(0)])], [])
    found = ask([Run(0, SECTORS, SectorKind.UNREADABLE)], look=look)
    assert not found.views[View.HOST].failed
    assert [(f.count, f.reread) for f in found.forgiven] == [(SECTORS, Reread.TRANSIENT)]
