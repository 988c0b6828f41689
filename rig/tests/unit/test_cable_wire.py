from __future__ import annotations

import errno

import pytest

from rig.buffers import ReceiveBuffer
from rig.cable.controllers import Controller
from rig.cable.transfers import GONE_S
from rig.cable.usbredir import packets as redir
from rig.cable.usbredir.codec import unpack
from rig.cable.usbredir.packets import Packet
from rig.cable.usbredir.vocabulary import CAPABILITIES, NO_ENDPOINT, Speed, Status, place
from rig.cable.vudc import Returned, Unlinked, unpack_reply
from rig.cable.wire import Wire
from rig.errors import RemoteProtocolError
from rig.faults.plan import Plan
from rig.faults.rules.endpoint import EndpointFault, EndpointStatus, Place, When
from rig.faults.triggers import EndpointInjector, Injector
from rig.tests.unit.test_descriptors import CONFIGURATION, DEVICE
from rig.usb.setup import Request, SetupPacket
from rig.usb.urb import Direction
from rig.usb.usbip import CmdSubmit, CmdUnlink, pack_ret_submit, pack_ret_unlink, unpack_command

INTERFACE = bytes.fromhex("09 04 00 00 03 ff 00 00 00")
ENDPOINTS = bytes.fromhex("07 05 81 02 0002 00  07 05 01 02 0002 00  07 05 82 03 0800 04")
ALTERNATE = bytes.fromhex("09 04 00 01 00 ff 00 00 00")
"""Setting 1 has no endpoints."""

BODY = INTERFACE + ENDPOINTS + ALTERNATE
WHOLE = CONFIGURATION[:2] + (len(BODY) + 9).to_bytes(2, "little") + CONFIGURATION[4:] + BODY
NO_ROOM = WHOLE.replace(ENDPOINTS[:7], ENDPOINTS[:4] + bytes(2) + ENDPOINTS[6:7])
BULK_OUT, BULK_IN, INTERRUPT_IN = 0x01, 0x81, 0x82


class Bench:
    """A wire, and what came out of it at both ends."""

    def __init__(self, injector: EndpointInjector | None = None) -> None:
        self.wire = Wire(Controller.EHCI, injector)
        self._octets = ReceiveBuffer()
        self._wide = False

    def told(self) -> list[Packet]:
        """Return what QEMU was sent."""
        for piece in self.wire.to_qemu:
            data = bytes(piece)
            self._octets.space()[: len(data)] = data
            self._octets.received(len(data))
        self.wire.to_qemu.clear()
        packets: list[Packet] = []
        while (packet := unpack(self._octets, wide=self._wide)) is not None:
            packets.append(packet)
            self._wide = True  # behind the hello
        return packets

    def asked(self) -> list[CmdSubmit | CmdUnlink]:
        """Return the PDUs that vudc was sent, without data."""
        pieces = [piece for piece in self.wire.to_vudc if len(piece) == 48]
        self.wire.to_vudc.clear()
        return [unpack_command(piece) for piece in pieces]

    def submitted(self) -> CmdSubmit:
        (command,) = self.asked()
        assert isinstance(command, CmdSubmit)
        return command

    def qemu(self, packet: Packet) -> None:
        self.wire.from_qemu(packet, 0.0)

    def vudc(self, seqnum: int, data: bytes = b"", *, status: int = 0, actual: int = -1) -> None:
        actual = len(data) if actual < 0 else actual
        self.wire.from_vudc(Returned(seqnum, status, actual, data), 0.0)

    def enumerated(self) -> Bench:
        """The device is attached, and its descriptors are read."""
        self.wire.attach(0.0)
        for part in (DEVICE, WHOLE[:9], WHOLE):
            self.vudc(self.submitted().seqnum, part)
        return self

    def greeted(self) -> Bench:
        self.wire.greet()
        self.qemu(redir.Hello(0, bytes(64), CAPABILITIES))
        return self

    def configured(self) -> Bench:
        self.greeted().enumerated()
        self.qemu(redir.SetConfiguration(1, 1))
        self.vudc(self.submitted().seqnum)
        self.told()
        return self


def kinds(packets: list[Packet]) -> list[type[Packet]]:
    return [type(packet) for packet in packets]


def entry(info: Packet, field: str, address: int) -> int:
    return int(getattr(info, field)[place(address)])


def bulk_out(packet_id: int, length: int = 512) -> Packet:
    return redir.BulkPacket.of(packet_id, BULK_OUT, 0, length, bytes(length))


PLUGGED = [redir.InterfaceInfo, redir.EndpointInfo, redir.DeviceConnect]


def test_the_device_is_told_of_when_its_descriptors_are_read() -> None:
    bench = Bench().greeted()
    assert kinds(bench.told()) == [redir.Hello]
    bench.enumerated()
    packets = bench.told()
    assert kinds(packets) == PLUGGED
    assert packets[-1] == redir.DeviceConnect(0, Speed.HIGH, 0, 0, 0, 0x0525, 0xA4A5, 0x0100)


def test_the_device_may_be_there_before_qemu() -> None:
    bench = Bench().enumerated()
    assert not bench.wire.plugged
    assert kinds(bench.greeted().told()) == [redir.Hello, *PLUGGED]


def test_a_device_without_descriptors_is_refused() -> None:
    bench = Bench().greeted()
    bench.wire.attach(0.0)
    with pytest.raises(RemoteProtocolError, match="0 octets of a descriptor of 18"):
        bench.vudc(bench.submitted().seqnum, status=-errno.EPIPE)


def test_endpoints_are_told_before_the_configuration_is() -> None:
    bench = Bench().greeted().enumerated()
    bench.told()
    bench.qemu(redir.SetConfiguration(9, 1))
    assert SetupPacket.unpack(bench.submitted().setup).request == Request.SET_CONFIGURATION
    bench.vudc(4)
    interfaces, endpoints, status = bench.told()
    assert isinstance(interfaces, redir.InterfaceInfo)
    assert interfaces.count == 1
    assert [entry(endpoints, "types", a) for a in (0, BULK_OUT, BULK_IN, INTERRUPT_IN, 3)] == [
        *(0, 2, 2, 3, NO_ENDPOINT)
    ]
    assert status == redir.ConfigurationStatus(9, Status.SUCCESS, 1)


def test_a_transfer_to_an_endpoint_that_is_not_there_never_reaches_vudc() -> None:
    bench = Bench().greeted().enumerated()
    bench.told()
    bench.qemu(redir.BulkPacket.of(5, BULK_OUT, 0, 512, bytes(512)))
    assert bench.asked() == []
    assert bench.told() == [redir.BulkPacket.of(5, BULK_OUT, Status.INVALID, 0)]


def test_an_alternate_setting_takes_its_endpoints_away() -> None:
    bench = Bench().configured()
    bench.qemu(redir.SetAltSetting(6, 0, 1))
    bench.vudc(bench.submitted().seqnum)
    assert bench.told()[-1] == redir.AltSettingStatus(6, Status.SUCCESS, 0, 1)
    bench.qemu(redir.BulkPacket.of(7, BULK_IN, 0, 512))
    assert bench.asked() == []
    bench.told()
    bench.qemu(redir.GetAltSetting(8, 0))
    assert bench.told() == [redir.AltSettingStatus(8, Status.SUCCESS, 0, 1)]


def test_a_refused_alternate_setting_leaves_the_endpoints() -> None:
    bench = Bench().configured()
    bench.qemu(redir.SetAltSetting(6, 0, 1))
    bench.vudc(bench.submitted().seqnum, status=-errno.EPIPE)
    assert bench.told()[-1] == redir.AltSettingStatus(6, Status.STALL, 0, 1)
    bench.qemu(redir.BulkPacket.of(7, BULK_IN, 0, 512))
    assert bench.submitted().endpoint_address == BULK_IN


def test_in_data_come_back_with_the_answer() -> None:
    bench = Bench().configured()
    bench.qemu(redir.BulkPacket.of(2, BULK_IN, 0, 512))
    bench.vudc(bench.submitted().seqnum, b"data")
    (answer,) = bench.told()
    assert isinstance(answer, redir.BulkPacket)
    assert (answer.id, answer.status, answer.length, bytes(answer.data)) == (2, 0, 4, b"data")


@pytest.mark.parametrize(("when", "moved"), [(When.BEFORE, 0), (When.MIDDLE, 512)])
def test_a_transfer_that_is_to_be_short_succeeds_with_less(when: When, moved: int) -> None:
    rule = EndpointFault(
        name="short",
        direction=Direction.IN,
        status=EndpointStatus.EREMOTEIO,
        when=when,
        place=Place.CABLE,
        nth=1,
    )
    bench = Bench(Injector(Plan(name="test", faults=(rule,)), EndpointFault)).configured()
    bench.qemu(redir.BulkPacket.of(2, BULK_IN, 0, 1024))
    asked = bench.asked()
    if moved:
        (command,) = asked
        assert isinstance(command, CmdSubmit)
        assert command.buffer_bytes == moved
        bench.vudc(command.seqnum, bytes(moved))
    (answer,) = bench.told()
    assert isinstance(answer, redir.BulkPacket)
    assert (answer.status, answer.length, len(answer.data)) == (Status.SUCCESS, moved, moved)
    assert bench.wire.unread  # QEMU's EHCI may have stopped the endpoint


def test_a_control_transfer_is_answered_in_kind() -> None:
    bench = Bench().configured()
    bench.qemu(redir.ControlPacket(3, 0x80, 0, 0x80, 0, 0, 0, 2))
    command = bench.submitted()
    assert (command.endpoint_address, command.buffer_bytes) == (0x80, 2)
    bench.vudc(command.seqnum, b"\x01\x00")
    (answer,) = bench.told()
    assert isinstance(answer, redir.ControlPacket)
    assert (answer.id, answer.length, bytes(answer.data)) == (3, 2, b"\x01\x00")


def test_a_cancelled_transfer_is_answered_at_once_and_once() -> None:
    bench = Bench().configured()
    bench.qemu(redir.BulkPacket.of(2, BULK_IN, 0, 512))
    seqnum = bench.submitted().seqnum
    bench.qemu(redir.Cancel(2))
    assert bench.asked() == [CmdUnlink(seqnum, 0, seqnum)]
    assert bench.told() == [redir.BulkPacket.of(2, BULK_IN, Status.CANCELLED, 0)]
    bench.qemu(redir.BulkPacket.of(3, BULK_IN, 0, 512))
    assert bench.asked() == []  # the endpoint is held until vudc has let go
    bench.wire.from_vudc(Unlinked(seqnum, -errno.ECONNRESET), 0.0)
    assert bench.told() == []
    assert bench.submitted().buffer_bytes == 512


ON_THE_BUS_S = 16384 / Controller.EHCI.bulk_bytes_per_s


def taken_back_after(seconds: float) -> tuple[Bench, int]:
    """A bench where a transfer OUT was taken back so long after it began; and its seqnum."""
    bench = Bench().configured()
    bench.qemu(bulk_out(2, 16384))
    seqnum = bench.submitted().seqnum
    bench.wire.from_qemu(redir.Cancel(2), seconds)
    assert bench.told() == [redir.BulkPacket.of(2, BULK_OUT, Status.CANCELLED, 0)]
    return bench, seqnum


def test_what_a_bus_had_not_moved_yet_is_unlinked_at_once() -> None:
    bench, seqnum = taken_back_after(ON_THE_BUS_S / 2)
    assert bench.asked() == [CmdUnlink(seqnum, 0, seqnum)]


def test_what_a_bus_had_moved_reaches_the_device_though_it_is_taken_back() -> None:
    bench, seqnum = taken_back_after(ON_THE_BUS_S)
    assert bench.asked() == []
    bench.vudc(seqnum, actual=16384)
    assert bench.told() == []
    assert bench.wire.deadline_s is None
    bench.qemu(bulk_out(3))
    assert bench.submitted().buffer_bytes == 512


def test_what_the_device_does_not_take_is_unlinked_in_the_end() -> None:
    bench, seqnum = taken_back_after(ON_THE_BUS_S)
    assert bench.wire.deadline_s == ON_THE_BUS_S + GONE_S
    bench.wire.tick(ON_THE_BUS_S + GONE_S)
    assert bench.asked() == [CmdUnlink(seqnum, 0, seqnum)]
    assert bench.wire.deadline_s is None


def test_a_reset_takes_the_configuration_back() -> None:
    bench = Bench().configured()
    bench.qemu(redir.BulkPacket.of(2, BULK_IN, 0, 512))
    bench.qemu(redir.BulkPacket.of(3, BULK_IN, 0, 512))
    running = bench.submitted().seqnum
    bench.qemu(redir.Reset(0))
    unlink, command = bench.asked()
    assert unlink == CmdUnlink(running, 0, running)
    assert isinstance(command, CmdSubmit)
    setup = SetupPacket.unpack(command.setup)
    assert (setup.request, setup.value) == (Request.SET_CONFIGURATION, 0)
    assert [answer.id for answer in bench.told()] == [2, 3]
    assert bench.wire.configured == 0


def test_a_second_reset_does_not_disturb_the_first() -> None:
    bench = Bench().configured()
    bench.qemu(redir.Reset(0))
    bench.asked()
    bench.qemu(redir.Reset(0))
    assert bench.asked() == []


def test_a_reset_amid_a_configuration_takes_that_back_too() -> None:
    bench = Bench().greeted().enumerated()
    bench.qemu(redir.SetConfiguration(1, 1))
    configuring = bench.submitted().seqnum
    bench.told()
    bench.qemu(redir.Reset(0))
    assert bench.asked() == [CmdUnlink(configuring, 0, configuring)]
    bench.vudc(configuring)  # the device was quicker
    setup = SetupPacket.unpack(bench.submitted().setup)
    assert (setup.request, setup.value) == (Request.SET_CONFIGURATION, 0)
    bench.vudc(configuring + 1)
    assert bench.wire.configured == 0


def test_a_configuration_that_was_taken_back_too_late_is_known() -> None:
    bench = Bench().greeted().enumerated()
    bench.qemu(redir.SetConfiguration(1, 1))
    configuring = bench.submitted().seqnum
    bench.qemu(redir.Cancel(1))
    bench.told()
    bench.vudc(configuring)
    assert bench.wire.configured == 1
    assert kinds(bench.told()) == [redir.InterfaceInfo, redir.EndpointInfo]


def test_a_reset_that_the_device_refused_is_asked_for_again_by_the_next_one() -> None:
    bench = Bench().configured()
    bench.qemu(redir.Reset(0))
    bench.vudc(bench.submitted().seqnum, status=-errno.EPIPE)
    bench.qemu(redir.Reset(0))
    setup = SetupPacket.unpack(bench.submitted().setup)
    assert (setup.request, setup.value) == (Request.SET_CONFIGURATION, 0)


def test_a_reply_of_more_than_was_asked_for_is_refused() -> None:
    bench = Bench().configured()
    bench.qemu(redir.BulkPacket.of(2, BULK_OUT, 0, 512, bytes(512)))
    with pytest.raises(RemoteProtocolError, match="513 octets moved of a transfer of 512"):
        bench.vudc(bench.submitted().seqnum, actual=513)


@pytest.mark.parametrize(
    ("parts", "sentence"),
    [
        ([bytes([17]) + DEVICE[1:]], "device descriptor begins with the length 17"),
        ([DEVICE, bytes([9, 2, 4, 0]) + WHOLE[4:9]], "configuration of 4 octets in all"),
        ([DEVICE, bytes([8]) + WHOLE[1:9]], "configuration descriptor begins with the length 8"),
        ([DEVICE, WHOLE[:9], WHOLE[:8]], "8 octets of a descriptor of"),
        ([DEVICE, WHOLE[:9], NO_ROOM], "0x81 has packets of 0 octets"),
        ([DEVICE, WHOLE[:9], WHOLE[:10] + bytes(len(WHOLE) - 10)], "has the length"),
    ],
)
def test_descriptors_of_wrong_lengths_are_refused(parts: list[bytes], sentence: str) -> None:
    bench = Bench().greeted()
    bench.wire.attach(0.0)
    *right, wrong = parts
    for part in right:
        bench.vudc(bench.submitted().seqnum, part)
    with pytest.raises(RemoteProtocolError, match=sentence):
        bench.vudc(bench.submitted().seqnum, wrong)


def test_an_interrupt_endpoint_is_polled_until_it_is_told_to_stop() -> None:
    bench = Bench().configured()
    bench.qemu(redir.StartInterruptReceiving(0, INTERRUPT_IN))
    assert bench.told() == [redir.InterruptReceivingStatus(0, Status.SUCCESS, INTERRUPT_IN)]
    first = bench.submitted()
    assert (first.endpoint_address, first.buffer_bytes) == (INTERRUPT_IN, 8)
    bench.vudc(first.seqnum, b"key")
    (came,) = bench.told()
    assert isinstance(came, redir.InterruptPacket)
    assert bytes(came.data) == b"key"
    second = bench.submitted().seqnum
    bench.qemu(redir.StopInterruptReceiving(0, INTERRUPT_IN))
    assert bench.asked() == [CmdUnlink(second, 0, second)]
    bench.wire.from_vudc(Unlinked(second, -errno.ECONNRESET), 0.0)
    assert kinds(bench.told()) == [redir.InterruptReceivingStatus]
    assert bench.asked() == []


def test_an_interrupt_endpoint_that_stalls_is_polled_no_more() -> None:
    bench = Bench().configured()
    bench.qemu(redir.StartInterruptReceiving(0, INTERRUPT_IN))
    bench.told()
    bench.vudc(bench.submitted().seqnum, status=-errno.EPIPE)
    assert bench.told() == [redir.InterruptReceivingStatus(0, Status.STALL, INTERRUPT_IN)]
    assert bench.asked() == []


def test_an_unplugged_device_leaves_nothing_unanswered() -> None:
    bench = Bench().configured()
    bench.qemu(redir.BulkPacket.of(2, BULK_IN, 0, 512))
    bench.qemu(redir.BulkPacket.of(3, BULK_IN, 0, 512))
    bench.wire.detach()
    assert kinds(bench.told()) == [redir.BulkPacket, redir.BulkPacket, redir.DeviceDisconnect]
    assert bench.asked() == []
    bench.qemu(redir.BulkPacket.of(4, BULK_IN, 0, 512))
    assert [answer.id for answer in bench.told()] == [4]
    assert kinds(bench.enumerated().told()) == PLUGGED


def test_what_only_a_device_sends_is_refused() -> None:
    with pytest.raises(RemoteProtocolError, match="DeviceConnect"):
        Bench().qemu(redir.DeviceConnect(0, 0, 0, 0, 0, 0, 0, 0))


# What vudc answers.


def replies(octets: bytes, submitted_in: set[int]) -> list[object]:
    buffer = ReceiveBuffer()
    buffer.space()[: len(octets)] = octets
    buffer.received(len(octets))
    found: list[object] = []
    while (reply := unpack_reply(buffer, submitted_in)) is not None:
        found.append(reply)
    return found


def test_only_an_in_transfers_reply_has_data_behind_it() -> None:
    octets = pack_ret_submit(1, 0, 4) + pack_ret_submit(2, 0, 4) + b"data"
    assert replies(octets, {2}) == [Returned(1, 0, 4, b""), Returned(2, 0, 4, b"data")]


def test_a_reply_whose_data_are_missing_is_waited_for() -> None:
    assert replies(pack_ret_submit(2, 0, 4) + b"dat", {2}) == []


def test_an_unlink_is_told_by_its_number() -> None:
    assert replies(pack_ret_unlink(7, -errno.ECONNRESET), set()) == [Unlinked(7, -errno.ECONNRESET)]


def test_what_is_no_reply_is_refused() -> None:
    with pytest.raises(RemoteProtocolError, match="command 1 "):
        replies(CmdSubmit(1, 0, 1, 0, 0, 0, 0, bytes(8)).pack(), set())
