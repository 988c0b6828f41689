"""SSH to machines: the labgrid driver with deadlines, keys, and command lines for others to run."""

from __future__ import annotations

import base64
import os
import selectors
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import attr
from labgrid import target_factory
from labgrid.driver import ExecutionError, SSHDriver

from rig.errors import LaunchFailure, RigError
from rig.lab.children import end, spawn

STOP_DEADLINE_S = 5.0

SSH_LOST = (255, -signal.SIGKILL)
"""How ssh ends when the connection failed or broke (ssh(1), EXIT STATUS), or when we cut it."""

LOSS_GRACE_S = 1.0
"""A connection may break a moment before the console's thread has read why."""

# sntrup761, the default key exchange of OpenSSH 9, costs an emulated processor over a second.
QUICK_OPTIONS = (
    "KexAlgorithms=curve25519-sha256",
    "HostKeyAlgorithms=ssh-ed25519,ecdsa-sha2-nistp256",
    "PreferredAuthentications=publickey",
    "GSSAPIAuthentication=no",
    "Compression=no",
)


def make_key(directory: Path) -> Path:
    """Make a key pair without a pass phrase; return the private key's path (mode 0600).

    Raises:
        LaunchFailure: ``ssh-keygen`` is missing or failed.
    """
    path = directory / "id_ed25519"
    argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "rig-lab", "-f", str(path)]
    try:
        subprocess.run(argv, check=True, capture_output=True, timeout=30)
    except (OSError, subprocess.SubprocessError) as error:
        raise LaunchFailure(
            f"No SSH key could be made: {error}.",
            hint="Install Debian's package openssh-client.",
        ) from error
    return path


def encoded_public_key(key: Path) -> str:
    """Return the public key that belongs to ``key`` as one word: base64 of its file."""
    return base64.b64encode(key.with_suffix(".pub").read_bytes()).decode("ascii")


def ssh_argv(driver: SSHDriver) -> list[str]:
    """Return the command line that runs what is appended to it on an active driver's machine."""
    service = driver.networkservice
    user = driver.username or service.username
    program = driver._get_tool("ssh")
    return [program, "-x", *driver.ssh_prefix, "-p", str(service.port), "-l", user, service.address]


def scp_argv(driver: SSHDriver) -> list[str]:
    """Return the command line that copies between the two places appended to it."""
    program = driver._get_tool("scp")
    return [program, "-q", "-r", *driver.ssh_prefix, "-P", str(driver.networkservice.port)]


def scp_place(driver: SSHDriver, path: str) -> str:
    """Return how `scp_argv` names a path on the machine."""
    service = driver.networkservice
    return f"{driver.username or service.username}@{service.address}:{path}"


def refuse(name: str, address: str, said: str) -> None:
    """Return if a connection that failed may succeed later.

    Args:
        name: The machine's name.
        address: Where it was called.
        said: What ssh said.

    Raises:
        LaunchFailure: It will not.
    """
    if "REMOTE HOST IDENTIFICATION HAS CHANGED" in said or "Host key verification failed" in said:
        raise LaunchFailure(
            f"Machine {name!r}: the host key of {address} is not the one that is known.",
            hint=f"If it was installed anew: ssh-keygen -R {address}, with the known_hosts of its"
            " target.",
        )
    if "Permission denied" in said:
        raise LaunchFailure(
            f"Machine {name!r}: {address} does not accept the SSH key.",
            hint="Name the right one as 'keyfile' of its SSHDriver (mode 0600), or add its public"
            " key to ~/.ssh/authorized_keys there.",
        )
    if "Could not resolve hostname" in said:
        raise LaunchFailure(
            f"Machine {name!r}: nobody knows the host name {address}.",
            hint="See 'address' of its NetworkService.",
        )


def connect(name: str, target: Any, driver: RigSSHDriver) -> None:
    """Activate a driver of a machine's target.

    Raises:
        LaunchFailure: The machine cannot be reached.
    """
    try:
        target.activate(driver)
    except RigError:
        raise
    except Exception as error:  # labgrid has no narrower one for a connection that fails
        raise LaunchFailure(f"Machine {name!r} cannot be reached: {error}.") from error


@target_factory.reg_driver
@attr.s(eq=False)
class RigSSHDriver(SSHDriver):  # type: ignore[misc] # labgrid is untyped
    """labgrid's `SSHDriver`, with a master connection that dies with the station.

    labgrid's master goes into the background, and its end is waited for without limit; here it
    is a child.  It is its own keep-alive.

    Args:
        run_directory: Gets the control socket; "" is the system's directory for temporary files.
        known_hosts: Has the keys of real hosts: one that is new there is added, and one that has
            changed is refused.  "": of a guest, whose key is new at each boot.
    """

    run_directory: str = attr.ib(default="", validator=attr.validators.instance_of(str))
    known_hosts: str = attr.ib(default="", validator=attr.validators.instance_of(str))

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The master's process, while there is one."""
        return self.process.pid if self.process else None

    def _start_own_master_once(self, timeout: int) -> str:
        """Connect; return the control socket's path.

        Raises:
            ExecutionError: No connection; labgrid tries again until its deadline.
            LaunchFailure: There will be none, however often it is tried.
        """
        self.tmpdir = tempfile.mkdtemp(prefix="ssh-", dir=self.run_directory or None)
        control = str(Path(self.tmpdir, "control"))
        options = [
            *self._trust(),
            f"ConnectTimeout={timeout}",
            "ServerAliveInterval=15",
            # Runs after the control socket is there: the sign to go on.
            "PermitLocalCommand=yes",
            "LocalCommand=echo connected",
        ]
        service = self.networkservice
        argv = [self._ssh, "-F", "none", *self.ssh_prefix, "-x", "-M", "-N", "-S", control]
        argv += [part for option in options for part in ("-o", option)]
        argv += ["-p", str(service.port), "-l", self._get_username(), service.address]
        self.process = spawn(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        said = self._first_words(self.process, timeout + STOP_DEADLINE_S)
        if "connected" not in said:
            self._cleanup_own_master()
            if self.known_hosts:
                refuse(self.target.name, service.address, said)
            raise ExecutionError(f"no SSH connection to {service.address}:{service.port}: {said}")
        return control

    def _trust(self) -> tuple[str, ...]:
        """Return the options that say whose host key is trusted, and how we prove who we are."""
        if self.known_hosts:
            known = f'UserKnownHostsFile="{self.known_hosts}"'
            return ("BatchMode=yes", "StrictHostKeyChecking=accept-new", known)
        known = f"UserKnownHostsFile={self.tmpdir}/known_hosts"
        return (*QUICK_OPTIONS, "StrictHostKeyChecking=no", known)

    def _first_words(self, master: subprocess.Popen[bytes], deadline_s: float) -> str:
        """Read the master's output until it is connected, has ended, or time is up."""
        until = time.monotonic() + deadline_s
        said = b""
        assert master.stdout
        output = master.stdout.fileno()
        with selectors.DefaultSelector() as selector:
            selector.register(output, selectors.EVENT_READ)
            while b"connected\n" not in said:
                if not selector.select(max(0.0, until - time.monotonic())):
                    break
                data = os.read(output, 4096)
                if not data:
                    break
                said += data
        return said.decode("utf-8", "replace").strip()

    def _cleanup_own_master(self) -> None:
        master, self.process = self.process, None
        if master:
            master.terminate()
            end(master, STOP_DEADLINE_S)
            assert master.stdout
            master.stdout.close()
        shutil.rmtree(self.tmpdir, ignore_errors=True)

    def _start_keepalive(self) -> None:
        """Do nothing: the master is a child, and stays until it is ended."""

    def _check_keepalive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def _stop_keepalive(self) -> None:
        """Do nothing: see `_start_keepalive`."""
