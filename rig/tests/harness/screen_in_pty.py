"""A session's screen on the terminal that this program has; nothing behind it.

    python -m rig.tests.harness.screen_in_pty FILE [deaf]

FILE gets a line for each command, and "left" when the session is told to end.  A deaf one gets no
SIGHUP.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path

from rig.session.screen.start import run_screen
from rig.session.talk.interpreter import Answer
from rig.tests.harness.fake_session_screen import FakeSession


class Noting(FakeSession):
    """Notes to a file, and shells here."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        self._told = threading.Event()

    def ask(self, line: str) -> Answer:
        self._note(line)
        if line == "shell back":
            return Answer(line, argv=("sh", "-c", "echo a shell; read answer; echo $answer"))
        return super().ask(line)

    def leave(self) -> None:
        self._note("left")
        super().leave()
        self._told.set()

    def wait(self) -> None:
        """Wait until the session is over, while somebody is impatient."""
        assert self._told.wait(30)
        os.kill(os.getpid(), signal.SIGTERM)
        self._note("over")

    def _note(self, text: str) -> None:
        with self._path.open("a") as file:
            file.write(f"{text}\n")


if __name__ == "__main__":
    if "deaf" in sys.argv[2:]:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    session = Noting(Path(sys.argv[1]))
    run_screen(session.snapshot, session, session.leave, session.wait)
    print("Verdict: PASS", flush=True)
