"""The labgrid environment of a lab of two QEMU guests: what each guest is made of.

Nothing is started here.  `configuration` is pure; `write` makes the files that it names.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from labgrid.util.yaml import dump

from rig.guest_images.image import GuestImage
from rig.lab.attachment import DUMMY, Attachment
from rig.lab.ssh import encoded_public_key, make_key

QEMU = "qemu-system-x86_64"

CONTROL = "control"
"""In a lab's private directory: the control sockets of its processes on the station."""

SCRATCH_BYTES = 1 << 30
"""Size of each guest's writable disk; sparse, so it costs what is written."""

SSH_TIMEOUT_S = 30.0


EMULATED_CPU = "max,-erms,-fsrm"
"""Without what tells Linux that ``rep movsb`` is quick: emulation moves one octet a turn, and the
kernel's copies between user and kernel space are three times as fast in any other way."""


class Role(StrEnum):
    """The two machines."""

    BACK = "back"
    FRONT = "front"


MACS = {Role.BACK: "52:54:00:72:69:01", Role.FRONT: "52:54:00:72:69:02"}
LINK_ADDRESSES = {Role.BACK: "10.77.0.1", Role.FRONT: "10.77.0.2"}
"""The machines on the private Ethernet link (a /24)."""
LINK_PORT = "rig.link"
"""The name of the port of virtio-serial on each machine; the two are joined."""
LINK_ADDRESS = f"{LINK_ADDRESSES[Role.BACK]}:7205"
"""Where the back end listens on the private link."""


class Link(StrEnum):
    """What joins the two ends of the split driver."""

    TCP = "tcp"
    """The private Ethernet link: as between hosts."""
    VIRTIO = "virtio"
    """A port of virtio-serial on each machine: quicker, and only between two guests."""

    @property
    def options(self) -> tuple[str, ...]:
        """What follows ``rig back --listen`` and ``rig front --connect``."""
        return (LINK_ADDRESS, "--insecure") if self is Link.TCP else (f"virtio:{LINK_PORT}",)


@dataclass(frozen=True, slots=True)
class GuestOptions:
    """What both guests have in common.

    Attributes:
        accelerator: ``kvm`` or ``tcg``.
        memory_mib: Memory of each guest.
        processors: Virtual processors of each guest.
        extra_args: More arguments for QEMU, for both guests.
        attachment: What the back machine's gadget is plugged into.
    """

    accelerator: str = "tcg"
    memory_mib: int = 512
    processors: int = 1
    extra_args: tuple[str, ...] = ()
    attachment: Attachment = DUMMY


@dataclass(frozen=True, slots=True)
class Places:
    """Where the files of a lab are.

    Attributes:
        directory: The lab's directory: logs stay there.
        private: Short-lived and mode 0700: keys and sockets.  Its path must be short, because a
            UNIX socket's path has at most 107 bytes (unix(7)).
    """

    directory: Path
    private: Path

    @property
    def key(self) -> Path:
        """The private SSH key."""
        return self.private / "id_ed25519"

    @property
    def cable(self) -> Path:
        """The socket of the back machine's end of the cable."""
        return self.private / "cable"

    @property
    def control(self) -> Path:
        """The directory of the control sockets of the lab's processes on the station."""
        return self.private / CONTROL

    @property
    def port(self) -> Path:
        """The socket that joins the two guests' ports of virtio-serial."""
        return self.private / "port"

    @property
    def yaml(self) -> Path:
        """The labgrid environment file."""
        return self.directory / "environment.yaml"

    def logs(self, role: Role) -> Path:
        """The log directory of a machine."""
        return self.directory / role.value

    def console(self, role: Role) -> Path:
        """What a machine said on its serial console."""
        return self.logs(role) / "console.log"

    def link(self, role: Role) -> Path:
        """The socket of a machine's end of the private link."""
        return self.private / f"link-{role.value}"

    def scratch(self, role: Role) -> Path:
        """The writable disk of a guest."""
        return self.directory / role.value / "scratch.img"


def configuration(
    image: GuestImage, places: Places, options: GuestOptions, ssh_key: str
) -> dict[str, Any]:
    """Return the labgrid configuration: targets ``back`` and ``front``, and ``lab`` over both.

    Args:
        image: What the guests boot.
        places: Where its files are.
        options: What both guests have in common.
        ssh_key: The base64 form of root's ``authorized_keys`` in the guests.
    """
    targets: dict[str, Any] = {
        role.value: _target(role, image, places, options, ssh_key) for role in Role
    }
    targets["lab"] = {"drivers": {"RigStrategy": {}}}
    return {
        "targets": targets,
        "imports": ["rig.lab.strategy"],
        "images": {"kernel": str(image.kernel)},
        "tools": {"qemu": QEMU},
    }


def write(image: GuestImage, places: Places, options: GuestOptions) -> dict[str, Any]:
    """Make the environment file; and, unless there are, key and scratch disks.

    Returns:
        The configuration.

    Raises:
        LaunchFailure: No key could be made.
    """
    if not places.key.exists():
        make_key(places.private)
        for role in Role:
            places.logs(role).mkdir(parents=True, exist_ok=True)
            with places.scratch(role).open("wb") as scratch:
                scratch.truncate(SCRATCH_BYTES)
    made = configuration(image, places, options, encoded_public_key(places.key))
    places.yaml.write_text(dump(made, sort_keys=False, width=200), "utf-8")
    return made


def _target(
    role: Role, image: GuestImage, places: Places, options: GuestOptions, ssh_key: str
) -> dict[str, Any]:
    boot_args = (
        f"{image.boot_args} rig.host={role.value} rig.ssh_key={ssh_key}"
        f" rig.link={LINK_ADDRESSES[role]}/24"
    )
    kvm = options.accelerator == "kvm"
    qemu = {
        "qemu_bin": "qemu",
        "machine": "microvm,pcie=on,rtc=on",
        "cpu": "host" if kvm else EMULATED_CPU,
        "memory": f"{options.memory_mib}M",
        "kernel": "kernel",
        "display": "fb-headless",
        "boot_args": boot_args,
        "extra_args": shlex.join(_extra_args(role, image, places, options)),
        "log_directory": str(places.logs(role)),
        "run_directory": str(places.private),
    }
    ssh = {
        "keyfile": str(places.key),
        "connection_timeout": SSH_TIMEOUT_S,
        "run_directory": str(places.private),
    }
    return {
        "resources": {"NetworkService": {"address": "127.0.0.1", "username": "root"}},
        "drivers": {"RigQEMUDriver": qemu, "RigSSHDriver": ssh},
    }


def _extra_args(role: Role, image: GuestImage, places: Places, options: GuestOptions) -> list[str]:
    args = ["-nodefaults", "-no-user-config", "-no-reboot", "-name", role.value]
    args += ["-accel", options.accelerator, "-smp", str(options.processors)]
    args += ["-initrd", str(image.initrd), "-device", "virtio-rng-pci"]
    for number, layer in enumerate(image.layers):
        args += _disk(f"layer{number}", layer.path, layer.serial, read_only=True)
    args += _disk("scratch", places.scratch(role), "rig-scratch", read_only=False)
    # romfile= : the guest never boots from the network, and the ROM is in another package.
    args += ["-netdev", "user,id=user,restrict=off,hostfwd=tcp:127.0.0.1:0-:22"]
    args += ["-device", "virtio-net-pci,netdev=user,romfile="]
    # Datagrams, so that either machine may go and come again; a stream's client calls once.
    peer = Role.FRONT if role is Role.BACK else Role.BACK
    ends = (("local", places.link(role)), ("remote", places.link(peer)))
    sockets = ",".join(f"{end}.type=unix,{end}.path={path}" for end, path in ends)
    args += ["-netdev", f"dgram,id=link,{sockets}"]
    args += ["-device", f"virtio-net-pci,netdev=link,mac={MACS[role]},romfile="]
    if role is Role.BACK:
        args += options.attachment.qemu_args(places.cable)
    way = "server=on,wait=off" if role is Role.BACK else "server=off,reconnect=1"
    args += ["-chardev", f"socket,id=port,path={places.port},{way}", "-device", "virtio-serial-pci"]
    args += ["-device", f"virtserialport,chardev=port,name={LINK_PORT}"]
    return [*args, *options.extra_args]


def _disk(name: str, path: Path, serial: str, *, read_only: bool) -> list[str]:
    # A comma in an option's value is written twice (qemu(1)).
    file = str(path).replace(",", ",,")
    drive = f"if=none,id={name},format=raw,file={file},readonly={'on' if read_only else 'off'}"
    # The scratch disk dies with the lab: no flush of it is worth the host's time.
    cache = "writeback" if read_only else "unsafe"
    return [
        "-drive",
        f"{drive},cache={cache}",
        "-device",
        f"virtio-blk-pci,drive={name},serial={serial}",
    ]
