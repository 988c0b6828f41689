"""The back end's machine with a bulk-only disk in its port.  Pure."""

from __future__ import annotations

import errno
from collections.abc import Callable

from rig.sim.device import Asked, Device
from rig.sim.promise import BUFFER_BYTES, Pipe, Urb
from rig.splitdriver.backend import Perform, Start
from rig.splitdriver.messages import Submit
from rig.tests.mutants.disk import Disk
from rig.usb.urblog import Kind

DESCRIPTOR = bytes(range(18))
"""What the disk answers to a control request with data; its content is of no interest here."""

Tell = Callable[[Kind, Submit], None]


class DiskDevice(Device):
    """`rig.sim.device.Device`, whose transfers reach a disk, and which judges nothing itself.

    Args:
        pipes: All endpoints.
        urbs: All URBs by number.
        newest_first: In which order what stands behind an error is given back.
        disk: What is plugged in.
        tell: Told of each URB that is given to the controller.
    """

    def __init__(
        self,
        pipes: list[Pipe],
        urbs: dict[int, Urb],
        *,
        newest_first: bool,
        disk: Disk,
        tell: Tell,
    ) -> None:
        super().__init__(pipes, urbs, newest_first=newest_first)
        self.disk = disk
        self.tell = tell
        self.submits: dict[int, Submit] = {}

    def answers(self, pipe: Pipe) -> bool:
        """Whether a transfer can end there now: the disk does not NAK."""
        if not pipe.running:
            return False
        return not pipe.key or (self.disk.gives if pipe.is_in else self.disk.takes)

    def do(self, action: Asked) -> None:
        if isinstance(action, Start | Perform):
            self.submits[action.urb.urb_id] = action.urb
            self.tell(Kind.START, action.urb)
        super().do(action)

    def end(self, pipe: Pipe, status: int = 0, count: int = BUFFER_BYTES) -> None:
        """The transfer at the head ends as the disk has it, or as the bus has it.

        Args:
            pipe: The endpoint.
            status: That the bus brings about; 0: the disk's.
            count: Of a failure, how much moves: of four parts of the URB.
        """
        urb = pipe.running.pop(0)
        if status:
            moved, data = self._move(urb, count)
        else:
            status, moved, data = self._transfer(urb)
        self._end(urb, status, moved, data)
        if status:
            self._cancel(pipe)

    def _transfer(self, urb: Urb) -> tuple[int, int, bytes]:
        submit = self.submits[urb.number]
        if urb.setup:
            data = DESCRIPTOR[: submit.buffer_bytes] if urb.address & 0x80 else b""
            return 0, len(data), data
        if urb.pipe.is_in:
            status, data = self.disk.give(submit.buffer_bytes)
            return status, len(data), data
        status = self.disk.take(bytes(submit.data))
        return status, 0 if status else len(submit.data), b""

    def _move(self, urb: Urb, parts: int) -> tuple[int, bytes]:
        """Move so many of four parts; then the transfer is cut off."""
        submit = self.submits[urb.number]
        count = submit.buffer_bytes * parts // BUFFER_BYTES
        if not count or urb.setup or not self.answers_urb(urb):
            return 0, b""
        if urb.pipe.is_in:
            status, data = self.disk.give(count)
            return len(data), data
        status = self.disk.take(bytes(submit.data[:count]), cut_off=True)
        return (0 if status else count), b""

    def answers_urb(self, urb: Urb) -> bool:
        """Whether the disk would move data of that URB now."""
        return self.disk.gives if urb.pipe.is_in else self.disk.takes

    def _end(self, urb: Urb, status: int, count: int, data: bytes = b"") -> None:
        self.done.append((urb.number, status, count, data))

    def _finish(self, urb: Urb, status: int, count: int) -> None:
        self._end(urb, status, count)

    def _do(self, action: Asked) -> None:
        if isinstance(action, Start):
            self._start(action.urb, flagged=action.continues)
        else:
            self.job = action

    def _start(self, submit: Submit, *, flagged: bool) -> None:
        number = submit.urb_id
        urb = self.urbs[number]
        pipe = urb.pipe
        if self.gone:
            self.at_once.append((number, -errno.ENODEV, 0, b""))
        elif flagged and pipe.disabled:
            self._reap_at_once()
            self.at_once.append((number, -errno.ECONNRESET, 0, b""))
        else:
            pipe.disabled = pipe.disabled and flagged
            urb.flagged = flagged
            pipe.running.append(urb)

    def _discard(self, number: int, half: bool) -> None:
        urb = self.urbs.get(number)
        if urb is None or urb not in urb.pipe.running:
            return  # it has just ended: EINVAL
        is_head = urb is urb.pipe.running[0]
        urb.pipe.running.remove(urb)
        moved, data = self._move(urb, BUFFER_BYTES // 2) if half and is_head else (0, b"")
        self._end(urb, -errno.ENOENT, moved, data)

    def _kill_all(self) -> None:
        super()._kill_all()
        self.disk.reset()
