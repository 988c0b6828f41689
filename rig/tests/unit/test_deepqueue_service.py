"""``rig deepqueue``: what can be asked of it, and one disk after another."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import BinaryIO, cast

import pytest

from rig.daemon import Command, Events
from rig.deepqueue import service
from rig.deepqueue.counters import Counters
from rig.deepqueue.initiator import READY_DEADLINE_S, Recovery
from rig.deepqueue.nbd_device import _names
from rig.deepqueue.plugged import check_controller
from rig.deepqueue.service import Flag, Service, read_options
from rig.errors import MachineError, UserError
from rig.integrity import continuation
from rig.reactor import HasFileno
from rig.tests.harness.fake_bulk_disk import FakeBulkDisk

DEADLINE_S = 10.0


def test_a_command_is_as_long_as_all_urbs_of_its_stage() -> None:
    options, _ = read_options(["--urbs", "4", "--urb-bytes", "32768", "--recovery", "bulk-reset"])

    assert options.command_bytes == 128 << 10
    assert options.recovery is Recovery.BULK_RESET


def test_the_kernel_is_more_patient_than_a_disk_that_never_answers() -> None:
    options, _ = read_options(["--deadline", "5"])

    assert options.patience_s > 6 * (5 + READY_DEADLINE_S)


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--urbs", "0"], "whole pages"),
        (["--urb-bytes", "1000"], "whole pages"),
        (["--urbs", "2000"], "at most"),
        (["--deadline", "0"], "needs time"),
    ],
)
def test_what_cannot_be_is_refused(argv: list[str], said: str) -> None:
    with pytest.raises(UserError, match=said):
        read_options(argv)


@pytest.fixture
def devices(tmp_path: Path) -> Path:
    """sysfs's devices: a root hub of each of two controllers."""
    found = tmp_path / "devices"
    found.mkdir()
    for controller, bus in (("platform/vhci_hcd.0", "usb3"), ("pci0000:00/0000:00:14.0", "usb1")):
        hub = tmp_path / controller / bus
        hub.mkdir(parents=True)
        (found / bus).symlink_to(hub)
    return found


@pytest.mark.parametrize("controller", ["vhci_hcd", "vhci_hcd.0", "0000:00:14.0", "/usb3/"])
def test_a_controller_may_be_named_in_part(devices: Path, controller: str) -> None:
    check_controller(controller, devices)


@pytest.mark.parametrize("controller", ["nope", "", "/usb2/"])
def test_a_controller_that_is_not_there_is_refused_with_the_choices(
    devices: Path, controller: str
) -> None:
    with pytest.raises(UserError, match=f"no USB host controller '{controller}'") as told:
        check_controller(controller, devices)
    assert told.value.hint == "Present: 0000:00:14.0, vhci_hcd.0."


def test_nobody_waits_behind_a_controller_that_is_not_there(
    devices: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (service, continuation):
        monkeypatch.setattr(
            module, "check_controller", lambda name: check_controller(name, devices)
        )
        with pytest.raises(UserError, match="no USB host controller 'nope'"):
            module.main(["--controller", "nope"])


def test_block_devices_that_are_served_are_left_alone(tmp_path: Path) -> None:
    for name in ("nbd0", "nbd1", "nbd2", "nbd10", "sda"):
        (tmp_path / name).mkdir()
    (tmp_path / "nbd1" / "pid").write_text("7\n")

    assert _names(tmp_path) == ["nbd0", "nbd2", "nbd10"]


class World:
    """Disks that are plugged in one after another, and a kernel that lets each be a block device.

    Attributes:
        nodes: What is plugged in next, and whether it can be opened.
        events: What the service told.
        closed: Block devices that have ended.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.nodes = [("/dev/bus/usb/001/002", True)]
        self.closed: list[str] = []
        self._reader, writer = os.pipe()
        self.stop, self.ended = Flag(), Flag()
        options, _ = read_options([])
        self._out: BinaryIO = os.fdopen(writer, "wb")
        self.service = Service(options, Events(self._out), self.stop, self.ended)
        monkeypatch.setattr(service, "find", self._find)
        monkeypatch.setattr(service, "open_device", self._open)
        monkeypatch.setattr(service, "NbdDevice", self._device)
        monkeypatch.setattr(service, "serve", lambda *_: None)
        monkeypatch.setattr(service, "_be_io_flusher", lambda: None)

    def work(self) -> list[dict[str, object]]:
        """Let it serve until nothing is plugged in any more; return its events."""
        worker = threading.Thread(target=self.service.work)
        worker.start()
        worker.join(DEADLINE_S)
        assert not worker.is_alive()
        self._out.close()
        with os.fdopen(self._reader, "rb") as told:
            return [json.loads(line) for line in told]

    def close(self) -> None:
        self.stop.close()
        self.ended.close()

    def _find(self, controller: str, deadline_s: float, *, stop: HasFileno, but: str) -> str:
        assert (controller, stop) == ("vhci_hcd", self.stop)
        if not self.nodes:
            self.service.stop()
            raise MachineError("Nothing came in time.")
        assert self.nodes[0][0] != but
        return self.nodes[0][0]

    def _open(self, node: str) -> FakeBulkDisk:
        _, opens = self.nodes.pop(0)
        if not opens:
            raise MachineError(f"{node} cannot be opened: it is gone.")
        return FakeBulkDisk()

    def _device(self, size_bytes: int, block_bytes: int, **_: int) -> object:
        assert (size_bytes, block_bytes) == (256 * 512, 512)
        block = f"/dev/nbd{len(self.closed)}"
        return FakeDevice(block, lambda: self.closed.append(block))


class FakeDevice:
    """A block device without a kernel."""

    def __init__(self, node: str, on_close: Callable[[], None]) -> None:
        self.node, self.socket = node, None
        self.close = on_close


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    with closing(World(monkeypatch)) as made:
        yield made


def test_one_disk_after_another_is_served_and_its_block_device_ends_with_it(world: World) -> None:
    world.nodes.append(("/dev/bus/usb/001/003", True))

    events = world.work()

    assert [(e["event"], e["block"]) for e in events] == [
        ("ready", "/dev/nbd0"),
        ("gone", "/dev/nbd0"),
        ("ready", "/dev/nbd1"),
        ("gone", "/dev/nbd1"),
    ]
    assert world.closed == ["/dev/nbd0", "/dev/nbd1"]
    assert events[0]["bytes"] == 256 * 512


def test_a_disk_that_cannot_be_used_is_told_and_the_next_one_waited_for(world: World) -> None:
    world.nodes.insert(0, ("/dev/bus/usb/001/001", False))

    events = world.work()

    assert [e["event"] for e in events] == ["unusable", "ready", "gone"]
    assert "cannot be opened" in str(events[0]["error"])


def test_it_tells_its_counters_and_knows_no_other_command(world: World) -> None:
    world.work()

    counters = cast("Counters", world.service.obey(Command(1, "counters", {})))
    assert (counters.resets, counters.ended) == (1, {"passed": 2})
    with pytest.raises(UserError, match="knows no command 'dance'"):
        world.service.obey(Command(2, "dance", {}))
