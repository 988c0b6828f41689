"""The store's process, seen from the gadget service: its child, spoken to by lines."""

from __future__ import annotations

import logging
import os
import select
import subprocess
import time
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from rig.errors import CommandFailure, LaunchFailure, MachineError

log = logging.getLogger("rig.gadget.store_process")

Event = dict[str, Any]


class StoreProcess:
    """A daemon of `rig.daemon`'s kind that this process supervises.

    Args:
        argv: What to run; its standard error is ours.
        on_event: Takes every event that is no reply.

    Raises:
        LaunchFailure: It cannot be started.
    """

    def __init__(self, argv: Sequence[str], on_event: Callable[[Event], None]) -> None:
        self._on_event = on_event
        self._rest = b""
        self._replies: dict[int, Event] = {}
        self._seen: dict[str, Event] = {}
        self._last_id = 0
        try:
            # A session of its own: Ctrl-C at a terminal is for us, and we end it in order.
            self._process = subprocess.Popen(
                argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
            )
        except OSError as error:
            raise LaunchFailure(f"The store did not start: {error.strerror}.") from error
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._stdin, self._stdout = self._process.stdin, self._process.stdout
        os.set_blocking(self._stdout.fileno(), False)

    @property
    def pid(self) -> int:
        """Of the child."""
        return self._process.pid

    def fileno(self) -> int:
        """The descriptor that is readable when `pump` has work."""
        return self._stdout.fileno()

    @property
    def last_error(self) -> str:
        """The sentence that it gave for its own end, if it gave one."""
        return str(self._seen.get("error", {}).get("error", "Its log says more."))

    def pump(self) -> bool:
        """Take the lines that are there; returns False when there will be no more."""
        try:
            data = os.read(self.fileno(), 1 << 16)
        except BlockingIOError:
            return True
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            try:
                self._take(msgspec.json.decode(line, type=Event))
            except (msgspec.DecodeError, KeyError):
                log.warning("the store said what is no event: %r", line[:200])
        return bool(data)

    def wait_event(self, name: str, deadline_s: float) -> Event:
        """Wait for an event; one that came already counts.

        Raises:
            MachineError: It did not come in time, or the child ended.
        """
        self._pump_until(lambda: name in self._seen, f"event '{name}'", deadline_s)
        return self._seen[name]

    def ask(self, do: str, deadline_s: float, /, **args: object) -> Any:
        """Send a command and wait for its reply.

        Raises:
            CommandFailure: The child could not do it.
            MachineError: There was no reply in time, or the child has ended.
        """
        self._last_id += 1
        number = self._last_id
        try:
            self._stdin.write(msgspec.json.encode({"id": number, "do": do, **args}) + b"\n")
            self._stdin.flush()
        except OSError as error:
            raise MachineError("The store has ended.") from error
        self._pump_until(lambda: number in self._replies, f"the reply to '{do}'", deadline_s)
        reply = self._replies.pop(number)
        if not reply["ok"]:
            raise CommandFailure(str(reply["error"]))
        return reply["result"]

    def kill(self) -> None:
        """End it at once: accesses that wait for it end with an error."""
        self._process.kill()

    def stop(self, deadline_s: float) -> None:
        """End it in order, or by force when the deadline has passed."""
        try:
            self._stdin.close()
        except OSError:
            log.debug("the store had ended before it was told to")
        try:
            status = self._process.wait(deadline_s)
        except subprocess.TimeoutExpired:
            log.warning("the store did not end within %g s: killed", deadline_s)
            self._process.kill()
            status = self._process.wait()
        while select.select([self], [], [], 0)[0] and self.pump():
            pass  # its last words
        self._stdout.close()
        log.info("the store ended with %d", status)

    def _take(self, event: Event) -> None:
        if event.get("event") == "reply":
            self._replies[event["id"]] = event
            return
        self._seen[event["event"]] = event
        self._on_event(event)

    def _pump_until(self, done: Callable[[], bool], what: str, deadline_s: float) -> None:
        end = time.monotonic() + deadline_s
        while not done():
            left = end - time.monotonic()
            if left <= 0:
                raise MachineError(f"The store did not send {what} within {deadline_s:g} s.")
            if select.select([self], [], [], left)[0] and not self.pump() and not done():
                raise MachineError(f"The store ended before {what}. {self.last_error}")
