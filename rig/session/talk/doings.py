"""What was done in a session, with how each of it is taken back.  Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import msgspec

from rig.errors import UserError
from rig.faults.plan import Fault
from rig.session.talk.journal import Deed, Entry, Journal


class Lasting(UserError):  # noqa: N818 - it is what was done that lasts
    """What cannot be undone; the message says so."""


class Undone(NamedTuple):
    """How something was taken back.

    Attributes:
        sentences: What the person is told.
        removed: The names of rules that are gone although they had fired.
        fired: How often each of these had.
        added: Rules that took it back: what was done before stays in the journal.
    """

    sentences: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    fired: tuple[int, ...] = ()
    added: tuple[Fault, ...] = ()


Undo = Callable[[], Undone]
"""Takes something back; raises `Lasting` if that cannot be, and any `RigError` if it fails."""


class Doings:
    """Keeps the journal, and what is needed to undo.

    Args:
        journal: Is told of everything.
        now_s: Says how many seconds ago the writing phase began; 0 before that.
    """

    def __init__(self, journal: Journal, now_s: Callable[[], float]) -> None:
        self.journal = journal
        self.now_s = now_s
        self._undos: list[tuple[int, Undo]] = []

    def record(self, entry: Entry, undo: Undo) -> None:
        """Write down what was done just now, and how to undo it."""
        self._undos.append((self.journal.add(entry), undo))

    def undo(self) -> list[str]:
        """Undo the last that can be undone; return what was undone, and what could not be.

        Raises:
            UserError: There is nothing to undo.
            RigError: It could not be brought about; it can be tried again.
        """
        said: list[str] = []
        while self._undos:
            number, undo = self._undos.pop()
            entry = self.journal.entry(number)
            try:
                undone = undo()
            except Lasting as lasting:
                said.append(lasting.message)
                continue
            except Exception:
                self._undos.append((number, undo))
                raise
            self._strike(number, undone)
            return [*said, f"Undone: {entry.line} ({entry.at_s:.1f} s).", *undone.sentences]
        raise UserError(" ".join([*said, "There is nothing to undo."]))

    def _strike(self, number: int, undone: Undone) -> None:
        entry = Entry(at_s=self.now_s(), line="undo", answer=undone.sentences)
        if undone.removed:
            entry = msgspec.structs.replace(
                entry, deed=Deed.REMOVED, names=undone.removed, fired=undone.fired
            )
        elif undone.added:
            entry = msgspec.structs.replace(entry, deed=Deed.ADDED, rules=undone.added)
        else:
            entry = msgspec.structs.replace(entry, undoes=number)
        self.journal.add(entry)


def lasting(sentence: str) -> Undo:
    """Return the undo of what cannot be undone."""

    def refuse() -> Undone:
        raise Lasting(sentence)

    return refuse


def undone_by(do: Callable[[], object], sentence: str = "") -> Undo:
    """Return an undo that does something, and says a sentence."""

    def undo() -> Undone:
        do()
        return Undone((sentence,) if sentence else ())

    return undo
