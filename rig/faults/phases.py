"""The phases of the workloads: what a rule's `phase` may name.

Here and nowhere else: a workload that gets another phase gives it a name here, and plans may use
it.  Processes that bring faults about know no list: whoever supervises one tells it which phase it
is, and the experiments that are no workload name one after each of their cells.

Pure.
"""

from __future__ import annotations

from enum import StrEnum


class Phase(StrEnum):
    """A phase of a workload, in the order in which they come."""

    WRITE = "write"
    """Stamped data is written and overwritten."""
    READ = "read"
    """All of it is read back."""


PHASES: tuple[str, ...] = tuple(Phase)
"""The names."""
