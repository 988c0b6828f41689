"""What happens to a whole gadget: in time, undone in time, and asked for from anywhere."""

from __future__ import annotations

import io
import json
import select
from pathlib import Path

import pytest

from rig.daemon import Command, Events
from rig.errors import MachineError
from rig.faults.reader import parse_plan
from rig.faults.rules.device import DeviceEffect, DeviceKind, DeviceRequest
from rig.gadget.configfs import Configfs
from rig.gadget.device_faults import DeviceFaults
from rig.gadget.moments import Moments
from rig.gadget.udc import Udcs
from rig.usb.urb import Direction

EJECT, DISCONNECT, UNBIND = DeviceKind.EJECT, DeviceKind.SOFT_DISCONNECT, DeviceKind.UNBIND


class FakeParts:
    """Writes down what is done."""

    def __init__(self) -> None:
        self.done: list[str] = []

    def eject(self) -> None:
        self.done.append("eject")

    def insert(self) -> None:
        self.done.append("insert")

    def disconnect(self) -> None:
        self.done.append("disconnect")

    def connect(self) -> None:
        self.done.append("connect")

    def unbind(self) -> None:
        self.done.append("unbind")

    def bind(self) -> None:
        self.done.append("bind")


class Bench:
    """Moments under a clock of ours."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.parts = FakeParts()
        self.moments = Moments(self.parts, lambda: self.now_s)

    def ask(self, kind: DeviceKind, for_s: float | None = None) -> None:
        self.moments.ask(DeviceEffect(kind, for_s))

    def at(self, now_s: float) -> list[str]:
        """What is done at a time."""
        self.now_s = now_s
        self.moments.run()
        done, self.parts.done = self.parts.done, []
        return done


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.mark.parametrize(
    ("kind", "begins", "ends"),
    [
        (EJECT, "eject", "insert"),
        (DISCONNECT, "disconnect", "connect"),
        (UNBIND, "unbind", "bind"),
    ],
)
def test_what_happens_is_undone_when_its_time_is_over(
    bench: Bench, kind: DeviceKind, begins: str, ends: str
) -> None:
    bench.ask(kind, 2.0)
    assert bench.at(100.0) == [begins]
    assert bench.moments.next_s() == 2.0
    assert bench.at(101.9) == []
    assert bench.at(102.0) == [ends]
    assert bench.moments.next_s() is None


def test_what_happens_for_ever_is_not_undone(bench: Bench) -> None:
    bench.ask(UNBIND)
    assert bench.at(100.0) == ["unbind"]
    assert bench.moments.next_s() is None


def test_what_happens_again_lasts_from_then_on(bench: Bench) -> None:
    bench.ask(EJECT, 2.0)
    bench.at(100.0)
    bench.ask(EJECT, 2.0)
    assert bench.at(101.0) == ["eject"]
    assert bench.at(102.0) == []
    assert bench.at(103.0) == ["insert"]


def test_different_things_happen_side_by_side(bench: Bench) -> None:
    bench.ask(EJECT, 3.0)
    bench.ask(DISCONNECT, 1.0)
    assert bench.at(100.0) == ["eject", "disconnect"]
    assert bench.at(104.0) == ["insert", "connect"]


def test_a_request_wakes_who_waits_and_is_done_once(bench: Bench) -> None:
    assert not select.select([bench.moments], [], [], 0)[0]
    bench.ask(UNBIND)
    assert select.select([bench.moments], [], [], 0)[0]
    assert bench.at(100.0) == ["unbind"]
    assert not select.select([bench.moments], [], [], 0)[0]
    bench.moments.close()


@pytest.mark.parametrize("kind", [DISCONNECT, UNBIND])
def test_a_gadget_is_plugged_in_anew_but_not_while_it_is_unplugged_on_purpose(
    bench: Bench, kind: DeviceKind
) -> None:
    assert bench.moments.replug()
    assert bench.at(100.0) == ["unbind", "bind"]
    bench.ask(kind)
    bench.at(100.0)
    assert not bench.moments.replug()
    bench.ask(kind, 0.0)
    bench.at(101.0)
    assert bench.moments.replug()


def test_a_gadget_without_its_medium_can_be_plugged_in_anew(bench: Bench) -> None:
    bench.ask(EJECT)
    bench.at(100.0)
    assert bench.moments.replug()


# The plan's device layer.

PLAN = """
name = "p"
[[fault]]
layer = "device"
name = "tag"
effect = "csw-tag"
opcode = 0x28
nth = 2
[[fault]]
layer = "device"
name = "gone"
effect = "unbind"
phase = "write"
at_s = 1.5
for_s = 0.5
"""
READ = DeviceRequest(0x28, 4096, Direction.IN, 100, 8)


def test_a_fault_is_told_with_the_command_that_it_befell() -> None:
    out = io.BytesIO()
    faults = DeviceFaults(Events(out), parse_plan(PLAN, "p.toml"), lambda: 0.0)
    assert faults.decide(READ) is None
    assert faults.decide(READ) == DeviceEffect(DeviceKind.CSW_TAG)
    (line,) = out.getvalue().splitlines()
    told = json.loads(line)
    assert (told["layer"], told["rule"], told["match"], told["effect"]) == (
        *("device", "tag", 2, "csw-tag"),
    )
    assert (told["opcode"], told["lba"], told["blocks"]) == (0x28, 100, 8)
    assert faults.obey(Command(1, "faults", {})) == {
        "planned": {"tag": 1, "gone": 1},
        "fired": {"tag": 1, "gone": 0},
        "layers": {"tag": "device", "gone": "device"},
    }


def test_a_moment_is_due_by_the_clock_of_its_phase() -> None:
    now = [50.0]
    faults = DeviceFaults(Events(io.BytesIO()), parse_plan(PLAN, "p.toml"), lambda: now[0])
    assert faults.next_due_s() is None
    faults.obey(Command(1, "phase", {"name": "write"}))
    assert faults.next_due_s() == 1.5
    assert faults.due() == []
    now[0] = 52.0
    assert faults.next_due_s() == 0.0
    assert faults.due() == [DeviceEffect(UNBIND, 0.5)]
    assert faults.due() == []


# The pull-up.


class Bound(Configfs):
    """A gadget that is bound to a UDC."""

    def __init__(self, directory: Path, udc: str) -> None:
        super().__init__(directory / "usb_gadget")
        (self.root / "rig0").mkdir(parents=True)
        (self.root / "rig0" / "UDC").write_text(udc)
        (directory / "udc" / udc).mkdir(parents=True)
        self.pull_up = directory / "udc" / udc / "soft_connect"
        self.pull_up.touch()


def test_a_real_controllers_pull_up_is_switched(tmp_path: Path) -> None:
    configfs = Bound(tmp_path, "fe980000.usb")
    udcs = Udcs(configfs, tmp_path / "udc")
    udcs.disconnect("fe980000.usb")
    assert configfs.pull_up.read_text() == "disconnect\n"
    udcs.connect("rig0", "fe980000.usb")
    assert configfs.pull_up.read_text() == "connect\n"


def test_dummy_udc_is_connected_by_binding_anew(tmp_path: Path) -> None:
    configfs = Bound(tmp_path, "dummy_udc.0")
    udcs = Udcs(configfs, tmp_path / "udc")
    udcs.disconnect("dummy_udc.0")
    udcs.connect("rig0", "dummy_udc.0")
    assert configfs.pull_up.read_text() == "disconnect\n"
    assert configfs.bound_udc("rig0") == "dummy_udc.0"


def test_a_gadget_that_is_not_bound_is_not_connected(tmp_path: Path) -> None:
    configfs = Bound(tmp_path, "fe980000.usb")
    Udcs(configfs, tmp_path / "udc").connect("other", "fe980000.usb")
    assert configfs.pull_up.read_text() == ""


def test_a_controller_without_a_pull_up_is_named(tmp_path: Path) -> None:
    configfs = Bound(tmp_path, "fe980000.usb")
    configfs.pull_up.unlink()
    with pytest.raises(MachineError, match=r"UDC 'fe980000\.usb' does not disconnect"):
        Udcs(configfs, tmp_path / "udc").disconnect("fe980000.usb")
