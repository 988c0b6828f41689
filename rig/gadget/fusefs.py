"""Serves a `Store` to the kernel as the one file of a FUSE file system.

The only file that knows pyfuse3, which runs on `rig.gadget.fuse_loop` here.  `direct_io` is set,
so every access of the gadget reaches the store and no page cache can hide a fault.  The process
that runs this must never touch the mount itself: it would wait for its own answer.

Only `pyfuse3.FUSEError` leaves a handler.  A store that fails for a reason of its own answers
EIO, ends the service, and `serve` raises that reason.
"""

# ruff: noqa: ARG002 - the handlers' signatures are pyfuse3's
from __future__ import annotations

import errno
import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path

from rig.control.server import ControlSocket
from rig.daemon import wake_on_signals
from rig.gadget.answers import Answer
from rig.gadget.fuse_loop import STAND_IN, drive
from rig.gadget.holds import Holds
from rig.gadget.store import Store
from rig.gadget.write_cache import BLOCK_BYTES

# pyfuse3 imports trio, which takes most of a second under emulation and would not be used.
sys.modules.setdefault("trio", STAND_IN)
import pyfuse3  # noqa: E402

LUN_NAME = "lun0"
"""The file system's only file: the LUN's backing file."""
_NAME = LUN_NAME.encode()
_LUN_INODE = pyfuse3.ROOT_INODE + 1
_MAX_TASKS = 16
"""So many requests may be open at a time, all but one of them with an answer that waits."""
_FOREVER_S = 86400.0
"""Neither names nor attributes ever change, so the kernel need not ask again."""


class _LunFileSystem(pyfuse3.Operations):  # type: ignore[misc]  # untyped base
    """One directory with one file.

    Args:
        store: Answers reads, writes and flushes.
        holds: Where answers wait that must.

    Attributes:
        failure: Why the store failed for a reason of its own, if it did.
    """

    def __init__(self, store: Store, holds: Holds) -> None:
        super().__init__()
        self._store = store
        self._holds = holds
        self.failure: Exception | None = None

    async def getattr(
        self, inode: int, ctx: pyfuse3.RequestContext | None = None
    ) -> pyfuse3.EntryAttributes:
        """Attributes of the directory or of the file."""
        entry = pyfuse3.EntryAttributes()
        entry.st_ino = inode
        entry.entry_timeout = entry.attr_timeout = _FOREVER_S
        if inode == pyfuse3.ROOT_INODE:
            entry.st_mode, entry.st_nlink = stat.S_IFDIR | 0o700, 2
        elif inode == _LUN_INODE:
            entry.st_mode, entry.st_nlink = stat.S_IFREG | 0o600, 1
            entry.st_size = self._store.size_bytes
            entry.st_blksize = BLOCK_BYTES
        else:
            raise pyfuse3.FUSEError(errno.ENOENT)
        return entry

    async def lookup(
        self, parent_inode: int, name: bytes, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.EntryAttributes:
        """Find the file by its name."""
        if parent_inode != pyfuse3.ROOT_INODE or name != _NAME:
            raise pyfuse3.FUSEError(errno.ENOENT)
        return await self.getattr(_LUN_INODE, ctx)

    async def opendir(self, inode: int, ctx: pyfuse3.RequestContext) -> int:
        """Open the directory; its inode serves as the handle."""
        return inode

    async def readdir(self, fh: int, start_id: int, token: pyfuse3.ReaddirToken) -> None:
        """List the one file."""
        if start_id == 0:
            pyfuse3.readdir_reply(token, _NAME, await self.getattr(_LUN_INODE), 1)

    async def open(self, inode: int, flags: int, ctx: pyfuse3.RequestContext) -> pyfuse3.FileInfo:
        """Open the file, past the page cache."""
        if inode != _LUN_INODE:
            raise pyfuse3.FUSEError(errno.EISDIR)
        return pyfuse3.FileInfo(fh=inode, direct_io=True)

    async def read(self, fh: int, off: int, size: int) -> bytes:
        """Read; shorter than asked for at the end of the medium only."""
        answer = self._access(lambda: self._store.read(off, size))
        if answer.hold is not None:
            await self._holds.wait(answer.hold)
        return _told(answer).data

    async def write(self, fh: int, off: int, buf: bytes) -> int:
        """Write all of the buffer or nothing."""
        answer = self._access(lambda: self._store.write(off, buf))
        if answer.hold is not None:
            await self._holds.wait(answer.hold)
        _told(answer)
        return len(buf)

    async def fsync(self, fh: int, datasync: bool) -> None:
        """Flush the medium: a SYNCHRONIZE CACHE ends here."""
        answer = self._access(self._store.flush)
        if answer.hold is not None:
            await self._holds.wait(answer.hold)
        _told(answer)

    async def flush(self, fh: int) -> None:
        """A descriptor was closed: nothing to do, and no flush of the medium."""

    async def release(self, fh: int) -> None:
        """The last descriptor was closed: nothing was held for it."""

    async def releasedir(self, fh: int) -> None:
        """See `release`."""

    def _access(self, access: Callable[[], Answer]) -> Answer:
        try:
            return access()
        except Exception as error:  # only FUSEError may leave a handler
            self.failure = error
            raise pyfuse3.FUSEError(errno.EIO) from None


def _told(answer: Answer) -> Answer:
    if answer.error:
        raise pyfuse3.FUSEError(answer.error)
    return answer


def serve(
    store: Store,
    mount_point: Path,
    holds: Holds,
    *,
    input_fd: int | None,
    on_mounted: Callable[[], None],
    on_input: Callable[[bytes], None],
    control: ControlSocket | None = None,
) -> None:
    """Mount, serve until told to stop, unmount.

    Ends at the end of input, at SIGINT or SIGTERM, or when somebody unmounts.

    Args:
        store: What to serve.
        mount_point: An existing, empty directory.
        holds: Where answers wait; what waits when the service ends is answered before.
        input_fd: Where commands come from; None for none.
        on_mounted: Called when the mount is there; it answers as soon as this returns.
        on_input: Takes what was read from `input_fd`, in the same thread as the store's accesses.
        control: Is served in that thread, too.

    Raises:
        RuntimeError: The kernel refuses the mount.
        Exception: What made the store fail.
    """
    pyfuse3.trio = STAND_IN
    signal_fd = wake_on_signals()
    others: dict[int, Callable[[], bool]] = {signal_fd: lambda: False}
    if input_fd is not None:
        others[input_fd] = lambda: _pass_on(input_fd, on_input)
    if control is not None:
        others[control.fileno()] = lambda: _serve_control(control)
    file_system = _LunFileSystem(store, holds)
    options = set(pyfuse3.default_options) | {"fsname=rig-store"}
    pyfuse3.init(file_system, str(mount_point), options)
    try:
        on_mounted()
        # Accesses are done in the order in which they came; only answers may wait.  As many tasks
        # at least as at most: none ends because it is idle, so the first that ends is the end.
        session = pyfuse3.main(min_tasks=_MAX_TASKS, max_tasks=_MAX_TASKS)
        drive(session, others, lambda: file_system.failure is None, store.pass_time)
    finally:
        pyfuse3.close(unmount=True)
    if file_system.failure is not None:
        raise file_system.failure


def _serve_control(control: ControlSocket) -> bool:
    control.pump()
    return True


def _pass_on(fd: int, on_input: Callable[[bytes], None]) -> bool:
    data = os.read(fd, 1 << 16)
    if data:
        on_input(data)
    return bool(data)
