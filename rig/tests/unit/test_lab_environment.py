from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from rig.guest_images.image import GuestImage, Layer
from rig.lab.environment import GuestOptions, Places, Role, configuration, write
from rig.lab.ssh import encoded_public_key

IMAGE = GuestImage(
    Path("/i/vmlinuz"),
    Path("/i/initrd"),
    (Layer("rig-base", Path("/i/a,b")), Layer("rig-source", Path("/i/c"))),
    "console=ttyS0 panic=-1",
    "6.12",
)
PLACES = Places(Path("/run/lab"), Path("/tmp/p"))


def qemu(role: Role, options: GuestOptions) -> tuple[dict[str, str], list[str]]:
    made = configuration(IMAGE, PLACES, options, "S0VZ")
    driver = made["targets"][role.value]["drivers"]["RigQEMUDriver"]
    return driver, shlex.split(driver["extra_args"])


@pytest.mark.parametrize("role", list(Role))
def test_the_kernel_is_told_host_key_and_address(role: Role) -> None:
    address = {Role.BACK: "10.77.0.1/24", Role.FRONT: "10.77.0.2/24"}[role]
    driver, _ = qemu(role, GuestOptions())
    assert driver["boot_args"] == (
        f"console=ttyS0 panic=-1 rig.host={role} rig.ssh_key=S0VZ rig.link={address}"
    )


def test_layers_are_read_only_and_named_by_serial_number() -> None:
    _, args = qemu(Role.BACK, GuestOptions())
    layers = [arg for arg in args if arg.startswith("if=none,id=layer")]
    assert all("readonly=on" in layer for layer in layers)
    assert "file=/i/a,,b" in layers[0]
    assert "virtio-blk-pci,drive=layer1,serial=rig-source" in args


def test_each_machine_sends_its_frames_to_the_other_which_may_come_later() -> None:
    for role, peer in ((Role.BACK, Role.FRONT), (Role.FRONT, Role.BACK)):
        _, args = qemu(role, GuestOptions())
        local = f"local.type=unix,local.path=/tmp/p/link-{role}"
        assert f"dgram,id=link,{local},remote.type=unix,remote.path=/tmp/p/link-{peer}" in args


def test_the_processor_fits_the_accelerator() -> None:
    assert qemu(Role.BACK, GuestOptions("kvm"))[0]["cpu"] == "host"
    assert qemu(Role.BACK, GuestOptions("tcg"))[0]["cpu"] == "max,-erms,-fsrm"


def test_what_the_user_adds_comes_last() -> None:
    _, args = qemu(Role.FRONT, GuestOptions(extra_args=("-device", "qemu-xhci")))
    assert args[-2:] == ["-device", "qemu-xhci"]


def test_the_files_that_the_environment_names_are_made(tmp_path: Path) -> None:
    places = Places(tmp_path / "lab", tmp_path)
    write(IMAGE, places, GuestOptions())
    assert places.key.stat().st_mode & 0o777 == 0o600
    assert places.scratch(Role.BACK).stat().st_blocks == 0
    assert encoded_public_key(places.key) in places.yaml.read_text()
