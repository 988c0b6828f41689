"""The port over a model of usbfs: what is asked of the kernel, and what is told of its answers."""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from rig.errors import UserError
from rig.faults.plan import EndpointFault, EndpointStatus, Layer, Plan, When
from rig.faults.triggers import EndpointEffect, Fired, Injector
from rig.splitdriver import port as port_module
from rig.splitdriver.messages import Submit
from rig.splitdriver.port import Completion, Port
from rig.usb import sysfs
from rig.usb.setup import ClearHalt, SetConfiguration, SetInterface
from rig.usb.sysfs import PortLocation
from rig.usb.urb import Direction, Speed, TransferFlags, TransferType
from rig.usb.usbfs import Reaped

HUB, DEVICE = "/dev/bus/usb/003/001", "/dev/bus/usb/003/002"
DESCRIPTORS = bytes.fromhex(
    "12 01 0002 00 00 00 40 2505 a5a4 0001 01 02 03 01"  # device
    "09 02 2700 01 01 04 80 fa"  # configuration 1, whose name is string 4
    "09 04 00 00 03 08 06 50 00"  # interface 0
    "07 05 81 02 0002 00 07 05 01 02 0002 00 07 05 82 03 4000 01"  # bulk in, out, interrupt in
)


@dataclass
class Usbfs:
    """Stands for every node of usbfs: notes the calls, answers as it was told."""

    nodes: dict[str, str] = field(default_factory=lambda: {"usb3": HUB})
    calls: list[tuple[object, ...]] = field(default_factory=list)
    errors: dict[str, int] = field(default_factory=dict)
    done: list[Reaped] = field(default_factory=list)
    buffers: dict[int, memoryview] = field(default_factory=dict)

    def open(self, path: str) -> Node:
        self.note("open", path)
        return Node(self)

    def note(self, call: str, *arguments: object) -> None:
        self.calls.append((call, *arguments))
        if call in self.errors:
            raise OSError(self.errors[call], "told to fail")

    def take(self) -> list[tuple[object, ...]]:
        calls, self.calls = self.calls, []
        return calls


@dataclass
class Node:
    """`rig.usb.usbfs.UsbfsDevice` without a kernel."""

    usbfs: Usbfs

    def fileno(self) -> int:
        return -1

    def close(self) -> None:
        self.usbfs.note("close")

    def descriptors(self) -> bytes:
        return DESCRIPTORS

    def speed(self) -> Speed:
        return Speed.HIGH

    def submit(
        self, urb_id: int, kind: TransferType, address: int, flags: int, buffer: memoryview
    ) -> None:
        self.usbfs.note("submit", urb_id, kind, address, flags, bytes(buffer))
        self.usbfs.buffers[urb_id] = buffer

    def discard(self, urb_id: int) -> bool:
        self.usbfs.note("discard", urb_id)
        self.usbfs.done.append(Reaped(urb_id, -errno.ENOENT, 0))
        return True

    def reap(self) -> Reaped | None:
        self.usbfs.note("reap")
        return self.usbfs.done.pop(0) if self.usbfs.done else None

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *arguments: self.usbfs.note(name, *arguments)


@pytest.fixture
def usbfs(monkeypatch: pytest.MonkeyPatch) -> Usbfs:
    one = Usbfs()
    monkeypatch.setattr(port_module, "UsbfsDevice", one.open)
    monkeypatch.setattr(sysfs, "locate", lambda _: PortLocation("usb3", 1, "3-1"))
    monkeypatch.setattr(sysfs, "node", one.nodes.get)
    return one


def opened(usbfs: Usbfs, *faults: EndpointFault) -> Port:
    """A mapped port with a configured device."""
    usbfs.nodes["3-1"] = DEVICE
    injector = Injector(Plan(name="test", faults=faults), Layer.ENDPOINT) if faults else None
    port = Port("dummy_hcd.0/1", injector, FIRED.append)
    assert port.look() is Speed.HIGH
    port.perform(urb(0, 0), SetConfiguration(1))
    assert port.refused() == [Completion(0, 0, 0)]
    usbfs.take()
    return port


class _Fired:
    """Where faults that fired are told."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def append(self, fired: Fired[EndpointEffect], urb: Submit) -> None:
        self.names.append(f"{fired.rule_name} at URB {urb.urb_id}")


FIRED = _Fired()


def urb(number: int, address: int, data: bytes = b"", length: int = 0) -> Submit:
    setup = bytes(range(8)) if not address & 0x7F else bytes(8)
    flags = TransferFlags.SHORT_NOT_OK
    return Submit(1, number, address, flags, length or len(data), setup, bytearray(data))


def test_mapping_a_port_claims_it_on_its_hub(usbfs: Usbfs) -> None:
    Port("dummy_hcd.0/1", None, FIRED.append)
    assert usbfs.calls == [("open", HUB), ("claim_port", 1)]


@pytest.mark.parametrize(
    ("errors", "complaint"),
    [
        ({"open": errno.EACCES}, "cannot be opened: told to fail"),
        ({"claim_port": errno.EBUSY}, r"claimed by another program already\. Stop"),
        ({"claim_port": errno.EINVAL}, "cannot be claimed: told to fail"),
    ],
)
def test_a_port_that_cannot_be_mapped_is_told(
    usbfs: Usbfs, errors: dict[str, int], complaint: str
) -> None:
    usbfs.errors = errors
    with pytest.raises(UserError, match=complaint):
        Port("dummy_hcd.0/1", None, FIRED.append)


def test_a_hub_that_is_gone_is_told(usbfs: Usbfs) -> None:
    usbfs.nodes.clear()
    with pytest.raises(UserError, match="its hub usb3 is not there"):
        Port("dummy_hcd.0/1", None, FIRED.append)


def test_a_device_is_found_once_and_missed_when_it_leaves(usbfs: Usbfs) -> None:
    port = opened(usbfs)
    assert (port.look(), port.present) == (None, True)
    del usbfs.nodes["3-1"]
    assert not port.present
    assert (port.look(), port.device) == (None, None)


def test_a_device_that_cannot_be_read_is_not_there(usbfs: Usbfs) -> None:
    port = Port("dummy_hcd.0/1", None, FIRED.append)
    usbfs.nodes["3-1"] = DEVICE
    usbfs.errors = {"open": errno.ENODEV}
    assert (port.look(), port.device, port.present) == (None, None, False)


@pytest.mark.parametrize(
    ("address", "kind"),
    [(0x81, TransferType.BULK), (0x82, TransferType.INTERRUPT), (0x8F, TransferType.BULK)],
)
def test_the_transfer_type_is_that_of_the_configured_endpoint(
    usbfs: Usbfs, address: int, kind: TransferType
) -> None:
    opened(usbfs).start(urb(1, address, length=4))
    assert usbfs.take() == [("submit", 1, kind, address, 1, bytes(4))]


def test_out_data_go_to_usbfs_from_the_buffer_that_received_them(usbfs: Usbfs) -> None:
    port = opened(usbfs)
    one = urb(1, 0x01, b"data")
    port.start(one)
    assert usbfs.buffers[1].obj is one.data


def test_in_data_come_back_as_long_as_they_moved(usbfs: Usbfs) -> None:
    port = opened(usbfs)
    port.start(urb(1, 0x81, length=4))
    usbfs.buffers[1][:2] = b"in"
    usbfs.done = [Reaped(1, -errno.EREMOTEIO, 2)]
    assert port.completions() == [Completion(1, -errno.EREMOTEIO, 2, b"in")]


def test_a_control_transfer_carries_its_setup_packet_first(usbfs: Usbfs) -> None:
    port = opened(usbfs)
    port.start(urb(1, 0x80, length=4))
    assert usbfs.take()[0][-1] == bytes(range(8)) + bytes(4)
    usbfs.buffers[1][8:11] = b"abc"
    usbfs.done = [Reaped(1, 0, 3)]
    assert port.completions() == [Completion(1, 0, 3, b"abc")]


def test_a_refused_submit_is_a_completion(usbfs: Usbfs) -> None:
    port = opened(usbfs)
    usbfs.errors = {"submit": errno.ENOMEM}
    port.start(urb(1, 0x01, b"data"))
    assert port.refused() == [Completion(1, -errno.ENOMEM, 0)]


def test_an_urb_for_a_device_that_left_is_a_completion(usbfs: Usbfs) -> None:
    port = Port("dummy_hcd.0/1", None, FIRED.append)
    port.start(urb(1, 0x01, b"data"))
    port.perform(urb(2, 0), SetConfiguration(1))
    ended = port.refused()
    assert [(done.urb_id, done.status) for done in ended] == [
        (1, -errno.ENODEV),
        (2, -errno.ENODEV),
    ]


def test_set_configuration_releases_all_and_claims_what_is_there_then(usbfs: Usbfs) -> None:
    port = opened(usbfs)
    port.perform(urb(1, 0), SetConfiguration(1))
    assert usbfs.take() == [
        ("release_interface", 0),
        ("set_configuration", 1),
        ("claim_interface", 0),
    ]


def test_what_was_claimed_is_claimed_again_when_a_request_fails(usbfs: Usbfs) -> None:
    port = opened(usbfs)
    port.perform(urb(1, 0), SetConfiguration(1))
    usbfs.take()
    usbfs.errors["reset"] = errno.EIO
    assert port.reset() == -errno.EIO
    usbfs.errors.clear()
    usbfs.take()
    assert port.reset() == 0
    assert usbfs.take() == [("release_interface", 0), ("reset",), ("claim_interface", 0)]


def test_a_reset_releases_all_and_claims_it_again(usbfs: Usbfs) -> None:
    port = opened(usbfs)
    assert port.reset() == 0
    assert usbfs.take() == [("release_interface", 0), ("reset",), ("claim_interface", 0)]


@pytest.mark.parametrize(
    ("operation", "call"),
    [
        (SetInterface(0, 1), ("set_interface", 0, 1)),
        (ClearHalt(0x81), ("clear_halt", 0x81)),
    ],
)
def test_other_requests_become_their_ioctls(
    usbfs: Usbfs, operation: SetInterface | ClearHalt, call: tuple[object, ...]
) -> None:
    port = opened(usbfs)
    port.perform(urb(1, 0), operation)
    assert usbfs.take() == [call]


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errno.EINVAL, -errno.EPIPE),
        (errno.ENOENT, -errno.EPIPE),
        (errno.ETIMEDOUT, -errno.ETIMEDOUT),
    ],
)
def test_what_the_kernel_does_not_know_is_a_stall(usbfs: Usbfs, error: int, status: int) -> None:
    port = opened(usbfs)
    usbfs.errors = {"clear_halt": error}
    port.perform(urb(1, 0), ClearHalt(0x81))
    assert port.refused() == [Completion(1, status, 0)]


def test_what_a_lost_front_end_had_in_the_controller_is_taken_back(usbfs: Usbfs) -> None:
    port = opened(usbfs)
    port.start(urb(1, 0x01, b"data"))
    port.start(urb(2, 0x81, length=4))
    port.abandon()
    assert [call for call in usbfs.take() if call[0] == "discard"] == [
        ("discard", 1),
        ("discard", 2),
    ]
    assert port.completions() == []


def fault(when: When, direction: Direction = Direction.OUT) -> EndpointFault:
    status = EndpointStatus.EPROTO
    return EndpointFault(name="f", direction=direction, status=status, when=when, nth=1)


def test_a_fault_before_the_data_keeps_the_urb_from_the_controller(usbfs: Usbfs) -> None:
    port = opened(usbfs, fault(When.BEFORE))
    port.start(urb(7, 0x01, b"data"))
    assert usbfs.take() == []
    assert port.refused() == [Completion(7, -errno.EPROTO, 0)]
    assert FIRED.names[-1] == "f at URB 7"


def test_a_fault_in_the_middle_lets_half_of_the_packets_through(usbfs: Usbfs) -> None:
    port = opened(usbfs, fault(When.MIDDLE))
    port.start(urb(1, 0x01, bytes(2048)))
    assert len(usbfs.buffers[1]) == 1024
    usbfs.done = [Reaped(1, 0, 1024)]
    assert port.completions() == [Completion(1, -errno.EPROTO, 1024)]


def test_a_fault_after_the_data_tells_an_error_with_all_that_moved(usbfs: Usbfs) -> None:
    port = opened(usbfs, fault(When.AFTER, Direction.IN))
    port.start(urb(1, 0x81, length=4))
    usbfs.buffers[1][:] = b"data"
    usbfs.done = [Reaped(1, 0, 4)]
    assert port.completions() == [Completion(1, -errno.EPROTO, 4, b"data")]


def test_an_error_of_the_devices_own_is_not_replaced(usbfs: Usbfs) -> None:
    port = opened(usbfs, fault(When.AFTER))
    port.start(urb(1, 0x01, b"data"))
    usbfs.done = [Reaped(1, -errno.EPIPE, 0)]
    assert port.completions() == [Completion(1, -errno.EPIPE, 0)]


def test_interrupt_and_control_transfers_are_not_asked_about(usbfs: Usbfs) -> None:
    port = opened(usbfs, fault(When.BEFORE, Direction.IN))
    port.start(urb(1, 0x82, length=4))
    port.start(urb(2, 0x80, length=4))
    assert [call[0] for call in usbfs.take()] == ["submit", "submit"]


def test_closing_gives_the_device_and_the_port_back(usbfs: Usbfs) -> None:
    port = opened(usbfs)
    port.close()
    assert usbfs.take() == [("close",), ("close",)]
