"""What can be done to a live rig: the engine does it, the interpreter of commands asks for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from rig.faults.plan import Fault
from rig.session.snapshot import Snapshot


class Deeds(Protocol):
    """A live rig.

    All but `snapshot` may block for as long as what they do takes, may be called from any thread
    but one at a time, and raise a `RigError` with a sentence, after which the session goes on:
    `UserError` for what cannot be (an unknown endpoint, an LBA that the disk does not have),
    `MachineError` for a machine that is down.
    """

    def snapshot(self) -> Snapshot:
        """Say how things are; at once, from any thread."""
        ...

    def add(self, rules: Sequence[Fault], *, armed: bool = True) -> list[str]:
        """Bring rules to their processes, all or none; return their names."""
        ...

    def remove(self, name: str) -> tuple[Fault, bool]:
        """Forget a rule; return it, and whether it was armed."""
        ...

    def arm(self, name: str) -> None:
        """Let a rule count and fire."""
        ...

    def disarm(self, name: str) -> None:
        """Let it neither count nor fire."""
        ...

    def fire(self, name: str) -> None:
        """Have it fire at its next match, or at once."""
        ...

    def release(self) -> int:
        """End what hangs; return how much that was."""
        ...

    def pause(self) -> bool:
        """Let the workload end what it writes, and no more; return whether it was live."""
        ...

    def go(self) -> bool:
        """Let it go on; return whether it was paused."""
        ...

    def use(self, workload: str) -> str:
        """Change the workload; return the name of the one before."""
        ...

    def verify(self) -> list[str]:
        """Read everything back and judge it by three views; return what is to be said of it.

        The workload stands still meanwhile, and goes on as before.
        """
        ...

    def reset(self) -> None:
        """Have the client's host reset the device's port."""
        ...

    def switch(self, policy: str) -> str:
        """Run both ends under another policy; return the one before."""
        ...

    def shell(self, machine: str) -> list[str]:
        """Return the command line of a shell on a machine."""
        ...

    def mark(self, text: str) -> None:
        """Put a note into the run's trace."""
        ...
