"""The labgrid driver that runs a QEMU guest with deadlines and leaves nothing behind.

It differs from labgrid's `QEMUDriver` (26.0) in what happens when things go wrong: labgrid waits
without limit for QEMU to connect its serial port and for its end, and lets QEMU's messages pass.
"""

from __future__ import annotations

import os
import re
import selectors
import shlex
import socket
import subprocess
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import attr
from labgrid import step, target_factory
from labgrid.driver import QEMUDriver
from labgrid.util.qmp import QMPError, QMPMonitor
from pexpect import TIMEOUT

from rig.errors import LaunchFailure, LostVMError
from rig.lab.children import end, kill, killed_after, spawn
from rig.lab.console import Console, pump
from rig.lab.health import Health
from rig.lab.space import stands_still

START_DEADLINE_S = 20.0
"""From QEMU's exec to its monitor's first answer."""

MONITOR_DEADLINE_S = 10.0
STOP_DEADLINE_S = 5.0
MOVE_DEADLINE_S = 30.0
MOVE_POLL_S = 0.02

# hmp "info usernet": Protocol[State] FD Source-Address Port Dest-Address Port RecvQ SendQ
_FORWARD = re.compile(r"TCP\[HOST_FORWARD\]\s+\d+\s+\S+\s+(\d+)\s+\S+\s+(\d+)\s")


@target_factory.reg_driver
@attr.s(eq=False)
class RigQEMUDriver(QEMUDriver):  # type: ignore[misc] # labgrid is untyped
    """A QEMU guest whose every wait ends and whose last words are kept.

    Args:
        log_directory: Gets ``console.log`` and ``qemu.log`` (QEMU's standard error).
        run_directory: Gets the serial port's socket; "" is the system's directory for temporary
            files.
        start_deadline_s: How long QEMU may take until its monitor answers.
    """

    log_directory: str = attr.ib(default=".", validator=attr.validators.instance_of(str))
    run_directory: str = attr.ib(default="", validator=attr.validators.instance_of(str))
    start_deadline_s: float = attr.ib(
        default=START_DEADLINE_S, validator=attr.validators.instance_of(float)
    )

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        self.status: int = 0
        self._child: subprocess.Popen[bytes] | None = None
        self.health = Health(self.target.name)
        self.console: Console | None = None
        self._pump: threading.Thread | None = None
        self._monitor_lock = threading.RLock()
        self._expected_end = False
        self._log_start = 0

    @property
    def pid(self) -> int | None:
        """QEMU's process, while there is one."""
        return self._child.pid if self._child else None

    @property
    def powered_console(self) -> Console:
        """The console of the machine that was powered on.

        Raises:
            LostVMError: It never was.
        """
        if self.console is None:
            raise LostVMError(f"Machine {self.target.name!r} was never powered on.")
        return self.console

    @property
    def qemu_log(self) -> Path:
        """The file with QEMU's standard error."""
        return Path(self.log_directory) / "qemu.log"

    def on_activate(self) -> None:
        """Open the serial port's socket and put the command line together."""
        self._tempdir = tempfile.mkdtemp(prefix="qemu-", dir=self.run_directory or None)
        path = f"{self._tempdir}/serial"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.bind(path)
        self._socket.listen(0)
        self._cmd = self.get_qemu_base_args()
        # -S: the guest waits for "cont", so that none of its words is lost.
        self._cmd += ["-S", "-qmp", "stdio", "-serial", "chardev:serial"]
        self._cmd += ["-chardev", f"socket,id=serial,path={path}"]

    @step()  # type: ignore[untyped-decorator]
    def on(self, memory: Path | None = None) -> None:
        """Start QEMU, connect its serial port and its monitor, and let the guest run.

        Args:
            memory: What `save` has written: the guest goes on from there.  None: it boots.

        Raises:
            LaunchFailure: QEMU ended, or did not answer in time; with its command line and output.
            LostVMError: The guest cannot go on from there.
        """
        if self.status:
            return
        self.health = Health(self.target.name)
        self._expected_end = False
        Path(self.log_directory).mkdir(parents=True, exist_ok=True)
        argv = [*self._cmd, *(("-incoming", f"exec:cat {_quoted(memory)}") if memory else ())]
        with self.qemu_log.open("ab") as log:
            self._log_start = log.tell()
            child = spawn(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log)
        self._child = child
        try:
            with killed_after(child, self.start_deadline_s):
                self._clientsocket = self._accept_serial(child)
                self.qmp = QMPMonitor(child.stdout, child.stdin)
        except (QMPError, OSError, ValueError) as error:
            kill(child)
            raise self._launch_failure(self._reap()) from error
        self.status = 1
        self.console = self._open_console(child)
        if memory:
            self._wait_moved(f"take its state from {memory}")
        self.monitor_command("cont")

    @step()  # type: ignore[untyped-decorator]
    def off(self) -> None:
        """End QEMU: ask its monitor, then insist.  Safe when it ended by itself."""
        if not self.status:
            return
        self._expected_end = True
        try:
            self.monitor_command("quit")
        except LostVMError:
            # It ended before it answered, or never will: `end` sees to both.
            self.logger.debug("QEMU did not answer 'quit'")
        self.status = 0
        self._reap()
        if self._pump:
            # The serial socket ended with QEMU, so the thread ends.
            self._pump.join(STOP_DEADLINE_S)
            self._pump = None
        self._clientsocket.close()

    def save(self, memory: Path) -> None:
        """Write the memory and devices, but no disk, of a guest that stands still to a file.

        Raises:
            LostVMError: QEMU ended, or could not.
        """
        self.monitor_command("migrate-set-parameters", {"max-bandwidth": 1 << 40})
        self.monitor_command("migrate", {"uri": f"exec:cat > {_quoted(memory)}"})
        self._wait_moved(f"write its state to {memory}")

    def _wait_moved(self, what: str) -> None:
        """Wait until QEMU has written, or taken, a guest's state; it tells only who asks."""
        until = time.monotonic() + MOVE_DEADLINE_S
        while (status := self.monitor_command("query-migrate").get("status")) != "completed":
            if status == "failed" or time.monotonic() > until:
                raise LostVMError(
                    f"QEMU of machine {self.target.name!r} could not {what}: {status}.",
                    hint=f"Its messages are in {self.qemu_log}.",
                )
            time.sleep(MOVE_POLL_S)

    def kill(self) -> None:
        """End QEMU as a power cut does; the machine is then lost for all who use it."""
        if self._child:
            kill(self._child)

    def monitor_command(self, command: str, arguments: dict[str, Any] | None = None) -> Any:
        """Execute a QMP command; return its result, whose type depends on the command.

        Raises:
            LostVMError: QEMU ended or did not answer within `MONITOR_DEADLINE_S`.
        """
        name, child = self.target.name, self._child
        if child is None:
            raise LostVMError(f"Machine {name!r} is off; {command!r} needs it.")
        with self._monitor_lock:
            try:
                with killed_after(child, MONITOR_DEADLINE_S):
                    return super().monitor_command(command, arguments or {})
            except (QMPError, OSError, ValueError) as error:
                raise LostVMError(
                    f"QEMU of machine {name!r} did not carry out {command!r}: {error}.",
                    hint=f"Its messages are in {self.qemu_log}.",
                ) from error

    def standstill(self) -> LaunchFailure | None:
        """Ask QEMU whether it has stopped the guest because its disk could not be written.

        QEMU does so by itself when there is no space left (qemu(1), ``werror=enospc``), and says
        nothing.

        Returns:
            What to tell of it; None if that is not so, or QEMU does not answer.
        """
        if not self.status or self.health.lost:
            return None
        try:
            status = self.monitor_command("query-status").get("status")
        except LostVMError:
            return None
        if status != "io-error":
            return None
        return stands_still(self.target.name, Path(self.log_directory))

    def forwarded_port(self, guest_port: int) -> int:
        """Return the station's port that QEMU chose for a forward to ``guest_port``.

        Raises:
            LaunchFailure: There is no such forward.
        """
        answer = self.monitor_command("human-monitor-command", {"command-line": "info usernet"})
        for port, destination in _FORWARD.findall(answer):
            if int(destination) == guest_port:
                return int(port)
        raise LaunchFailure(
            f"QEMU of machine {self.target.name!r} forwards no port to the guest's {guest_port}.",
            hint="Its network device needs hostfwd=tcp:127.0.0.1:0-:22.",
        )

    def _accept_serial(self, child: subprocess.Popen[bytes]) -> socket.socket:
        """Wait for QEMU to connect its serial port, or to end."""
        ended = os.pidfd_open(child.pid)
        try:
            with selectors.DefaultSelector() as selector:
                selector.register(self._socket, selectors.EVENT_READ)
                selector.register(ended, selectors.EVENT_READ)
                ready = [key.fileobj for key, _ in selector.select(self.start_deadline_s)]
        finally:
            os.close(ended)
        if self._socket not in ready:
            raise QMPError("QEMU did not connect its serial port")
        client: socket.socket = self._socket.accept()[0]
        return client

    def _open_console(self, child: subprocess.Popen[bytes]) -> Console:
        name = self.target.name
        console = Console(name, Path(self.log_directory) / "console.log", self.health)
        self._pump = threading.Thread(
            target=pump,
            args=(self._clientsocket, console, lambda: self._why_ended(child)),
            name=f"console-{name}",
            daemon=True,
        )
        self._pump.start()
        return console

    def _launch_failure(self, status: int | None) -> LaunchFailure:
        said = self._last_output()
        return LaunchFailure(
            f"QEMU for machine {self.target.name!r} did not start (exit status {status}): "
            f"{said[-1] if said else 'it said nothing'}",
            hint="\n".join([f"Its command was: {shlex.join(self._cmd)}", *said]),
        )

    def _reap(self) -> int | None:
        """Wait for QEMU's end, by force if need be, and close what led to it."""
        child, self._child = self._child, None
        assert child is not None
        status = end(child, STOP_DEADLINE_S)
        for stream in (child.stdin, child.stdout):
            assert stream
            # A command that QEMU never read may still be in the buffer.
            with suppress(BrokenPipeError):
                stream.close()
        return status

    def _last_output(self, lines: int = 10) -> list[str]:
        with self.qemu_log.open("rb") as log:
            log.seek(self._log_start)
            return log.read().decode("utf-8", "replace").splitlines()[-lines:]

    def _why_ended(self, child: subprocess.Popen[bytes]) -> str:
        """Say why the console ended; called on the console's thread."""
        name = self.target.name
        if self._expected_end:
            return f"Machine {name!r} was powered off."
        status = end(child, STOP_DEADLINE_S)
        said = self._last_output(1)
        return (
            f"QEMU of machine {name!r} ended by itself (exit status {status})"
            f"{': ' + said[0] if said else ''}."
        )

    def _read(self, size: int = 1, timeout: float = 10, max_size: int | None = None) -> bytes:  # noqa: ARG002
        """Serve labgrid's console protocol from what the console's thread has read."""
        assert self.console is not None
        data = self.console.read_raw(max_size or 4096, timeout)
        if not data:
            raise TIMEOUT(f"The console was silent for {timeout:.2f} s")
        return data


def _quoted(path: Path) -> str:
    """Say a path in a command that QEMU has the shell carry out."""
    return shlex.quote(str(path))
