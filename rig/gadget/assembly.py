"""The gadget put together: store, mount, configfs tree and UDC, from nothing to bound and back.

Whatever is made is taken back in the reverse order: unbind the UDC, eject the LUN, remove the
tree, unmount, stop the store.  What a killed one left behind goes before a new one begins.
"""

from __future__ import annotations

import fcntl
import os
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import msgspec

from rig.daemon import Command, Events
from rig.errors import ApiViolationError, MachineError, RemoteProtocolError, UserError
from rig.gadget import kernel
from rig.gadget.configfs import Configfs
from rig.gadget.store_process import Event, StoreProcess
from rig.gadget.tree import GadgetSpec, MaxSpeed, build_steps, undo_steps
from rig.gadget.udc import Udcs

START_DEADLINE_S = 30.0
"""The store starts Python and FUSE: a fifth of a second, 15 times as much under emulation."""
STEP_DEADLINE_S = 15.0
"""For one thing that the kernel or the store has to do."""
SILENCE_DEADLINE_S = 5.0
"""A store that is silent for longer hangs: it is killed, so that the kernel need not wait."""


class Options(msgspec.Struct, frozen=True):
    """What the daemon is asked for.

    Attributes:
        name: Of the gadget.
        directory: Holds ``medium.img``, ``journal.bin`` and the mount point ``mnt``.
        size_bytes: Of the medium.
        udc: To bind.
        max_speed: That the gadget offers.
        plan: File of the fault plan; None for no faults.
        seed: Overrides the plan's.
    """

    name: str
    directory: Path
    size_bytes: int
    udc: str
    max_speed: MaxSpeed
    plan: Path | None
    seed: int | None

    @property
    def medium(self) -> Path:
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

    def store_argv(self) -> list[str]:
        """The store's command line."""
        argv = [sys.executable, "-m", "rig", "store", "--supervised"]
        argv += ["--medium", str(self.medium), "--journal", str(self.journal)]
        argv += ["--mount", str(self.mount), "--size-bytes", str(self.size_bytes)]
        argv += ["--plan", str(self.plan)] if self.plan else []
        argv += ["--seed", str(self.seed)] if self.seed is not None else []
        return argv


class Gadget:
    """The gadget from nothing to bound, and back.

    Use it as a context manager; leaving it takes back all that was made.

    Args:
        options: What is asked for.
        events: Where events of the store go on to.
        configfs: The kernel's, or a fake for tests.
        udcs: The kernel's, or a fake for tests.
    """

    def __init__(self, options: Options, events: Events, configfs: Configfs, udcs: Udcs) -> None:
        self._options = options
        self._events = events
        self._configfs = configfs
        self._udcs = udcs
        self._spec = GadgetSpec(
            options.name, str(options.mount.absolute() / "lun0"), max_speed=options.max_speed
        )
        self._steps = build_steps(self._spec)
        self._undo = ExitStack()
        self._store: StoreProcess | None = None

    @property
    def store(self) -> StoreProcess:
        """The store's process.

        Raises:
            ApiViolationError: The gadget was not entered yet.
        """
        if self._store is None:
            raise ApiViolationError("A gadget has no store before it is built.")
        return self._store

    def __enter__(self) -> Gadget:
        with ExitStack() as undo:
            self._build(undo)
            self._undo = undo.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._undo.close()

    def _build(self, undo: ExitStack) -> None:
        options = self._options
        options.directory.mkdir(parents=True, exist_ok=True)
        undo.callback(os.close, _lock(options.directory / "lock"))
        self._remove_tree()  # of a former one that was killed
        kernel.unmount(options.mount)
        options.mount.mkdir(exist_ok=True)
        self._udcs.check(options.udc, options.name)
        store = self._store = StoreProcess(options.store_argv(), self._forward)
        undo.callback(store.stop, STEP_DEADLINE_S)
        undo.callback(kernel.unmount, options.mount)
        store.wait_event("mounted", START_DEADLINE_S)
        self._guarded("Looking at the LUN's file", Path(self._spec.backing_file).stat)
        undo.callback(self._remove_tree)
        self._guarded("Building the gadget", lambda: self._configfs.apply(self._steps))
        self._udcs.bind(options.name, options.udc)

    def _remove_tree(self) -> None:
        """Take the tree down; a store that hangs would hold the kernel up, so it must go first."""
        if self._store is not None:
            try:
                self._store.ask("status", SILENCE_DEADLINE_S)
            except MachineError:
                self._store.kill()
        if not self._configfs.exists(self._options.name):
            return
        name = self._options.name
        self._guarded("Unbinding the UDC", lambda: self._udcs.unbind(name))
        self._guarded("Removing the gadget", lambda: self._configfs.undo(undo_steps(self._steps)))

    def _guarded(self, what: str, do: Callable[[], object]) -> None:
        """Do what waits for the store; a store that hangs is killed, which ends the wait."""
        try:
            kernel.bounded(what, STEP_DEADLINE_S, do)
        except MachineError:
            if self._store is not None:
                self._store.kill()
            raise

    def ready_fields(self) -> dict[str, object]:
        """The fields of the ``ready`` event."""
        return {
            "gadget": self._options.name,
            "udc": self._options.udc,
            "medium": str(self._options.medium.absolute()),
            "journal": str(self._options.journal.absolute()),
            "size_bytes": self._options.size_bytes,
            "vendor_id": self._spec.vendor_id,
            "product_id": self._spec.product_id,
            "serial": self._spec.serial,
        }

    def do(self, command: Command) -> object:
        """Carry out a command of the lab.

        Raises:
            RigError: It is unknown, or cannot be done.
        """
        match command.do:
            case "phase":
                return self.store.ask("phase", STEP_DEADLINE_S, name=command.args.get("name"))
            case "faults":
                return self.store.ask("faults", STEP_DEADLINE_S)
            case "status":
                return {
                    "udc": self._options.udc,
                    "state": self._udcs.state(self._options.udc),
                    "speed": self._udcs.speed(self._options.udc),
                    "store": self.store.ask("status", STEP_DEADLINE_S),
                }
            case _:
                raise RemoteProtocolError(f"There is no command '{command.do}'.")

    def _forward(self, event: Event) -> None:
        if event["event"] == "fault":
            fields = {key: value for key, value in event.items() if key not in ("event", "t")}
            self._events.emit("fault", **fields)


def _lock(path: Path) -> int:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(fd)
        raise UserError(
            f"Directory '{path.parent}' is in use by another gadget.",
            hint="Stop that one, or take another directory.",
        ) from error
    return fd
