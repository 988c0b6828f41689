"""The cable's core: packets of QEMU in, USB/IP PDUs for vudc out, and back.

A transfer goes through its endpoint's queue (`rig.cable.discipline`), is asked about (does it
fail?), runs in vudc, and is answered (`rig.cable.transfers`).  Beside the transfers that QEMU hands
over there are the cable's own: reading the descriptors before the device is plugged in, polling
interrupt endpoints (`rig.cable.polling`), and taking the configuration back when the port is
reset - usbredir has a reset, USB/IP has none, and SET_CONFIGURATION(0) aborts what a function is
doing.

Pure: octets and times in, octets and faults out.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from rig.cable.asking import Asker, FaultHappened
from rig.cable.controllers import Controller
from rig.cable.discipline import Stop, Transfer
from rig.cable.enumeration import DescriptorReader
from rig.cable.polling import Polling
from rig.cable.present import Dropped, Present
from rig.cable.requests import Outcome, answer_of, set_configuration, transfer_of
from rig.cable.transfers import Transfers
from rig.cable.usbredir import packets as redir
from rig.cable.usbredir.codec import pack
from rig.cable.usbredir.packets import Packet
from rig.cable.usbredir.vocabulary import CAPABILITIES, Capability, Data, Status
from rig.cable.vudc import Reply
from rig.faults.triggers import EndpointInjector
from rig.usb.setup import SetupPacket
from rig.usb.urb import DIRECTION_IN

VERSION = b"rig cable".ljust(64, b"\0")

FENCE = redir.InterruptReceivingStatus(0, Status.SUCCESS, 0x8F)
"""Means nothing to QEMU, which takes note of a success and does not answer
(``usbredir_interrupt_receiving_status``); what matters is when it is read."""

Finish = Callable[[Outcome], None]
"""What is done with the end of a transfer of the cable's own."""


class Wire:
    """The cable between one vudc and one usb-redir.

    Both ends come and go; QEMU's comes first, for a device is told of only when there is somebody
    to be told.

    Args:
        controller: What QEMU's end is plugged into.
        injector: Is asked about every bulk transfer; None: nothing fails.

    Attributes:
        to_qemu: Octets to be sent there; whoever sends them takes them out.
        plugged: Whether QEMU was told of the device.
    """

    def __init__(self, controller: Controller, injector: EndpointInjector | None = None) -> None:
        self._controller = controller
        self._asker = Asker(injector)
        self.to_qemu: list[Data] = []
        self.plugged = False
        self._peer: redir.Hello | None = None
        self._present = Present(controller)
        self._transfers = Transfers(
            self._present,
            self._asker,
            bytes_per_s=controller.bulk_bytes_per_s,
            starts=self._starts,
            ended=self._ended,
            ended_late=self._ended_late,
        )
        self._polling = Polling(self._present, self._transfers, self._send)
        self._reader: DescriptorReader | None = None  # while a device is attached
        # The device's side of it: what it was asked for last may be true of it, or not yet.
        self._may_be_configured = False
        self._unconfiguring = False

    # What the edge asks.

    @property
    def to_vudc(self) -> list[Data]:
        """Octets to be sent there; whoever sends them takes them out."""
        return self._transfers.to_vudc

    @property
    def faults(self) -> list[FaultHappened]:
        """What fired; whoever tells of it takes it out."""
        return self._transfers.faults

    @property
    def submitted_in(self) -> set[int]:
        """Seqnums of IN transfers in vudc, to read its replies by."""
        return self._transfers.submitted_in

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
        return any(queue.stop is not None for queue in self._present.queues.values())

    @property
    def deadline_s(self) -> float | None:
        """When `tick` is to be called; None: not for now."""
        return self._transfers.deadline_s

    # What the edge tells.

    def greet(self) -> None:
        """QEMU is connected: say hello."""
        self._send(redir.Hello(0, VERSION, CAPABILITIES))

    def attach(self, now_s: float) -> None:
        """Vudc is connected: read the device's descriptors, then plug it in."""
        self._reader = DescriptorReader()
        self._transfers.attach()
        self._may_be_configured = self._unconfiguring = False  # vudc has reset its gadget
        self._read_descriptor(self._reader)
        self._transfers.pump(now_s)

    def detach(self) -> None:
        """Vudc's connection has ended: the device is unplugged."""
        self._transfers.detach()
        self._drop(self._present.begin(None))
        self._asker.forget()
        if self.plugged:
            self._send(redir.DeviceDisconnect(0))
        self.plugged, self._reader = False, None

    def read(self) -> None:
        """QEMU has read all that was ever sent to it."""
        queues = self._present.queues.values()
        for queue in queues:
            queue.read()
        if any(queue.stop is Stop.READ for queue in queues):
            self._send(FENCE)

    def drained(self, now_s: float) -> None:
        """All was taken that QEMU had written when `read` was told of its reading."""
        for queue in self._present.queues.values():
            queue.drained()
        self._transfers.pump(now_s)

    def tick(self, now_s: float) -> None:
        """Time has passed."""
        self._transfers.pump(now_s)

    def from_qemu(self, packet: Packet, now_s: float) -> None:
        """Take a packet of QEMU's.

        Raises:
            RemoteProtocolError: It does not belong there.
        """
        match packet:
            case redir.Cancel(packet_id):
                self._transfers.cancel(packet_id, now_s)
            case redir.Hello():
                self._peer = packet
                self._plug_in()
            case redir.Reset():
                self._reset()
            case redir.StartInterruptReceiving(_, address):
                self._polling.start(address)
            case redir.StopInterruptReceiving(_, address):
                self._polling.stop(address)
            case redir.Unknown():
                pass  # of what was never offered, or without an answer
            case redir.GetConfiguration() | redir.GetAltSetting() | redir.StartIsoStream():
                self._send(self._known(packet))
            case _:
                self._transfers.arrive(transfer_of(packet))
        self._transfers.pump(now_s)

    def from_vudc(self, reply: Reply, now_s: float) -> None:
        """Take a reply of vudc's.

        Raises:
            RemoteProtocolError: The device has no descriptors, or says that more has moved than
                there was room for.
        """
        self._transfers.take(reply)
        self._transfers.pump(now_s)

    # Transfers' beginnings and ends.

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

    def _starts(self, transfer: Transfer) -> None:
        """Let nothing start on endpoints that a request is about to change."""
        match transfer.request:
            case redir.SetConfiguration():
                self._may_be_configured = True
                self._drop(self._present.drop(self._present.queues))
            case redir.SetAltSetting(_, interface):
                self._drop(self._present.drop(self._present.of_interface(interface)))

    def _ended(self, transfer: Transfer, outcome: Outcome) -> None:
        request = transfer.request
        if isinstance(request, redir.SetConfiguration | redir.SetAltSetting):
            self._changed(request, done=outcome.status is Status.SUCCESS)
        if isinstance(request, Packet):
            self._send(answer_of(request, outcome))
        elif callable(request):
            request(outcome)

    def _ended_late(self, transfer: Transfer, outcome: Outcome) -> None:
        """Nobody waits for it any more; but what the device has done is done."""
        request, done = transfer.request, outcome.status is Status.SUCCESS
        if done and isinstance(request, redir.SetConfiguration | redir.SetAltSetting):
            self._changed(request, done=True)

    def _own(self, endpoint_address: int, setup: SetupPacket, finish: Finish) -> None:
        """Queue a control transfer of the cable's own."""
        own = Transfer(None, endpoint_address, setup.length, setup.pack(), request=finish)
        self._transfers.arrive(own)

    def _send(self, packet: Packet) -> None:
        self.to_qemu += pack(packet, wide=self.wide)

    # Plugging in.

    def _read_descriptor(self, reader: DescriptorReader) -> None:
        setup = reader.request
        if setup is None:
            self._present.begin(reader.device)
            self._plug_in()
        else:
            self._own(DIRECTION_IN, setup, partial(self._take_descriptor, reader))

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
        self._polling.forget()
        self._transfers.give_back(dropped)

    def _reset(self) -> None:
        """The port is reset: nothing goes on, and the device forgets its configuration."""
        self._drop(self._present.configure(0, {}))
        self._transfers.reset()
        self._asker.forget()
        if self._may_be_configured and not self._unconfiguring:
            self._unconfiguring = True
            self._own(0, set_configuration(0), self._unconfigured)

    def _unconfigured(self, outcome: Outcome) -> None:
        self._unconfiguring = False
        if outcome.status is Status.SUCCESS:
            self._may_be_configured = False
            self._drop(self._present.configure(0, {}))
