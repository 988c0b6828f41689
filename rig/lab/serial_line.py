"""A host's serial console: labgrid's `SerialDriver`, read by a thread into a `Console`."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pexpect import TIMEOUT
from serial import SerialException  # type: ignore[import-untyped]

from rig.errors import LaunchFailure
from rig.lab.console import QUIET_S, Console
from rig.lab.health import Health

STOP_DEADLINE_S = 5.0
RETRY_S = 0.2


class SerialLine:
    """The line and its console; opened and closed as often as need be.

    Args:
        name: The machine's name.
        driver: A bound `SerialDriver`; this alone activates it.
        log: Gets every line with the station's time.
        note: Is told, once for each time it is opened, that the line broke.
    """

    def __init__(self, name: str, driver: Any, log: Path, note: Callable[[str], None]) -> None:
        self._name = name
        self._driver = driver
        self._log = log
        self._note = note
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        self._console: Console | None = None

    def open(self, health: Health, deadline_s: float = 0.0) -> Console:
        """Open it.

        A line may be the machine's own, and come only some time after its power.

        Args:
            health: Is told of a crash.
            deadline_s: How long to try.

        Raises:
            LaunchFailure: It cannot be opened.
        """
        until = time.monotonic() + deadline_s
        while True:
            try:
                self._driver.target.activate(self._driver)
                break
            except (SerialException, OSError) as error:
                if time.monotonic() >= until:
                    raise LaunchFailure(
                        f"The serial line of machine {self._name!r} cannot be opened: {error}.",
                        hint="See its resource in the environment file, and who else has it open.",
                    ) from error
            self._closing.wait(RETRY_S)
        self._closing.clear()
        self._console = console = Console(self._name, self._log, health)
        name = f"console-{self._name}"
        self._thread = threading.Thread(target=self._read, args=(console,), name=name, daemon=True)
        self._thread.start()
        return console

    def close(self, reason: str) -> None:
        """Close it, which ends the console; safe to call again.

        Args:
            reason: Why, as a sentence.
        """
        self._closing.set()
        if self._thread is not None:
            self._thread.join(STOP_DEADLINE_S)
            self._thread = None
        if self._console is not None:
            self._console.end(reason)
            self._console = None
        self._driver.target.deactivate(self._driver)
        self._closing.clear()

    def _read(self, console: Console) -> None:
        """Feed the console until it is closed.

        A line that breaks is no machine that is lost, as long as it answers over SSH: nothing is
        heard of it any more, and that is told.
        """
        broken = False
        while not self._closing.is_set():
            try:
                console.feed(self._driver._read(size=1, timeout=QUIET_S))
            except TIMEOUT:
                console.quiet()
            except (SerialException, OSError, TypeError) as error:
                # TypeError: pyserial's, when the line was closed while it read.
                # A machine that crashed may take its line along, in the midst of its words.
                console.quiet()
                if not broken and not self._closing.is_set():
                    broken = True
                    self._tell(error)
                self._closing.wait(QUIET_S)

    def _tell(self, error: Exception) -> None:
        self._note(
            f"The serial line of machine {self._name!r} broke ({error}): from now on its console"
            " is not in the log, and a panic is seen only as SSH that does not answer."
        )
