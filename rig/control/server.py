"""The control socket of a process: a UNIX stream that speaks JSON lines, as `rig.daemon` has them.

Whoever may open it can do what the lab can do by standard input.  It is made for the loop of any
daemon: one descriptor, which is readable when there is something to do.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import fcntl
import io
import itertools
import logging
import os
import select
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from rig.daemon import Command, CommandLines, Events
from rig.errors import RemoteProtocolError, UserError
from rig.reactor import READABLE, Reactor

log = logging.getLogger("rig.control")

DIRECTORY = Path("/run/rig")
MAX_CLIENTS = 16
"""If another comes, the one that has been silent for longest is sent away."""
_NO_DESCRIPTOR = frozenset({errno.EMFILE, errno.ENFILE})
BACKLOG = 16


class ControlSocket:
    """Answers commands on ``DIRECTORY/NAME.sock``, mode 0600.

    A second process of the same name gets ``NAME-2.sock``, and so on.

    Args:
        directory: Made if need be, mode 0700.
        name: Of the process.
        obey: Carries out a command and returns the reply's result.

    Raises:
        OSError: The socket cannot be made.
    """

    def __init__(self, directory: Path, name: str, obey: Callable[[Command], object]) -> None:
        self._obey = obey
        self._listener, self.path = _listen(directory, name)
        self._clients: dict[int, _Client] = {}
        # An epoll instance is itself readable when one of its descriptors is (epoll(7)).
        self._epoll = select.epoll()
        # By edges: what cannot be accepted now is no reason to be woken again at once.
        self._epoll.register(self._listener, select.EPOLLIN | select.EPOLLET)
        self._spare: int | None = _spare_descriptor()

    def fileno(self) -> int:
        """The descriptor that is readable when `pump` has work."""
        return self._epoll.fileno()

    def pump(self) -> None:
        """Do what there is to do; never waits."""
        for number, _ in self._epoll.poll(0):
            if number == self._listener.fileno():
                self._accept_all()
            elif (client := self._clients.pop(number, None)) is not None:
                self._serve(client)

    def close(self) -> None:
        """Take the socket away."""
        self.path.unlink(missing_ok=True)
        self._epoll.close()
        self._listener.close()
        if self._spare is not None:
            os.close(self._spare)
        for client in self._clients.values():
            client.stream.close()
        self._clients.clear()

    def _accept_all(self) -> None:
        """Take all who wait, for there is no second edge for them."""
        while True:
            try:
                stream, _ = self._listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in _NO_DESCRIPTOR and not self._send_away():
                    return  # until the next one comes, or one of the others ends
                continue  # it has gone
            if len(self._clients) >= MAX_CLIENTS:
                self._end(self._clients.pop(next(iter(self._clients))))
            stream.setblocking(False)
            self._clients[stream.fileno()] = _Client(stream)
            self._epoll.register(stream, select.EPOLLIN)

    def _send_away(self) -> bool:
        """Close the connection that has no descriptor, by giving up a spare one for a moment.

        Returns:
            False if there is no spare one, or nobody waits: accept(2) tells of the lack first.
        """
        if self._spare is None:
            self._spare = _spare_descriptor()
        if self._spare is None:
            return False
        os.close(self._spare)
        try:
            self._listener.accept()[0].close()
        except OSError:
            return False
        finally:
            self._spare = _spare_descriptor()
        log.warning("a control connection was refused: this process has no descriptor left")
        return True

    def _serve(self, client: _Client) -> None:
        if client.serve(self._obey):
            self._clients[client.stream.fileno()] = client  # the last to be sent away
            return
        self._end(client)
        self._accept_all()

    def _end(self, client: _Client) -> None:
        self._epoll.unregister(client.stream)
        client.stream.close()


def _spare_descriptor() -> int | None:
    try:
        return os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None


class _Client:
    """One connection."""

    def __init__(self, stream: socket.socket) -> None:
        self.stream = stream
        self._lines = CommandLines()

    def serve(self, obey: Callable[[Command], object]) -> bool:
        """Take what has come and answer it; False when the connection is over."""
        replies = io.BytesIO()
        events = Events(replies)
        try:
            try:
                data = self.stream.recv(1 << 16)
            except BlockingIOError:  # what was told was of a former one with its number
                return True
            try:
                for command in self._lines.feed(data):
                    events.answer(command, obey)
            except RemoteProtocolError as error:
                events.emit("error", error=str(error))
                data = b""
            # Who does not read its replies is no reason to wait.
            said = replies.getvalue()
            return bool(self.stream.send(said) == len(said) and data)
        except OSError as error:
            log.info("a control connection ended: %s", error)
            return False


def add_option(parser: argparse.ArgumentParser) -> None:
    """Give a daemon's command line the option ``--control``."""
    parser.add_argument(
        "--control",
        type=Path,
        default=DIRECTORY,
        metavar="DIRECTORY",
        help="where its control socket is, for 'rig fault' (default: %(default)s)",
    )


def is_asked_for(directory: Path) -> bool:
    """Whether a user named the directory: a socket that was asked for must be there."""
    return directory != DIRECTORY


@contextlib.contextmanager
def control_socket(
    directory: Path, name: str, obey: Callable[[Command], object], *, required: bool = False
) -> Iterator[ControlSocket | None]:
    """Have a control socket for a while; None, and a warning, where it cannot be made.

    Args:
        directory: See `ControlSocket`.
        name: See `ControlSocket`.
        obey: See `ControlSocket`.
        required: Where it cannot be made, that is an error.

    Raises:
        UserError: It is required, and cannot be made.
    """
    try:
        control = ControlSocket(directory, name, obey)
    except OSError as error:
        if required:
            raise UserError(
                f"There can be no control socket in '{directory}': {error.strerror or error}.",
                hint="Name a directory that you may write to with --control, or leave it out.",
            ) from error
        # It serves its purpose without one: who may not write to /run has no control from outside.
        log.warning("there is no control socket in '%s': %s", directory, error.strerror or error)
        yield None
        return
    with contextlib.closing(control):
        yield control


@contextlib.contextmanager
def served_by_reactor(
    reactor: Reactor,
    directory: Path,
    name: str,
    obey: Callable[[Command], object],
    *,
    required: bool = False,
) -> Iterator[None]:
    """Have a control socket for a while, served by a reactor that runs meanwhile.

    Args:
        reactor: Waits.
        directory: See `ControlSocket`.
        name: See `ControlSocket`.
        obey: See `ControlSocket`.
        required: See `control_socket`.

    Raises:
        UserError: It is required, and cannot be made.
    """
    with control_socket(directory, name, obey, required=required) as control:
        if control is not None:
            reactor.watch(control, READABLE, lambda _: control.pump())
        yield


@contextlib.contextmanager
def served_by_thread(
    directory: Path, name: str, obey: Callable[[Command], object]
) -> Iterator[None]:
    """Have a control socket for a while, served by a thread: for a process without a loop.

    Args:
        directory: See `ControlSocket`.
        name: See `ControlSocket`.
        obey: Called in the thread.
    """
    with control_socket(directory, name, obey) as control:
        if control is None:
            yield
            return
        end, other = socket.socketpair()
        with end, other:
            args = (control, end)
            thread = threading.Thread(target=_serve, args=args, name=f"{name}-control", daemon=True)
            thread.start()
            try:
                yield
            finally:
                other.shutdown(socket.SHUT_WR)
                thread.join()


def _serve(control: ControlSocket, end: socket.socket) -> None:
    poll = select.poll()  # select(2) knows no descriptor above 1023
    poll.register(control, select.POLLIN)
    poll.register(end, select.POLLIN)
    while all(number != end.fileno() for number, _ in poll.poll()):
        control.pump()


def _listen(directory: Path, name: str) -> tuple[socket.socket, Path]:
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (directory / ".lock").open("w") as lock:
        # Two that begin at once would each take the other's socket for an abandoned one.
        fcntl.flock(lock, fcntl.LOCK_EX)
        path = next(path for path in _paths(directory, name) if not _answers(path))
        path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            listener.bind(str(path))
            path.chmod(0o600)  # nobody can connect before it listens
            listener.listen(BACKLOG)
        except OSError:
            listener.close()
            raise
    return listener, path


def _paths(directory: Path, name: str) -> Iterator[Path]:
    for number in itertools.count(1):
        yield directory / (f"{name}.sock" if number == 1 else f"{name}-{number}.sock")


def _answers(path: Path) -> bool:
    """Whether somebody listens there."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as probe:
        try:
            probe.connect(os.fspath(path))
        except BlockingIOError:  # its backlog is full
            return True
        except OSError:
            return False
    return True
