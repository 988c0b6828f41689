"""Plays the bulk-only disk: carries its actions out on FunctionFS and on the medium's file.

A thread of its own, for an access of the medium may take as long as the store likes.
"""

from __future__ import annotations

import errno
import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

from rig.faults.rules.device import DeviceEffect
from rig.gadget.bot.actions import (
    Action,
    FlushMedium,
    Halt,
    Happen,
    Outcome,
    ReadMedium,
    Receive,
    Send,
    Session,
    Wait,
    WriteMedium,
)
from rig.gadget.bot.aio import Operation
from rig.gadget.bot.descriptors import BULK_ONLY_RESET, GET_MAX_LUN, Event, EventType
from rig.gadget.bot.functionfs import FunctionFiles
from rig.gadget.bot.machine import Disk
from rig.reactor import READABLE, Reactor
from rig.usb.setup import SetupPacket

log = logging.getLogger("rig.gadget.bot")

HALT_AGAIN_S = 0.01
"""An endpoint that the host has not emptied yet cannot be halted; so soon it is tried again."""
_TIMER = "disk"


class Medium:
    """The file behind the LUN.

    Args:
        path: The file.

    Raises:
        OSError: It cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)

    def do(self, action: ReadMedium | WriteMedium | FlushMedium) -> Outcome:
        """Access the medium; an error is an outcome, too."""
        try:
            match action:
                case ReadMedium(offset, length):
                    return Outcome(os.pread(self._fd, length, offset))
                case WriteMedium(offset, octets):
                    done = os.pwrite(self._fd, octets, offset)
                    return Outcome(error=0 if done == len(octets) else errno.EIO)
            os.fsync(self._fd)
        except OSError as error:
            return Outcome(error=error.errno or errno.EIO)
        return Outcome()

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._fd)


class Player:
    """Drives one disk.

    Args:
        files: Of its function.
        disk: Says what to do.
        medium: The file behind it.
        happen: Takes what is to happen to the whole gadget; called in the player's thread.
        released: Told, in that thread, when the disk answers again after a while without an
            answer: how many seconds that was, and whether the time was over ("deadline") or the
            host had reset the device ("host").
    """

    def __init__(
        self,
        files: FunctionFiles,
        disk: Disk,
        medium: Medium,
        happen: Callable[[DeviceEffect], None],
        released: Callable[[float, str], None] = lambda _waited_s, _by: None,
    ) -> None:
        self._files = files
        self._disk = disk
        self._medium = medium
        self._happen = happen
        self._released = released
        self._mute_since_s: float | None = None
        self._session: Session | None = None
        self._awaited: Operation | None = None
        self._doing = ""
        self._reactor = Reactor()
        self._stop = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._reactor.watch(self._stop, READABLE, lambda _: self._reactor.stop())
        self._reactor.watch(files.ep0, READABLE, self._on_events)
        self._reactor.watch(files.io, READABLE, self._on_done)
        self._thread = threading.Thread(target=self._run, name="bot-storage", daemon=True)

    def status(self) -> dict[str, object]:
        """Where the disk is, and what it does or waits for, as JSON carries it."""
        disk = self._disk
        return {"stage": disk.stage, "commands": disk.commands, "doing": self._doing}

    def start(self) -> None:
        """Begin to serve the host."""
        self._thread.start()

    def stop(self, deadline_s: float) -> bool:
        """End; return whether the thread did within the deadline.

        One that waits for the medium for ever is left behind with its files.
        """
        os.eventfd_write(self._stop, 1)
        self._thread.join(deadline_s)
        if self._thread.is_alive():
            return False
        self._reactor.close()
        os.close(self._stop)
        self._files.close()
        self._medium.close()
        return True

    def _run(self) -> None:
        try:
            self._reactor.run()
            self._end()
        except Exception:
            log.exception("the disk's thread failed; the host gets no answer any more")

    # What the host does to the function.

    def _on_events(self, _: int) -> None:
        for event in self._files.events():
            log.debug("FunctionFS: %s", event.type.name)
            self._on_event(event)

    def _on_event(self, event: Event) -> None:
        match event.type:
            case EventType.ENABLE:
                self._disk.unit.was_reset()
                self._begin()
            case EventType.DISABLE | EventType.UNBIND:
                self._end()
            case EventType.SETUP:
                self._on_setup(event.setup)

    def _on_setup(self, setup: SetupPacket) -> None:
        match (setup.request_type, setup.request):
            case request if request == GET_MAX_LUN:
                self._files.answer(bytes(1))
            case request if request == BULK_ONLY_RESET:
                # Ready for the next CBW before the host can send one (BOT §3.1).
                self._begin()
                self._files.answer(None)
            case _:
                self._files.refuse(is_in=setup.is_in)

    def _begin(self) -> None:
        self._end()
        try:
            packet_bytes = self._files.packet_bytes()
        except OSError:
            return  # disabled meanwhile, as another event will tell
        self._session = self._disk.session(packet_bytes)
        self._drive(next(self._session))

    def _end(self) -> None:
        self._reactor.cancel(_TIMER)
        self._doing = ""
        self._speak("host")
        if self._awaited is not None:
            self._files.io.cancel(self._awaited)
            self._awaited = None
        if self._session is not None:
            self._session.close()
            self._session = None

    # What the disk does.

    def _on_done(self, _: int) -> None:
        for operation in self._files.io.done():
            if operation is not self._awaited:
                continue  # of a session that is over
            self._awaited = None
            if operation.result == -errno.ESHUTDOWN:
                continue  # the endpoints are disabled, as an event will tell
            error = max(0, -operation.result)
            self._resume(Outcome(operation.octets, error))

    def _resume(self, outcome: Outcome) -> None:
        assert self._session is not None
        self._drive(self._session.send(outcome))

    def _drive(self, action: Action) -> None:
        while self._session is not None:
            outcome = self._perform(action)
            if outcome is None:
                return  # it goes on when that is done
            action = self._session.send(outcome)

    def _perform(self, action: Action) -> Outcome | None:
        """Carry an action out, or begin to: then None."""
        outcome = None
        self._doing = type(action).__name__.lower()
        match action:
            case Receive(length):
                self._queue(lambda: self._files.receive(length))
            case Send(octets):
                self._queue(lambda: self._files.send(octets))
            case Halt(direction) if self._files.halt(direction):
                outcome = Outcome()
            case Halt():
                self._later(HALT_AGAIN_S, lambda: self._drive(action))
            case Wait(seconds):
                if seconds is not None:  # or else until the host resets the device
                    self._mute_since_s = time.monotonic()
                    self._later(seconds, self._on_time)
            case Happen(effect):
                self._happen(effect)
                outcome = Outcome()
            case _:
                outcome = self._medium.do(action)
        return outcome

    def _on_time(self) -> None:
        self._speak("deadline")
        self._resume(Outcome())

    def _speak(self, by: str) -> None:
        """Tell that the disk is mute no longer, if it was."""
        since_s, self._mute_since_s = self._mute_since_s, None
        if since_s is not None:
            self._released(round(time.monotonic() - since_s, 3), by)

    def _queue(self, submit: Callable[[], Operation]) -> None:
        try:
            self._awaited = submit()
        except OSError as error:
            # Disabled at this moment: an event will tell, and end the session.
            log.debug("an endpoint takes no request: %s", error.strerror)

    def _later(self, seconds: float, call: Callable[[], None]) -> None:
        self._reactor.at(_TIMER, time.monotonic() + seconds, call)
