"""The back end's edge to the device in a mapped port: usbfs, and what the fault plan does to it."""

from __future__ import annotations

import errno
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from functools import partial

import msgspec

from rig.faults.rules.endpoint import EndpointEffect, EndpointTransfer
from rig.faults.triggers import EndpointInjector, Fired
from rig.reactor import HANGUP, READABLE, WRITABLE, Reactor
from rig.splitdriver.back.interfaces import Interfaces
from rig.splitdriver.helper_thread import HelperThread
from rig.splitdriver.lane import LentUrb
from rig.splitdriver.messages import Payload, Submit
from rig.splitdriver.porthook import Altered, alter
from rig.usb import descriptors
from rig.usb.bot_stages import StageTracker
from rig.usb.setup import (
    SETUP_BYTES,
    ClearHalt,
    Operation,
    SetConfiguration,
    SetInterface,
)
from rig.usb.urb import CONTROL_ENDPOINT, DIRECTION_IN, Direction, TransferType
from rig.usb.usbfs import BULK_CONTINUATION, UsbfsDevice

_log = logging.getLogger("rig.device")

OnFault = Callable[[Fired[EndpointEffect], Submit], None]


class Completion(msgspec.Struct, frozen=True):
    """An URB has ended; `data` is its IN data."""

    urb_id: int
    status: int
    actual_bytes: int
    data: Payload = b""


class Configured(msgspec.Struct, frozen=True):
    """The device's endpoints are others now: their transfer types by address, but endpoint 0's."""

    kinds: Mapping[int, TransferType]


class ResetEnded(msgspec.Struct, frozen=True):
    """A port reset has ended, with 0 or a negative errno."""

    status: int


Ended = Completion | Configured | ResetEnded


_NO_SETUP = bytes(SETUP_BYTES)

MEMORY_RETRY_S = 0.1

_Kills = Callable[[int], bool]
"""Whether the kernel kills what runs on the endpoint of that address, to carry out a request."""


def _all_but_control(address: int) -> bool:
    return address & ~DIRECTION_IN != CONTROL_ENDPOINT


def _none(_: int) -> bool:
    return False


class _InFlight(msgspec.Struct):
    urb: Submit
    buffer: memoryview
    altered: Altered | None = None


class _Failing(msgspec.Struct, frozen=True):
    """What fails when these others of its endpoint, which the controller has, have ended."""

    before: set[int]
    urb: Submit
    altered: Altered


class _Starved(msgspec.Struct, frozen=True):
    """What the kernel had no memory for, or is not to get before its time."""

    flight: _InFlight
    kind: TransferType
    run: memoryview
    continues: bool
    not_before_s: float = 0.0

    @property
    def endpoint_address(self) -> int:
        return self.flight.urb.endpoint_address


class MappedDevice:
    """An open device.

    What blocks is done by a thread of the device's own (`HelperThread`).  The kernel holds the
    device's lock meanwhile, so nothing else is asked of the device until it is done.

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
        self._injector = injector
        self._stages = StageTracker()
        self._on_fault = on_fault
        self._reactor = reactor
        self._progressed = progressed
        self._in_flight: dict[int, _InFlight] = {}
        self._at_once: list[Ended] = []
        self._refused: set[int] = set()  # endpoints with an URB in _at_once that usbfs refused
        self._starved: deque[_Starved] = deque()
        self._failing: list[_Failing] = []
        self._later: deque[Callable[[], None]] = deque()
        self._after_job: Callable[[], None] = self._nothing
        self._hung_up = False
        self._helper = HelperThread(f"device {usbfs.path}")
        reactor.watch(self._helper, READABLE, self._on_helper)
        reactor.watch(usbfs, WRITABLE, self._on_usbfs)

    def close(self) -> None:
        """Forget the device; the kernel gets its node back when nothing blocks on it any more."""
        self._reactor.unwatch(self._usbfs)
        self._reactor.unwatch(self._helper)
        self._reactor.cancel(self._memory_timer)
        self._helper.close(self._usbfs.close)
        self._later.clear()

    def start(self, urb: Submit, *, continues: bool = False) -> None:
        """Give an URB to the controller, or do to it what the fault plan says.

        Args:
            urb: The URB.
            continues: It stands behind others, and is to be taken back if one of them fails.
        """
        self._in_turn(partial(self._start, urb, continues))

    def perform(self, urb: Submit, operation: Operation) -> None:
        """Have the kernel carry out a control request; what it kills for that is told first."""
        status = 0

        def job() -> None:
            nonlocal status
            status = self._attempt(partial(self._perform, operation))

        def then() -> None:
            self._carried_out(kills, [*self._news(), Completion(urb.urb_id, status, 0)])

        kills: _Kills = _all_but_control
        if isinstance(operation, SetInterface):
            kills = self._interfaces.endpoints_of(operation.interface).__contains__
        elif isinstance(operation, ClearHalt):
            kills = _none
        self._in_turn(lambda: self._block(job, then))

    def discard(self, urb_id: int) -> None:
        """Take an URB back from the controller; its end is told as any other."""
        self._in_turn(partial(self._discard, urb_id))

    def reset(self) -> None:
        """Reset the port; what the kernel kills for that is told first."""
        status = 0

        def job() -> None:
            nonlocal status
            status = self._attempt(self._interfaces.reset)

        def then() -> None:
            self._carried_out(_all_but_control, [*self._news(), ResetEnded(status)])

        self._in_turn(lambda: self._block(job, then))

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
        if not self._helper.busy:
            done += self._reap()
            if self._starved and not self._helper.busy:
                self._feed_starved()
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
        if self._injector is not None and self._injector.active:
            return None
        if self._helper.busy or self._hung_up or self._later or self._starved:
            return None
        if self._at_once or self._failing:
            return None
        if any(flight.altered is not None for flight in self._in_flight.values()):
            return None  # of a rule that was taken away meanwhile
        return [self._lend(urb, runs) for urb, runs in urbs]

    def take_back(
        self, urbs: Iterable[LentUrb], device: int, reaped: Iterable[int]
    ) -> list[tuple[Submit, bool]]:
        """Go on with these URBs in place of those that were lent; return them as the core's loan.

        Args:
            urbs: Those that are still here.
            device: Their device.
            reaped: Addresses of those among them that have ended, in order; `ended` tells them.
        """
        self._stages = StageTracker()  # what a lane has forwarded it has not seen
        returned = []
        for lent in urbs:
            is_in = bool(lent.endpoint_address & DIRECTION_IN)
            # What waits is given to usbfs from a buffer that can be written to, as all else is.
            data = bytearray(lent.buffer) if lent.buffer is not None and not is_in else b""
            urb = Submit(
                device,
                lent.urb_id,
                lent.endpoint_address,
                lent.flags,
                lent.buffer_bytes,
                _NO_SETUP,
                data,
            )
            if lent.memory is not None:
                room = lent.buffer if isinstance(lent.buffer, bytearray) else None
                self._usbfs.take_back(lent.urb_id, lent.memory, room)
                self._in_flight[lent.urb_id] = _InFlight(
                    urb, memoryview(b"" if room is None else room)
                )
            returned.append((urb, lent.memory is not None))
        self._usbfs.reaped_before(reaped)
        return returned

    def _lend(self, urb: Submit, runs: bool) -> LentUrb:
        is_in = bool(urb.endpoint_address & DIRECTION_IN)
        memory: bytearray | None = None
        buffer: bytearray | bytes | None = None
        if runs:
            memory = self._usbfs.lend(urb.urb_id)
            flight = self._in_flight.pop(urb.urb_id)
            if is_in:
                assert isinstance(flight.buffer.obj, bytearray)
                buffer = flight.buffer.obj
        elif not is_in:
            buffer = bytes(urb.data)
        return LentUrb(
            urb.urb_id, urb.endpoint_address, urb.flags, urb.buffer_bytes, memory, buffer
        )

    # The data path.

    def _start(self, urb: Submit, continues: bool) -> None:
        kind = self._transfer_type(urb.endpoint_address)
        flight = _InFlight(urb, _buffer(urb, kind))
        run, not_before_s = flight.buffer, 0.0
        if kind is TransferType.BULK and self._injector is not None:
            flight.altered = self._fault(urb, self._injector)
            if flight.altered is not None:
                if flight.altered.run_bytes is None:
                    self._fail_in_turn(urb, flight.altered)
                    return
                run = run[: flight.altered.run_bytes]
                not_before_s = time.monotonic() + flight.altered.nak_s
        wanted = _Starved(flight, kind, run, continues, not_before_s)
        if self._must_wait(wanted) or not self._submit(wanted):
            self._starved.append(wanted)
            self._await_memory()

    def _submit(self, wanted: _Starved) -> bool:
        """Give an URB to the controller, or tell why not; return False if it must be tried again.

        The kernel has no memory for it (``usbfs_memory_mb`` counts what all devices have in
        flight), but will have more when another URB of this device ends.
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
                self._at_once += self._reap()
                self._at_once.append(Completion(urb.urb_id, -errno.ECONNRESET, 0))
            else:
                self._refused.add(urb.endpoint_address)
                self._at_once.append(Completion(urb.urb_id, -(error.errno or errno.EIO), 0))
            return True
        self._in_flight[urb.urb_id] = wanted.flight
        return True

    def _reap(self) -> list[Ended]:
        done: list[Ended] = []
        while self._in_flight and not self._helper.busy:  # it may have an endpoint to halt
            try:
                reaped = self._usbfs.reap()
            except OSError:  # ENODEV: gone, and nothing is left to reap
                break
            if reaped is None:
                break
            flight = self._in_flight.pop(reaped.urb_id)
            induced = flight.altered if reaped.status == 0 else None
            completion = _completion(flight, reaped.status, reaped.actual_bytes)
            done += self._told(completion, flight.urb.endpoint_address, induced)
            if self._failing:
                done += self._fail_those_behind(reaped.urb_id)
        return done

    def _transfer_type(self, address: int) -> TransferType:
        if address & ~DIRECTION_IN == CONTROL_ENDPOINT:
            return TransferType.CONTROL
        return self._interfaces.kinds.get(address, TransferType.BULK)

    # What the kernel has no memory for, and what is not to run yet.

    def _must_wait(self, wanted: _Starved) -> bool:
        address = wanted.endpoint_address
        if any(each.endpoint_address == address for each in self._starved):
            return True
        return wanted.not_before_s > time.monotonic()

    def _feed_starved(self) -> None:
        """Try again, each endpoint's in their order."""
        starved, self._starved = self._starved, deque()
        for each in starved:
            if self._must_wait(each) or not self._submit(each):
                self._starved.append(each)
        if self._starved:
            self._await_memory()
        else:
            self._reactor.cancel(self._memory_timer)

    def _await_memory(self) -> None:
        # Nothing tells that another device has given memory back.
        retry = time.monotonic() + MEMORY_RETRY_S
        again = min(max(each.not_before_s, retry) for each in self._starved)
        self._reactor.at(self._memory_timer, again, self._progressed)

    @property
    def _memory_timer(self) -> str:
        return f"memory-{id(self)}"

    def _drop_starved(self, dropped: Callable[[_Starved], bool]) -> list[Ended]:
        """Take out what the kernel has never had; return their ends, as the kernel would tell."""
        gone = [each for each in self._starved if dropped(each)]
        self._starved = deque(each for each in self._starved if not dropped(each))
        ended: list[Ended] = []
        for each in gone:
            number = each.flight.urb.urb_id
            ended.append(Completion(number, -errno.ENOENT, 0))
            ended += self._fail_those_behind(number)
        return ended

    # Faults.

    def _fault(self, urb: Submit, injector: EndpointInjector) -> Altered | None:
        if not injector.active:
            self._stages = StageTracker()  # what it does not see it must not guess
            return None
        direction = Direction.of(urb.endpoint_address)
        told = self._stages.see(direction, urb.buffer_bytes, urb.data)
        transfer = EndpointTransfer(
            direction, urb.endpoint_address, urb.buffer_bytes, told.opcode, told.stage
        )
        fired = injector.ask(transfer)
        if fired is None:
            return None
        self._on_fault(fired, urb)
        packet_bytes = self._interfaces.packet_bytes.get(urb.endpoint_address, 512)
        return alter(fired.effect, urb.buffer_bytes, packet_bytes)

    def _fail_in_turn(self, urb: Submit, altered: Altered) -> None:
        """Fail an URB that the controller never hears of, behind those that it has."""
        address = urb.endpoint_address
        flights = [*self._in_flight.values(), *(each.flight for each in self._starved)]
        before = {f.urb.urb_id for f in flights if f.urb.endpoint_address == address}
        failing = _Failing(before, urb, altered)
        if before:
            self._failing.append(failing)
        else:
            self._at_once += self._fail(failing)

    def _fail_those_behind(self, urb_id: int) -> list[Ended]:
        for failing in self._failing:
            failing.before.discard(urb_id)
        due = [failing for failing in self._failing if not failing.before]
        self._failing = [failing for failing in self._failing if failing.before]
        return [ended for failing in due for ended in self._fail(failing)]

    def _fail(self, failing: _Failing) -> list[Ended]:
        urb, altered = failing.urb, failing.altered
        return self._told(Completion(urb.urb_id, altered.status, 0), urb.endpoint_address, altered)

    def _told(self, completion: Completion, address: int, induced: Altered | None) -> list[Ended]:
        """Return an end to tell; nothing yet if the device has to halt the endpoint before."""
        if induced is None or not induced.halt:
            return [completion]

        def halt() -> None:
            self._block(
                partial(self._halt, address), lambda: self._carried_out(_none, [completion])
            )

        if self._helper.busy:
            self._later.append(halt)
        else:
            halt()
        return []

    def _halt(self, address: int) -> None:
        try:
            self._usbfs.set_halt(address)
        except OSError as error:
            # The host is told of a STALL all the same: to it the endpoint is halted.
            reason = error.strerror
            _log.warning("%s: endpoint %#04x is not halted: %s", self._usbfs.path, address, reason)

    # What blocks.

    def _in_turn(self, do: Callable[[], None]) -> None:
        """Do something now, or behind what the helper does and what waits for that."""
        if self._helper.busy or self._later:
            self._later.append(do)
        else:
            do()

    def _block(self, job: Callable[[], None], then: Callable[[], None]) -> None:
        """Have the helper do a job now, and then do something on this thread."""
        # Whoever asks the device for anything now would wait for the helper.
        self._reactor.unwatch(self._usbfs)
        self._after_job = then
        self._helper.do(job)

    def _on_helper(self, _: int) -> None:
        self._helper.finished()
        self._after_job()
        while self._later and not self._helper.busy:
            self._later.popleft()()
        if not self._helper.busy and not self._hung_up:
            self._reactor.watch(self._usbfs, WRITABLE, self._on_usbfs)
        self._progressed()

    def _on_usbfs(self, events: int) -> None:
        if events & HANGUP:
            # The device is going; the uevent that follows says when it has gone.
            self._hung_up = True
            self._reactor.unwatch(self._usbfs)
        self._progressed()

    def _discard(self, urb_id: int) -> None:
        ended = self._drop_starved(lambda each: each.flight.urb.urb_id == urb_id)
        if ended:
            self._at_once += ended
            return

        def job() -> None:
            try:
                self._usbfs.discard(urb_id)
            except OSError as error:
                reason = error.strerror
                _log.warning("%s: URB %d is not let go: %s", self._usbfs.path, urb_id, reason)

        self._block(job, self._nothing)

    def _perform(self, operation: Operation) -> None:
        match operation:
            case SetConfiguration(value):
                self._interfaces.configure(value)
            case SetInterface(interface, alternate):
                self._interfaces.choose(interface, alternate)
            case ClearHalt(endpoint_address):
                self._usbfs.clear_halt(endpoint_address)

    def _attempt(self, do: Callable[[], None]) -> int:
        try:
            do()
        except OSError as error:
            _log.info("%s: %s", self._usbfs.path, error)
            # What the kernel does not know the device would have answered with a STALL.
            known = error.errno not in (errno.EINVAL, errno.ENOENT)
            return -(error.errno or errno.EIO) if known else -errno.EPIPE
        return 0

    def _news(self) -> list[Ended]:
        """Tell of other endpoints, also when the request failed that has made them so."""
        kinds = self._interfaces.kinds
        if kinds == self._told_kinds:
            return []
        self._told_kinds = kinds
        return [Configured(kinds)]

    def _carried_out(self, kills: _Kills, ended: list[Ended]) -> None:
        """Tell that a request has been carried out, and first what the kernel has killed for it."""
        self._at_once += self._reap()
        # And what it would have killed, if it had had it.
        self._at_once += self._drop_starved(lambda each: kills(each.endpoint_address))
        self._at_once += ended

    def _nothing(self) -> None:
        """What follows a job that nobody is told of: an URB that was discarded is reaped."""


def _buffer(urb: Submit, kind: TransferType) -> memoryview:
    """The buffer that usbfs uses in place: OUT data as received, or room for IN data."""
    is_in = bool(urb.endpoint_address & DIRECTION_IN)
    if kind is TransferType.CONTROL:
        # usbfs wants the SETUP packet before the data.
        return memoryview(bytearray(urb.setup + (bytes(urb.buffer_bytes) if is_in else urb.data)))
    if is_in:
        return memoryview(bytearray(urb.buffer_bytes))
    return memoryview(urb.data)


def _completion(flight: _InFlight, status: int, actual_bytes: int) -> Completion:
    urb = flight.urb
    if flight.altered is not None and status == 0:
        status = flight.altered.status
    data: Payload = b""
    if urb.endpoint_address & DIRECTION_IN:
        start = SETUP_BYTES if urb.endpoint_address & ~DIRECTION_IN == CONTROL_ENDPOINT else 0
        data = flight.buffer[start : start + actual_bytes]
        if 2 * actual_bytes < len(flight.buffer):
            # A view would keep the whole buffer for as long as the link does not take the data.
            data = bytes(data)
    return Completion(urb.urb_id, status, actual_bytes, data)
