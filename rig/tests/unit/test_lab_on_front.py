from __future__ import annotations

from pathlib import Path

import pytest

from rig.lab.on_front import find_disk, main


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    (tmp_path / "block").mkdir()
    (tmp_path / "dev").mkdir()
    return tmp_path


def add_disk(machine: Path, name: str, controller: str, blocks: int = 8) -> None:
    device = machine / "devices" / controller / "block" / name
    device.mkdir(parents=True)
    (device / "size").write_text(f"{blocks}\n")
    (machine / "block" / name).symlink_to(device)
    (machine / "dev" / name).write_bytes(b"")


def find(machine: Path) -> str:
    return find_disk(f"{machine}/block", f"{machine}/dev").removeprefix(f"{machine}")


def test_the_disk_behind_vhci_is_found(machine: Path) -> None:
    add_disk(machine, "sda", "pci0000:00/usb1")
    add_disk(machine, "sdb", "platform/vhci_hcd.0/usb3")
    assert find(machine) == "/dev/sdb"


def test_a_disk_elsewhere_does_not_count(machine: Path) -> None:
    add_disk(machine, "sda", "pci0000:00/usb1")
    assert find(machine) == ""


def test_a_disk_without_medium_does_not_count(machine: Path) -> None:
    add_disk(machine, "sda", "platform/vhci_hcd.0/usb3", blocks=0)
    assert find(machine) == ""


def test_a_disk_without_node_does_not_count(machine: Path) -> None:
    add_disk(machine, "sda", "platform/vhci_hcd.0/usb3")
    (machine / "dev" / "sda").unlink()
    assert find(machine) == ""


def test_the_wait_ends_at_its_deadline_and_tells_what_is_there(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(0.0) == 1
    assert capsys.readouterr().out.startswith("block devices:")
