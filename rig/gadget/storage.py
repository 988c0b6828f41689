"""What a disk needs beside configfs: a directory, a store in it that serves the LUN's file."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import msgspec

from rig.control.server import DIRECTORY
from rig.errors import MachineError
from rig.faults.release import ReleasedBy
from rig.gadget import kernel
from rig.gadget.store_process import Event, StoreProcess

START_DEADLINE_S = 30.0
"""The store starts Python and FUSE: a fifth of a second, 15 times as much under emulation."""
STOP_DEADLINE_S = 15.0
SILENCE_DEADLINE_S = 5.0
"""A store that is silent for longer hangs: it is killed, so that the kernel need not wait."""


class Medium(msgspec.Struct, frozen=True):
    """The medium that is asked for.

    Attributes:
        directory: Holds ``medium.img``, ``journal.bin`` and the mount point ``mnt``.
        size_bytes: Of the medium.
        plan: File of the fault plan, for the store; None for no faults.
        seed: Overrides the plan's.
        control: Directory of the store's control socket.
    """

    directory: Path
    size_bytes: int
    plan: Path | None = None
    seed: int | None = None
    control: Path = DIRECTORY

    @property
    def image(self) -> Path:
        """The file that holds the data."""
        return self.directory / "medium.img"

    @property
    def journal(self) -> Path:
        """See `rig.gadget.journal`."""
        return self.directory / "journal.bin"

    @property
    def mount(self) -> Path:
        """Where the store is mounted; never to be touched by it."""
        return self.directory / "mnt"

    @property
    def backing_file(self) -> Path:
        """The LUN's file."""
        return self.mount.absolute() / "lun0"

    def store_argv(self) -> list[str]:
        """The store's command line."""
        argv = [sys.executable, "-m", "rig", "store", "--supervised"]
        argv += ["--medium", str(self.image), "--journal", str(self.journal)]
        argv += ["--mount", str(self.mount), "--size-bytes", str(self.size_bytes)]
        argv += ["--control", str(self.control)]
        argv += ["--plan", str(self.plan)] if self.plan else []
        argv += ["--seed", str(self.seed)] if self.seed is not None else []
        return argv

    def ready_fields(self) -> dict[str, object]:
        """What the ``ready`` event tells of it."""
        return {
            "medium": str(self.image.absolute()),
            "journal": str(self.journal.absolute()),
            "size_bytes": self.size_bytes,
        }


class Storage:
    """A medium that is served.

    Args:
        medium: What is asked for.
        on_event: Takes every event of the store that is no reply.
    """

    def __init__(self, medium: Medium, on_event: Callable[[Event], None]) -> None:
        self.medium = medium
        self._on_event = on_event
        self._process: StoreProcess | None = None

    @property
    def process(self) -> StoreProcess | None:
        """The store; None before `start`."""
        return self._process

    def prepare(self, undo: ExitStack) -> None:
        """Make the directory ours, without a trace of a former store that was killed.

        Args:
            undo: Is told how to give it back.

        Raises:
            UserError: Another gadget uses the directory.
            MachineError: A former mount cannot be taken away.
        """
        medium = self.medium
        medium.directory.mkdir(parents=True, exist_ok=True)
        undo.callback(
            kernel.lock(
                medium.directory / "lock",
                f"Directory '{medium.directory}' is in use by another gadget.",
                "Stop that one, or take another directory.",
            ).close
        )
        kernel.unmount(medium.mount)
        medium.mount.mkdir(exist_ok=True)

    def start(self, undo: ExitStack) -> None:
        """Start the store and wait for its file.

        Args:
            undo: Is told how to stop it.

        Raises:
            MachineError: It does not start, or not in time.
        """
        process = self._process = StoreProcess(self.medium.store_argv(), self._on_event)
        undo.callback(process.stop, STOP_DEADLINE_S)
        undo.callback(kernel.unmount, self.medium.mount)
        process.wait_event("mounted", START_DEADLINE_S)
        self.guarded("Looking at the LUN's file", self.medium.backing_file.stat)

    def kill_if_silent(self) -> None:
        """Let no answer wait any more, and kill a store that hangs: it would hold the kernel up."""
        if self._process is None:
            return
        try:
            self._process.ask("release", SILENCE_DEADLINE_S, close=ReleasedBy.END)
        except MachineError:
            self._process.kill()

    @contextmanager
    def letting_go(self) -> Iterator[None]:
        """Let no answer wait for a while.

        The kernel's mass storage function can be neither ejected nor unbound while it waits for its
        medium.

        Raises:
            MachineError: The store does not obey; it is killed then.
        """
        self._tell("release", close=ReleasedBy.MOMENT)
        try:
            yield
        finally:
            self._tell("open")

    def _tell(self, do: str, **args: object) -> None:
        if self._process is not None:
            try:
                self._process.ask(do, STOP_DEADLINE_S, **args)
            except MachineError:
                self._process.kill()
                raise

    def guarded(self, what: str, do: Callable[[], object]) -> None:
        """Do what may wait for the store; one that hangs is killed, which ends the wait.

        Raises:
            MachineError: It was not done in time, or failed.
        """
        try:
            kernel.bounded(what, STOP_DEADLINE_S, do)
        except MachineError:
            if self._process is not None:
                self._process.kill()
            raise
