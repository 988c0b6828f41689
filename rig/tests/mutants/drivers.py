"""Broken split drivers: each changes one thing of the real cores, as a mistake would.

What they change is what simulation and machines share, so that most can be started on machines, too
(`rig.tests.mutants.daemon`).
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from rig.splitdriver.backend import Action as BackAction
from rig.splitdriver.backend import BackEnd, Start
from rig.splitdriver.backend import Send as BackSend
from rig.splitdriver.endpoint import TABLES, Endpoint, Event, State, Work
from rig.splitdriver.frontend import Action as FrontAction
from rig.splitdriver.frontend import AnswerUnlink, Fence, FrontEnd, GiveBack
from rig.splitdriver.messages import Complete, Message, Payload, Submit, Unlink
from rig.splitdriver.policy import Policy
from rig.tests.mutants.patch import Patch, back_does, back_hears, front_does, front_hears, nth

HOLD = TABLES[Policy.HOLD]
WRITE_10, FLUSH = 0x2A, 0x35  # SBC-3
MAGIC = b"RIGSTAMP"
"""Of a stamped sector (`rig.integrity.stamp`), whose module a machine's daemon does without."""
_ON_THE_BUS = (-errno.EPROTO, -errno.EILSEQ, -errno.EOVERFLOW, -errno.ETIME)
"""Errors that no calm run has, as it has stalls and short reads."""


def _is_out(urb: Submit) -> bool:
    """Whether an URB carries stamped data: what else a file system writes is left alone."""
    return urb.endpoint_address < 0x80 and _is_stamped(urb.data)


def _is_stamped(data: Payload) -> bool:
    return bytes(data[: len(MAGIC)]) == MAGIC


def _is_command(urb: Submit, opcode: int) -> bool:
    """Whether an URB is the wrapper of that command (BOT §5.1)."""
    data = bytes(urb.data[:16])
    return len(urb.data) == 31 and data[:4] == b"USBC" and data[15] == opcode


def _changes_out_data(patch: Patch, every: int, change: Callable[[BackEnd, bytes], bytes]) -> None:
    def does(self: BackEnd, action: BackAction) -> list[BackAction]:
        if isinstance(action, Start) and _is_out(action.urb) and nth(self, "out", every):
            urb = replace(action.urb, data=bytearray(change(self, bytes(action.urb.data))))
            return [replace(action, urb=urb)]
        return [action]

    back_does(patch, does)


def _changes_in_data(patch: Patch, every: int, change: Callable[[FrontEnd, bytes], bytes]) -> None:
    def hears(self: FrontEnd, message: Message) -> list[Message]:
        if isinstance(message, Complete) and _is_stamped(message.data) and nth(self, "in", every):
            data = change(self, bytes(message.data))
            return [replace(message, data=data, actual_bytes=len(data))]
        return [message]

    front_hears(patch, hears)


# Order, and who may run.


def resumes_too_early(patch: Patch) -> None:
    """The front end says RESUME at once: the client's handler has not returned."""

    def does(self: FrontEnd, action: FrontAction) -> list[FrontAction]:
        if not isinstance(action, Fence):
            return [action]
        self.fence_passed()
        return self.take_actions()

    front_does(patch, does)


def failure_does_not_stop(patch: Patch) -> None:
    """What stands behind a failed URB runs at once."""
    patch.item(HOLD[State.OPEN], Event.FAILED_BUSY, State.OPEN)
    patch.item(HOLD[State.OPEN], Event.FAILED_IDLE, State.OPEN)


def unlink_does_not_stop(patch: Patch) -> None:
    """What stands behind an unlinked URB runs at once."""
    patch.item(HOLD[State.OPEN], Event.UNLINK_BUSY, State.OPEN)
    patch.item(HOLD[State.OPEN], Event.UNLINK_IDLE, State.OPEN)


def swaps_two_urbs(patch: Patch) -> None:
    """Two URBs that are queued go to the controller the other way round."""
    real = Endpoint.start

    def start(self: Endpoint) -> Work | None:
        if len(self._queue) > 1 and nth(self, "start", 3):
            self._queue.rotate(-1)
        return real(self)

    patch.set(Endpoint, "start", start)


def ignores_the_window(patch: Patch) -> None:
    """Four URBs of an endpoint are in the controller at a time."""
    real = Endpoint.__init__
    patch.set(
        Endpoint, "__init__", lambda self, policy=Policy.HOLD, window=1: real(self, policy, 4)
    )


# Data.


def drops_a_write(patch: Patch) -> None:
    """An URB of data is told as done, and never runs."""

    def does(self: BackEnd, action: BackAction) -> list[BackAction]:
        if isinstance(action, Start) and _is_out(action.urb) and nth(self, "out", 20):
            self.completed(action.urb.urb_id, 0, action.urb.buffer_bytes)
            return self.take_actions()
        return [action]

    back_does(patch, does)


def runs_a_write_twice(patch: Patch) -> None:
    """An URB of data is given to the controller twice."""

    def does(self: BackEnd, action: BackAction) -> list[BackAction]:
        again = isinstance(action, Start) and _is_out(action.urb) and nth(self, "out", 20)
        return [action, action] if again else [action]

    back_does(patch, does)


def tries_again_by_itself(patch: Patch) -> None:
    """An URB that failed is run once more, and the client not told."""
    real = BackEnd.completed

    def does(self: BackEnd, action: BackAction) -> list[BackAction]:
        if isinstance(action, Start):
            self.__dict__.setdefault("_runs", {})[action.urb.urb_id] = action
        return [action]

    def completed(
        self: BackEnd, urb_id: int, status: int, actual_bytes: int, data: Payload = b""
    ) -> None:
        started = self.__dict__.get("_runs", {}).pop(urb_id, None)
        if started is not None and status == -errno.EPROTO:
            self._actions.append(started)
        else:
            real(self, urb_id, status, actual_bytes, data)

    back_does(patch, does)
    patch.set(BackEnd, "completed", completed)


def sends_a_stale_buffer(patch: Patch) -> None:
    """An URB goes out with the data of the one before it."""

    def change(self: BackEnd, data: bytes) -> bytes:
        before: bytes = self.__dict__.get("_before", data)
        self.__dict__["_before"] = data
        return before if len(before) == len(data) else data

    _changes_out_data(patch, 1, change)


def cuts_a_write_short(patch: Patch) -> None:
    """The second half of an URB's data is lost on the way; zeros go out."""
    _changes_out_data(patch, 7, lambda _, data: data[: len(data) // 2].ljust(len(data), b"\0"))


def flips_a_bit(patch: Patch) -> None:
    """A bit of an URB's data is turned over."""
    _changes_out_data(patch, 7, lambda _, data: data[:100] + bytes((data[100] ^ 4,)) + data[101:])


def swaps_sectors(patch: Patch) -> None:
    """The two halves of an URB's data change places."""
    _changes_out_data(patch, 7, lambda _, data: data[len(data) // 2 :] + data[: len(data) // 2])


def writes_one_lba_too_far(patch: Patch) -> None:
    """WRITE(10) is sent on for the next LBA."""
    _changes_command(
        patch, WRITE_10, 5, lambda data: data[:20] + bytes((data[20] ^ 1,)) + data[21:]
    )


def forgets_flushes(patch: Patch) -> None:
    """SYNCHRONIZE CACHE is sent on as TEST UNIT READY."""
    _changes_command(patch, FLUSH, 1, lambda data: data[:15].ljust(31, b"\0"))


def _changes_command(
    patch: Patch, opcode: int, every: int, change: Callable[[bytes], bytes]
) -> None:
    def does(self: BackEnd, action: BackAction) -> list[BackAction]:
        if not isinstance(action, Start) or not _is_command(action.urb, opcode):
            return [action]
        if not nth(self, "command", every):
            return [action]
        urb = replace(action.urb, data=bytearray(change(bytes(action.urb.data))))
        return [replace(action, urb=urb)]

    back_does(patch, does)


def gives_a_stale_buffer(patch: Patch) -> None:
    """An URB comes back with the data of the one before it."""

    def change(self: FrontEnd, data: bytes) -> bytes:
        before: bytes = self.__dict__.get("_before", data)
        self.__dict__["_before"] = data
        return before if len(before) == len(data) else data

    _changes_in_data(patch, 1, change)


def gives_zeros(patch: Patch) -> None:
    """An URB comes back with a buffer that nobody has filled."""
    _changes_in_data(patch, 5, lambda _, data: bytes(len(data)))


def cuts_a_read_short(patch: Patch) -> None:
    """Half of what came is not told."""
    _changes_in_data(patch, 5, lambda _, data: data[: len(data) // 2])


# Words.


def _changes_givebacks(
    patch: Patch, name: str, every: int, change: Callable[[GiveBack], list[FrontAction]]
) -> None:
    def does(self: FrontEnd, action: FrontAction) -> list[FrontAction]:
        if isinstance(action, GiveBack) and nth(self, name, every):
            return change(action)
        return [action]

    front_does(patch, does)


def tells_errors_as_success(patch: Patch) -> None:
    """An URB that failed comes back as one that did not."""

    def change(action: GiveBack) -> list[FrontAction]:
        return [replace(action, status=0) if action.status in _ON_THE_BUS else action]

    _changes_givebacks(patch, "giveback", 1, change)


def tells_success_as_error(patch: Patch) -> None:
    """An URB that succeeded comes back as one that failed."""

    def change(action: GiveBack) -> list[FrontAction]:
        return [action if action.status else replace(action, status=-errno.EPROTO)]

    _changes_givebacks(patch, "giveback", 25, change)


def claims_too_much(patch: Patch) -> None:
    """An URB comes back longer than it was."""

    def change(action: GiveBack) -> list[FrontAction]:
        data = bytes(action.data) + bytes(512) if len(action.data) else b""
        return [replace(action, actual_bytes=action.actual_bytes + 512, data=data)]

    _changes_givebacks(patch, "giveback", 25, change)


def completes_twice(patch: Patch) -> None:
    """An URB is given back twice."""
    _changes_givebacks(patch, "giveback", 15, lambda action: [action, action])


def never_completes(patch: Patch) -> None:
    """An URB is never given back."""
    _changes_givebacks(patch, "giveback", 40, lambda _: [])


def tells_every_end_twice(patch: Patch) -> None:
    """The back end sends a COMPLETE twice."""

    def does(self: BackEnd, action: BackAction) -> list[BackAction]:
        told = isinstance(action, BackSend) and isinstance(action.message, Complete)
        return [action, action] if told and nth(self, "complete", 20) else [action]

    back_does(patch, does)


def completes_before_the_end(patch: Patch) -> None:
    """An URB of data is told as done as soon as it is started."""

    def does(self: BackEnd, action: BackAction) -> list[BackAction]:
        if isinstance(action, Start) and _is_out(action.urb) and nth(self, "out", 5):
            self.completed(action.urb.urb_id, 0, action.urb.buffer_bytes)
            return [action, *self.take_actions()]
        return [action]

    back_does(patch, does)


def ignores_unlinks(patch: Patch) -> None:
    """The back end does not hear that an URB is wanted back."""
    back_hears(patch, lambda _, message: [] if isinstance(message, Unlink) else [message])


def answers_unlinks_twice(patch: Patch) -> None:
    """The kernel is told twice that an URB is unlinked."""

    def does(_: FrontEnd, action: FrontAction) -> list[FrontAction]:
        return [action, action] if isinstance(action, AnswerUnlink) else [action]

    front_does(patch, does)


def answers_unlinks_first(patch: Patch) -> None:
    """The kernel is told that an URB is unlinked before it gets it back."""
    real = FrontEnd.take_actions

    def take_actions(self: FrontEnd) -> list[FrontAction]:
        actions = real(self)
        for at in range(1, len(actions)):
            if isinstance(actions[at], AnswerUnlink) and isinstance(actions[at - 1], GiveBack):
                actions[at - 1], actions[at] = actions[at], actions[at - 1]
        return actions

    patch.set(FrontEnd, "take_actions", take_actions)


# Lost links.


def keeps_the_device_without_a_link(patch: Patch) -> None:
    """A lost link is no unplug: what was open never comes back."""
    patch.set(FrontEnd, "link_lost", lambda self: None)


def serves_a_device_that_still_works_for_another(patch: Patch) -> None:
    """The next front end is told of a device that still has a former one's URBs."""
    real = BackEnd.link_lost

    def link_lost(self: Any) -> None:
        real(self)
        self._plug.orphans.clear()

    patch.set(BackEnd, "link_lost", link_lost)
