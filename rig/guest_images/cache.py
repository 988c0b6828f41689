"""The image cache: entries named by a hash of everything that went in, whole or not there.

An entry is a directory ``NAME-KEY``.  It is made under another name while a lock is held and
renamed when it is complete, so a reader never sees half of one, and what an interrupted build
left is removed by the next.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from rig.errors import MachineError, UserError
from rig.progress import Progress

KEY_DIGITS = 16
LOCK_WAIT_S = 900.0
"""Longer than any build: who waits so long waits for a hung one."""
FREE_BYTES = 1 << 30
"""What building a layer needs beside the cache, at most."""

STATE = "state"
"""The name of entries from which guests resume: what lab they are for, their key alone says."""

STAT_BLOCK_BYTES = 512
"""What stat(2) counts in, whatever the file system's blocks are."""

_ENTRY = re.compile(rf"(?P<name>[a-z][a-z0-9.-]*)-(?P<key>[0-9a-f]{{{KEY_DIGITS}}})")
_HALF_MADE = ".new-"


def key_of(inputs: object) -> str:
    """Return the key of an entry: a hash of its inputs, which must be what JSON can carry."""
    encoded = msgspec.json.encode(inputs, order="deterministic")
    return hashlib.sha256(encoded).hexdigest()[:KEY_DIGITS]


def default_directory() -> Path:
    """Return the cache's place: ``$RIG_CACHE``, else ``images`` below the user's cache for rig."""
    if chosen := os.environ.get("RIG_CACHE"):
        return Path(chosen).expanduser().absolute()
    home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(home).expanduser() / "rig" / "images"


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of the cache, complete.

    Attributes:
        name: What it is, like ``base`` or ``kernel-6.12``.
        key: The hash of what went in.
        path: Its directory.
    """

    name: str
    key: str
    path: Path

    @property
    def size_bytes(self) -> int:
        """What it holds on the disk, holes left out."""
        found = (file.stat() for file in self.path.rglob("*") if file.is_file())
        return sum(min(one.st_size, one.st_blocks * STAT_BLOCK_BYTES) for one in found)

    @property
    def made_at_s(self) -> float:
        """When it was made, in Unix time."""
        return self.path.stat().st_mtime


class Cache:
    """The entries below one directory.

    Args:
        directory: Made if missing; None takes `default_directory`.
    """

    def __init__(self, directory: Path | None = None) -> None:
        self.directory = (directory or default_directory()).absolute()

    @property
    def logs(self) -> Path:
        """The directory of the builds' logs."""
        return self.directory / "logs"

    def find(self, name: str, key: str) -> Entry | None:
        """Return an entry if it is there."""
        path = self.directory / f"{name}-{key}"
        return Entry(name, key, path) if path.is_dir() else None

    def entries(self) -> Iterator[Entry]:
        """Return all complete entries, by name.

        Raises:
            UserError: The directory is none, or cannot be read.
        """
        for path in self._paths():
            if (match := _ENTRY.fullmatch(path.name)) and path.is_dir():
                yield Entry(match["name"], match["key"], path)

    def _paths(self) -> list[Path]:
        """Return all that is in the directory, if there is one.

        Raises:
            UserError: It is something else, or cannot be read.
        """
        try:
            return sorted(self.directory.iterdir())
        except FileNotFoundError:
            return []
        except OSError as error:
            raise UserError(
                f"The image cache {self.directory} cannot be read: {error.strerror}.",
                hint="Choose another place with --cache or RIG_CACHE.",
            ) from error

    def get(
        self,
        name: str,
        key: str,
        build: Callable[[Path], None],
        progress: Progress,
        title: str,
    ) -> Entry:
        """Return an entry, building it first if it is not there.

        Args:
            name: What it is.
            key: See `key_of`.
            build: Fills the empty directory that it is given.
            progress: Told only if something is built.
            title: The step's name there.

        Raises:
            MachineError: No space, no permission, or another build holds the lock too long.
        """
        if entry := self.find(name, key):
            return entry
        with progress.step(title), self._locked(name, progress):
            if entry := self.find(name, key):
                return entry
            self._check_space()
            new = self.directory / f"{_HALF_MADE}{name}-{key}"
            shutil.rmtree(new, ignore_errors=True)
            try:
                new.mkdir()
                build(new)
                path = new.rename(self.directory / f"{name}-{key}")
            except OSError as error:
                raise MachineError(
                    f"The image cache could not take {name}: {error}.",
                    hint="Check the disk, or choose another place with --cache or RIG_CACHE.",
                ) from error
            finally:
                shutil.rmtree(new, ignore_errors=True)
            return Entry(name, key, path)

    def remove(self, entry: Entry) -> None:
        """Remove an entry: out of sight first, so that nobody finds half of it.

        Raises:
            UserError: It is not ours to remove.
        """
        hidden = self.directory / f"{_HALF_MADE}{entry.path.name}"
        shutil.rmtree(hidden, ignore_errors=True)
        try:
            entry.path.rename(hidden)
            shutil.rmtree(hidden)
        except OSError as error:
            raise UserError(
                f"{entry.path} cannot be removed: {error.strerror}.",
                hint="Do it as the user who has built it.",
            ) from error

    def free_bytes(self) -> int:
        """Return the free space where the cache is, or will be."""
        place = self.directory
        while not place.exists():
            place = place.parent
        return shutil.disk_usage(place).free

    def _check_space(self) -> None:
        free = self.free_bytes()
        if free < FREE_BYTES:
            raise MachineError(
                f"Only {free >> 20} MiB are free where the image cache is, {self.directory}.",
                hint="Free 1 GiB, run 'rig image prune', or choose a place with RIG_CACHE.",
            )

    @contextmanager
    def _locked(self, name: str, progress: Progress) -> Iterator[None]:
        """Hold the lock of the entries with this name; the kernel drops it if we die."""
        try:
            self.logs.mkdir(parents=True, exist_ok=True)
            lock = os.open(self.directory / f".lock-{name}", os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise MachineError(
                f"The image cache {self.directory} cannot be written: {error.strerror}.",
                hint="Choose another place with --cache or RIG_CACHE.",
            ) from error
        try:
            _wait_for(lock, name, progress)
            yield
        finally:
            os.close(lock)


def _wait_for(lock: int, name: str, progress: Progress) -> None:
    """Take a file lock within `LOCK_WAIT_S`; flock has no time-out, so it is asked again."""
    deadline = time.monotonic() + LOCK_WAIT_S
    told = False
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise MachineError(
                    f"Another process has been building {name} for {LOCK_WAIT_S:.0f} s.",
                    hint="End it, then try again.",
                ) from None
            if not told:
                progress.note(f"another process builds {name}; waiting for it")
                told = True
            time.sleep(0.2)
        else:
            return
