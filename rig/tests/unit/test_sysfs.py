from __future__ import annotations

import errno
from pathlib import Path

import pytest

from rig.errors import UserError
from rig.usb import sysfs
from rig.usb.sysfs import PortLocation


def hub(devices: Path, name: str, controller: str, ports: int) -> None:
    """A hub as sysfs shows it: a link into the controller's directory."""
    real = devices.parent / "platform" / controller / name
    real.mkdir(parents=True)
    (real / "maxchild").write_text(f"{ports}\n")
    (devices / name).symlink_to(real)


@pytest.fixture
def devices(tmp_path: Path) -> Path:
    """An xHCI with two root hubs, a dummy_hcd, and a hub in port 2 of the first."""
    path = tmp_path / "devices"
    path.mkdir()
    hub(path, "usb9", "0000:00:14.0", 4)
    hub(path, "usb10", "0000:00:14.0", 2)
    hub(path, "usb3", "dummy_hcd.0", 1)
    hub(path, "9-2", "0000:00:14.0/usb9", 4)
    return path


@pytest.mark.parametrize(
    ("name", "location"),
    [
        ("9-1", PortLocation("usb9", 1, "9-1")),
        ("9-2.4", PortLocation("9-2", 4, "9-2.4")),
        ("dummy_hcd.0/1", PortLocation("usb3", 1, "3-1")),
        ("0000:00:14.0/3", PortLocation("usb9", 3, "9-3")),
    ],
)
def test_a_port_is_found_by_either_form_of_its_name(
    devices: Path, name: str, location: PortLocation
) -> None:
    assert sysfs.locate(name, devices) == location


def test_of_a_controllers_two_root_hubs_the_lower_number_is_meant(devices: Path) -> None:
    # As text usb10 would come before usb9; the high-speed hub is registered first.
    assert sysfs.locate("0000:00:14.0/1", devices).hub == "usb9"


@pytest.mark.parametrize("name", ["", "3", "usb3", "3-", "3-1.", "3-1:1.0", "a/b", "dummy_hcd.0/"])
def test_what_is_no_name_of_a_port_is_told_how_to_write_it(devices: Path, name: str) -> None:
    with pytest.raises(UserError, match=r"is no name of a USB port\. Write it as 3-1\.4"):
        sysfs.locate(name, devices)


def test_an_unknown_controller_is_told_with_those_that_are_there(devices: Path) -> None:
    expected = r"no USB host controller dummy_hcd\.1\. Present: 0000:00:14\.0, dummy_hcd\.0\."
    with pytest.raises(UserError, match=expected):
        sysfs.locate("dummy_hcd.1/1", devices)


def test_a_machine_without_usb_says_so(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="Present: none"):
        sysfs.locate("dummy_hcd.0/1", tmp_path)


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("dummy_hcd.0/2", r"hub usb3 has no port 2 \(it has 1\)"),
        ("9-0", r"hub usb9 has no port 0 \(it has 4\)"),
        ("9-2.5", r"hub 9-2 has no port 5 \(it has 4\)"),
        ("7-1", r"hub usb7 has no port 1 \(it has 0\)"),
    ],
)
def test_a_port_that_the_hub_does_not_have_is_told(
    devices: Path, name: str, complaint: str
) -> None:
    with pytest.raises(UserError, match=complaint):
        sysfs.locate(name, devices)


def test_a_devices_node_is_made_of_its_bus_and_number(devices: Path) -> None:
    (devices / "3-1").mkdir()
    (devices / "3-1" / "busnum").write_text("3\n")
    (devices / "3-1" / "devnum").write_text("12\n")
    assert sysfs.node("3-1", devices) == "/dev/bus/usb/003/012"


def test_a_device_that_is_not_there_has_no_node(devices: Path) -> None:
    assert sysfs.node("3-1", devices) is None


def test_a_device_that_leaves_while_it_is_looked_at_has_no_node(devices: Path) -> None:
    (devices / "3-1").mkdir()
    (devices / "3-1" / "busnum").write_text("3\n")
    assert sysfs.node("3-1", devices) is None


def test_a_device_whose_attributes_are_removed_while_they_are_open_has_no_node(
    devices: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def removed(_: Path) -> str:
        raise OSError(errno.ENODEV, "No such device")

    monkeypatch.setattr(Path, "read_text", removed)
    assert sysfs.node("3-1", devices) is None
    assert sysfs.hub_ports("usb9", devices) == 0


def connector(devices: Path, hub: str, port: int, peer: str) -> None:
    """Let a hub's port name its twin, as the kernel does: a link between the ports' directories."""
    interface = f"{hub.removeprefix('usb')}-0" if hub.startswith("usb") else hub
    real = devices.parent / "ports" / peer
    real.mkdir(parents=True, exist_ok=True)
    directory = devices / f"{interface}:1.0" / f"{hub}-port{port}"
    directory.mkdir(parents=True)
    (directory / "peer").symlink_to(real)


@pytest.mark.parametrize(
    ("hub_name", "port", "peer", "twin"),
    [
        ("usb9", 3, "usb10-port1", PortLocation("usb10", 1, "10-1")),
        ("usb10", 1, "usb9-port3", PortLocation("usb9", 3, "9-3")),
        ("9-2", 4, "10-2-port4", PortLocation("10-2", 4, "10-2.4")),
    ],
)
def test_the_other_half_of_a_usb_3_connector_is_found(
    devices: Path, hub_name: str, port: int, peer: str, twin: PortLocation
) -> None:
    connector(devices, hub_name, port, peer)
    assert sysfs.twin(PortLocation(hub_name, port, "x"), devices) == twin


def test_a_usb_2_connector_has_no_other_half(devices: Path) -> None:
    assert sysfs.twin(PortLocation("usb3", 1, "3-1"), devices) is None


@pytest.mark.parametrize("name", ["usb9", "9-2", "9-2.4.1"])
def test_the_driver_of_a_hubs_controller_is_found(devices: Path, name: str) -> None:
    controller = (devices / "usb9").resolve().parent
    driver = devices.parent / "drivers" / "xhci_hcd"
    driver.mkdir(parents=True)
    (controller / "driver").symlink_to(driver)
    assert sysfs.controller_driver(name, devices) == "xhci_hcd"
