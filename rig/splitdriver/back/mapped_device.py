"""The back end's edge to the device in a mapped port: usbfs, and what the fault plan does to it."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial

from rig.faults.triggers import EndpointInjector
from rig.reactor import HANGUP, WRITABLE, Reactor
from rig.splitdriver.back import flight, requests
from rig.splitdriver.back.flight import Completion, Configured, Ended, Flight, ResetEnded
from rig.splitdriver.back.induced import Failing, Induced, OnFault
from rig.splitdriver.back.interfaces import Interfaces
from rig.splitdriver.back.requests import Kills
from rig.splitdriver.back.turns import Turns
from rig.splitdriver.back.waiting import Waiting, Wanted
from rig.splitdriver.lane import LentUrb
from rig.splitdriver.messages import Submit
from rig.splitdriver.porthook import Altered
from rig.usb import descriptors
from rig.usb.setup import Operation
from rig.usb.urb import CONTROL_ENDPOINT, DIRECTION_IN, TransferType
from rig.usb.usbfs import BULK_CONTINUATION, UsbfsDevice

_PACKET_BYTES = 512
"""Of an endpoint that no descriptor tells of."""


class MappedDevice:
    """An open device.

    What blocks is done by a thread of the device's own (`Turns`).

    Args:
        usbfs: The device's node; belongs to this from now on.
        layout: Its descriptors.
        injector: Asked about every bulk transfer; None for no faults.
        on_fault: Told of every fault that fires, with the URB it hits.
        reactor: Waits.
        progressed: Called when `ended` may have something to tell.
    """

    def __init__(
        self,
        usbfs: UsbfsDevice,
        layout: descriptors.Device,
        *,
        injector: EndpointInjector | None,
        on_fault: OnFault,
        reactor: Reactor,
        progressed: Callable[[], None],
    ) -> None:
        self._usbfs = usbfs
        self._interfaces = Interfaces(usbfs, layout)
        self._told_kinds = self._interfaces.kinds
        self._induced = Induced(injector, on_fault)
        self._reactor = reactor
        self._progressed = progressed
        self._in_flight: dict[int, Flight] = {}
        self._at_once: list[Ended] = []
        self._refused: set[int] = set()  # endpoints with an URB in _at_once that usbfs refused
        self._hung_up = False
        self._waiting = Waiting(reactor, progressed)
        self._turns = Turns(f"device {usbfs.path}", reactor, self._on_turn)
        reactor.watch(usbfs, WRITABLE, self._on_usbfs)

    def close(self) -> None:
        """Forget the device; the kernel gets its node back when nothing blocks on it any more."""
        self._reactor.unwatch(self._usbfs)
        self._waiting.close()
        self._turns.close(self._usbfs.close)

    def start(self, urb: Submit, *, continues: bool = False) -> None:
        """Give an URB to the controller, or do to it what the fault plan says.

        Args:
            urb: The URB.
            continues: It stands behind others, and is to be taken back if one of them fails.
        """
        self._turns.in_turn(partial(self._start, urb, continues))

    def perform(self, urb: Submit, operation: Operation) -> None:
        """Have the kernel carry out a control request; what it kills for that is told first."""
        job = partial(requests.perform, operation, self._usbfs, self._interfaces)

        def begin() -> None:
            kills = requests.kills(operation, self._interfaces)
            self._carry_out(job, kills, lambda status: Completion(urb.urb_id, status, 0))

        self._turns.in_turn(begin)

    def discard(self, urb_ids: Sequence[int]) -> None:
        """Take URBs back from the controller, in this order; their ends are told as any others.

        At one go: what stands before them in the controller runs on meanwhile, and then they run.
        """
        self._turns.in_turn(partial(self._discard, urb_ids))

    def reset(self) -> None:
        """Reset the port; what the kernel kills for that is told first."""
        job = partial(requests.reset, self._usbfs, self._interfaces)
        self._turns.in_turn(lambda: self._carry_out(job, requests.all_but_control, ResetEnded))

    def ended_at_once(self) -> list[Ended]:
        """Return what has ended without the controller: refused, performed, or failed on purpose.

        No system call: most of the time there is nothing, and the data path asks after each step.
        """
        done, self._at_once = self._at_once, []
        self._refused.clear()
        return done

    def ended(self) -> list[Ended]:
        """Return what has ended, in the order in which it ended."""
        done = self.ended_at_once()
        if not self._turns.busy:
            done += self._reap(requests.none)
            if self._waiting and not self._turns.busy:
                self._waiting.feed(self._submit)
                done += self.ended_at_once()
        return done

    # The lane.

    def fileno(self) -> int:
        """The descriptor of the device's node."""
        return self._usbfs.fileno()

    def lend(self, urbs: Iterable[tuple[Submit, bool]]) -> list[LentUrb] | None:
        """Lend what the core lends; None if something here is not done with it.  Until `take_back`.

        Args:
            urbs: Those of the core's loan.
        """
        if self._induced.active or self._induced.failing or self._induced.halting:
            return None
        if self._hung_up or self._at_once or self._waiting or not self._turns.idle:
            return None
        if any(each.altered is not None for each in self._in_flight.values()):
            return None  # of a rule that was taken away meanwhile
        return [
            flight.lend(self._usbfs, urb, self._in_flight.pop(urb.urb_id) if runs else None)
            for urb, runs in urbs
        ]

    def take_back(
        self, urbs: Iterable[LentUrb], device: int, reaped: Iterable[int]
    ) -> list[tuple[Submit, bool]]:
        """Go on with these URBs in place of those that were lent; return them as the core's loan.

        Args:
            urbs: Those that are still here.
            device: Their device.
            reaped: Addresses of those among them that have ended, in order; `ended` tells them.
        """
        self._induced.forget_stage()  # what a lane has forwarded was not seen
        returned = []
        for lent in urbs:
            urb, running = flight.take_back(self._usbfs, lent, device)
            if running is not None:
                self._in_flight[urb.urb_id] = running
            returned.append((urb, running is not None))
        self._usbfs.reaped_before(reaped)
        return returned

    # The data path.

    def _start(self, urb: Submit, continues: bool) -> None:
        address = urb.endpoint_address
        kind = self._transfer_type(address)
        going = flight.prepared(urb, kind)
        run, not_before_s = going.buffer, 0.0
        if kind is TransferType.BULK:
            packet_bytes = self._interfaces.packet_bytes.get(address, _PACKET_BYTES)
            going.altered = self._induced.meet(urb, packet_bytes)
            if going.altered is not None:
                if going.altered.run_bytes is None:
                    self._fail_in_turn(urb, going.altered)
                    return
                run = run[: going.altered.run_bytes]
                if going.altered.nak_s:
                    not_before_s = time.monotonic() + going.altered.nak_s
        wanted = Wanted(going, kind, run, continues, not_before_s)
        if self._waiting.must(wanted) or not self._submit(wanted):
            self._waiting.put(wanted)

    def _submit(self, wanted: Wanted) -> bool:
        """Give an URB to the controller, or tell why not; return False if it must be tried again.

        The kernel may have no memory for it, but will have more when another of this device ends.
        """
        urb, continues = wanted.flight.urb, wanted.continues
        if continues and urb.endpoint_address in self._refused:
            # The queue does not know yet that one before it has failed, nor does the kernel.
            self._at_once.append(Completion(urb.urb_id, -errno.ECONNRESET, 0))
            return True
        flags = urb.flags | BULK_CONTINUATION if continues else urb.flags
        try:
            self._usbfs.submit(urb.urb_id, wanted.kind, urb.endpoint_address, flags, wanted.run)
        except OSError as error:
            if error.errno == errno.ENOMEM and self._in_flight:
                return False
            if error.errno == errno.EREMOTEIO and continues:
                # One before it has failed already, which is told first.
                self._at_once += self._reap(requests.none)
                self._at_once.append(Completion(urb.urb_id, -errno.ECONNRESET, 0))
            else:
                self._refused.add(urb.endpoint_address)
                self._at_once.append(Completion(urb.urb_id, -(error.errno or errno.EIO), 0))
            return True
        self._in_flight[urb.urb_id] = wanted.flight
        return True

    def _reap(self, kills: Kills) -> list[Ended]:
        """Take what has ended in the controller, until an endpoint has to be halted for it."""
        done: list[Ended] = []
        while self._in_flight and not self._turns.busy:
            try:
                reaped = self._usbfs.reap()
            except OSError:  # ENODEV: gone, and nothing is left to reap
                break
            if reaped is None:
                break
            ended = self._in_flight.pop(reaped.urb_id)
            induced = ended.altered if reaped.status == 0 else None
            completion = flight.completion(ended, reaped.status, reaped.actual_bytes)
            if induced is None and not self._induced.halting:
                done.append(completion)
            else:
                done += self._told(completion, ended.urb.endpoint_address, induced, kills)
            if self._induced.failing:
                done += self._fail_those_behind(reaped.urb_id, kills)
        return done

    def _transfer_type(self, address: int) -> TransferType:
        if address & ~DIRECTION_IN == CONTROL_ENDPOINT:
            return TransferType.CONTROL
        return self._interfaces.kinds.get(address, TransferType.BULK)

    def _drop_waiting(self, dropped: Callable[[Wanted], bool], kills: Kills) -> list[Ended]:
        """Take out what the kernel has never had; return their ends, as the kernel would tell."""
        ended: list[Ended] = []
        for number in self._waiting.drop(dropped):
            ended.append(Completion(number, -errno.ENOENT, 0))
            ended += self._fail_those_behind(number, kills)
        return ended

    # Faults.

    def _fail_in_turn(self, urb: Submit, altered: Altered) -> None:
        """Fail an URB that the controller never hears of, behind those that it has."""
        address = urb.endpoint_address
        flights = [*self._in_flight.values(), *self._waiting.flights()]
        before = {f.urb.urb_id for f in flights if f.urb.endpoint_address == address}
        failing = Failing(before, urb, altered)
        if before:
            self._induced.failing.append(failing)
        else:
            self._at_once += self._told(failing.completion, address, altered, requests.none)

    def _fail_those_behind(self, urb_id: int, kills: Kills) -> list[Ended]:
        return [
            ended
            for each in self._induced.due_behind(urb_id)
            for ended in self._told(each.completion, each.urb.endpoint_address, each.altered, kills)
        ]

    def _told(
        self, completion: Completion, address: int, induced: Altered | None, kills: Kills
    ) -> list[Ended]:
        """Return an end to tell; nothing yet if the device has to halt the endpoint before.

        It does not where a request has killed what ran there: the device has begun anew.
        """
        if induced is None or not induced.halt or self._hung_up or kills(address):
            return [] if self._induced.keep_behind_halt(address, completion) else [completion]
        halting = self._induced.halt(address, completion)

        def then() -> None:
            self._at_once += self._induced.halted(halting)

        self._turns.first(lambda: self._block(partial(requests.halt, address, self._usbfs), then))
        return []

    # What blocks.

    def _block(self, job: Callable[[], None], then: Callable[[], None] | None = None) -> None:
        # Whoever asks the device for anything now would wait for the helper.
        self._reactor.unwatch(self._usbfs)
        self._turns.block(job, then)

    def _on_turn(self) -> None:
        if not self._turns.busy and not self._hung_up:
            self._reactor.watch(self._usbfs, WRITABLE, self._on_usbfs)
        self._progressed()

    def _on_usbfs(self, events: int) -> None:
        if events & HANGUP:
            # The device is going; the uevent that follows says when it has gone.
            self._hung_up = True
            self._reactor.unwatch(self._usbfs)
        self._progressed()

    def _discard(self, urb_ids: Sequence[int]) -> None:
        waiting = {each.urb.urb_id for each in self._waiting.flights()}.intersection(urb_ids)
        self._at_once += self._drop_waiting(lambda w: w.flight.urb.urb_id in waiting, requests.none)
        running = [number for number in urb_ids if number not in waiting]
        if running:
            self._block(partial(requests.discard, running, self._usbfs))

    def _carry_out(self, job: Callable[[], int], kills: Kills, end: Callable[[int], Ended]) -> None:
        """Have a request carried out; tell what the kernel has killed for it, and then its end."""
        status = 0

        def attempt() -> None:
            nonlocal status
            status = job()

        def then() -> None:
            self._at_once += self._reap(kills)
            # And what it would have killed, if it had had it.
            self._at_once += self._drop_waiting(lambda each: kills(each.endpoint_address), kills)
            self._at_once += [*self._news(), end(status)]

        self._block(attempt, then)

    def _news(self) -> list[Ended]:
        """Tell of other endpoints, also when the request failed that has made them so."""
        kinds = self._interfaces.kinds
        if kinds == self._told_kinds:
            return []
        self._told_kinds = kinds
        return [Configured(kinds)]
