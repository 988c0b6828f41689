"""Follows files that still grow, and tells what the monitors see as it comes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from rig.errors import UserError
from rig.experiments.monitor.judging import Judging
from rig.experiments.monitor.run_logs import RunLogs
from rig.experiments.monitor.words import line_of
from rig.integrity.monitors.breach import Breach

POLL_S = 0.5
Tell = Callable[[Path, Breach], None]
Wait = Callable[[float], object]


def follow_all(
    what: Sequence[Path] | RunLogs, judging: Judging, say: Callable[[str], None], wait: Wait
) -> None:
    """Follow files until ``wait`` raises something, or the logs of a run until that is over.

    Args:
        what: The files, or the run.
        judging: Judges them.
        say: Told of each broken rule as it is seen, in a line.
        wait: Waits for so many seconds.

    Raises:
        UserError: See `Follower.follow`; or the run is over, and has no logs.
    """

    def tell(path: Path, breach: Breach) -> None:
        say(f"{path}: {line_of(breach)}")

    if not isinstance(what, RunLogs):
        Follower(what, judging, tell, may_come=False).follow(lambda: False, wait)
        return
    Follower(what.files, judging, tell, may_come=True).follow(lambda: what.over, wait)
    if what.complete:
        for breach in judging.finish():
            tell(what.directory, breach)
    elif not any(path.exists() for path in what.files):
        raise what.none_whole()


class Follower:
    """Judges files while they grow.

    Args:
        files: Logs of one run, and captures.  One that is not there yet may come.
        judging: Judges them.
        tell: Told of each broken rule as it is seen, and in which file's octets.
        may_come: A file may be missing, since its run has not begun to write it.
    """

    def __init__(
        self, files: Sequence[Path], judging: Judging, tell: Tell, *, may_come: bool
    ) -> None:
        self._judging = judging
        self._tell = tell
        self._may_come = may_come
        self._read_bytes = dict.fromkeys(files, 0)
        self._known: set[Path] = set()  # of which something was read, be it nothing

    def follow(self, over: Callable[[], bool], wait: Wait) -> None:
        """Follow until it is over; then all that was written has been read.

        Whether what still waits for the other log can be judged then, `Judging.finish`, is for who
        knows that both are whole.

        Args:
            over: Whether nothing more is written.
            wait: Waits for so many seconds; whatever it raises ends the following.

        Raises:
            UserError: A file cannot be read, is damaged, or begins anew.
        """
        while True:
            last = over()  # before reading: what was written until then is read
            for path in self._read_bytes:
                self._read(path)
            if last:
                return
            wait(POLL_S)

    def _read(self, path: Path) -> None:
        at = self._read_bytes[path]
        try:
            # Opened anew each time: a run puts its whole log in the place of what had come.
            with path.open("rb") as file:
                size = file.seek(0, 2)
                file.seek(at)
                octets = file.read(size - at) if size > at else b""
        except FileNotFoundError as error:
            if self._may_come and not at:
                return
            raise _unreadable(path, error) from error
        except OSError as error:
            raise _unreadable(path, error) from error
        if size < at:
            raise UserError(
                f"{path} has become shorter: it is another file now.",
                hint="Follow it anew.",
            )
        self._read_bytes[path] += len(octets)
        if octets or path not in self._known:
            self._known.add(path)
            for breach in self._judging.feed(path, octets):
                self._tell(path, breach)


def _unreadable(path: Path, error: OSError) -> UserError:
    return UserError(f"{path} cannot be read: {error.strerror}.", hint="Name files that are there.")
