"""One machine as the rest of the rig uses it: commands, files, daemons.

Nothing here knows QEMU: a machine is a labgrid `SSHDriver`, a log directory, and somebody who
says when it is lost.
"""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

from labgrid.driver import SSHDriver

from rig.errors import CommandFailure, MachineError
from rig.lab.children import kill, spawn
from rig.lab.console import Console
from rig.lab.daemons import Daemon
from rig.lab.dialect import GUESTS_DIALECT, Dialect
from rig.lab.health import Health
from rig.lab.ssh import LOSS_GRACE_S, SSH_LOST, scp_argv, scp_place, ssh_argv


@dataclass(frozen=True, slots=True)
class CompletedCommand:
    """How a command on a machine ended.

    Attributes:
        command: The shell command.
        stdout: Its standard output.
        stderr: Its standard error.
        status: Its exit status.
    """

    command: str
    stdout: str
    stderr: str
    status: int


class Machine:
    """A machine that is up and can be reached.

    Args:
        name: ``back`` or ``front``.
        ssh: An active labgrid driver.
        log_directory: Where the logs of this machine go; it exists.
        health: Says when the machine is lost.
        console: Its serial console, if it has one.
        dialect: How a daemon's command line is said on this machine.
    """

    def __init__(
        self,
        name: str,
        ssh: SSHDriver,
        log_directory: Path,
        health: Health,
        console: Console | None = None,
        *,
        dialect: Dialect = GUESTS_DIALECT,
    ) -> None:
        self.name = name
        self.log_directory = log_directory
        self.health = health
        self.console = console
        self.daemons: list[Daemon] = []
        self._ssh = ssh
        self._dialect = dialect

    def run(self, command: str, timeout_s: float = 30.0) -> CompletedCommand:
        """Run a shell command; any exit status is an answer.

        Raises:
            CommandFailure: It did not end in ``timeout_s``.  It may still run on the machine.
            LostVMError: The machine crashed or ended.
            MachineError: The connection failed.
        """
        stdout, stderr, status = self._execute([*ssh_argv(self._ssh), command], command, timeout_s)
        return CompletedCommand(command, stdout, stderr, status)

    def check(self, command: str, timeout_s: float = 30.0) -> CompletedCommand:
        """Run a shell command that must succeed.

        Raises:
            CommandFailure: Its exit status is not 0; with its last output.
            MachineError: As `run`.
        """
        done = self.run(command, timeout_s)
        if done.status != 0:
            raise CommandFailure(
                f"On machine {self.name!r}, {_short(command)!r} ended with status {done.status}.",
                hint=_last_output(done.stderr, done.stdout),
            )
        return done

    def put(self, local: Path, remote: str, timeout_s: float = 60.0) -> None:
        """Copy a file or a directory of the station to the machine.

        Raises:
            CommandFailure: It could not be copied, or not in time.
            MachineError: As `run`.
        """
        self._copy(str(local), scp_place(self._ssh, remote), timeout_s)

    def get(self, remote: str, local: Path, timeout_s: float = 60.0) -> None:
        """Copy a file or a directory of the machine to the station.

        Raises:
            CommandFailure: It could not be copied, or not in time.
            MachineError: As `run`.
        """
        self._copy(scp_place(self._ssh, remote), str(local), timeout_s)

    def start_daemon(self, argv: Sequence[str], name: str) -> Daemon:
        """Start a supervised daemon (see `rig.daemon`) on the machine.

        Args:
            argv: Its command line, as the machine sees it.
            name: For its log files, ``NAME.log`` and ``NAME.events.jsonl``, and for messages.

        Raises:
            MachineError: The machine is lost.
        """
        self.health.check()
        # The shell becomes the daemon, so the pid that it tells is the daemon's.
        words = self._dialect.say(argv)
        command = f'printf \'{{"event":"started","pid":%d}}\\n\' $$; exec {shlex.join(words)}'
        child = spawn(
            [*ssh_argv(self._ssh), command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        daemon = Daemon(self.name, name, child, self.health, self.log_directory)
        self.daemons.append(daemon)
        return daemon

    def listen(self, command: str) -> subprocess.Popen[bytes]:
        """Start a shell command whose output is read as it comes; nobody supervises it.

        Args:
            command: Ends when its standard input does.

        Returns:
            Its connection, with pipes for standard input and output.

        Raises:
            MachineError: The machine is lost.
        """
        self.health.check()
        return spawn(
            [*ssh_argv(self._ssh), command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )

    def stop_daemons(self, deadline_s: float) -> None:
        """Stop all daemons that were started here, the newest first; insist where needed.

        Args:
            deadline_s: For each.
        """
        while self.daemons:
            self.daemons.pop().stop(deadline_s)

    def _copy(self, source: str, target: str, timeout_s: float) -> None:
        argv = [*scp_argv(self._ssh), source, target]
        what = f"copy of {source} to {target}"
        _, stderr, status = self._execute(argv, what, timeout_s)
        if status != 0:
            raise CommandFailure(
                f"The {what} failed with status {status}.", hint=_last_output(stderr, "")
            )

    def _execute(self, argv: list[str], what: str, timeout_s: float) -> tuple[str, str, int]:
        self.health.check()
        # Files, not pipes: ssh hands its standard streams to the master connection, which keeps
        # them open while the command runs on the machine, even when this ssh is gone.
        with TemporaryFile() as out, TemporaryFile() as err:
            child = spawn(argv, stdin=subprocess.DEVNULL, stdout=out, stderr=err)
            unwatch = self.health.watch(lambda: kill(child))
            try:
                child.wait(timeout_s)
            except subprocess.TimeoutExpired:
                self.health.check()
                raise CommandFailure(
                    f"On machine {self.name!r}, {_short(what)!r} did not end in {timeout_s:g} s.",
                    hint=_last_output(_content(err), _content(out)),
                ) from None
            finally:
                unwatch()
                kill(child)
                child.wait()
            stdout, stderr = _content(out), _content(err)
        if child.returncode in SSH_LOST:
            self._explain_loss(stderr)
        return stdout, stderr, child.returncode

    def _explain_loss(self, stderr: str) -> None:
        """Say why the connection broke: the machine's own end, if it comes to light."""
        self.health.wait_for_loss(LOSS_GRACE_S)
        self.health.check()
        raise MachineError(
            f"The SSH connection to machine {self.name!r} failed.", hint=_last_output(stderr, "")
        )


def _content(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode("utf-8", "replace")


def _short(command: str, limit: int = 200) -> str:
    return command if len(command) <= limit else command[: limit - 1] + "…"


def _last_output(stderr: str, stdout: str, lines: int = 15) -> str:
    said = (stderr.strip() or stdout.strip()).splitlines()[-lines:]
    return "\n".join(["It said:", *said]) if said else "It said nothing."
