"""The other end of a control socket."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from rig.errors import MachineError, UserError

DEADLINE_S = 20.0
"""For an answer; an emulated machine that is busy takes a second."""


class ControlClient:
    """Asks one process; see `connect`.

    Args:
        stream: Connected, with a timeout.
        process: What errors call the process.
    """

    def __init__(self, stream: socket.socket, process: str) -> None:
        self._stream = stream
        self._process = process
        self._lines = stream.makefile("rb")
        self._last_id = 0

    def close(self) -> None:
        """Let go of the connection, which stays open as long as somebody reads from it."""
        self._lines.close()

    def ask(self, do: str, /, **args: object) -> Any:
        """Have the process do something; return the reply's result, as JSON carries it.

        Raises:
            UserError: It refuses: its own sentence.
            MachineError: There is no answer.
        """
        self._last_id += 1
        try:
            self._stream.sendall(
                msgspec.json.encode({"id": self._last_id, "do": do, **args}) + b"\n"
            )
            line = self._lines.readline()
        except OSError as error:
            raise MachineError(f"Process '{self._process}' does not answer: {error}.") from error
        if not line.endswith(b"\n"):
            raise MachineError(f"Process '{self._process}' has ended, or refuses to listen.")
        reply = msgspec.json.decode(line, type=dict[str, Any])
        if not reply.get("ok"):
            raise UserError(str(reply.get("error")))
        return reply.get("result")


@contextmanager
def connect(path: Path, process: str) -> Iterator[ControlClient]:
    """Talk to a process for a while.

    Args:
        path: Of its socket.
        process: What errors call it.

    Raises:
        MachineError: Nobody listens there.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as stream:
        stream.settimeout(DEADLINE_S)
        try:
            stream.connect(str(path))
        except OSError as error:
            raise MachineError(
                f"The control socket '{path}' of process '{process}' cannot be reached:"
                f" {error.strerror}."
            ) from error
        client = ControlClient(stream, process)
        try:
            yield client
        finally:
            client.close()
