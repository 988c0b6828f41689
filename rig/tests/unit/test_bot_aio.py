"""Asynchronous I/O: what the kernel does with our structures, on pipes of this machine."""

from __future__ import annotations

import errno
import os
import platform
import select
from collections.abc import Iterator
from pathlib import Path

import pytest

from rig.errors import MachineError
from rig.gadget.bot.aio import AsyncIo, Operation


@pytest.fixture
def queue() -> Iterator[AsyncIo]:
    queue = AsyncIo()
    yield queue
    queue.close()


def finished(queue: AsyncIo, count: int) -> list[Operation]:
    """Wait until so many operations are done."""
    found: list[Operation] = []
    while len(found) < count:
        assert select.select([queue], [], [], 10.0)[0]
        found += queue.done()
    return found


def test_what_is_written_is_read_again(queue: AsyncIo, tmp_path: Path) -> None:
    fd = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    write = queue.write(fd, b"stamped")
    assert finished(queue, 1) == [write]
    assert write.result == 7
    read = queue.read(fd, 100)
    assert finished(queue, 1) == [read]
    assert (read.result, read.octets) == (7, b"stamped")
    os.close(fd)


def test_an_empty_write_is_one(queue: AsyncIo, tmp_path: Path) -> None:
    fd = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    write = queue.write(fd, b"")
    assert finished(queue, 1) == [write]
    assert (write.result, write.octets) == (0, b"")
    os.close(fd)


def test_what_the_kernel_refuses_is_an_exception(queue: AsyncIo, tmp_path: Path) -> None:
    fd = os.open(tmp_path / "file", os.O_WRONLY | os.O_CREAT)
    with pytest.raises(OSError, match=os.strerror(errno.EBADF)):
        queue.read(fd, 10)
    os.close(fd)


def test_more_operations_than_are_reaped_at_once_are_all_told(
    queue: AsyncIo, tmp_path: Path
) -> None:
    fd = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    begun = [queue.write(fd, bytes((number,))) for number in range(16)]
    assert finished(queue, 16) == begun
    os.close(fd)


def test_nothing_is_told_while_nothing_is_done(queue: AsyncIo) -> None:
    assert list(queue.done()) == []


def test_what_is_done_can_be_cancelled_without_harm(queue: AsyncIo, tmp_path: Path) -> None:
    fd = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    write = queue.write(fd, b"x")
    queue.cancel(write)
    assert finished(queue, 1) == [write]
    os.close(fd)


def test_a_processor_that_is_not_known_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "vax")
    with pytest.raises(MachineError, match="not known for processor 'vax'"):
        AsyncIo()
