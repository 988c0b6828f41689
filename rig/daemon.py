"""What every daemon on a machine shares: event lines out, command lines in.

A *supervised* daemon (``--supervised``) has the lab at the other end of its standard streams:

* standard output carries one JSON object a line: ``{"event": NAME, "t": UNIX_TIME_S, ...}``;
* standard input carries commands: ``{"id": N, "do": NAME, ...}``; each is answered by exactly one
  ``{"event": "reply", "id": N, "ok": true, "result": ...}`` or
  ``{"event": "reply", "id": N, "ok": false, "error": SENTENCE}``;
* every daemon obeys ``clock``: it answers ``{"t_ns": UNIX_TIME_NS}``, by its machine's clock;
* the end of standard input means: stop, and undo all you did.  So a daemon never outlives the
  station that started it, however that ended;
* standard error carries the log, for people.

Unsupervised, events go to the log and the daemon stops on SIGINT or SIGTERM alone.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any, BinaryIO

import msgspec

from rig.errors import RemoteProtocolError, RigError

LOG_FORMAT = "%(asctime)s %(levelname).1s %(name)s: %(message)s"
MAX_LINE_BYTES = 1 << 20
"""A longer command line is refused: nothing the lab says is near it."""


CLOCK = "clock"
"""Asks for the time: a round trip tells how far the clocks of two machines are apart."""


class Command(msgspec.Struct, frozen=True):
    """One command line.

    Attributes:
        id: Chosen by the asker, returned in the reply.
        do: The command's name.
        args: All other keys.
    """

    id: int
    do: str
    args: dict[str, Any]


def decode_command(line: bytes) -> Command:
    """Read one command line.

    Raises:
        RemoteProtocolError: It is no JSON object with a number ``id`` and a string ``do``.
    """
    try:
        fields = msgspec.json.decode(line, type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError) as error:
        raise RemoteProtocolError(f"A command line is not a JSON object: {error}.") from error
    number, name = fields.pop("id", None), fields.pop("do", None)
    if not isinstance(number, int) or not isinstance(name, str):
        raise RemoteProtocolError("A command line lacks a number 'id' or a string 'do'.")
    return Command(number, name, fields)


class CommandLines:
    """Splits the bytes of standard input into commands; no I/O of its own."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterable[Command]:
        """Take bytes as they came; return the commands that are now complete.

        Raises:
            RemoteProtocolError: A line is too long or not a command.
        """
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > MAX_LINE_BYTES:
            raise RemoteProtocolError(f"A command line is longer than {MAX_LINE_BYTES} bytes.")
        return [decode_command(line) for line in lines if line.strip()]


class Events:
    """Where a daemon tells what happens.

    Args:
        out: Standard output when supervised; None sends events to the log instead.
    """

    def __init__(self, out: BinaryIO | None) -> None:
        self._out = out
        self._log = logging.getLogger("rig.event")

    def emit(self, event: str, **fields: object) -> None:
        """Tell one event.  Fields must be what JSON can carry."""
        if self._out is None:
            self._log.info("%s %s", event, " ".join(f"{k}={v}" for k, v in fields.items()))
            return
        line = msgspec.json.encode({"event": event, "t": time.time(), **fields})
        try:
            self._out.write(line + b"\n")
            self._out.flush()
        except BrokenPipeError:
            # The station is gone: the end of standard input, seen by the loop, ends us.
            self._out = None

    def answer(self, command: Command, do: Callable[[Command], object]) -> None:
        """Run ``do`` for a command and reply with what it returned, or why it could not."""
        try:
            result = {"t_ns": time.time_ns()} if command.do == CLOCK else do(command)
        except (RigError, OSError) as error:
            self.emit("reply", id=command.id, ok=False, error=str(error))
        else:
            self.emit("reply", id=command.id, ok=True, result=result)


def start_logging(level: int = logging.INFO) -> None:
    """Send the log to standard error, with times."""
    logging.basicConfig(stream=sys.stderr, level=level, format=LOG_FORMAT, force=True)


def wake_on_signals(signals: Iterable[signal.Signals] = (signal.SIGINT, signal.SIGTERM)) -> int:
    """Turn signals into a byte on a pipe, so that a loop can wait for them with the rest.

    Returns:
        The descriptor that becomes readable; the caller keeps it open for life.
    """
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)
    signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
    for number in signals:
        signal.signal(number, lambda *_: None)
    return read_end
