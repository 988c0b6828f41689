"""Linux's asynchronous file I/O, which has no place in Python's standard library.

FunctionFS needs it: a plain read or write of an endpoint's file holds the endpoint until it is
done, so that nothing could be halted, cancelled or waited for beside it.  Sources:
``include/uapi/linux/aio_abi.h``, ``fs/aio.c``, io_submit(2).
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
from collections.abc import Iterator

from rig.errors import MachineError

_CALLS = {
    "x86_64": {"setup": 206, "destroy": 207, "getevents": 208, "submit": 209, "cancel": 210},
    "aarch64": {"setup": 0, "destroy": 1, "submit": 2, "cancel": 3, "getevents": 4},
}
"""Numbers of the system calls by machine (``arch/x86/entry/syscalls/syscall_64.tbl``,
``include/uapi/asm-generic/unistd.h``)."""

_PREAD, _PWRITE = 0, 1
_RESULT_TO_EVENTFD = 1  # IOCB_FLAG_RESFD
_IOCB = struct.Struct("=QIIHhIQQqQII")  # struct iocb on a little-endian machine
_EVENT = struct.Struct("=QQqq")  # struct io_event
_MOST_AT_ONCE = 16


class Operation:
    """One read or write that is under way, or done.

    Attributes:
        result: The number of octets, or a negative errno; 0 until it is done.
    """

    def __init__(self, number: int, fd: int, code: int, buffer: bytearray, notify: int) -> None:
        self.number = number
        self.result = 0
        self._buffer = buffer
        # The kernel knows both by their addresses until the operation is done.
        self._octets = (ctypes.c_char * len(buffer)).from_buffer(buffer) if buffer else None
        address = ctypes.addressof(self._octets) if self._octets is not None else 0
        self.control = ctypes.create_string_buffer(
            _IOCB.pack(
                *(number, 0, 0, code, 0, fd),
                *(address, len(buffer), 0, 0, _RESULT_TO_EVENTFD, notify),
            )
        )

    @property
    def octets(self) -> bytes:
        """What a read that is done has read."""
        return bytes(memoryview(self._buffer)[: max(0, self.result)])


class AsyncIo:
    """A kernel's queue of operations; `fileno` becomes readable when some are done.

    Raises:
        MachineError: This machine's kernel or processor is not known to have it.
    """

    def __init__(self) -> None:
        calls = _CALLS.get(platform.machine())
        if calls is None:
            raise MachineError(
                f"Asynchronous I/O is not known for processor '{platform.machine()}'.",
                hint=f"It is for {', '.join(_CALLS)}.",
            )
        self._calls = calls
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._context = ctypes.c_ulong(0)
        self._under_way: dict[int, Operation] = {}
        self._number = 0
        self._notify = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._events = ctypes.create_string_buffer(_EVENT.size * _MOST_AT_ONCE)
        try:
            self._call("setup", _MOST_AT_ONCE, ctypes.byref(self._context))
        except OSError as error:
            os.close(self._notify)
            raise MachineError(f"Asynchronous I/O cannot be set up: {error.strerror}.") from error

    def fileno(self) -> int:
        """The descriptor, for poll."""
        return self._notify

    def read(self, fd: int, length_bytes: int) -> Operation:
        """Begin to read.

        Raises:
            OSError: The kernel refuses.
        """
        return self._submit(fd, _PREAD, bytearray(length_bytes))

    def write(self, fd: int, octets: bytes) -> Operation:
        """Begin to write.

        Raises:
            OSError: The kernel refuses.
        """
        return self._submit(fd, _PWRITE, bytearray(octets))

    def cancel(self, operation: Operation) -> None:
        """Have an operation end soon, unless it is done already."""
        try:
            # The last argument is not used any more, but must be there.
            self._call("cancel", self._context, operation.control, self._events)
        except OSError as error:
            # EINPROGRESS is success: the end is told as any other.
            if error.errno not in (errno.EINPROGRESS, errno.EINVAL, errno.EAGAIN):
                raise

    def done(self) -> Iterator[Operation]:
        """Return the operations that are done, each once."""
        try:
            os.eventfd_read(self._notify)
        except BlockingIOError:
            return
        while True:
            now = struct.pack("qq", 0, 0)
            count = self._call("getevents", self._context, 0, _MOST_AT_ONCE, self._events, now)
            for at in range(count):
                number, _, result, _ = _EVENT.unpack_from(self._events.raw, at * _EVENT.size)
                operation = self._under_way.pop(number)
                operation.result = result
                yield operation
            if count < _MOST_AT_ONCE:
                return

    def close(self) -> None:
        """Cancel what is under way, wait for that, and let go of the queue."""
        self._call("destroy", self._context)
        self._under_way.clear()
        os.close(self._notify)

    def _submit(self, fd: int, code: int, buffer: bytearray) -> Operation:
        self._number += 1
        operation = Operation(self._number, fd, code, buffer, self._notify)
        pointers = (ctypes.c_void_p * 1)(ctypes.addressof(operation.control))
        self._under_way[operation.number] = operation
        try:
            self._call("submit", self._context, 1, pointers)
        except OSError:
            del self._under_way[operation.number]
            raise
        return operation

    def _call(self, name: str, *arguments: object) -> int:
        # An int would be passed as 32 bits, and these are all longs.
        longs = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
        result = int(self._libc.syscall(ctypes.c_long(self._calls[name]), *longs))
        if result < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        return result
