"""The back end's edge to the device in a mapped port: usbfs, and what the fault plan does to it."""

from __future__ import annotations

import errno
import logging
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from functools import partial

import msgspec

from rig.faults.rules.endpoint import EndpointEffect, EndpointTransfer
from rig.faults.triggers import EndpointInjector, Fired
from rig.reactor import HANGUP, READABLE, WRITABLE, Reactor
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


class _InFlight(msgspec.Struct):
    urb: Submit
    buffer: memoryview
    altered: Altered | None = None


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
        self._kinds: Mapping[int, TransferType] = {}
        self._usbfs = usbfs
        self._layout = layout
        self._injector = injector
        self._stages = StageTracker()
        self._on_fault = on_fault
        self._reactor = reactor
        self._progressed = progressed
        self._packet_bytes: dict[int, int] = {}
        self._claimed: list[int] = []
        self._in_flight: dict[int, _InFlight] = {}
        self._at_once: list[Ended] = []
        self._refused: set[int] = set()  # endpoints with an URB in _at_once that usbfs refused
        self._faulted: list[tuple[set[int], Completion]] = []  # wait for those before them
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
        self._helper.close(self._usbfs.close)
        self._later.clear()

    def start(self, urb: Submit, *, continues: bool = False) -> None:
        """Give an URB to the controller, or do to it what the fault plan says.

        Args:
            urb: The URB.
            continues: It stands behind others, and is to be taken back if one of them fails.
        """
        if self._helper.busy or self._later:
            self._later.append(partial(self._start, urb, continues))
        else:
            self._start(urb, continues)

    def perform(self, urb: Submit, operation: Operation) -> None:
        """Have the kernel carry out a control request; what it kills for that is told first."""
        status = 0

        def job() -> None:
            nonlocal status
            status = self._attempt(partial(self._perform, operation))

        self._block(job, lambda: self._carried_out(self._performed(urb.urb_id, status, operation)))

    def discard(self, urb_id: int) -> None:
        """Take an URB back from the controller; its end is told as any other."""
        self._block(partial(self._discard, urb_id), self._nothing)

    def reset(self) -> None:
        """Reset the port; what the kernel kills for that is told first."""
        status = 0

        def job() -> None:
            nonlocal status
            # usbfs has no pre_reset: interfaces that are claimed would be unbound by force.
            status = self._attempt(partial(self._around_release, lambda usbfs: usbfs.reset()))

        self._block(job, lambda: self._carried_out([ResetEnded(status)]))

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
        if self._helper.busy or self._hung_up or self._later or self._at_once or self._faulted:
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
        run = flight.buffer
        if kind is TransferType.BULK and self._injector is not None:
            flight.altered = self._fault(urb, self._injector)
            if flight.altered is not None:
                if flight.altered.run_bytes is None:
                    self._fail_in_turn(urb, flight.altered.status)
                    return
                run = run[: flight.altered.run_bytes]
        flags = urb.flags | BULK_CONTINUATION if continues else urb.flags
        if continues and urb.endpoint_address in self._refused:
            # The queue does not know yet that one before it has failed, nor does the kernel.
            self._at_once.append(Completion(urb.urb_id, -errno.ECONNRESET, 0))
            return
        try:
            self._usbfs.submit(urb.urb_id, kind, urb.endpoint_address, flags, run)
        except OSError as error:
            if error.errno == errno.EREMOTEIO and continues:
                # One before it has failed already, which is told first.
                self._at_once += self._reap()
                self._at_once.append(Completion(urb.urb_id, -errno.ECONNRESET, 0))
            else:
                self._refused.add(urb.endpoint_address)
                self._at_once.append(Completion(urb.urb_id, -(error.errno or errno.EIO), 0))
            return
        self._in_flight[urb.urb_id] = flight

    def _reap(self) -> list[Ended]:
        done: list[Ended] = []
        while self._in_flight:
            try:
                reaped = self._usbfs.reap()
            except OSError:  # ENODEV: gone, and nothing is left to reap
                break
            if reaped is None:
                break
            flight = self._in_flight.pop(reaped.urb_id)
            done.append(_completion(flight, reaped.status, reaped.actual_bytes))
            if self._faulted:
                done += self._fail_those_behind(reaped.urb_id)
        return done

    def _transfer_type(self, address: int) -> TransferType:
        if address & ~DIRECTION_IN == CONTROL_ENDPOINT:
            return TransferType.CONTROL
        return self._kinds.get(address, TransferType.BULK)

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
        packet_bytes = self._packet_bytes.get(urb.endpoint_address, 512)
        return alter(fired.effect, urb.buffer_bytes, packet_bytes)

    def _fail_in_turn(self, urb: Submit, status: int) -> None:
        """Fail an URB that the controller never hears of, behind those that it has."""
        address = urb.endpoint_address
        before = {n for n, f in self._in_flight.items() if f.urb.endpoint_address == address}
        failed = Completion(urb.urb_id, status, 0)
        if before:
            self._faulted.append((before, failed))
        else:
            self._at_once.append(failed)

    def _fail_those_behind(self, urb_id: int) -> list[Ended]:
        for before, _ in self._faulted:
            before.discard(urb_id)
        due: list[Ended] = [failed for before, failed in self._faulted if not before]
        self._faulted = [(before, failed) for before, failed in self._faulted if before]
        return due

    # What blocks.

    def _block(self, job: Callable[[], None], then: Callable[[], None]) -> None:
        """Have the helper do a job when it is its turn, and then do something on this thread."""

        def begin() -> None:
            # Whoever asks the device for anything now would wait for the helper.
            self._reactor.unwatch(self._usbfs)
            self._after_job = then
            self._helper.do(job)

        if self._helper.busy or self._later:
            self._later.append(begin)
        else:
            begin()

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
        try:
            self._usbfs.discard(urb_id)
        except OSError as error:
            _log.warning("%s: URB %d is not let go: %s", self._usbfs.path, urb_id, error.strerror)

    def _perform(self, operation: Operation) -> None:
        match operation:
            case SetConfiguration(value):
                # The kernel refuses while any interface is claimed, even by us.
                self._around_release(lambda usbfs: usbfs.set_configuration(value), value)
            case SetInterface(interface, alternate):
                self._usbfs.set_interface(interface, alternate)
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

    def _around_release(
        self, do: Callable[[UsbfsDevice], None], configuration: int | None = None
    ) -> None:
        """Release all interfaces, do it, and claim those that there are then."""
        wanted = self._claimed
        for number in wanted:
            self._usbfs.release_interface(number)
        self._claimed = []
        try:
            do(self._usbfs)
            if configuration is not None:
                wanted = self._configured(configuration)
        finally:
            # Also after a failure: what was claimed before still is to be.
            for number in wanted:
                self._usbfs.claim_interface(number)
                self._claimed.append(number)

    def _performed(self, urb_id: int, status: int, operation: Operation) -> list[Ended]:
        done: list[Ended] = [Completion(urb_id, status, 0)]
        if isinstance(operation, SetConfiguration) and status == 0:
            done.insert(0, Configured(self._kinds))
        return done

    def _carried_out(self, ended: list[Ended]) -> None:
        """Tell that a request has been carried out, and first what the kernel has killed for it."""
        self._at_once += [*self._reap(), *ended]

    def _configured(self, value: int) -> list[int]:
        """Take note of a new configuration; return its interfaces."""
        chosen = self._layout.configuration(value)
        endpoints = [e for i in chosen.interfaces for e in i.endpoints] if chosen else []
        self._packet_bytes = {e.address: e.max_packet_bytes for e in endpoints}
        self._kinds = {e.address: e.transfer_type for e in endpoints}
        return list(chosen.interface_numbers) if chosen else []

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
    return Completion(urb.urb_id, status, actual_bytes, data)
