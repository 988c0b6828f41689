"""What a deep-queue client has done.  Pure."""

from __future__ import annotations

import msgspec

from rig.deepqueue.exchange import Ended


class Counters(msgspec.Struct):
    """Counts, from the client's start on.

    Attributes:
        commands: SCSI commands that ended, those that ask for sense or readiness included.
        urbs: URBs that were queued.
        failed_stages: Data stages in which an URB ended in error.
        ran_behind: URBs that moved data although one before them had failed.
        resets: Times that the device was made ready again.
        retries: Attempts behind the first.
        failures: Operations that failed for good.
        ended: Commands by their ending.
    """

    commands: int = 0
    urbs: int = 0
    failed_stages: int = 0
    ran_behind: int = 0
    resets: int = 0
    retries: int = 0
    failures: int = 0
    ended: dict[str, int] = {}

    def count(self, ended: Ended) -> None:
        """Count a command."""
        self.commands += 1
        self.ended[ended.ending] = self.ended.get(ended.ending, 0) + 1
        self.failed_stages += any(piece.status for piece in ended.pieces)
        self.ran_behind += ended.ran_behind
