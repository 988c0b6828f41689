"""Whether the terminal is still there; and what to do when it is not."""

from __future__ import annotations

import os
import select
import signal
import sys
from codecs import getincrementaldecoder
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, TextIO, cast

from textual import constants
from textual._xterm_parser import XTermParser
from textual.drivers.linux_driver import LinuxDriver

READ_BYTES = 4096
IDLE_S = 0.1
"""After so long the input's thread sees that the screen ends."""


class Terminal:
    """Watches a terminal.

    Args:
        descriptor: Of the terminal.
        gone: Is called once when it has gone, or when a signal says that the session is to end;
            from a signal handler, too.
    """

    def __init__(self, descriptor: int, gone: Callable[[], None]) -> None:
        self._gone = gone
        self._told = False
        self._poll = select.poll()
        self._poll.register(descriptor, 0)

    def lost(self) -> bool:
        """Whether it has gone, or a signal has said so."""
        if not self._told and any(ready & _HUNG_UP for _, ready in self._poll.poll(0)):
            self._hung_up()
        return self._told

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Take the signals that say that it has gone, for as long as this lasts."""
        before = {number: signal.signal(number, self._signalled) for number in _SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _signalled(self, number: int, frame: FrameType | None) -> None:
        del frame
        if number == signal.SIGHUP:
            self._hung_up()
        else:
            self._tell()

    def _hung_up(self) -> None:
        # Who writes to a terminal that has gone gets EIO, and the thread that paints would die of
        # it while others wait for it.
        null = os.open(os.devnull, os.O_RDWR)
        for stream in (sys.__stdout__, sys.__stderr__):
            if stream is not None:
                os.dup2(null, stream.fileno())
        os.close(null)
        self._tell()

    def _tell(self) -> None:
        if not self._told:
            self._told = True
            self._gone()


@contextmanager
def ctrl_c_is_a_key() -> Iterator[None]:
    """Let SIGINT end nothing.

    In a shell that has the terminal meanwhile Ctrl-C is the shell's, and the signal comes here,
    too.  A handler, since it is not handed down to the shell, as ignoring is.
    """
    before = signal.signal(signal.SIGINT, lambda *_: None)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


class _Patient:
    """A file that swallows what is written when the terminal has gone.

    The thread of textual that paints would die of the error, and whoever gives it more wait for
    ever.
    """

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def write(self, text: str) -> int:
        with suppress(OSError):
            self._file.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError):
            self._file.flush()

    def __getattr__(self, name: str) -> object:
        return getattr(self._file, name)


class PatientDriver(LinuxDriver):
    """Textual's driver, which outlives its terminal; that it has gone is seen by `Terminal`."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        # Standard output, not textual's standard error: that may well go to a file.
        self._file = cast("Any", _Patient(sys.__stdout__ or sys.stdout))

    def run_input_thread(self) -> None:
        """See `LinuxDriver.run_input_thread`.

        That one looks every 0.1 s whether an Escape was a key of its own, which is all the time
        that a key may take.
        """
        parser, decode = XTermParser(), getincrementaldecoder("utf-8")(errors="replace").decode
        wait_s = IDLE_S
        with suppress(OSError):
            while not self.exit_event.is_set():
                read = b""
                if select.select([self.fileno], [], [], wait_s)[0]:
                    read = os.read(self.fileno, READ_BYTES)
                    if not read:
                        return
                for message in (*(parser.feed(decode(read)) if read else ()), *parser.tick()):
                    self.process_message(message)
                # Only behind what was read may the rest of a key's sequence be waited for.
                wait_s = constants.ESCAPE_DELAY if read else IDLE_S


_SIGNALS = (signal.SIGHUP, signal.SIGTERM)
_HUNG_UP = select.POLLHUP | select.POLLERR | select.POLLNVAL
