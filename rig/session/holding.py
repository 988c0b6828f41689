"""Holds a session from its start to its verdict: on the full screen, or line by line."""

from __future__ import annotations

import io
import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from rig.errors import MachineError, UserError
from rig.experiments.run.options import RunOptions
from rig.experiments.run.room import most_mib
from rig.lab.attachment import DUMMY
from rig.lab.basis import basis
from rig.lab.paths import PathName
from rig.progress import Progress, Silent
from rig.report.rundir import RunDirectory
from rig.report.verdict import Verdict
from rig.session.live.engine import Engine
from rig.session.live.running import END_S
from rig.session.plain.lines import Conversation, Ended
from rig.session.plain.speaking import Speaker, Spoken
from rig.session.plain.typed import PROMPT, Typed, history_file
from rig.session.screen.start import run_screen
from rig.session.signals import Gone, ended_by_signals, gone_at_signals
from rig.session.talk.doings import Doings
from rig.session.talk.interpreter import Interpreter
from rig.session.talk.journal import Journal
from rig.session.talk.saving import MARK, Settings
from rig.session.waiting import Patience

JOURNAL = "session.jsonl"
SAY_S = 20.0
"""So often it is said what a session that is being left does."""


class Held(NamedTuple):
    """A session that is over.

    Attributes:
        directory: Of the run.
        verdict: What it came to.
        ended: How its conversation ended.
    """

    directory: RunDirectory
    verdict: Verdict
    ended: Ended


def hold_on_screen(options: RunOptions, out: Path | None, progress: Progress) -> Held:
    """Hold a session on the terminal's full screen.

    Args:
        options: What to run.
        out: The run directory; None for a new one below ``runs/``.
        progress: Is told how the machines' image is built, before there is a screen.

    Raises:
        UserError: The run directory cannot be made.
        MachineError: A machine or a program on it did not do its part.
    """
    patience = Patience()
    basis(options.kernel, progress)  # here its steps can be seen: there is no screen yet
    try:
        with (
            gone_at_signals(),
            _open(options, out, Silent()) as session,
            _interpreter(session, options, patience) as interpreter,
        ):
            engine = session.engine
            run_screen(engine.snapshot, interpreter, engine.leave, lambda: engine.wait(END_S))
            patience.give_up(leaving=True)
    except Gone as gone:  # before there was a screen, which takes such signals itself
        raise SystemExit(128 + gone.number) from None
    return _held(engine, Ended(0, lost=False))


def hold_plainly(
    options: RunOptions, out: Path | None, lines: Iterable[str] | None, *, strict: bool
) -> Held:
    """Hold a session line by line.

    Args:
        options: What to run.
        out: The run directory; None for a new one below ``runs/``.
        lines: Commands; None: a person types them on the terminal.
        strict: Whether the first command that fails ends it.

    Raises:
        UserError: The run directory cannot be made.
        MachineError: A machine or a program on it did not do its part.
    """
    patience = Patience()
    aside = sys.stdout if lines is None else sys.stderr
    prompt = PROMPT if lines is None else ""
    speaker = Speaker(sys.stdout or io.StringIO(), aside or io.StringIO(), prompt)
    ended = Ended(0, lost=False)
    with ended_by_signals():
        try:
            with _open(options, out, Spoken(speaker.tell)) as session:
                engine = session.engine
                with _interpreter(session, options, patience) as interpreter, suppress(Gone):
                    talk = Conversation(
                        interpreter.ask, engine.snapshot, patience, speaker, strict=strict
                    )
                    typed = Typed(speaker, interpreter.complete, history_file())
                    by_hand = lines is None
                    ended = talk.hold(typed if lines is None else lines, by_hand=by_hand)
                engine.leave()
                speaker.tell("Everything is checked and read back; this takes a while.")
                with suppress(Gone):
                    _wait(engine, speaker)
        except Gone as gone:  # before there was anything to be ended
            raise SystemExit(128 + gone.number) from None
    return _held(engine, ended._replace(lost=speaker.lost))


def forget_output() -> None:
    """Let what is still to be printed go nowhere: whoever read it has gone."""
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            os.dup2(null, stream.fileno())
    os.close(null)


def _wait(engine: Engine, speaker: Speaker) -> None:
    """Wait for the end, and say now and then for what; the first Ctrl-C is taken for impatience."""
    began_s = time.monotonic()
    try:
        while (passed_s := time.monotonic() - began_s) < END_S and not engine.wait(SAY_S):
            speaker.tell(f"After {passed_s + SAY_S:.0f} s: {engine.snapshot().words}")
    except KeyboardInterrupt:
        speaker.tell("Everything is checked and read back still; Ctrl-C again gives that up.")
        try:
            engine.wait(END_S)
        except KeyboardInterrupt:
            engine.abandoned = True
            raise


def _held(engine: Engine, ended: Ended) -> Held:
    if engine.verdict is None:
        raise MachineError(
            f"The session did not end within {END_S:g} s.",
            hint=f"What there is of it is in {engine.directory.path}/",
        )
    return Held(engine.directory, engine.verdict, ended)


class _Session(NamedTuple):
    engine: Engine
    opened_s: float

    def writing_s(self) -> float:
        """Say how many seconds ago the writing phase began; 0 before that."""
        began_s = self.engine.began_s
        return 0.0 if began_s is None else time.monotonic() - self.opened_s - began_s


@contextmanager
def _open(options: RunOptions, out: Path | None, progress: Progress) -> Iterator[_Session]:
    opened_s = time.monotonic()
    with Engine.open(options, out, progress) as engine:
        yield _Session(engine, opened_s)


@contextmanager
def _interpreter(
    session: _Session, options: RunOptions, patience: Patience
) -> Iterator[Interpreter]:
    """Make the interpreter of a session, whose journal is in its run directory."""
    engine = session.engine
    with engine.directory.file(JOURNAL).open("a", encoding="utf-8", buffering=1) as file:
        doings = Doings(Journal(file.write), session.writing_s)
        yield Interpreter(engine, settings_of(options, engine.lab_words), doings, patience, keep)


def settings_of(options: RunOptions, lab_words: Sequence[str] = ()) -> Settings:
    """Return what a replay needs of a session's options, and of its lab's."""
    words = [*lab_words, "--fs", ",".join(options.file_systems), "--kernel", options.kernel]
    if options.driver is not PathName.SPLIT:
        words += ["--driver", str(options.driver)]
    words += ["--client", str(options.client)]
    if options.attachment.name != DUMMY.name and options.plan.attachment is None:
        words += ["--attachment", options.attachment.name]
    return Settings(
        options.plan,
        tuple(words),
        len(options.file_systems),
        options.driver is PathName.SPLIT,
        options.workloads[0].name,
        most_mib(len(options.file_systems), options.workloads),
    )


def keep(file: str, text: str) -> None:
    """Write a saved plan; an existing file must be one, too.

    Raises:
        UserError: It is another file, or cannot be written.
    """
    path = Path(file).expanduser()
    try:
        if path.exists() and not path.read_text(encoding="utf-8").startswith(MARK):
            raise UserError(
                f"'{file}' is there, and is no plan of a session.", hint="Name another file."
            )
        path.write_text(text, encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"'{file}' is there, and is no text.", hint="Name another file.") from error
    except OSError as error:
        raise UserError(f"'{file}' cannot be written: {error.strerror}.") from error
