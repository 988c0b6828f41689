"""The station's end of a supervised daemon: its events, its commands, its log, its end.

The other end, and the lines between the two, are in `rig.daemon`.
"""

from __future__ import annotations

import itertools
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

import msgspec

from rig.errors import CommandFailure, MachineError
from rig.lab.children import end, kill
from rig.lab.health import Health
from rig.lab.ssh import LOSS_GRACE_S, SSH_LOST

KEPT_LOG_LINES = 15
"""So many lines of its log go into the message when a daemon ends unexpectedly."""

DRAIN_DEADLINE_S = 5.0

Event = dict[str, Any]


class NoAnswerError(MachineError):
    """A daemon that lives, on a machine that lives, did not tell in time what was waited for."""


class _Kept:
    """A file that loses what it has no room for: a full disk is no reason to hear no more."""

    def __init__(self, file: IO[Any]) -> None:
        self._file = file

    def write(self, line: str | bytes) -> None:
        with suppress(OSError):
            self._file.write(line)

    def close(self) -> None:
        with suppress(OSError):
            self._file.close()


class Daemon:
    """A daemon on a machine.  All methods may be called from any thread.

    Args:
        machine: The machine's name.
        name: The daemon's name: for messages, and for ``NAME.log`` and ``NAME.events.jsonl``.
        child: The process whose standard streams, all pipes, are the daemon's.
        health: Says when the machine is lost.
        log_directory: Where the two files go; they are appended to.
    """

    def __init__(
        self,
        machine: str,
        name: str,
        child: subprocess.Popen[bytes],
        health: Health,
        log_directory: Path,
    ) -> None:
        self.machine = machine
        self.name = name
        self.log = log_directory / f"{name}.log"
        self._child = child
        self._health = health
        self._changed = threading.Condition()
        self._write_lock = threading.Lock()
        self._events: list[Event] = []
        self._replies: dict[int, Event] = {}
        self._log_lines: list[str] = []
        self._ids = itertools.count(1)
        self._ended = False
        self._unwatch = health.watch(self._wake)
        assert child.stdout
        assert child.stderr
        log = self.log.open("a", encoding="utf-8", buffering=1)
        events = (log_directory / f"{name}.events.jsonl").open("ab", buffering=0)
        self._log_reader = self._start(self._read_log, child.stderr, log)
        self._event_reader = self._start(self._read_events, child.stdout, events)

    @property
    def events(self) -> list[Event]:
        """All events so far, replies excluded, in the order in which they came."""
        with self._changed:
            return list(self._events)

    def events_from(self, position: int) -> list[Event]:
        """Return the events from a position on, without a copy of those before."""
        with self._changed:
            return self._events[position:]

    @property
    def ended(self) -> bool:
        """Whether the daemon, or the connection to it, has ended."""
        return self._ended

    def check(self) -> None:
        """Return if the daemon lives, as far as is known.

        Raises:
            MachineError: It has ended, or its machine is lost; with its own sentence, if it gave
                one.
        """
        self._health.check()
        if not self._ended:
            return
        status = end(self._child, DRAIN_DEADLINE_S)
        told = [event["error"] for event in self.events if event.get("event") == "error"]
        raise MachineError(
            f"Daemon {self.name!r} on {self.machine!r} has ended with status {status}."
            + (f" {told[-1]}" if told else ""),
            hint=self._last_log(),
        )

    @property
    def machine_lost(self) -> bool:
        """Whether the daemon's machine is gone."""
        return self._health.lost

    def pid(self, deadline_s: float = 10.0) -> int:
        """Return the daemon's process ID on its machine.

        Raises:
            MachineError: It did not start.
        """
        return int(self.wait_event("started", deadline_s)["pid"])

    def wait_event(self, event: str, deadline_s: float, since: int = 0, **match: object) -> Event:
        """Wait for an event whose fields equal ``match``; events that came already count.

        Args:
            event: The event's name.
            deadline_s: How long to wait.
            since: The first event to look at: ``len(daemon.events)`` for those to come.
            match: Fields that must be equal.

        Raises:
            MachineError: The daemon ended, or the machine was lost, or it did not come in time.
        """
        position = since

        def found() -> Event | None:
            nonlocal position
            while position < len(self._events):
                candidate = self._events[position]
                position += 1
                if candidate.get("event") == event and match.items() <= candidate.items():
                    return candidate
            return None

        return self._wait(found, deadline_s, f"event {event!r}")

    def ask(self, do: str, deadline_s: float = 30.0, **args: object) -> Any:
        """Have the daemon do something; return the reply's result, as JSON carries it.

        Raises:
            CommandFailure: The daemon could not do it: its own sentence.
            MachineError: As `wait_event`.
        """
        return self._result_of(self._order(do, args), do, deadline_s)

    def ask_hearing(
        self, do: str, hear: Callable[[Event], None], deadline_s: float = 30.0, **args: object
    ) -> Any:
        """As `ask`, but listen meanwhile.

        Args:
            do: The command.
            hear: Is given each event that comes before the reply, by the thread that asks.
            deadline_s: How long to wait for the reply.
            args: Of the command.

        Raises:
            CommandFailure: As `ask`.
            MachineError: As `wait_event`.
        """
        position, until_s = len(self.events), time.monotonic() + deadline_s
        number = self._order(do, args)

        def news() -> Event | None:
            return {} if len(self._events) > position or number in self._replies else None

        replied = False
        while not replied:
            self._wait(news, deadline_s, f"reply to {do!r}", until_s)
            replied = number in self._replies  # the events before it are there, then, too
            for event in self.events_from(position):
                position += 1
                hear(event)
        return self._result_of(number, do, deadline_s)

    def stop(self, deadline_s: float = 15.0) -> int | None:
        """Tell the daemon to undo all that it did and to end; insist when it does not.

        Safe to call again, and on a lost machine.

        Returns:
            Its exit status, or None if the connection had to be cut: the daemon may still run.
        """
        with self._write_lock:
            assert self._child.stdin
            try:
                self._child.stdin.close()
            except BrokenPipeError:
                self._note("the daemon had closed its standard input")
        if self._health.lost:
            kill(self._child)
        status = end(self._child, deadline_s)
        for reader in (self._event_reader, self._log_reader):
            reader.join(DRAIN_DEADLINE_S)
        self._unwatch()
        return status

    def _order(self, do: str, args: dict[str, object]) -> int:
        """Send a command; return its number."""
        number = next(self._ids)
        self._send(msgspec.json.encode({"id": number, "do": do, **args}) + b"\n")
        return number

    def _result_of(self, number: int, do: str, deadline_s: float) -> Any:
        """Wait for a command's reply; return its result."""
        reply = self._wait(lambda: self._replies.pop(number, None), deadline_s, f"reply to {do!r}")
        if not reply.get("ok"):
            raise CommandFailure(
                f"Daemon {self.name!r} on {self.machine!r} refused {do!r}: {reply.get('error')}"
            )
        return reply.get("result")

    def _send(self, line: bytes) -> None:
        with self._write_lock:
            try:
                assert self._child.stdin
                self._child.stdin.write(line)
                self._child.stdin.flush()
            except (BrokenPipeError, ValueError):
                # The end of its output, which `_wait` sees, says more than this.
                self._note("a command found the daemon's standard input closed")

    def _wait(
        self,
        found: Callable[[], Event | None],
        deadline_s: float,
        what: str,
        until_s: float | None = None,
    ) -> Event:
        """Wait until something is found; a deadline that is under way already ends at `until_s`."""
        until = time.monotonic() + deadline_s if until_s is None else until_s
        with self._changed:
            while True:
                event = found()
                if event is not None:
                    return event
                rest_s = until - time.monotonic()
                if self._ended or self._health.lost or rest_s <= 0:
                    break
                self._changed.wait(rest_s)
        status = end(self._child, DRAIN_DEADLINE_S) if self._ended else None
        if status in SSH_LOST:
            self._health.wait_for_loss(LOSS_GRACE_S)
        self._health.check()
        where = f"Daemon {self.name!r} on {self.machine!r}"
        if self._ended:
            self._log_reader.join(DRAIN_DEADLINE_S)
            raise MachineError(
                f"{where} ended with status {status} before its {what}.", hint=self._last_log()
            )
        raise NoAnswerError(
            f"{where} did not send its {what} in {deadline_s:g} s.", hint=self._last_log()
        )

    def _last_log(self) -> str:
        with self._changed:
            lines = self._log_lines[-KEPT_LOG_LINES:]
        if not lines:
            return f"Its log ({self.log}) is empty."
        return "\n".join([f"Its log ({self.log}) ends:", *lines])

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _start(
        self, work: Callable[[IO[bytes], Any], None], source: IO[bytes], sink: IO[Any]
    ) -> threading.Thread:
        thread = threading.Thread(
            target=work, args=(source, sink), name=f"{self.machine}-{self.name}", daemon=True
        )
        thread.start()
        return thread

    def _read_events(self, source: IO[bytes], sink: IO[bytes]) -> None:
        with source, closing(_Kept(sink)) as kept:
            for line in source:
                kept.write(line)
                self._take_event(line)
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _take_event(self, line: bytes) -> None:
        try:
            event = msgspec.json.decode(line, type=Event)
        except msgspec.DecodeError:
            self._note(f"not an event: {line!r}")
            return
        with self._changed:
            if event.get("event") == "reply" and isinstance(event.get("id"), int):
                self._replies[event["id"]] = event
            else:
                self._events.append(event)
            self._changed.notify_all()

    def _read_log(self, source: IO[bytes], sink: IO[str]) -> None:
        with source, closing(_Kept(sink)) as kept:
            for raw in source:
                line = raw.decode("utf-8", "replace").rstrip()
                at = datetime.now(UTC).isoformat(timespec="milliseconds")
                kept.write(f"{at.replace('+00:00', 'Z')} {line}\n")
                self._note(line)

    def _note(self, line: str) -> None:
        with self._changed:
            self._log_lines.append(line)
            del self._log_lines[:-KEPT_LOG_LINES]
