"""Deliberately broken cores and edges: the explorer must find each within so many schedules.

Each mutant changes one thing of the real code, as a mistake would; the number is how many schedules
of seed 1 are enough, with room for changes elsewhere.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from rig.sim.edge import Edge
from rig.splitdriver import back_actions, backend
from rig.splitdriver.backend import BackEnd, Discard, ResetPort, Send
from rig.splitdriver.endpoint import TABLES, Endpoint, Event, State, Work
from rig.splitdriver.frontend import AnswerUnlink, FrontEnd
from rig.splitdriver.messages import Complete, Payload, Resume
from rig.splitdriver.order import Merge
from rig.splitdriver.policy import Policy
from rig.splitdriver.port_reset import ResetWatch
from rig.usb.urb import TransferType, stops_endpoint
from rig.usb.usbip import CmdUnlink

HOLD = TABLES[Policy.HOLD]
Patch = pytest.MonkeyPatch


@dataclass(frozen=True, slots=True)
class Mutant:
    """One thing that is broken.

    Attributes:
        breaks: Breaks it.
        within: Schedules of seed 1 that are enough to find it.
        window: Of the back end.
    """

    breaks: Callable[[Patch], None]
    within: int
    window: int = 1

    @property
    def name(self) -> str:
        """What is broken, in words."""
        return self.breaks.__name__.strip("_")


# The fence.


def _fence_without_part_a(patch: Patch) -> None:
    patch.setattr(Edge, "read_on", property(lambda self: self.fence_at is not None))


def _fence_without_part_b(patch: Patch) -> None:
    def pass_at_once(self: Edge) -> None:
        self.fence_at = None
        self._fence_passed()

    patch.setattr(Edge, "pass_part_a", pass_at_once)


def _no_fence(patch: Patch) -> None:
    def resume_at_once(self: FrontEnd, above: int = -1) -> None:
        for endpoint in self._endpoints.values():
            if endpoint.stopped and self._device is not None:
                self._go_on(self._device, endpoint)

    patch.setattr(FrontEnd, "_start_round", resume_at_once)


def _fence_that_is_not_repeated(patch: Patch) -> None:
    def go_on_with_all(self: FrontEnd) -> None:
        if self._fenced is None or self._device is None:
            return
        self._fenced = None
        for endpoint in self._endpoints.values():
            if endpoint.stopped and not endpoint.unlinking:
                self._go_on(self._device, endpoint)

    patch.setattr(FrontEnd, "fence_passed", go_on_with_all)


# The front end.


def _merge_that_does_not_reorder(patch: Patch) -> None:
    patch.setattr(Merge, "put", lambda self, seqnum, thing: [thing])


def _merge_that_waits_for_what_is_gone(patch: Patch) -> None:
    real = Merge.begin_behind

    def only_at_first(self: Merge[Any], seqnum: int) -> None:
        if self._next is None:
            real(self, seqnum)

    patch.setattr(Merge, "begin_behind", only_at_first)


def _ret_unlink_first(patch: Patch) -> None:
    real = FrontEnd._give_back

    def reversed_order(
        self: FrontEnd, seqnum: int, status: int, actual_bytes: int, data: Payload = b""
    ) -> None:
        before = len(self._actions)
        real(self, seqnum, status, actual_bytes, data)
        self._actions[before:] = self._actions[before:][::-1]

    patch.setattr(FrontEnd, "_give_back", reversed_order)


def _unlink_of_what_came_back_is_not_answered(patch: Patch) -> None:
    real = FrontEnd.unlink

    def unlink(self: FrontEnd, command: CmdUnlink) -> None:
        if command.target in self._urbs:
            real(self, command)

    patch.setattr(FrontEnd, "unlink", unlink)


def _unlink_is_answered_twice(patch: Patch) -> None:
    real = FrontEnd._give_back

    def twice(
        self: FrontEnd, seqnum: int, status: int, actual_bytes: int, data: Payload = b""
    ) -> None:
        real(self, seqnum, status, actual_bytes, data)
        if isinstance(self._actions[-1], AnswerUnlink):
            self._actions.append(self._actions[-1])

    patch.setattr(FrontEnd, "_give_back", twice)


def _local_unlink_before_the_endpoint_is_quiet(patch: Patch) -> None:
    real = FrontEnd.unlink

    def unlink(self: FrontEnd, command: CmdUnlink) -> None:
        urb = self._urbs.get(command.target)
        if urb is not None:
            urb.endpoint.quiet = True
        real(self, command)

    patch.setattr(FrontEnd, "unlink", unlink)


def _resume_that_names_the_wrong_epoch(patch: Patch) -> None:
    real = FrontEnd._send

    def send(self: FrontEnd, message: Any) -> None:
        if isinstance(message, Resume):
            message = Resume(message.device, message.endpoint_address, message.epoch - 1)
        real(self, message)

    patch.setattr(FrontEnd, "_send", send)


def _no_reset_before_the_descriptor(patch: Patch) -> None:
    patch.setattr(ResetWatch, "sees", lambda self, setup, flags: False)


def _lost_link_is_no_unplug(patch: Patch) -> None:
    patch.setattr(FrontEnd, "link_lost", lambda self: None)


# The back end.


def no_epochs(patch: Patch) -> None:
    def resume(self: Endpoint, epoch: int) -> bool:
        if not self._stopped:
            return False
        self._happened(Event.RESUME)
        return True

    patch.setattr(Endpoint, "resume", resume)


def _failure_does_not_stop(patch: Patch) -> None:
    patch.setattr(backend, "stops_endpoint", lambda *_: False)


def _short_read_does_not_stop(patch: Patch) -> None:
    def stops(kind: TransferType, status: int) -> bool:
        return status != -errno.EREMOTEIO and stops_endpoint(kind, status)

    patch.setattr(backend, "stops_endpoint", stops)


def _unlink_of_queued_does_not_stop(patch: Patch) -> None:
    patch.setitem(HOLD[State.OPEN], Event.UNLINK_BUSY, State.OPEN)
    patch.setitem(HOLD[State.OPEN], Event.UNLINK_IDLE, State.OPEN)


def _resume_while_draining_opens(patch: Patch) -> None:
    patch.setitem(HOLD[State.DRAINING], Event.RESUME, State.OPEN)


def _newest_first(patch: Patch) -> None:
    real = Endpoint._admit

    def admit(self: Endpoint, work: Work) -> bool:
        admitted = real(self, work)
        self._queue.rotate(1)
        return admitted

    patch.setattr(Endpoint, "_admit", admit)


def _quiet_while_draining(patch: Patch) -> None:
    patch.setattr(Endpoint, "quiet", property(lambda self: self._stopped))


def _stop_forgets_what_is_kept(patch: Patch) -> None:
    real = Endpoint.resume

    def resume(self: Endpoint, epoch: int) -> bool:
        resumed = real(self, epoch)
        if resumed:
            self._queue.clear()
        return resumed

    patch.setattr(Endpoint, "resume", resume)


def _completes_twice(patch: Patch) -> None:
    real = BackEnd._ended

    def ended(self: BackEnd, *args: Any, **words: Any) -> None:
        real(self, *args, **words)
        self._actions += [
            a for a in self._actions if isinstance(a, Send) and isinstance(a.message, Complete)
        ]

    patch.setattr(BackEnd, "_ended", ended)


def _cut_off_urbs_are_told_as_whole(patch: Patch) -> None:
    real = BackEnd._ended

    def ended(
        self: BackEnd,
        endpoint: Endpoint,
        urb_id: int,
        status: int,
        count: int,
        *args: Any,
        **words: Any,
    ) -> None:
        real(self, endpoint, urb_id, status, 4 if count else 0, *args, **words)

    patch.setattr(BackEnd, "_ended", ended)


def _device_is_told_of_while_old_urbs_run(patch: Patch) -> None:
    real = BackEnd.link_lost

    def link_lost(self: BackEnd) -> None:
        real(self)
        self._plug.orphans.clear()

    patch.setattr(BackEnd, "link_lost", link_lost)


def _lost_front_end_is_not_forgotten(patch: Patch) -> None:
    def link_lost(self: BackEnd) -> None:
        self._plug.linked = False

    patch.setattr(BackEnd, "link_lost", link_lost)


def _next_device_before_the_farewell(patch: Patch) -> None:
    real = BackEnd.unplugged

    def unplugged(self: BackEnd) -> None:
        real(self)
        self._plug.awaits_farewell = None

    patch.setattr(BackEnd, "unplugged", unplugged)


def _device_that_was_let_go_of_is_told_at_once(patch: Patch) -> None:
    real = BackEnd._farewell

    def farewell(self: BackEnd, device: int) -> None:
        real(self, device)
        self._plug.orphans.clear()
        if not self._plug.told:
            self._plug.announce()

    patch.setattr(BackEnd, "_farewell", farewell)


def _device_that_was_let_go_of_is_not_told_again(patch: Patch) -> None:
    def farewell(self: BackEnd, device: int) -> None:
        self._plug.awaits_farewell = None
        if not self._plug.told:
            self._plug.announce()

    patch.setattr(BackEnd, "_farewell", farewell)


def _late_words_of_a_device_that_was_let_go_of_are_errors(patch: Patch) -> None:
    real = FrontEnd.let_go

    def let_go(self: FrontEnd) -> bool:
        went = real(self)
        self._let_go = None
        return went

    patch.setattr(FrontEnd, "let_go", let_go)


def _attaches_by_a_former_devices_barrier(patch: Patch) -> None:
    def look_whether_ready(self: Edge) -> None:
        def came_out() -> None:
            call, self._when_ready = self._when_ready, None
            if call is not None:
                call()

        if self._when_ready is not None and not self.leaving:
            self._wait_for_barrier(came_out)

    patch.setattr(Edge, "_look_whether_ready", look_whether_ready)


def _reset_that_is_never_done(patch: Patch) -> None:
    real = BackEnd.take_actions

    def without_resets(self: BackEnd) -> list[backend.Action]:
        return [action for action in real(self) if not isinstance(action, ResetPort)]

    patch.setattr(BackEnd, "take_actions", without_resets)


# The back end, with several URBs in the controller.


def _starts_while_the_kernel_resets(patch: Patch) -> None:
    never = property(lambda self: None, lambda self, number: None)
    patch.setattr(BackEnd, "_performed", never, raising=False)


def _discards_oldest_first(patch: Patch) -> None:
    real = BackEnd._discard

    def discard(self: BackEnd, endpoint: Endpoint, urb_id: int) -> None:
        before = len(self._actions)
        real(self, endpoint, urb_id)
        self._actions[before:] = self._actions[before:][::-1]

    patch.setattr(BackEnd, "_discard", discard)


def _discards_only_the_unlinked(patch: Patch) -> None:
    def discard(self: BackEnd, endpoint: Endpoint, urb_id: int) -> None:
        self._queues.unlinked.add(urb_id)
        self._actions.append(Discard(urb_id))

    patch.setattr(BackEnd, "_discard", discard)


def _taken_back_to_the_end_of_the_queue(patch: Patch) -> None:
    real = Endpoint.take_back

    def take_back(self: Endpoint, number: int) -> None:
        real(self, number)
        self._queue.rotate(-1)

    patch.setattr(Endpoint, "take_back", take_back)


def _no_continuation(patch: Patch) -> None:
    real = back_actions.action_for

    def action(work: Work, *, continues: bool) -> backend.Action:
        return real(work, continues=False)

    patch.setattr(backend, "action_for", action)


def _what_is_taken_back_is_failed(patch: Patch) -> None:
    patch.setattr(BackEnd, "_comes_back", lambda self, endpoint, urb_id: False)


MUTANTS = [
    Mutant(_fence_without_part_a, 500),
    Mutant(_fence_without_part_b, 500),
    Mutant(_no_fence, 500),
    Mutant(_fence_that_is_not_repeated, 1500),
    Mutant(_merge_that_does_not_reorder, 500),
    Mutant(_merge_that_waits_for_what_is_gone, 500),
    Mutant(_ret_unlink_first, 500),
    Mutant(_unlink_of_what_came_back_is_not_answered, 500),
    Mutant(_unlink_is_answered_twice, 500),
    Mutant(_local_unlink_before_the_endpoint_is_quiet, 500),
    Mutant(_resume_that_names_the_wrong_epoch, 500),
    Mutant(_no_reset_before_the_descriptor, 500),
    Mutant(_lost_link_is_no_unplug, 500),
    Mutant(no_epochs, 8000),
    Mutant(_failure_does_not_stop, 500),
    Mutant(_short_read_does_not_stop, 500),
    Mutant(_unlink_of_queued_does_not_stop, 1500),
    Mutant(_resume_while_draining_opens, 2000, window=3),
    Mutant(_newest_first, 500),
    Mutant(_quiet_while_draining, 4000),
    Mutant(_stop_forgets_what_is_kept, 500),
    Mutant(_completes_twice, 500),
    Mutant(_cut_off_urbs_are_told_as_whole, 500),
    Mutant(_device_is_told_of_while_old_urbs_run, 1000),
    Mutant(_lost_front_end_is_not_forgotten, 1000),
    Mutant(_next_device_before_the_farewell, 500),
    Mutant(_device_that_was_let_go_of_is_told_at_once, 300),
    Mutant(_device_that_was_let_go_of_is_not_told_again, 300),
    Mutant(_late_words_of_a_device_that_was_let_go_of_are_errors, 300),
    Mutant(_attaches_by_a_former_devices_barrier, 3000),
    Mutant(_reset_that_is_never_done, 500),
    Mutant(_starts_while_the_kernel_resets, 2000, window=3),
    Mutant(_discards_oldest_first, 1000, window=3),
    Mutant(_discards_only_the_unlinked, 1000, window=3),
    Mutant(_taken_back_to_the_end_of_the_queue, 500, window=3),
    Mutant(_no_continuation, 500, window=3),
    Mutant(_what_is_taken_back_is_failed, 500, window=3),
]
