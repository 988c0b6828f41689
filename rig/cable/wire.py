"""The cable's core: packets of QEMU in, USB/IP PDUs for vudc out, and back.

A transfer goes through its endpoint's queue (`rig.cable.discipline`), is asked about (does it
fail?), runs in vudc, and is answered.  Beside the transfers that QEMU hands over there are the
cable's own: reading the descriptors before the device is plugged in, polling interrupt endpoints,
and taking the configuration back when the port is reset - usbredir has a reset, USB/IP has none,
and SET_CONFIGURATION(0) aborts what a function is doing.

Pure: octets and times in, octets and faults out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from itertools import count

import msgspec

from rig.cable.asking import Asker, FaultHappened
from rig.cable.controllers import Controller, Cut
from rig.cable.discipline import Queue, Transfer
from rig.cable.enumeration import DescriptorReader
from rig.cable.present import Dropped, Present
from rig.cable.requests import (
    NOT_WANTED,
    Outcome,
    answer_of,
    outcome_of,
    set_configuration,
    transfer_of,
)
from rig.cable.usbredir import packets as redir
from rig.cable.usbredir.codec import pack
from rig.cable.usbredir.packets import Packet
from rig.cable.usbredir.vocabulary import CAPABILITIES, Capability, Data, Status
from rig.cable.vudc import Reply, Returned
from rig.faults.triggers import EndpointInjector
from rig.usb.setup import SETUP_BYTES
from rig.usb.urb import DIRECTION_IN
from rig.usb.usbip import CmdSubmit, CmdUnlink

VERSION = b"rig cable".ljust(64, b"\0")

_WIRE_DIR_IN = 0x200  # URB_DIR_IN, as it stands in a USB/IP header

Finish = Callable[[Outcome], None]
"""What is done with the end of a transfer of the cable's own."""


class _Running(msgspec.Struct, frozen=True):
    """A transfer that is in vudc."""

    transfer: Transfer
    queue: Queue
    cut: Cut | None


class Wire:
    """The cable between one vudc and one usb-redir.

    Both ends come and go; QEMU's comes first, for a device is told of only when there is somebody
    to be told.

    Args:
        controller: What QEMU's end is plugged into.
        injector: Is asked about every bulk transfer; None: nothing fails.

    Attributes:
        to_qemu: Octets to be sent there; whoever sends them takes them out.
        to_vudc: Likewise.
        faults: What fired; whoever tells of it takes it out.
        submitted_in: Seqnums of IN transfers in vudc, to read its replies by.
        plugged: Whether QEMU was told of the device.
    """

    def __init__(self, controller: Controller, injector: EndpointInjector | None = None) -> None:
        self._controller = controller
        self._asker = Asker(injector)
        self.to_qemu: list[Data] = []
        self.to_vudc: list[Data] = []
        self.faults: list[FaultHappened] = []
        self.submitted_in: set[int] = set()
        self.plugged = False
        self._peer: redir.Hello | None = None
        self._control = Queue(pipelined=False)
        self._present = Present(controller)
        self._polled: set[int] = set()
        self._running: dict[int, _Running] = {}
        self._seqnums = count(1)
        self._reader: DescriptorReader | None = None  # while a device is attached

    # What the edge asks.

    @property
    def wide(self) -> bool:
        """Whether packets have ids of 64 bits."""
        return self._peer is not None and self._peer.can(Capability.WIDE_IDS)

    @property
    def configured(self) -> int:
        """The value of the device's configuration, 0 for none."""
        return self._present.value

    @property
    def unread(self) -> bool:
        """Whether something depends on QEMU having read what was sent to it."""
        return any(queue.unread for queue in self._present.queues.values())

    @property
    def deadline_s(self) -> float | None:
        """When `tick` is to be called; None: not for now."""
        deadlines_s = (queue.deadline_s for queue in self._present.queues.values())
        return min((s for s in deadlines_s if s is not None), default=None)

    # What the edge tells.

    def greet(self) -> None:
        """QEMU is connected: say hello."""
        self._send(redir.Hello(0, VERSION, CAPABILITIES))

    def attach(self, now_s: float) -> None:
        """Vudc is connected: read the device's descriptors, then plug it in."""
        self._reader = DescriptorReader()
        self._read_descriptor(self._reader)
        self._pump(now_s)

    def detach(self) -> None:
        """Vudc's connection has ended: the device is unplugged."""
        self._running.clear()
        self.submitted_in.clear()
        self._answer_all(self._control.clear())
        self._control = Queue(pipelined=False)
        self._drop(self._present.begin(None))
        self._asker.forget()
        self.to_vudc.clear()
        if self.plugged:
            self._send(redir.DeviceDisconnect(0))
        self.plugged, self._reader = False, None

    def read(self, now_s: float) -> None:
        """QEMU has read all that was ever sent to it."""
        for queue in self._present.queues.values():
            queue.read(now_s)
        self._pump(now_s)

    def tick(self, now_s: float) -> None:
        """Time has passed."""
        self._pump(now_s)

    def from_qemu(self, packet: Packet, now_s: float) -> None:
        """Take a packet of QEMU's.

        Raises:
            RemoteProtocolError: It does not belong there.
        """
        match packet:
            case redir.Cancel(packet_id):
                self._cancel(packet_id)
            case redir.Hello():
                self._peer = packet
                self._plug_in()
            case redir.Reset():
                self._reset()
            case redir.StartInterruptReceiving(_, address):
                self._start_polling(address)
            case redir.StopInterruptReceiving(_, address):
                self._stop_polling(address)
            case redir.Unknown():
                pass  # of what was never offered, or without an answer
            case redir.GetConfiguration() | redir.GetAltSetting() | redir.StartIsoStream():
                self._send(self._known(packet))
            case _:
                self._arrive(transfer_of(packet))
        self._pump(now_s)

    def from_vudc(self, reply: Reply, now_s: float) -> None:
        """Take a reply of vudc's.

        Raises:
            RemoteProtocolError: The device has no descriptors.
        """
        if isinstance(reply, Returned):
            self._returned(reply)
        elif reply.status:  # else it had ended, and its `Returned` came before
            self._over(reply.seqnum, NOT_WANTED)
        self._pump(now_s)

    # Requests.

    def _known(
        self, packet: redir.GetConfiguration | redir.GetAltSetting | redir.StartIsoStream
    ) -> Packet:
        """Return the answer to what needs no device to be answered."""
        present = self._present
        match packet:
            case redir.GetConfiguration(packet_id):
                return redir.ConfigurationStatus(packet_id, Status.SUCCESS, present.value)
            case redir.GetAltSetting(packet_id, interface):
                alternate = present.alternates.get(interface, 0)
                return redir.AltSettingStatus(packet_id, Status.SUCCESS, interface, alternate)
            case redir.StartIsoStream(_, address):
                return redir.IsoStreamStatus(0, Status.INVALID, address)

    def _arrive(self, transfer: Transfer) -> None:
        queue = self._queue_of(transfer.endpoint_address)
        if queue is None or self._reader is None:
            self._answer(transfer, Outcome(Status.INVALID))
        else:
            queue.arrive(transfer)

    def _queue_of(self, endpoint_address: int) -> Queue | None:
        if endpoint_address & 0x0F == 0:
            return self._control
        return self._present.queues.get(endpoint_address)

    def _queues(self) -> list[Queue]:
        return [self._control, *self._present.queues.values()]

    def _cancel(self, packet_id: int) -> None:
        for queue in self._queues():
            transfer = queue.find(packet_id)
            if transfer is None:
                continue
            if queue.cancel(transfer):
                self._unlink(transfer)
            self._answer(transfer, NOT_WANTED)
            return
        for queue in self._queues():
            queue.crossed(packet_id)

    def _unlink(self, transfer: Transfer) -> None:
        for seqnum, running in self._running.items():
            if running.transfer is transfer:
                # vudc remembers an unlink by its number alone: it may have the transfer's.
                self.to_vudc.append(CmdUnlink(seqnum, 0, seqnum).pack())

    # Transfers.

    def _pump(self, now_s: float) -> None:
        """Start whatever may start."""
        again = self._reader is not None
        while again:  # a transfer that fails before it runs makes room for the next one
            again = False
            for queue in self._queues():
                transfer = queue.start(now_s)
                if transfer is not None:
                    again = True
                    self._start(transfer, queue)

    def _start(self, transfer: Transfer, queue: Queue) -> None:
        self._drop_what_changes(transfer.request)
        address, length_bytes = transfer.endpoint_address, transfer.length_bytes
        happened = self._asker.ask(transfer, self._present.endpoints.get(address))
        if happened is not None:
            self.faults.append(happened)
            if happened.cut.run_bytes is None:
                self._end(queue, Outcome(happened.cut.status))
                return
            length_bytes = happened.cut.run_bytes
        seqnum = next(self._seqnums)
        self._running[seqnum] = _Running(transfer, queue, happened.cut if happened else None)
        is_in = bool(address & DIRECTION_IN)
        setup = transfer.setup or bytes(SETUP_BYTES)
        flags = _WIRE_DIR_IN if is_in else 0
        self.to_vudc.append(CmdSubmit(seqnum, 0, address, flags, length_bytes, 0, 0, setup).pack())
        if is_in:
            self.submitted_in.add(seqnum)
        elif length_bytes:
            self.to_vudc.append(transfer.data[:length_bytes])

    def _returned(self, reply: Returned) -> None:
        running = self._running.get(reply.seqnum)
        injected = running.cut.status if running and running.cut else None
        self._over(reply.seqnum, outcome_of(reply, injected))

    def _over(self, seqnum: int, outcome: Outcome) -> None:
        running = self._running.pop(seqnum, None)
        self.submitted_in.discard(seqnum)
        if running is not None:
            self._end(running.queue, outcome)

    def _end(self, queue: Queue, outcome: Outcome) -> None:
        """Answer the transfer that runs in a queue, unless that was done when it was taken back."""
        assert queue.running is not None
        short = outcome.actual_bytes < queue.running.length_bytes
        transfer = queue.ended(failed=outcome.status is not Status.SUCCESS, short=short)
        if not transfer.cancelled:
            self._answer(transfer, outcome)

    def _answer(self, transfer: Transfer, outcome: Outcome) -> None:
        request = transfer.request
        if isinstance(request, redir.SetConfiguration | redir.SetAltSetting):
            self._changed(request, done=outcome.status is Status.SUCCESS)
        if isinstance(request, Packet):
            self._send(answer_of(request, outcome))
        elif callable(request):
            request(outcome)

    def _answer_all(self, transfers: Iterable[Transfer]) -> None:
        """Answer what QEMU has handed over and nobody wants any more."""
        for transfer in transfers:
            if transfer.id is not None:
                self._answer(transfer, NOT_WANTED)

    def _send(self, packet: Packet) -> None:
        self.to_qemu += pack(packet, wide=self.wide)

    # Plugging in.

    def _own(self, address: int, setup: bytes, length_bytes: int, finish: Finish) -> None:
        """Queue a transfer of the cable's own."""
        queue = self._queue_of(address)
        assert queue is not None
        queue.arrive(Transfer(None, address, length_bytes, setup, request=finish))

    def _read_descriptor(self, reader: DescriptorReader) -> None:
        setup = reader.request
        if setup is None:
            self._present.begin(reader.device)
            self._plug_in()
        else:
            finish = partial(self._take_descriptor, reader)
            self._own(DIRECTION_IN, setup.pack(), setup.length, finish)

    def _take_descriptor(self, reader: DescriptorReader, outcome: Outcome) -> None:
        reader.take(outcome.data)
        self._read_descriptor(reader)

    def _plug_in(self) -> None:
        """Tell QEMU of the device, if both are there."""
        reader = self._reader
        if self._peer is None or reader is None or reader.device is None or self.plugged:
            return
        self.plugged = True
        self._tell_present()
        self._send(reader.connect(self._controller.speed))

    # Configurations.

    def _tell_present(self) -> None:
        for packet in self._present.packets():
            self._send(packet)

    def _drop_what_changes(self, request: object) -> None:
        """Let nothing start on endpoints that a request is about to change."""
        match request:
            case redir.SetConfiguration():
                self._drop(self._present.drop(self._present.queues))
            case redir.SetAltSetting(_, interface):
                self._drop(self._present.drop(self._present.of_interface(interface)))

    def _changed(
        self, request: redir.SetConfiguration | redir.SetAltSetting, *, done: bool
    ) -> None:
        present = self._present
        match request:
            case redir.SetConfiguration(_, value) if done:
                self._drop(present.configure(value, {}))
            case redir.SetAltSetting(_, interface, alternate) if done:
                alternates = {**present.alternates, interface: alternate}
                self._drop(present.configure(present.value, alternates))
            case _:
                self._drop(present.stay())
        self._tell_present()  # QEMU wants it before the status

    def _drop(self, dropped: Dropped) -> None:
        """Give back what was on endpoints that are no more."""
        self._polled &= self._present.queues.keys()
        self._answer_all(dropped.taken_back)
        for transfer in dropped.running:
            self._unlink(transfer)

    def _reset(self) -> None:
        """The port is reset: nothing goes on, and the device forgets its configuration."""
        was_configured = self._present.value != 0
        self._drop(self._present.configure(0, {}))
        self._answer_all(self._control.clear(keep_own=True))
        running = self._control.running
        if running is not None and running.cancelled:
            self._unlink(running)
        self._asker.forget()
        if was_configured:
            self._own(0, set_configuration(0).pack(), 0, lambda _: None)

    # Interrupt endpoints, which usbredir has polled on this side.

    def _start_polling(self, address: int) -> None:
        known = address in self._present.queues
        status = Status.SUCCESS if known else Status.INVALID
        self._send(redir.InterruptReceivingStatus(0, status, address))
        if known and address not in self._polled:
            self._polled.add(address)
            self._poll(address)

    def _poll(self, address: int) -> None:
        length_bytes = self._present.endpoints[address].max_packet_bytes
        self._own(address, b"", length_bytes, partial(self._polled_once, address))

    def _polled_once(self, address: int, outcome: Outcome) -> None:
        if address not in self._polled:
            return
        if outcome.status is Status.SUCCESS:
            came = (Status.SUCCESS, outcome.actual_bytes, outcome.data)
            self._send(redir.InterruptPacket(0, address, *came))
            self._poll(address)
        else:
            self._polled.discard(address)
            self._send(redir.InterruptReceivingStatus(0, Status.STALL, address))

    def _stop_polling(self, address: int) -> None:
        self._send(redir.InterruptReceivingStatus(0, Status.SUCCESS, address))
        if address not in self._polled:
            return
        self._polled.discard(address)
        queue = self._present.queues[address]
        queue.clear()
        if queue.running is not None:
            self._unlink(queue.running)
