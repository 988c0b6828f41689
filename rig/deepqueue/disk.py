"""A disk as its owner sees it: reads, writes and flushes that are tried again as sd tries them."""

from __future__ import annotations

import errno
import logging
import time
from collections.abc import Callable
from typing import Protocol

import msgspec

from rig.deepqueue.counters import Counters
from rig.deepqueue.decisions import RETRIES, Next, after, after_sense
from rig.deepqueue.exchange import Buffer, Ended, Ending
from rig.errors import MachineError, RemoteProtocolError
from rig.usb import bot
from rig.usb.bot import Capacity, Opcode
from rig.usb.urb import status_name

_TAGS = 1 << 32

_log = logging.getLogger(__name__)


class Transport(Protocol):
    """What carries commands: `rig.deepqueue.initiator.Initiator`."""

    @property
    def stopped(self) -> bool:
        """Whether all is to be given up."""

    def run(self, wrapper: bytes, data: Buffer | None = None) -> Ended:
        """Run one command to its end."""

    def recover(self) -> int:
        """Make the device ready for commands.

        Raises:
            MachineError: It does not become ready.
        """


class Failure(msgspec.Struct, frozen=True):
    """An attempt that was not the end of it.

    Attributes:
        opcode: Of the command.
        lba: Its first; 0 if it has none.
        blocks: How many; 0 if it has none.
        attempt: Counted from 1.
        ending: How the command ended.
        statuses: Of the URBs of its data stage.
        moved_bytes: Of each.
        sense: Key, additional code and qualifier, if the device gave any.
        then: What is done about it.
    """

    opcode: int
    lba: int
    blocks: int
    attempt: int
    ending: Ending
    statuses: list[str]
    moved_bytes: list[int]
    sense: list[int]
    then: Next


class Recovered(msgspec.Struct, frozen=True):
    """A command has succeeded that had failed.

    Attributes:
        opcode: Of the command.
        lba: Its first; 0 if it has none.
        attempts: So many did it take.
        taken_s: From the end of the first that failed to its success.
    """

    opcode: int
    lba: int
    attempts: int
    taken_s: float


class Command(msgspec.Struct, frozen=True):
    """What is to be done: its operation code, where, and its data."""

    opcode: Opcode
    lba: int = 0
    blocks: int = 0
    data: Buffer | None = None


class Disk:
    """A disk.  Operations return 0, or the errno that they failed with.

    Args:
        transport: Carries the commands.
        command_bytes: The most data of one command; whole blocks.
        tell: Is told of every attempt that failed, and of what has succeeded behind that.
        counters: See below.
        clock: Seconds.

    Attributes:
        capacity: Of the medium; known from `start` on.
        counters: Where what is done is counted.
        gone: The device is no more, or all is to be given up.
    """

    def __init__(
        self,
        transport: Transport,
        command_bytes: int,
        tell: Callable[[Failure | Recovered], None] = lambda _: None,
        counters: Counters | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self.capacity = Capacity(0, 512)
        self.counters = counters or Counters()
        self.gone = False
        self._transport = transport
        self._command_bytes = command_bytes
        self._tell = tell
        self._tag = 0

    def start(self) -> Capacity:
        """Make the disk ready; return what it holds.

        Raises:
            MachineError: It does not become ready, or holds nothing that can be used.
        """
        # A kernel driver that had the device may have lost it in the middle of a command.
        self._transport.recover()
        answer = bytearray(bot.CAPACITY_BYTES)
        if self._carry_out(Command(Opcode.READ_CAPACITY_10, data=answer)):
            raise MachineError(
                "The disk does not say how large it is.", hint="It may have no medium."
            )
        try:
            self.capacity = bot.parse_capacity(bytes(answer))
        except RemoteProtocolError as error:
            raise MachineError(f"The disk cannot be used: {error}") from error
        if self._command_bytes % self.capacity.block_bytes:
            raise MachineError(
                f"The disk has blocks of {self.capacity.block_bytes} octets;"
                f" commands of {self._command_bytes} are not whole ones."
            )
        return self.capacity

    def read(self, start_bytes: int, buffer: Buffer) -> int:
        """Read whole blocks into a buffer."""
        return self._transfer(Opcode.READ_10, start_bytes, buffer)

    def write(self, start_bytes: int, data: Buffer) -> int:
        """Write whole blocks."""
        return self._transfer(Opcode.WRITE_10, start_bytes, data)

    def flush(self) -> int:
        """Have the disk write what it has cached."""
        return self._carry_out(Command(Opcode.SYNCHRONIZE_CACHE_10))

    def _transfer(self, opcode: Opcode, start_bytes: int, data: Buffer) -> int:
        block_bytes = self.capacity.block_bytes
        ends_bytes = start_bytes + len(data)
        if start_bytes % block_bytes or len(data) % block_bytes:
            return errno.EINVAL
        if ends_bytes > self.capacity.size_bytes:
            return errno.ENOSPC if opcode is Opcode.WRITE_10 else errno.EINVAL
        whole = memoryview(data)
        for at in range(0, len(whole), self._command_bytes):
            part = whole[at : at + self._command_bytes]
            lba = (start_bytes + at) // block_bytes
            error = self._carry_out(Command(opcode, lba, len(part) // block_bytes, part))
            if error:
                return error
        return 0

    def _carry_out(self, command: Command) -> int:
        """Try until it is done, or not worth another attempt."""
        failed_s = 0.0
        for attempt in range(1, RETRIES + 2):
            if self.gone or self._transport.stopped:
                self.gone = True
                break
            self.counters.retries += attempt > 1
            then = self._try(command, attempt)
            if then is Next.DONE:
                if attempt > 1:
                    taken_s = round(self._clock() - failed_s, 6)
                    self._tell(Recovered(command.opcode, command.lba, attempt, taken_s))
                return 0
            if then is Next.FAIL:
                break
            failed_s = failed_s or self._clock()
            self._make_good(then)
        self.counters.failures += 1
        return errno.EIO

    def _try(self, command: Command, attempt: int) -> Next:
        length_bytes = len(command.data) if command.data is not None else 0
        ended = self._transport.run(self._wrapper(command), command.data)
        then, sense = after(ended, length_bytes), None
        if then is Next.ASK_SENSE:
            sense, then = self._ask_sense(command)
        if then is not Next.DONE and not self._transport.stopped:
            self._tell(
                Failure(
                    command.opcode,
                    command.lba,
                    command.blocks,
                    attempt,
                    ended.ending,
                    [status_name(piece.status) for piece in ended.pieces],
                    [piece.actual_bytes for piece in ended.pieces],
                    [sense.key, sense.asc, sense.ascq] if sense else [],
                    then,
                )
            )
        return then

    def _ask_sense(self, command: Command) -> tuple[bot.SenseData | None, Next]:
        answer = bytearray(bot.SENSE_BYTES)
        ended = self._transport.run(bot.request_sense(self._next_tag()), answer)
        if ended.ending is Ending.GONE:
            return None, Next.GIVE_UP
        if ended.ending is not Ending.PASSED:
            return None, Next.RECOVER
        try:
            sense = bot.parse_sense(bytes(answer[: ended.moved_bytes]))
        except RemoteProtocolError:
            return None, Next.RECOVER
        return sense, after_sense(command.opcode, sense)

    def _make_good(self, then: Next) -> None:
        if then is Next.GIVE_UP:
            self.gone = True
        elif then is Next.RECOVER and not self._transport.stopped:
            try:
                self._transport.recover()
            except MachineError as error:  # the next attempt will tell
                _log.warning("%s", error)

    def _wrapper(self, command: Command) -> bytes:
        tag, block_bytes = self._next_tag(), self.capacity.block_bytes
        match command.opcode:
            case Opcode.READ_10:
                return bot.read_10(tag, command.lba, command.blocks, block_bytes)
            case Opcode.WRITE_10:
                return bot.write_10(tag, command.lba, command.blocks, block_bytes)
            case Opcode.READ_CAPACITY_10:
                return bot.read_capacity_10(tag)
            case _:
                return bot.synchronize_cache_10(tag)

    def _next_tag(self) -> int:
        self._tag = (self._tag + 1) % _TAGS
        return self._tag
