"""Runs the programs that build images: their output to a log, their end with ours."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from rig.errors import MachineError

END_S = 20.0
"""How long a program may take to clean up after it was told to stop."""

_NETWORK = (
    "Could not resolve",
    "Temporary failure",
    "Failed to fetch",
    "Could not connect",
    "Unable to connect",
    "Connection timed out",
    "Network is unreachable",
    "NewConnectionError",
    "No matching distribution",
)
_DISK = ("No space left on device", "not enough free space", "don't have enough free space")

_END_WITH_US = ("setpriv", "--pdeathsig", "TERM", "--")
"""Even if we are killed, nothing goes on behind our back (util-linux, which Debian always has)."""

_PACKAGES = {
    "mmdebstrap": "mmdebstrap",
    "mkfs.erofs": "erofs-utils",
    "depmod": "kmod",
    "dpkg-deb": "dpkg",
}


def search_path() -> str:
    """Return PATH with the system directories, which a user's own PATH on Debian lacks."""
    return os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])


def find(program: str) -> str:
    """Return where a program is.

    Raises:
        MachineError: It is not installed; the hint names its package.
    """
    found = shutil.which(program, path=search_path())
    if found is None:
        package = _PACKAGES.get(program, program)
        raise MachineError(
            f"The program {program} is not installed.",
            hint=f"'make run' installs it, and so does 'apt-get install {package}'.",
        )
    return found


def explain(program: str, status: int, output: str, log: Path) -> MachineError:
    """Turn a program's failure into one sentence and a mend.

    Args:
        program: Its name.
        status: Its exit status.
        output: The end of what it said.
        log: Where all of it is.
    """
    if any(sign in output for sign in _DISK):
        return MachineError(
            f"{program} found no space on the disk.", hint=f"Free about 3 GB; see {log}."
        )
    if any(sign in output for sign in _NETWORK):
        return MachineError(
            f"{program} could not fetch what it needs: the network or the mirror does not answer.",
            hint=f"Check the network, or name a mirror with --mirror or RIG_MIRROR; see {log}.",
        )
    last = next((line for line in reversed(output.splitlines()) if line.strip()), "no output")
    return MachineError(
        f"{program} ended with status {status}: {last.strip()}", hint=f"All it said is in {log}."
    )


def run(
    command: Sequence[str],
    *,
    log: Path,
    timeout_s: float,
    environment: Mapping[str, str] | None = None,
) -> None:
    """Run a program to its end; on Ctrl-C or time-out let it clean up, then end it.

    It gets a session of its own: Ctrl-C on the terminal reaches us alone, and we pass it on once.

    Args:
        command: Program and arguments.
        log: Takes the command and all it says, appended.
        timeout_s: When to give up.
        environment: Variables beside our own.

    Raises:
        MachineError: It is not installed, failed, or was not done in time.
    """
    program = find(command[0])
    with log.open("ab") as sink:
        sink.write(f"+ {' '.join(command)}\n".encode())
        sink.flush()
        start = sink.tell()
        process = subprocess.Popen(
            [*_END_WITH_US, program, *command[1:]],
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PATH": search_path(), "LC_ALL": "C.UTF-8", **(environment or {})},
            start_new_session=True,
        )
        try:
            status = process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            _end(process)
            raise MachineError(
                f"{command[0]} was not done after {timeout_s:.0f} s.",
                hint=f"Check the network's speed; all it said is in {log}.",
            ) from None
        except BaseException:
            _end(process)
            raise
    if status != 0:
        with log.open("rb") as source:
            source.seek(start)
            output = source.read().decode(errors="replace")
        raise explain(command[0], status, output[-8000:], log)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ask a program and its children to stop, and kill those that do not."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        try:
            process.wait(END_S)
        except subprocess.TimeoutExpired:
            continue
        return
