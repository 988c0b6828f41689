"""A CA with a few machines, made once for a process, and everything that can be wrong with it."""

from __future__ import annotations

import atexit
import shutil
import socket
import ssl
import tempfile
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

from rig.lab.authority import MACHINE_LIFETIME, Authority, Machine
from rig.splitdriver.messages import Role
from rig.splitdriver.transport.credentials import Credentials, _context
from rig.splitdriver.transport.security import Security
from rig.splitdriver.transport.tls import TlsStream

Tls = tuple[TlsStream, TlsStream]


@cache
def certificates() -> Path:
    """``back``, ``front`` and ``stranger`` of one CA, ``expired`` and ``early`` of the same;
    ``other/back`` and ``other/front`` of another."""
    directory = Path(tempfile.mkdtemp(prefix="rig-test-certs-"))
    atexit.register(shutil.rmtree, directory)
    now = datetime.now(UTC)
    authority = Authority.open_or_make(directory, now)
    for name in ("back=127.0.0.1", "front", "stranger"):
        authority.issue(Machine.parse(name), now)
    authority.issue(Machine("expired"), now - MACHINE_LIFETIME - timedelta(hours=1))
    authority.issue(Machine("early"), now + timedelta(days=3))
    other = Authority.open_or_make(directory / "other", now)
    for name in ("back", "front"):
        other.issue(Machine(name), now)
    return directory


def context(name: str, role: Role) -> ssl.SSLContext:
    """What a machine would use, although it is refused where it starts."""
    return _context(certificates() / name, role)


@cache
def credentials(name: str, role: Role) -> Credentials:
    """A machine's credentials, which are good."""
    return Credentials(certificates() / name, role)


def security(name: str, role: Role, *wanted: str) -> Security:
    """A machine that wants to see others, by name."""
    return Security(role, credentials(name, role), wanted)


def tls_streams(
    front: str = "front",
    back: str = "back",
    connections: tuple[socket.socket, socket.socket] | None = None,
) -> Tls:
    """The two ends of a connection; nobody has proved anything yet."""
    ours, theirs = connections or socket.socketpair()
    return (
        TlsStream(ours, context(front, Role.FRONT), Role.FRONT),
        TlsStream(theirs, context(back, Role.BACK), Role.BACK),
    )


def shake_hands(front: TlsStream, back: TlsStream) -> Tls:
    """Let both prove who they are."""
    done = [False, False]
    while not all(done):
        done = [one or end.advance() for one, end in zip(done, (front, back), strict=True)]
    return front, back
