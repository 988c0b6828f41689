"""What the gadget needs of this machine's kernel: modules, configfs, mounts, locks."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import logging
import os
import re
import subprocess
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import IO, TypeVar

from rig.errors import MachineError, UserError
from rig.gadget.configfs import GADGETS

log = logging.getLogger("rig.gadget.kernel")

COMMAND_DEADLINE_S = 20.0
"""Loading a module or unmounting takes milliseconds; more under emulation."""
CONFIGFS = Path("/sys/kernel/config")
FUSE_DEVICE = Path("/dev/fuse")
MODULES = Path("/sys/module")
MOUNTS = Path("/proc/self/mountinfo")
_MNT_DETACH = 2  # include/linux/fs.h

Result = TypeVar("Result")


def bounded(what: str, deadline_s: float, do: Callable[[], Result]) -> Result:
    """Run something that may wait in the kernel for as long as a FUSE server is silent.

    Args:
        what: What errors call it.
        deadline_s: After this the thread that runs it is left behind: it ends when the server
            does.
        do: What to run.

    Raises:
        MachineError: It did not return in time.
        Exception: What `do` raised.
    """
    results: list[Result] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(do())
        except BaseException as error:  # carried over to the caller's thread
            errors.append(error)

    thread = threading.Thread(target=run, name=what, daemon=True)
    thread.start()
    thread.join(deadline_s)
    if thread.is_alive():
        raise MachineError(f"{what} did not end within {deadline_s:g} s.")
    if errors:
        raise errors[0]
    return results[0]


def run_command(argv: Sequence[str]) -> None:
    """Run a program of the system.

    Raises:
        MachineError: It is missing, fails or does not end in time; its last words are told.
    """
    line = " ".join(argv)
    log.debug("run %s", line)
    try:
        done = subprocess.run(
            argv, capture_output=True, text=True, timeout=COMMAND_DEADLINE_S, check=False
        )
    except FileNotFoundError as error:
        raise MachineError(f"Program '{argv[0]}' is missing on this machine.") from error
    except subprocess.TimeoutExpired as error:
        raise MachineError(f"'{line}' did not end within {COMMAND_DEADLINE_S:g} s.") from error
    if done.returncode:
        raise MachineError(
            f"'{line}' ended with {done.returncode}: {done.stderr.strip().rstrip('.')}."
        )


def ensure_gadget_support(modules: Iterable[str], *, fuse: bool) -> None:
    """Load what is missing: libcomposite, configfs, the functions' modules, FUSE.

    Args:
        modules: Of the functions.
        fuse: Whether a store is to be mounted.

    Raises:
        MachineError: This kernel lacks one of them.
    """
    try:
        if fuse and not FUSE_DEVICE.exists():  # a module in Linux 6.1, and nothing else asks for it
            run_command(["modprobe", "fuse"])
        if not GADGETS.is_dir():
            run_command(["modprobe", "libcomposite"])
        if not (CONFIGFS.is_dir() and is_mounted(CONFIGFS)):
            run_command(["mount", "-t", "configfs", "none", str(CONFIGFS)])
        for module in sorted(set(modules)):
            if not (MODULES / module).is_dir():
                run_command(["modprobe", module])
    except MachineError as error:
        raise MachineError(
            f"This machine's kernel cannot play this USB gadget. {error.message}",
            hint="Boot a stock Debian kernel (not the cloud one), as root.",
        ) from error


def lock(path: Path, in_use: str, hint: str) -> IO[bytes]:
    """Take a lock that the kernel drops when we die.

    Args:
        path: The lock's file, made if need be.
        in_use: What to say if somebody else has it.
        hint: What to do then.

    Returns:
        What gives the lock back when it is closed.

    Raises:
        UserError: Somebody else has it.
    """
    file = path.open("ab")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.close()
        raise UserError(in_use, hint=hint) from error
    return file


def mount_points(mountinfo: str) -> set[str]:
    """The mount points of a ``mountinfo`` file's text (proc_pid_mountinfo(5), field 5)."""

    def plain(match: re.Match[str]) -> str:
        return chr(int(match[1], 8))

    fields = (line.split(" ") for line in mountinfo.splitlines())
    return {re.sub(r"\\([0-7]{3})", plain, line[4]) for line in fields if len(line) > 4}


def is_mounted(path: Path) -> bool:
    """Whether something is mounted there; never touches the mount itself."""
    return str(path.absolute()) in mount_points(MOUNTS.read_text())


def unmount(path: Path) -> None:
    """Unmount whatever is mounted there, even a dead FUSE server's file system.

    Raises:
        MachineError: It cannot be unmounted, not even detached.
    """
    # Twice at most: a killed service's mount may lie below a newer one's.
    for _ in range(2):
        if not is_mounted(path):
            return
        if _umount2(path, 0) == errno.EBUSY:
            log.warning("'%s' is busy: detaching it", path)
            _umount2(path, _MNT_DETACH)
    if is_mounted(path):
        raise MachineError(f"'{path}' cannot be unmounted.", hint="Are we root?")


def _umount2(path: Path, flags: int) -> int:
    """umount2(2), for the program umount is a package of its own; returns 0 or an errno."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.umount2(os.fsencode(path.absolute()), flags) == 0:
        return 0
    return ctypes.get_errno()
