"""Lines that a person types on a terminal, with history and completion by readline."""

from __future__ import annotations

import os
import readline
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType

from rig.session.plain.speaking import Speaker

PROMPT = "rig> "
HISTORY_LINES = 1000


class Typed:
    """Lines that a person types, with history and completion.

    Args:
        speaker: Is told while a line is typed.
        complete: Returns what a line that begins so may become.
        history: File of the lines typed before.
    """

    def __init__(
        self, speaker: Speaker, complete: Callable[[str], Sequence[str]], history: Path
    ) -> None:
        self._speaker = speaker
        self._complete = complete
        self._history = history
        self._found: list[str] = []
        self._was_empty = False

    def __iter__(self) -> Iterator[str]:
        """Return lines until end of file, or two Ctrl-C at an empty prompt."""
        readline.set_completer(self._candidate)
        readline.set_completer_delims(" ")
        readline.parse_and_bind("tab: complete")
        with suppress(OSError):
            readline.read_history_file(self._history)
        readline.set_history_length(HISTORY_LINES)
        before = signal.signal(signal.SIGINT, self._interrupted)
        try:
            yield from self._lines()
        finally:
            signal.signal(signal.SIGINT, before)
            self._keep_history()

    def _lines(self) -> Iterator[str]:
        empty_breaks = 0
        while empty_breaks < 2:
            self._was_empty = False
            try:
                with self._speaker.typing():
                    line = input(PROMPT)
            except EOFError:
                self._speaker.say("")
                return
            except KeyboardInterrupt:
                empty_breaks = empty_breaks + 1 if self._was_empty else 0
                more = "Ctrl-C once more leaves." if empty_breaks == 1 else ""
                self._speaker.say(f"^C {more}".rstrip())
                continue
            except OSError:
                self._speaker.lost = True
                return
            empty_breaks = 0
            yield line

    def _interrupted(self, number: int, frame: FrameType | None) -> None:
        self._was_empty = not readline.get_line_buffer()
        signal.default_int_handler(number, frame)

    def _candidate(self, _: str, number: int) -> str | None:
        if number == 0:
            text = readline.get_line_buffer()[: readline.get_endidx()].lstrip()
            kept = text.rfind(" ") + 1
            self._found = [line[kept:] for line in self._complete(text)]
            if len(self._found) == 1 and not self._found[0].endswith(("=", " ")):
                self._found[0] += " "
        return self._found[number] if number < len(self._found) else None

    def _keep_history(self) -> None:
        with suppress(OSError):
            self._history.parent.mkdir(parents=True, exist_ok=True)
            readline.write_history_file(self._history)


def history_file() -> Path:
    """Return where the lines that were typed are kept: in the user's state directory."""
    place = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(place).expanduser() / "rig" / "session-history"
