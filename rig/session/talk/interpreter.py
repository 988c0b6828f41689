"""Turns lines into deeds, journal entries, and answers in sentences.  Pure over `Deeds`.

The same lines come from a terminal, a pipe, the screen's command line and its keys.  A front of it
needs this much:

- ``Interpreter(deeds, settings, doings, patience, keep)`` makes one.
- ``ask(line)`` does a line, takes as long as that takes, and returns an `Answer`, or raises a
  `RigError` whose text is what the person is told; the session goes on behind it.  One thread at a
  time may call it.
- ``complete(text)`` returns what a line that begins so may become; from any thread, and quick.
- ``help()`` and ``journal()`` return lines to be read; from any thread, and quick.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from rig.errors import UserError
from rig.integrity.workloads.table import described
from rig.session.deeds import Deeds
from rig.session.snapshot import Snapshot
from rig.session.talk import making, telling
from rig.session.talk.awaiting import Patient, Waits
from rig.session.talk.commands import help_lines, one_of, parse
from rig.session.talk.completion import complete
from rig.session.talk.doings import Doings, Undo, lasting, undone_by
from rig.session.talk.handling import Handler, RuleCommands, Words
from rig.session.talk.journal import Entry
from rig.session.talk.recipes import search
from rig.session.talk.saving import Settings, plan_text
from rig.session.talk.strikes import Strikes

MACHINES = ("back", "front")


class Answer(NamedTuple):
    """What came of a line.

    Attributes:
        line: As it was asked.
        sentences: What the person is told; a sentence, or a row, each.
        argv: A program that is to have the terminal now; empty: none.
        leaving: Whether the person wants to leave.
    """

    line: str
    sentences: tuple[str, ...] = ()
    argv: tuple[str, ...] = ()
    leaving: bool = False


class Interpreter:
    """Does the commands of `rig.session.talk.commands`; see the module.

    Args:
        deeds: Has them done.
        settings: What the session began with.
        doings: The journal, and the way back.
        patience: Waits for ``wait``.
        keep: Writes a plan: file name and text; raises `UserError` if it cannot.
    """

    def __init__(
        self,
        deeds: Deeds,
        settings: Settings,
        doings: Doings,
        patience: Patient,
        keep: Callable[[str, str], None],
    ) -> None:
        self._deeds = deeds
        self._settings = settings
        self._doings = doings
        strikes = Strikes(deeds)
        self._waits = Waits(deeds, patience, strikes, split=settings.split)
        self._keep = keep
        self._rules = RuleCommands(deeds, doings, self._waits.settle, strikes)
        self._handlers: dict[str, Handler] = {
            **self._rules.handlers,
            "help": lambda _, words: help_lines(*words),
            "status": lambda _, words: telling.status_lines(self._seen, *words),
            "recipes": self._recipes,
            "faults": lambda *_: telling.fault_lines(self._seen.faults),
            "release": self._release,
            "workload": self._workload,
            "pause": self._pause,
            "go": self._go,
            "verify": self._verify,
            "reset": self._reset,
            "policy": self._policy,
            "note": self._note,
            "undo": lambda *_: self._doings.undo(),
            "journal": lambda *_: self.journal() or ["Nothing was done yet."],
            "log": self._log,
            "urbs": self._urbs,
            "wait": lambda _, words: self._waits.wait(words, lambda: self._rules.taken),
            "save": self._save,
        }

    def ask(self, line: str) -> Answer:
        """Do a line; see the module.

        Raises:
            UserError: It cannot be; the session goes on.
            MachineError: A machine or a daemon did not do its part; the session goes on.
        """
        asked = parse(line)
        if asked is None:
            return Answer(line)
        name, words = asked.command.name, asked.words
        # The journal has the command's whole name, whatever was typed of it.
        whole = " ".join([name, *line.split(maxsplit=1)[1:]]).strip()
        if name == "quit":
            return Answer(line, ("The session ends in order.",), leaving=True)
        if name == "shell":
            return Answer(line, argv=tuple(self._deeds.shell(one_of(words[0], MACHINES))))
        return Answer(line, tuple(self._handlers[name](whole, words)))

    def complete(self, text: str) -> list[str]:
        """Return what a line that begins so may become."""
        return complete(text, self._seen)

    def help(self) -> list[str]:
        """Return all commands, explained, a line each."""
        return help_lines()

    def journal(self) -> list[str]:
        """Return what was done, a line each."""
        return self._doings.journal.lines()

    @property
    def _seen(self) -> Snapshot:
        return self._deeds.snapshot()

    def _record(self, line: str, answer: Sequence[str], undo: Undo) -> list[str]:
        entry = Entry(at_s=self._doings.now_s(), line=line, answer=tuple(answer))
        self._doings.record(entry, undo)
        return list(answer)

    # The workload

    def _workload(self, line: str, words: Words) -> Sequence[str]:
        if not words:
            now = self._seen.workload.name
            return [f"The workload is {now}."] * bool(now) + described().splitlines()
        (name,) = words
        before = self._deeds.use(name)
        if before == name:
            return [f"The workload is {name} already."]
        undo = undone_by(lambda: self._deeds.use(before), f"The workload is {before} again.")
        return self._record(line, [f"{name} writes from the next pass on."], undo)

    def _pause(self, line: str, _: Words) -> Sequence[str]:
        if not self._deeds.pause():
            return ["The workload is paused already."]
        undo = undone_by(self._deeds.go, "The workload goes on.")
        return self._record(line, ["The workload is paused."], undo)

    def _go(self, line: str, _: Words) -> Sequence[str]:
        if not self._deeds.go():
            return ["The workload is not paused."]
        undo = undone_by(self._deeds.pause, "The workload is paused.")
        return self._record(line, ["The workload goes on."], undo)

    def _verify(self, line: str, _: Words) -> Sequence[str]:
        return self._record(line, self._deeds.verify(), lasting("'verify' changes nothing."))

    # The device and the driver

    def _release(self, line: str, _: Words) -> Sequence[str]:
        count = self._deeds.release()
        said = f"{count} released." if count else "Nothing hangs."
        return self._record(line, [said], lasting("'release' cannot be undone."))

    def _reset(self, line: str, _: Words) -> Sequence[str]:
        self._deeds.reset()
        cannot = lasting("'reset' cannot be undone.")
        return self._record(line, ["The device's port was reset."], cannot)

    def _policy(self, line: str, words: Words) -> Sequence[str]:
        if not words:
            now = self._seen.policy
            return [f"The policy is {now}." if now else "Only the split driver has a policy."]
        (name,) = words
        before = self._deeds.switch(name)
        # A policy with its own settings is told with them, and chosen without.
        undo = undone_by(
            lambda: self._deeds.switch(before.split()[0]), f"The policy is {before} again."
        )
        return self._record(line, [f"The policy is {name}; it was {before}."], undo)

    # What is told

    def _note(self, line: str, words: Words) -> Sequence[str]:
        self._deeds.mark(words[0])
        undo = undone_by(lambda: None, "It is struck out of the journal; the trace keeps it.")
        return self._record(line, ["Noted."], undo)

    def _recipes(self, _: str, words: Words) -> Sequence[str]:
        found = telling.recipe_lines(search(words))
        if not found:
            raise UserError(f"No recipe has '{' '.join(words)}'.", hint="'recipes' lists all.")
        return found

    def _log(self, _: str, words: Words) -> Sequence[str]:
        machine, *more = [word for word in words if not word.isdigit()] or [""]
        if more or len(words) > 2:
            raise UserError("'log' takes one machine, or none, and one number of lines.")
        lines = next((making.whole(word) for word in words if word.isdigit()), telling.LOG_LINES)
        if machine:
            one_of(machine, MACHINES)
        return telling.log_lines(self._seen.log, machine, lines)

    def _urbs(self, _: str, words: Words) -> Sequence[str]:
        lines = making.whole(words[0]) if words else telling.LOG_LINES
        return telling.urb_lines(self._seen.urbs, lines)

    def _save(self, _: str, words: Words) -> Sequence[str]:
        (file,) = words
        saved = plan_text(self._settings, self._doings, self._seen, file)
        self._keep(file, saved.text)
        return saved.sentences
