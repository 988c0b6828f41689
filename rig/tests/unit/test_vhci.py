from __future__ import annotations

from pathlib import Path

import pytest

from rig.errors import MachineError, RemoteProtocolError
from rig.usb import vhci
from rig.usb.urb import Speed
from rig.usb.vhci import Port, PortState

HEADING = "hub port sta spd dev      sockfd local_busid\n"
FREE = HEADING + (
    "hs  0000 004 000 00000000 000000 0-0\n"
    "hs  0001 004 000 00000000 000000 0-0\n"
    "ss  0002 004 000 00000000 000000 0-0\n"
)
BUSY = FREE.replace("0001 004 000 00000000 000000 0-0", "0001 006 003 00010002 000003 3-2")


@pytest.fixture
def sysfs(tmp_path: Path) -> Path:
    """Controller 0 has a high-speed port in use, controllers 1 to 10 have none."""
    (tmp_path / "status").write_text(BUSY)
    for number in range(1, 11):
        (tmp_path / f"status.{number}").write_text(FREE.replace("000", f"{number}00", 1))
    return tmp_path


def test_a_status_file_is_read_as_the_kernel_writes_it() -> None:
    assert vhci.parse_status(BUSY) == [
        Port(False, 0, PortState.NULL, "0-0"),
        Port(False, 1, PortState.USED, "3-2"),
        Port(True, 2, PortState.NULL, "0-0"),
    ]


@pytest.mark.parametrize("line", ["hs", "hs x 004 0-0", "hs 0000 099 0-0"])
def test_a_line_of_another_shape_is_named(line: str) -> None:
    with pytest.raises(RemoteProtocolError, match=f"has the line '{line}'"):
        vhci.parse_status(HEADING + line)


def test_controllers_are_read_in_the_order_of_their_numbers(sysfs: Path) -> None:
    (sysfs / "status.10").write_text(HEADING + "hs  0300 004 000 00000000 000000 0-0\n")
    assert vhci.read_status(sysfs)[-1][0].number == 300
    assert vhci.read_status(sysfs)[0] == vhci.parse_status(BUSY)


def test_a_missing_module_is_named_with_the_mend(tmp_path: Path) -> None:
    with pytest.raises(MachineError, match=r"not loaded\. Load it: modprobe vhci_hcd"):
        vhci.read_status(tmp_path / "vhci_hcd.0")


def test_a_half_with_a_port_in_use_is_passed_over() -> None:
    controllers = [vhci.parse_status(BUSY), vhci.parse_status(FREE)]
    assert vhci.free_halves(controllers, super_speed=False) == [controllers[1][:2]]


def test_the_last_controllers_half_comes_first() -> None:
    numbered = [[Port(False, n, PortState.NULL, "0-0")] * 2 for n in range(3)]
    assert [half[0].number for half in vhci.free_halves(numbered, super_speed=False)] == [2, 1, 0]


def test_a_half_of_one_port_has_no_room_for_the_hidden_device() -> None:
    assert vhci.free_halves([[Port(False, 0, PortState.NULL, "0-0")]], super_speed=False) == []


def test_the_other_half_of_a_busy_controller_is_free() -> None:
    high = [Port(False, n, PortState.USED, "1-1") for n in (0, 1)]
    super_speed = [Port(True, n, PortState.NULL, "0-0") for n in (2, 3)]
    assert vhci.free_halves([high + super_speed], super_speed=True) == [super_speed]


@pytest.mark.parametrize("state", [s for s in PortState if s is not PortState.NULL])
def test_only_a_port_that_is_free_is_not_in_use(state: PortState) -> None:
    assert vhci.free_halves([[Port(False, 0, state, "0-0")] * 2], super_speed=False) == []


def test_a_controller_without_such_ports_has_no_such_half() -> None:
    assert vhci.free_halves([[Port(False, 0, PortState.NULL, "0-0")] * 2], super_speed=True) == []


def test_a_port_is_found_by_its_number(sysfs: Path) -> None:
    assert vhci.read_port(1, sysfs) == Port(False, 1, PortState.USED, "3-2")
    assert vhci.read_port(999, sysfs) is None


@pytest.mark.parametrize(
    ("speed", "number"), [(Speed.FULL, 2), (Speed.HIGH, 3), (Speed.SUPER, 5), (Speed.SUPER_PLUS, 5)]
)
def test_attach_writes_what_the_kernel_parses(tmp_path: Path, speed: Speed, number: int) -> None:
    (tmp_path / "attach").touch()
    vhci.attach(Port(False, 4, PortState.NULL, "0-0"), 9, 77, speed, tmp_path)
    assert (tmp_path / "attach").read_text() == f"4 9 77 {number}"
