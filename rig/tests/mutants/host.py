"""The disk's driver and its workload: stamped writes, flushes, reads, and what the oracle says.

Like ``usb-storage`` it recovers from every error with a port reset, and tries again; unlike it, it
has several URBs of data in flight.  What it does is told to the ledger.  Pure.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Callable
from random import Random

from rig.errors import RemoteProtocolError
from rig.integrity.filemap import Extent, FileMap, MappedFile
from rig.integrity.judgement import Judgement
from rig.integrity.ledger import (
    CacheLost,
    Flushed,
    FlushFailed,
    WriteFailed,
    WriteReturned,
    WriteStarted,
)
from rig.integrity.model import Model
from rig.integrity.oracle import Oracle
from rig.integrity.scan import Run, Scanner
from rig.integrity.stamp import SECTOR_BYTES, SectorKind, Stamp, encode_run
from rig.sim.ends import CONFIGURE, DESCRIBE
from rig.sim.promise import Pipe, Urb
from rig.tests.mutants.client import DiskClient, Result
from rig.tests.mutants.disk import READ_10, SYNCHRONIZE_CACHE, WRITE_10
from rig.tests.mutants.world import DiskWorld
from rig.usb.bot import CSW_BYTES, CommandStatus, parse_csw
from rig.usb.setup import SetupPacket

RUN_ID = 0x5EED
FILES = FileMap(
    [
        MappedFile(1, "/a", 24 * 512, True, [Extent(0, 8, 16), Extent(16, 44, 8)]),
        MappedFile(2, "/b", 16 * 512, True, [Extent(0, 26, 16)]),
    ]
)
URB_SECTORS = 2
SIZES = (2, 6, 8, 12, 16)
"""Of commands, in sectors; not more than an extent has."""
TRIES = 8
COMMANDS = 24
FLUSH_EVERY = 5
MAX_MOVES = 3000
"""By then a command's stage has ended, or nothing will end it."""
GET_STATUS = SetupPacket(0x80, 0, 0, 0, 2).pack()
_CBW = struct.Struct("<4sIIBBB16s")  # BOT §5.1
_TEN = struct.Struct(">BBIBHB")  # READ(10), WRITE(10), SYNCHRONIZE CACHE(10)


class StuckError(Exception):
    """Something does not come to an end."""


class Host:
    """Runs the workload.

    Args:
        world: The machines.
        chance: All that is random.
        troubles: How many things befall the run.
    """

    def __init__(self, world: DiskWorld, chance: Random, troubles: int) -> None:
        self.world = world
        self.chance = chance
        self.model = Model()
        self.oracle = Oracle(self.model, FILES, RUN_ID)
        self.judgements: list[Judgement] = []
        """Of all that was read."""
        self.gave_up = 0
        """Commands that never succeeded."""
        self._troubles = troubles
        self._sequence = 0
        self._tag = 0
        self._losses = 0  # of the device, that writes were told about
        self._trouble: list[tuple[int, Callable[[], None]]] = [
            (8, world.fail_transfer),
            (6, world.unlink_any),
            (2, world.fail_medium),
            (3, world.finish_job_badly),
            (1, world.lose_link),
            (1, world.unplug),
            (1, world.break_port),
            (2, self._ask_status),
        ]

    @property
    def _client(self) -> DiskClient:
        return self.world.client

    def run(self) -> None:
        """Write and flush, with all the troubles; at the end make all safe, without any.

        Raises:
            StuckError: It does not come to its end.
        """
        self._configure()
        for number in range(1, COMMANDS + 1):
            self._write_somewhere()
            if number % 4 == 0:
                self._read_somewhere()
            if number % 3 == 0:
                self._poll()
            if number % FLUSH_EVERY == 0:
                self._flush()
        self._troubles = 0
        self.world.disk.medium.fails = 0
        self._flush()
        self._settle()

    def read_files(self) -> None:
        """Read all files, and have the oracle judge them.

        Raises:
            StuckError: It does not come to its end.
        """
        for file_id in self.model.files:
            runs: list[Run] = []
            sectors = self.model.sectors(file_id)
            for sector, count, lba in FILES.split_file(file_id, 0, sectors):
                assert lba is not None
                runs += self._read(sector, count, lba)
            self.judgements.append(self.oracle.judge_host(file_id, runs))
        self._settle()

    # The workload.

    def _somewhere(self) -> tuple[int, int, int, int]:
        """Choose a file, a sector of it, how many sectors, and tell where they lie."""
        file_id = self.chance.choice((1, 2))
        extents = list(FILES.split_file(file_id, 0, 24 if file_id == 1 else 16))
        first, count, _ = self.chance.choice(extents)
        size = min(count, self.chance.choice(SIZES))
        sector = first + self.chance.randrange((count - size) // 2 + 1) * 2
        lba = FILES.lba_of(file_id, sector)
        assert lba is not None
        return file_id, sector, size, lba

    def _read_somewhere(self) -> None:
        """What was written must be there, also before it is safe."""
        file_id, sector, size, lba = self._somewhere()
        runs = self._read(sector, size, lba)
        self._note_losses()
        if all(run.kind is not SectorKind.UNREADABLE for run in runs):
            self.judgements.append(self.oracle.judge_host(file_id, runs, partial=True))

    def _read(self, sector: int, count: int, lba: int) -> list[Run]:
        scanner = Scanner(sector)
        data = self._command(READ_10, lba, count, b"")
        if data is None:
            scanner.feed_unreadable(count)
        else:
            scanner.feed(data.ljust(count * SECTOR_BYTES, b"\0"))
        return scanner.finish()

    def _write_somewhere(self) -> None:
        file_id, sector, size, lba = self._somewhere()
        self._sequence += 1
        number = self._sequence
        stamp = Stamp(RUN_ID, file_id, sector * SECTOR_BYTES, lba, number, 0, number)
        self.model.apply(WriteStarted(file_id, sector, size, number, number, direct=True))
        done = self._command(WRITE_10, lba, size, encode_run(stamp, size))
        if done is None:
            self.model.apply(WriteFailed(file_id, number, errno.EIO))
        else:
            self.model.apply(WriteReturned(file_id, number))
        self._note_losses()

    def _flush(self) -> None:
        done = self._command(SYNCHRONIZE_CACHE, 0, 0, b"")
        self._note_losses()
        for file_id in self.model.files:
            ended = Flushed(file_id) if done is not None else FlushFailed(file_id, errno.EIO)
            self.model.apply(ended)

    def _note_losses(self) -> None:
        """What was not flushed when the device went away may be lost with its cache."""
        if self._losses != self.world.losses:
            self._losses = self.world.losses
            self.model.apply(CacheLost())

    def _poll(self) -> None:
        """Wait for something that does not come, as a reader does, and give up."""
        client, pipe = self._client, self.world.pipes[1]
        if not client.plugged:
            return
        urb = client.submit_bulk(pipe, b"", CSW_BYTES)
        for _ in range(self.chance.randrange(40)):
            self._move()
        self._unlink(client, [urb])
        self._await(client, [urb], pipe)

    def _ask_status(self) -> None:
        """Another program speaks to the device on endpoint 0."""
        if self._client.plugged:
            self._client.submit_control(self.world.ep0, GET_STATUS)

    # Commands.

    def _command(self, opcode: int, lba: int, sectors: int, data: bytes) -> bytes | None:
        """Have a command carried out; returns its data, or None if it never succeeded."""
        for _ in range(TRIES):
            self._await_device()
            losses = self.world.losses
            answer = self._try(opcode, lba, sectors, data)
            if answer is not None:
                return answer
            if opcode == SYNCHRONIZE_CACHE and self.world.losses != losses:
                break  # what it was to make safe may be gone
            self._recover()
        self.gave_up += 1
        return None

    def _try(self, opcode: int, lba: int, sectors: int, data: bytes) -> bytes | None:
        self._tag += 1
        length = sectors * SECTOR_BYTES
        flags = 0x80 if opcode == READ_10 else 0
        block = _TEN.pack(opcode, 0, lba, 0, sectors, 0)
        wrapper = _CBW.pack(b"USBC", self._tag, length, flags, 0, len(block), block)
        if self._transfer([wrapper], 0, b"") is None:
            return None
        got: bytes | None = b""
        size = URB_SECTORS * SECTOR_BYTES
        if opcode == READ_10:
            got = self._transfer([], 1, bytes(length))
        elif data:
            got = self._transfer([data[at : at + size] for at in range(0, length, size)], 0, b"")
        status = None if got is None else self._transfer([], 1, bytes(CSW_BYTES))
        if got is None or status is None or not self._accepts(status):
            return None
        return got

    def _accepts(self, status: bytes) -> bool:
        try:
            csw = parse_csw(status)
        except RemoteProtocolError:
            return False
        return (csw.tag, csw.residue_bytes, csw.status) == (self._tag, 0, CommandStatus.PASSED)

    def _transfer(self, outs: list[bytes], pipe: int, room: bytes) -> bytes | None:
        """Move data by several URBs at once; returns what came, or None if one of them failed."""
        where, client = self.world.pipes[pipe], self._client
        if not client.plugged:
            return None
        where.command += 1
        size = URB_SECTORS * SECTOR_BYTES
        urbs = [client.submit_bulk(where, data, len(data)) for data in outs]
        for at in range(0, len(room), size):
            urbs.append(client.submit_bulk(where, b"", len(room[at : at + size])))
        results = self._await(client, urbs, where)
        if any(result.status for result in results):
            return None
        return b"".join(result.data for result in results)

    def _recover(self) -> None:
        """Reset the port, and configure the device anew."""
        client = self._client
        if client.plugged:
            reset = client.submit_control(self.world.ep0, DESCRIBE)
            self._await(client, [reset], self.world.ep0)
        self._configure()

    def _configure(self) -> None:
        client = self._client
        if client.plugged:
            request = client.submit_control(self.world.ep0, CONFIGURE)
            self._await(client, [request], self.world.ep0)

    # Waiting.

    def _await_device(self) -> None:
        """Wait until the device is there, and configure it if it is a new one."""
        before = self.world.edge.lives, self._client
        for _ in range(MAX_MOVES):
            if self._client.plugged:
                break
            if not self._move():
                raise StuckError("The device does not come back.")
        if (self.world.edge.lives, self._client) != before:
            self._configure()

    def _await(self, client: DiskClient, urbs: list[Urb], pipe: Pipe) -> list[Result]:
        """Let things go on until URBs are back; take them back when nothing happens any more."""
        patience = 3
        for _ in range(MAX_MOVES):
            if all(urb.number in client.results for urb in urbs) and client.handler is None:
                return [client.results[urb.number] for urb in urbs]
            if not self._move():
                patience -= 1
                if not patience:
                    break
                self._unlink(client, urbs)
        raise StuckError(f"URBs of {pipe.name} do not come back.")

    @staticmethod
    def _unlink(client: DiskClient, urbs: list[Urb]) -> None:
        for urb in urbs:
            if urb.number in client.open:
                client.unlink(urb.number)

    def _move(self) -> bool:
        """Let one thing happen; returns whether there was any."""
        if self._troubles and self.chance.random() < 0.03:
            self._troubles -= 1
            weights, what = zip(*self._trouble, strict=True)
            self.chance.choices(what, weights)[0]()
        return self.world.go_on(self.chance.randrange(256))

    def _settle(self) -> None:
        for _ in range(MAX_MOVES):
            if not self._move():
                return
        raise StuckError("There is no end to it.")
