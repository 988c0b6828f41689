"""A session line by line: from a terminal with history and completion, or from a pipe or a file.

One sentence or row a line, no frames, no colours: for scripts and for screen readers.
"""

from __future__ import annotations

import queue
import signal
import subprocess
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as StillGoing
from contextlib import suppress
from typing import NamedTuple

from rig.errors import RigError, UserError
from rig.session.plain.speaking import Speaker
from rig.session.signals import Gone
from rig.session.snapshot import Mode, Snapshot
from rig.session.talk.interpreter import Answer
from rig.session.talk.telling import news
from rig.session.waiting import Patience

NEWS_S = 0.2
BROKEN_OFF_S = 1.0
"""What was broken off answers within this, or goes on by itself."""
START_S = 3600.0
"""An image may have to be built first."""
Ask = Callable[[str], Answer]
Look = Callable[[], Snapshot]


class Ended(NamedTuple):
    """How a conversation ended.

    Attributes:
        failed: Commands that could not be done.
        lost: Whether whoever read has gone.
    """

    failed: int
    lost: bool


class Conversation:
    """Takes lines until the person leaves, or there are no more.

    Args:
        ask: Does a line; raises `RigError` with what is to be said if it cannot.
        look: Says how things are, at once.
        patience: Waits for ``wait``.
        speaker: Prints.
        strict: Whether a command that fails ends it.
    """

    def __init__(
        self, ask: Ask, look: Look, patience: Patience, speaker: Speaker, *, strict: bool = False
    ) -> None:
        self._ask = ask
        self._look = look
        self._patience = patience
        self._speaker = speaker
        self._strict = strict
        self._failed = 0
        self._work: queue.SimpleQueue[tuple[str, Future[Answer]]] = queue.SimpleQueue()
        # A daemon thread: what never ends must not keep the process.
        threading.Thread(target=self._run, name="deeds", daemon=True).start()

    def hold(self, lines: Iterable[str], *, by_hand: bool) -> Ended:
        """Take lines; return when the session is to be left.

        Args:
            lines: In order; their end is as good as ``quit``.
            by_hand: Whether a person types them; from elsewhere the first waits for the session.
        """
        over = threading.Event()
        teller = threading.Thread(target=self._tell_news, args=(over,), name="news", daemon=True)
        teller.start()
        # Ctrl-C that breaks nothing off (a start, a pipe that is read) leaves, as a signal does.
        with suppress(Gone, KeyboardInterrupt):
            if not by_hand:
                self._patience.until(self._has_begun, START_S)
            for line in lines:
                if self._is_last(line, by_hand=by_hand) or self._speaker.lost:
                    break
        self._patience.give_up(leaving=True)
        over.set()
        teller.join()
        return Ended(self._failed, self._speaker.lost)

    def _has_begun(self) -> bool:
        """Whether there is something to do things to, and it was looked at."""
        seen = self._look()
        return seen.mode is not Mode.STARTING and (
            seen.mode is not Mode.LIVE or bool(seen.machines)
        )

    def _is_last(self, line: str, *, by_hand: bool) -> bool:
        answer = self._answer(line)
        if answer is None:
            self._failed += 1
            return self._strict
        for sentence in answer.sentences:
            self._speaker.say(sentence)
        if answer.argv:
            self._give_terminal(answer.argv, by_hand=by_hand)
        return answer.leaving

    def _answer(self, line: str) -> Answer | None:
        """Have a line done; None if it could not be, which was said."""
        future: Future[Answer] = Future()
        self._work.put((line, future))
        try:
            return future.result()
        except RigError as error:
            self._speaker.say(f"error: {error}")
        except KeyboardInterrupt:
            self._break_off(line, future)
        return None

    def _break_off(self, line: str, future: Future[Answer]) -> None:
        self._patience.give_up()
        try:
            future.result(BROKEN_OFF_S)
        except RigError as error:
            self._speaker.say(f"error: {error}")
        except StillGoing:
            self._speaker.say(f"'{line.strip()}' cannot be broken off; its answer comes later.")
            future.add_done_callback(self._late)

    def _late(self, future: Future[Answer]) -> None:
        error = future.exception()
        said = (f"error: {error}",) if error is not None else future.result().sentences
        for sentence in said:
            self._speaker.tell(sentence)

    def _give_terminal(self, argv: Sequence[str], *, by_hand: bool) -> None:
        if not by_hand:
            self._speaker.say(f"A shell needs a terminal: {subprocess.list2cmdline(argv)}")
            return
        self._speaker.say("The session goes on; leave the shell to come back.")
        with self._speaker.silent(), suppress(KeyboardInterrupt):
            try:
                status = subprocess.call(argv)
            except OSError as error:
                self._speaker.say(f"error: {argv[0]} cannot be run: {error.strerror}.")
            else:
                self._speaker.say(f"The shell has ended with status {status}.")

    # Other threads.

    def _run(self) -> None:
        while True:
            line, future = self._work.get()
            try:
                future.set_result(self._ask(line))
            except RigError as error:
                future.set_exception(error)
            except Exception as error:
                # Whatever it is, the session goes on: its data and its verdict are worth more.
                said = f"The rig itself is at fault: {type(error).__name__}: {error}."
                future.set_exception(UserError(said))

    def _tell_news(self, over: threading.Event) -> None:
        before = self._look()
        while not over.wait(NEWS_S):
            after = self._look()
            for line in news(before.told, after.told):
                self._speaker.tell(line)
            if after.mode is not before.mode and after.mode in _TOLD:
                self._speaker.tell(f"{after.at_s:.1f} s  {after.words}")
            if after.verdict != before.verdict and after.verdict:
                self._speaker.tell(f"{after.at_s:.1f} s  verdict: {after.verdict}")
            if after.mode is Mode.ENDED or self._speaker.reader_has_gone():
                # Nothing is left to be done, or nobody to be told: no further line is waited for.
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)
                return
            before = after


_TOLD = frozenset({Mode.LIVE, Mode.PAUSED, Mode.BROKEN, Mode.ENDED})
