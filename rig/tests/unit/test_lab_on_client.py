from __future__ import annotations

from pathlib import Path

import pytest

from rig.lab.on_client import FINDERS, main

VHCI = "platform/vhci_hcd.0/usb3"
OTHER = "pci0000:00/usb1"


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    (tmp_path / "dev").mkdir()
    return tmp_path


def add(machine: Path, kind: str, name: str, controller: str, **attributes: str) -> Path:
    """Add a device of sysfs below the directory ``kind``, and its node."""
    device = machine / "devices" / controller / name
    device.mkdir(parents=True)
    for attribute, value in attributes.items():
        (device / attribute).write_text(f"{value}\n")
    link = machine / "sys" / kind / name
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(device)
    (machine / "dev" / name).write_bytes(b"")
    return device


def find(machine: Path, wanted: str) -> str:
    found = FINDERS[wanted]("vhci_hcd", f"{machine}/sys", f"{machine}/dev")
    return found.removeprefix(f"{machine}")


def test_the_disk_behind_the_controller_is_found(machine: Path) -> None:
    add(machine, "block", "sda", OTHER, size="8")
    add(machine, "block", "sdb", VHCI, size="8")
    assert find(machine, "disk") == "/dev/sdb"


def test_a_disk_elsewhere_does_not_count(machine: Path) -> None:
    add(machine, "block", "sda", OTHER, size="8")
    assert find(machine, "disk") == ""


def test_a_disk_without_medium_does_not_count(machine: Path) -> None:
    add(machine, "block", "sda", VHCI, size="0")
    assert find(machine, "disk") == ""


def test_a_disk_that_goes_meanwhile_does_not_count(machine: Path) -> None:
    (add(machine, "block", "sda", VHCI, size="8") / "size").unlink()
    assert find(machine, "disk") == ""


@pytest.mark.parametrize(("kind", "name"), [("block", "sda"), ("class/tty", "ttyACM0")])
def test_what_has_no_node_does_not_count(machine: Path, kind: str, name: str) -> None:
    add(machine, kind, name, VHCI, size="8")
    (machine / "dev" / name).unlink()
    assert find(machine, "disk") == find(machine, "tty") == ""


def test_the_serial_port_behind_the_controller_is_found(machine: Path) -> None:
    add(machine, "class/tty", "ttyS0", "platform/serial8250")
    add(machine, "class/tty", "ttyACM0", VHCI)
    assert find(machine, "tty") == "/dev/ttyACM0"


def test_the_network_interface_behind_the_controller_is_found(machine: Path) -> None:
    add(machine, "class/net", "eth0", "pci0000:00")
    add(machine, "class/net", "usb0", VHCI)
    assert find(machine, "net") == "usb0"


def test_the_device_that_usbtest_has_bound_is_found(machine: Path) -> None:
    assert find(machine, "usbtest") == ""
    add(machine, "bus/usb/devices", "3-1", VHCI, busnum="3", devnum="12")
    add(machine, "bus/usb/drivers/usbtest", "3-1:1.0", VHCI)
    assert find(machine, "usbtest") == "/dev/bus/usb/003/012"


def test_a_device_counts_when_it_is_configured_and_is_no_root_hub(machine: Path) -> None:
    add(machine, "bus/usb/devices", "usb3", VHCI, bConfigurationValue="1")
    device = add(machine, "bus/usb/devices", "3-1", VHCI, bConfigurationValue="")
    assert find(machine, "device") == ""
    (device / "bConfigurationValue").write_text("1\n")
    assert find(machine, "device") == "3-1"


def test_the_wait_ends_at_its_deadline_and_tells_what_is_there(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(0.0, "disk", "vhci_hcd") == 1
    assert "block devices:" in capsys.readouterr().out
