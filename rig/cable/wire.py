"""The cable's core: packets of QEMU in, USB/IP PDUs for vudc out, and back.

A transfer goes through its endpoint's queue (`rig.cable.discipline`), is asked about (does it
fail?), runs in vudc, and is answered.  Beside the transfers that QEMU hands over there are the
cable's own: reading the descriptors before the device is plugged in, polling interrupt endpoints,
and taking the configuration back when the port is reset - usbredir has a reset, USB/IP has none,
and SET_CONFIGURATION(0) aborts what a function is doing.

Pure: octets and times in, octets and faults out.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from itertools import count

import msgspec

from rig.cable import shape
from rig.cable import usbredir as redir
from rig.cable.controllers import Controller, Cut, cut
from rig.cable.discipline import Cancelled, Queue, Transfer
from rig.cable.usbredir import Capability, Data, Packet, Status, pack
from rig.cable.vudc import Reply, Returned
from rig.errors import RemoteProtocolError
from rig.faults.rules.endpoint import EndpointEffect, EndpointTransfer
from rig.faults.triggers import EndpointInjector, Fired
from rig.usb import descriptors
from rig.usb.descriptors import Configuration, Device
from rig.usb.setup import DESCRIPTOR_DEVICE, Request, RequestType, SetupPacket
from rig.usb.urb import DIRECTION_IN, Direction, TransferType
from rig.usb.usbip import CmdSubmit, CmdUnlink

VERSION = b"rig cable".ljust(64, b"\0")

_WIRE_DIR_IN = 0x200  # URB_DIR_IN, as it stands in a USB/IP header
_GET_INTERFACE = 0x0A
_FROM_INTERFACE = 0x81
_CBW_BYTES, _CBW_SIGNATURE, _CBW_OPCODE = 31, b"USBC", 15  # BOT §5.1

_STATUS = {
    0: Status.SUCCESS,
    -errno.EREMOTEIO: Status.SUCCESS,  # a short transfer is no error on the wire
    -errno.EPIPE: Status.STALL,
    -errno.EOVERFLOW: Status.BABBLE,
    -errno.ECONNRESET: Status.CANCELLED,
    -errno.ENOENT: Status.CANCELLED,
    -errno.ESHUTDOWN: Status.CANCELLED,
}
"""How vudc's status of an URB is told to QEMU; all others are I/O errors."""


class Outcome(msgspec.Struct, frozen=True):
    """How a transfer has ended.

    Attributes:
        status: As QEMU is told.
        actual_bytes: So much moved.
        data: What came IN.
    """

    status: Status
    actual_bytes: int = 0
    data: Data = b""


Finish = Callable[[Outcome], None]
"""What is done with the end of a transfer of the cable's own."""


class FaultHappened(msgspec.Struct, frozen=True):
    """A fault has fired: which, and on what."""

    fired: Fired[EndpointEffect]
    transfer: Transfer
    cut: Cut


class _Running(msgspec.Struct, frozen=True):
    """A transfer that is in vudc."""

    transfer: Transfer
    queue: Queue
    cut: Cut | None


_NOT_WANTED = Outcome(Status.CANCELLED)


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
        configured: The value of the configuration, 0 for none.
    """

    def __init__(self, controller: Controller, injector: EndpointInjector | None = None) -> None:
        self._controller = controller
        self._injector = injector
        self.to_qemu: list[Data] = []
        self.to_vudc: list[Data] = []
        self.faults: list[FaultHappened] = []
        self.submitted_in: set[int] = set()
        self.configured = 0
        self._peer: redir.Hello | None = None
        self._control = Queue(pipelined=False)
        self._queues: dict[int, Queue] = {}  # of the endpoints that may be used now
        self._endpoints: dict[int, descriptors.Endpoint] = {}
        self._alternates: dict[int, int] = {}
        self._polled: set[int] = set()
        self._running: dict[int, _Running] = {}
        self._seqnums = count(1)
        self._opcode: int | None = None
        self._descriptor = b""
        self._layout: Device | None = None
        self._attached = self._plugged = False

    # What the edge asks.

    @property
    def wide(self) -> bool:
        """Whether packets have ids of 64 bits."""
        return self._peer is not None and self._peer.can(Capability.WIDE_IDS)

    @property
    def plugged(self) -> bool:
        """Whether QEMU was told of the device."""
        return self._plugged

    @property
    def device(self) -> Device | None:
        """The device's descriptors, once they are read."""
        return self._layout

    @property
    def unread(self) -> bool:
        """Whether something depends on QEMU having read what was sent to it."""
        return any(queue.unread for queue in self._queues.values())

    @property
    def deadline_s(self) -> float | None:
        """When `tick` is to be called; None: not for now."""
        return min((queue.deadline_s for queue in self._queues.values()), default=None)

    # What the edge tells.

    def greet(self) -> None:
        """QEMU is connected: say hello."""
        self._send(redir.Hello(0, VERSION, redir.CAPABILITIES))

    def attach(self, now_s: float) -> None:
        """Vudc is connected: read the device's descriptors, then plug it in."""
        self._attached = True
        self._descriptor, self._layout = b"", None
        self._read_descriptor(DESCRIPTOR_DEVICE, descriptors.DEVICE.size, self._take_device)
        self._pump(now_s)

    def detach(self) -> None:
        """Vudc's connection has ended: the device is unplugged."""
        waiting = [t for queue in (self._control, *self._queues.values()) for t in queue.clear()]
        for transfer in [*(r.transfer for r in self._running.values()), *waiting]:
            if transfer.id is not None:
                self._answer(transfer, _NOT_WANTED)
        self._running.clear()
        self._control = Queue(pipelined=False)
        self._forget_endpoints()
        self.configured, self._alternates, self._opcode = 0, {}, None
        self.submitted_in.clear()
        self.to_vudc.clear()
        if self._plugged:
            self._send(redir.DeviceDisconnect(0))
        self._attached = self._plugged = False

    def read(self, now_s: float) -> None:
        """QEMU has read all that was ever sent to it."""
        for queue in self._queues.values():
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
            case redir.ControlPacket() | redir.BulkPacket() | redir.InterruptPacket():
                self._hand_over(packet)
            case redir.Cancel(packet_id):
                self._cancel(packet_id)
            case redir.Hello():
                self._peer = packet
                self._plug_in()
            case redir.Reset():
                self._reset()
            case redir.StartInterruptReceiving(_, endpoint):
                self._start_polling(endpoint)
            case redir.StopInterruptReceiving(_, endpoint):
                self._stop_polling(endpoint)
            case redir.StartIsoStream(_, endpoint):
                self._send(redir.IsoStreamStatus(0, Status.INVALID, endpoint))
            case redir.Unknown():
                pass  # of what was never offered, or without an answer
            case _:
                self._hand_over_standard(packet)
        self._pump(now_s)

    def from_vudc(self, reply: Reply, now_s: float) -> None:
        """Take a reply of vudc's."""
        if isinstance(reply, Returned):
            self._returned(reply)
        elif reply.status:
            # The number of an unlink is that of its transfer: vudc looks at neither twice.
            self._over(reply.seqnum, _NOT_WANTED)
        self._pump(now_s)

    # Transfers.

    def _hand_over(
        self, packet: redir.ControlPacket | redir.BulkPacket | redir.InterruptPacket
    ) -> None:
        setup = b""
        if isinstance(packet, redir.ControlPacket):
            fields = (packet.request_type, packet.request, packet.value, packet.index)
            setup = SetupPacket(*fields, packet.length).pack()
        self._arrive(
            Transfer(packet.id, packet.endpoint, packet.length, setup, packet.data, request=packet)
        )

    def _hand_over_standard(self, packet: Packet) -> None:
        """Take a request for which usbredir has a packet of its own."""
        match packet:
            case redir.SetConfiguration(_, value):
                setup = SetupPacket(RequestType.TO_DEVICE, Request.SET_CONFIGURATION, value, 0, 0)
            case redir.GetConfiguration():
                self._send(redir.ConfigurationStatus(packet.id, Status.SUCCESS, self.configured))
                return
            case redir.SetAltSetting(_, interface, alternate):
                fields = (RequestType.TO_INTERFACE, Request.SET_INTERFACE, alternate, interface)
                setup = SetupPacket(*fields, 0)
            case redir.GetAltSetting(_, interface):
                alternate = self._alternates.get(interface, 0)
                status = redir.AltSettingStatus(packet.id, Status.SUCCESS, interface, alternate)
                self._send(status)
                return
            case _:
                raise RemoteProtocolError(f"QEMU sent a usbredir {type(packet).__name__}.")
        self._arrive(Transfer(packet.id, 0, 0, setup.pack(), request=packet))

    def _arrive(self, transfer: Transfer) -> None:
        queue = self._queue_of(transfer.endpoint_address)
        if queue is None or not self._attached:
            # vudc would end the connection (`v_recv_cmd_submit`).
            self._answer(transfer, Outcome(Status.INVALID))
        else:
            queue.arrive(transfer)

    def _queue_of(self, endpoint_address: int) -> Queue | None:
        if endpoint_address & 0x0F == 0:
            return self._control
        return self._queues.get(endpoint_address)

    def _cancel(self, packet_id: int) -> None:
        for queue in (self._control, *self._queues.values()):
            transfer = queue.find(packet_id)
            if transfer is None:
                continue
            if queue.cancel(transfer) is Cancelled.WAITING:
                self._answer(transfer, _NOT_WANTED)
            else:
                self._unlink(transfer)
            return

    def _unlink(self, transfer: Transfer) -> None:
        for seqnum, running in self._running.items():
            if running.transfer is transfer:
                self.to_vudc.append(CmdUnlink(seqnum, 0, seqnum).pack())

    def _pump(self, now_s: float) -> None:
        """Start whatever may start."""
        if not self._attached:
            return
        again = True
        while again:  # a transfer that fails before it runs makes room for the next one
            again = False
            for queue in (self._control, *self._queues.values()):
                transfer = queue.start(now_s)
                if transfer is not None:
                    again = True
                    self._start(transfer, queue)

    def _start(self, transfer: Transfer, queue: Queue) -> None:
        self._watch_configuration(transfer)
        cut_to = self._ask(transfer)
        if cut_to is not None and cut_to.run_bytes is None:
            self._end(queue, Outcome(cut_to.status))
            return
        length_bytes = transfer.length_bytes if cut_to is None else cut_to.run_bytes or 0
        seqnum = next(self._seqnums)
        self._running[seqnum] = _Running(transfer, queue, cut_to)
        address = transfer.endpoint_address
        is_in = bool(address & DIRECTION_IN)
        flags = _WIRE_DIR_IN if is_in else 0
        setup = transfer.setup or bytes(8)
        command = CmdSubmit(seqnum, 0, address, flags, length_bytes, 0, 0, setup)
        self.to_vudc.append(command.pack())
        if is_in:
            self.submitted_in.add(seqnum)
        elif length_bytes:
            self.to_vudc.append(transfer.data[:length_bytes])

    def _ask(self, transfer: Transfer) -> Cut | None:
        """Ask whether a transfer is to fail; None: it is not."""
        endpoint = self._endpoints.get(transfer.endpoint_address)
        if self._injector is None or endpoint is None:
            return None
        if endpoint.transfer_type is not TransferType.BULK:
            return None
        address = transfer.endpoint_address
        if transfer.length_bytes == _CBW_BYTES and transfer.data[:4] == _CBW_SIGNATURE:
            self._opcode = transfer.data[_CBW_OPCODE]
        event = EndpointTransfer(
            Direction.of(address), address, transfer.length_bytes, self._opcode
        )
        fired = self._injector.ask(event)
        if fired is None:
            return None
        cut_to = cut(fired.effect, transfer.length_bytes, endpoint.max_packet_bytes)
        self.faults.append(FaultHappened(fired, transfer, cut_to))
        return cut_to

    def _returned(self, reply: Returned) -> None:
        status = _STATUS.get(reply.status, Status.IO_ERROR)
        running = self._running.get(reply.seqnum)
        if running and running.cut and status is Status.SUCCESS:
            status = running.cut.status
        self._over(reply.seqnum, Outcome(status, reply.actual_bytes, reply.data))

    def _over(self, seqnum: int, outcome: Outcome) -> None:
        running = self._running.pop(seqnum, None)
        self.submitted_in.discard(seqnum)
        if running is not None:
            self._end(running.queue, outcome)

    def _end(self, queue: Queue, outcome: Outcome) -> None:
        """Answer the transfer that runs in a queue."""
        assert queue.running is not None
        short = outcome.actual_bytes < queue.running.length_bytes
        transfer = queue.ended(failed=outcome.status is not Status.SUCCESS, short=short)
        self._answer(transfer, _NOT_WANTED if transfer.cancelled else outcome)

    def _answer(self, transfer: Transfer, outcome: Outcome) -> None:
        status, actual, data = outcome.status, outcome.actual_bytes, outcome.data
        match transfer.request:
            case redir.BulkPacket(packet_id, endpoint):
                self._send(redir.BulkPacket.of(packet_id, endpoint, status, actual, data))
            case redir.ControlPacket() as asked:
                answer = msgspec.structs.replace(asked, status=status, length=actual, data=data)
                self._send(answer)
            case redir.InterruptPacket(packet_id, endpoint):
                self._send(redir.InterruptPacket(packet_id, endpoint, status, actual))
            case redir.SetConfiguration(packet_id, value):
                if status is Status.SUCCESS:
                    self._configure(value, {})
                else:
                    self._restore_endpoints()
                self._tell_shape()
                self._send(redir.ConfigurationStatus(packet_id, status, value))
            case redir.SetAltSetting(packet_id, interface, alternate):
                if status is Status.SUCCESS:
                    self._configure(self.configured, {**self._alternates, interface: alternate})
                else:
                    self._restore_endpoints()
                self._tell_shape()
                self._send(redir.AltSettingStatus(packet_id, status, interface, alternate))
            case finish if callable(finish):
                finish(outcome)

    def _send(self, packet: Packet) -> None:
        self.to_qemu += pack(packet, wide=self.wide)

    # Plugging in.

    def _own(self, address: int, setup: SetupPacket | None, length: int, finish: Finish) -> None:
        """Queue a transfer of the cable's own."""
        queue = self._queue_of(address)
        if queue is not None:
            octets = setup.pack() if setup else b""
            queue.arrive(Transfer(None, address, length, octets, request=finish))

    def _read_descriptor(self, kind: int, length: int, finish: Finish) -> None:
        fields = (RequestType.FROM_DEVICE, Request.GET_DESCRIPTOR, kind << 8, 0)
        self._own(DIRECTION_IN, SetupPacket(*fields, length), length, finish)

    def _take_device(self, outcome: Outcome) -> None:
        _check_descriptor(outcome, descriptors.DEVICE.size)
        self._descriptor = bytes(outcome.data)
        kind, size = descriptors.TYPE_CONFIGURATION, descriptors.CONFIGURATION.size
        self._read_descriptor(kind, size, self._take_length)

    def _take_length(self, outcome: Outcome) -> None:
        _check_descriptor(outcome, descriptors.CONFIGURATION.size)
        total = descriptors.CONFIGURATION.unpack_from(outcome.data)[2]
        self._read_descriptor(descriptors.TYPE_CONFIGURATION, total, self._take_configuration)

    def _take_configuration(self, outcome: Outcome) -> None:
        _check_descriptor(outcome, descriptors.CONFIGURATION.size)
        self._layout = descriptors.parse(self._descriptor + bytes(outcome.data))
        self._plug_in()

    def _plug_in(self) -> None:
        """Tell QEMU of the device, if both are there."""
        if self._peer is None or self._layout is None or self._plugged:
            return
        self._plugged = True
        self._tell_shape()
        self._send(shape.device_connect(self._descriptor, self._controller.speed))

    # Configurations.

    def _configuration(self) -> Configuration | None:
        return self._layout.configuration(self.configured) if self._layout else None

    def _tell_shape(self) -> None:
        interfaces = shape.active(self._configuration(), self._alternates)
        self._send(shape.interface_info(interfaces))
        self._send(shape.endpoint_info(interfaces))

    def _watch_configuration(self, transfer: Transfer) -> None:
        """Let nothing start on endpoints that are about to change."""
        match transfer.request:
            case redir.SetConfiguration():
                self._forget_endpoints()
            case redir.SetAltSetting(_, interface):
                present = shape.active(self._configuration(), self._alternates)
                changing = [each for each in present if each.number == interface]
                for address in shape.endpoints(changing):
                    self._forget_endpoint(address)

    def _configure(self, value: int, alternates: dict[int, int]) -> None:
        self.configured, self._alternates = value, alternates
        self._restore_endpoints()

    def _restore_endpoints(self) -> None:
        """Have a queue for each endpoint that is there, and none for others."""
        present = shape.endpoints(shape.active(self._configuration(), self._alternates))
        for address in [a for a in self._queues if a not in present]:
            self._forget_endpoint(address)
        for address, endpoint in present.items():
            if address not in self._queues:
                self._queues[address] = Queue(
                    pipelined=endpoint.transfer_type is TransferType.BULK,
                    short_stops=self._controller.short_stops and bool(address & DIRECTION_IN),
                )
        self._endpoints = present

    def _forget_endpoints(self) -> None:
        for address in list(self._queues):
            self._forget_endpoint(address)

    def _forget_endpoint(self, address: int) -> None:
        """Take back all that is queued; what runs is answered when vudc has let go of it."""
        queue = self._queues.pop(address)
        self._endpoints.pop(address, None)
        self._polled.discard(address)
        running = queue.running
        for transfer in queue.clear():
            self._answer(transfer, _NOT_WANTED)
        if running is not None:
            self._unlink(running)

    def _reset(self) -> None:
        """The port is reset: nothing goes on, and the device forgets its configuration."""
        self._forget_endpoints()
        running = self._control.running
        for transfer in self._control.clear(keep_own=True):
            self._answer(transfer, _NOT_WANTED)
        if running is not None and running.id is not None:
            self._unlink(running)
        if self.configured:
            setup = SetupPacket(RequestType.TO_DEVICE, Request.SET_CONFIGURATION, 0, 0, 0)
            self._own(0, setup, 0, lambda _: None)
        self.configured, self._alternates, self._opcode = 0, {}, None

    # Interrupt endpoints, which usbredir has polled on this side.

    def _start_polling(self, address: int) -> None:
        known = address in self._queues
        status = Status.SUCCESS if known else Status.INVALID
        self._send(redir.InterruptReceivingStatus(0, status, address))
        if known and address not in self._polled:
            self._polled.add(address)
            self._poll(address)

    def _poll(self, address: int) -> None:
        def finish(outcome: Outcome) -> None:
            if address not in self._polled:
                return
            if outcome.status is Status.SUCCESS:
                length = outcome.actual_bytes
                came = redir.InterruptPacket(0, address, Status.SUCCESS, length, outcome.data)
                self._send(came)
                self._poll(address)
            else:
                self._polled.discard(address)
                self._send(redir.InterruptReceivingStatus(0, Status.STALL, address))

        self._own(address, None, self._endpoints[address].max_packet_bytes, finish)

    def _stop_polling(self, address: int) -> None:
        self._send(redir.InterruptReceivingStatus(0, Status.SUCCESS, address))
        queue = self._queues.get(address)
        if address not in self._polled or queue is None:
            return
        self._polled.discard(address)
        running = queue.running
        queue.clear()
        if running is not None:
            self._unlink(running)


def _check_descriptor(outcome: Outcome, least_bytes: int) -> None:
    if outcome.status is not Status.SUCCESS or len(outcome.data) < least_bytes:
        raise RemoteProtocolError("The gadget did not send its descriptors.")
