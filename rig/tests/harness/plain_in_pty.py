"""A session line by line on the terminal that this program has; nothing behind it.

    python -m rig.tests.harness.plain_in_pty DIRECTORY [busy]

DIRECTORY gets the journal (``journal``), the history (``state``) and ``left`` when it ends.  The
command ``reset`` never ends, with ``busy``.  A file ``told`` that appears there is told as news.
"""

from __future__ import annotations

import sys
import threading
from pathlib import Path

from rig.session.plain.lines import Conversation
from rig.session.plain.speaking import Speaker
from rig.session.plain.typed import PROMPT, Typed
from rig.session.signals import ended_by_signals
from rig.session.snapshot import Mode, Snapshot
from rig.session.talk.interpreter import Interpreter
from rig.session.waiting import Patience
from rig.tests.harness.fake_deeds import FakeDeeds, Seat


class Busy(FakeDeeds):
    """A rig whose reset takes as long as this program, and of which files tell news."""

    def __init__(self, directory: Path) -> None:
        super().__init__()
        self._directory = directory

    def snapshot(self) -> Snapshot:
        if (self._directory / "told").exists() and not self.now.told:
            self.change(told=("back: fault 'x' fired at match 1.",))
        if (self._directory / "over").exists():
            self.change(mode=Mode.ENDED, words="The session has ended.")
        return self.now

    def reset(self) -> None:
        threading.Event().wait()


def main(directory: Path) -> None:
    patience = Patience()
    speaker = Speaker(sys.stdout, sys.stdout, PROMPT)
    seat = Seat()
    seat.deeds = Busy(directory)
    interpreter = Interpreter(
        seat.deeds, seat.settings, seat.doings, patience, seat.files.__setitem__
    )
    with ended_by_signals():
        talk = Conversation(interpreter.ask, seat.deeds.snapshot, patience, speaker)
        typed = Typed(speaker, interpreter.complete, directory / "state" / "history")
        ended = talk.hold(typed, by_hand=True)
    (directory / "journal").write_text("\n".join(interpreter.journal()))
    (directory / "left").write_text(str(ended))
    if not ended.lost:
        print("It has ended in order.", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
