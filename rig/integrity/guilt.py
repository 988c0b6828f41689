"""Who is guilty, where the three views disagree: the host, the transport, or the medium.

The medium's journal parts the world in two: what arrived wrong was wrong before the medium touched
it, and what arrived right is the medium's to keep.  Of one bad sector::

    the medium holds what it must                        a bad read:
        the medium answered a read of it wrongly             the medium
        the raw disk gives it rightly, the file does not     the host
        else                                                 the transport
    it does not, and holds what was brought last         a bad write:
        that was wrong, or the right one never came          the transport, or the host
        the right one was refused, and nobody said so        the transport
    it does not, and holds something else                a bad medium:
        the right one came, but no flush after it            the transport
        else                                                 the medium

Whether the host or the transport made a write wrong is known if the front machine's writes were
tapped between the two; without a tap it is laid to the transport, which a driver's test is about.

Pure, and only for the station.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from rig.integrity.arrivals import Arrival
from rig.integrity.evidence import Brought, MediumJournal, Sectors
from rig.integrity.judgement import Finding, Guilty, Judgement, Reread, View, joined, told
from rig.integrity.oracle import Oracle
from rig.integrity.scan import Run
from rig.integrity.stamp import SectorKind

BIG = 1 << 12
"""No finding is cut into more than so many pieces; the rest of a larger one goes by its last."""


class Blame(NamedTuple):
    """Who, how one knows, and the numbers of the journal's records that show it."""

    guilty: Guilty
    because: str
    records: tuple[int, ...] = ()


class Jury:
    """Says of findings who is guilty.

    Args:
        oracle: Of the same run.
        journal: What the medium was asked for.
        medium: What it holds, by LBA, in order; LBAs that no run covers are zero.
        tapped: The writes as the front machine's disk driver gave them to the split driver, in
            order, numbered as the caller likes; None if nobody listened.
    """

    def __init__(
        self,
        oracle: Oracle,
        journal: MediumJournal,
        medium: Sequence[Run],
        tapped: Sequence[Arrival] | None = None,
    ) -> None:
        self._oracle = oracle
        self._journal = journal
        self._arrivals = Sectors(journal.writes)
        self._medium = Sectors([Arrival(0, 0, list(medium))])
        self._tapped = None if tapped is None else Sectors(tapped)

    def blame(self, judgement: Judgement) -> Judgement:
        """Return the judgement with its findings blamed, and cut where the guilty differ."""
        pieces = [piece for finding in judgement.findings for piece in self._blamed(finding)]
        findings = [told(finding) for finding in joined(pieces)]
        return msgspec.structs.replace(judgement, findings=findings)

    def _blamed(self, finding: Finding) -> list[Finding]:
        if finding.lba is None:
            return [finding]
        cuts = self._arrivals.cuts(finding.lba, finding.count)
        cuts |= self._medium.cuts(finding.lba, finding.count)
        starts = [0, *(at - finding.lba for at in sorted(cuts)[:BIG])]
        pieces = []
        for start, stop in zip(starts, [*starts[1:], finding.count], strict=True):
            piece = finding.part(start, stop - start)
            blame = self._of_sector(piece, finding.lba + start)
            keys = msgspec.structs.replace(
                piece.keys, arrivals=tuple(sorted({*piece.keys.arrivals, *blame.records}))
            )
            pieces.append(
                msgspec.structs.replace(
                    piece, guilty=blame.guilty, because=blame.because, keys=keys
                )
            )
        return pieces

    def _of_sector(self, finding: Finding, lba: int) -> Blame:
        brought = self._arrivals.at(lba)
        if finding.view is View.ARRIVAL:
            guilty = [one for one in brought if one.arrival.number == finding.arrival]
            return self._wrong_arrival(guilty[-1], lba)
        held = self._held(lba)
        stored = [one for one in brought if one.arrival.errno == 0]
        last = stored[-1] if stored else None
        keeps = self._oracle.allows(held, lba, view=finding.view)
        cached = (
            last is not None
            and self._journal.may_cache(last.arrival.number)
            and self._right(last, lba)
        )
        if finding.view is View.HOST and (keeps or cached):
            return self._bad_read(finding, lba)
        if last is None or not _same(last.run, held):
            return self._bad_medium(last, held, lba)
        return self._bad_write(last, brought, lba)

    # -- bad reads -----------------------------------------------------------------------------

    def _bad_read(self, finding: Finding, lba: int) -> Blame:
        wrong = [r for r in self._journal.reads if r.lba <= lba < r.lba + r.count and r.wrong]
        if wrong:
            last = wrong[-1]
            how = f"with errno {last.errno}" if last.errno else f"wrongly ({last.injected})"
            words = f"it holds the right data, and answered read {last.number} of the journal {how}"
            return Blame(Guilty.MEDIUM, words, (last.number,))
        if finding.reread is Reread.FILE_ONLY:
            return Blame(Guilty.HOST, "its raw disk gives the right data, and its file does not")
        once = ", and so did the second reading" if finding.reread is Reread.TRANSIENT else ""
        return Blame(Guilty.TRANSPORT, f"the medium holds the right data{once}")

    # -- bad media -----------------------------------------------------------------------------

    def _bad_medium(self, last: Brought | None, held: Run, lba: int) -> Blame:
        if last is None:
            if held.kind is SectorKind.STAMP and self._oracle.is_ours(held):
                return Blame(Guilty.MEDIUM, "it holds what no write brought there")
            return self._never_came(lba, ())
        number = last.arrival.number
        if last.arrival.injected:
            fault = last.arrival.injected
            return Blame(Guilty.MEDIUM, f"a fault ({fault}) changed write {number}", (number,))
        flushed = any(flush > number for flush in self._journal.flushes)
        if self._journal.volatile and not flushed and self._right(last, lba):
            words = f"the flush that was promised after write {number} never came"
            return Blame(Guilty.TRANSPORT, words, (number,))
        return Blame(Guilty.MEDIUM, f"it does not hold what write {number} brought", (number,))

    # -- bad writes ----------------------------------------------------------------------------

    def _bad_write(self, last: Brought, brought: list[Brought], lba: int) -> Blame:
        number = last.arrival.number
        right = [one for one in brought if self._right(one, lba)]
        refused = [one.arrival for one in right if one.arrival.errno]
        if refused and not any(one.arrival.errno == 0 for one in right):
            words = f"the medium refused write {refused[-1].number} with errno {refused[-1].errno}"
            numbers = (number, refused[-1].number)
            return Blame(Guilty.TRANSPORT, f"{words}, and the host was told of success", numbers)
        if right:
            blame = self._wrong_arrival(last, lba)
            return blame._replace(records=(right[-1].arrival.number, *blame.records))
        if self._oracle.was_right(last.run, lba):
            return self._never_came(lba, (number,))
        return self._wrong_arrival(last, lba)

    def _wrong_arrival(self, one: Brought, lba: int) -> Blame:
        number = one.arrival.number
        words = f"write {number} of the journal arrived so"
        if self._tapped is not None:
            if any(_same(sent.run, one.run) for sent in self._tapped.at(lba)):
                return Blame(Guilty.HOST, f"{words}, and was sent so", (number,))
            words += ", and was not sent so"
        return Blame(Guilty.TRANSPORT, words, (number,))

    def _never_came(self, lba: int, records: tuple[int, ...]) -> Blame:
        words = "what was acknowledged never arrived"
        if self._tapped is not None:
            if not any(self._right(sent, lba) for sent in self._tapped.at(lba)):
                return Blame(Guilty.HOST, f"{words}, and was not sent", records)
            words += ", and was sent"
        return Blame(Guilty.TRANSPORT, words, records)

    # -- one sector ----------------------------------------------------------------------------

    def _right(self, one: Brought, lba: int) -> bool:
        return self._oracle.allows(one.run, lba, view=View.HOST)

    def _held(self, lba: int) -> Run:
        held = self._medium.at(lba)
        return held[-1].run if held else Run(lba, 1, SectorKind.ZERO)


def _same(one: Run, other: Run) -> bool:
    """Whether two sectors look alike."""
    return (one.kind, one.stamp, one.note) == (other.kind, other.stamp, other.note)
