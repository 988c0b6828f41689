"""The phases of the workloads: what a rule's `phase` may name.

Here and nowhere else: a workload that gets another phase gives it a name here, and plans may use
it.  Processes that bring faults about know no list: whoever supervises one tells it which phase it
is, and the experiments that are no workload name one after each of their cells.

A part of a phase has the phase's name, a slash, and its own: whoever is told of the part is in the
phase still.

Pure.
"""

from __future__ import annotations

from enum import StrEnum


class Phase(StrEnum):
    """A phase of a workload, in the order in which they come."""

    WRITE = "write"
    """Stamped data is written and overwritten."""
    PROMISED = "write/promised"
    """The part of it behind the first fsync that has returned 0: something can be lost."""
    READ = "read"
    """All of it is read back."""


PHASES: tuple[str, ...] = tuple(Phase)
"""The names."""


def lies_within(name: str | None) -> tuple[str, ...]:
    """Return a phase and those of which it is a part, the widest first; none for None."""
    if name is None:
        return ()
    words = name.split("/")
    return tuple("/".join(words[:count]) for count in range(1, len(words) + 1))
