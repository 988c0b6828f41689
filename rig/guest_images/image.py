"""The guest image as the rest of the rig sees it: ask for one, get paths that boot.

The contract with who boots it (docs/decisions/0001 has the reasons):

* ``-M microvm,pcie=on,rtc=on`` with the kernel, the initrd and the arguments of `GuestImage`;
* each layer is a read-only ``virtio-blk-pci`` drive with its serial number, in any order;
* a writable drive with the serial number ``rig-scratch``, if there is one, is formatted and mounted
  at ``/var/lib/rig``;
* further kernel arguments: ``rig.host=back|front``, ``rig.ssh_key=`` (the base64 form of root's
  authorized_keys), ``rig.link=ADDRESS/BITS`` for the card whose MAC begins with 52:54:00:72:69;
  any other card gets 10.0.2.15, as QEMU's user networking wants it;
* the line ``rig-guest: booted HOST KERNEL`` on the console says that sshd listens;
* a guest that panics, or that is told ``poweroff -f``, ends QEMU if that has ``-no-reboot``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from rig.guest_images import base, kernel, source, tsc
from rig.guest_images.cache import Cache, key_of
from rig.guest_images.spec import BOOT_ARGS, DEFAULT_KERNEL, FILES, KERNELS, kernel_package
from rig.progress import Progress, Silent

BOOTED = "rig-guest: booted"
"""The console line that begins so says that a guest takes commands."""

KERNEL_RUNS = "rig-guest: kernel runs"
"""The first line of the initramfs: this machine can run this kernel."""


@dataclass(frozen=True, slots=True)
class Layer:
    """One read-only drive of a guest.

    Attributes:
        serial: The serial number by which the initramfs finds it.
        path: The raw erofs image.
    """

    serial: str
    path: Path


@dataclass(frozen=True, slots=True)
class GuestImage:
    """All that a guest boots from.

    Attributes:
        kernel: For QEMU's ``-kernel``.
        initrd: For ``-initrd``.
        layers: Drives, base first.
        boot_args: Kernel arguments that every guest needs.
        kernel_version: What ``uname -r`` says in the guest.
    """

    kernel: Path
    initrd: Path
    layers: tuple[Layer, ...]
    boot_args: str
    kernel_version: str


def _names(kernel_name: str, files: Mapping[str, bytes]) -> dict[str, str]:
    """Return the entries that an image of this checkout needs: key by name."""
    of_kernel = key_of(kernel.inputs(kernel_name))
    init = (FILES / "init").read_text()
    return {
        "base": key_of(base.inputs()),
        f"kernel-{kernel_name}": of_kernel,
        f"initrd-{kernel_name}": key_of({"kernel": of_kernel, "init": init}),
        "source": key_of(source.inputs(files)),
    }


def ensure(
    kernel_name: str = DEFAULT_KERNEL,
    progress: Progress | None = None,
    cache: Path | None = None,
    mirror: str | None = None,
) -> GuestImage:
    """Return an image of this checkout, building the parts that are not cached.

    Args:
        kernel_name: ``6.12`` or ``6.1``.
        progress: Told what is built.
        cache: The cache's directory; None takes the usual one.
        mirror: A Debian mirror's URL or a sources.list; None takes what the machine uses.

    Raises:
        UserError: No such kernel is known.
        MachineError: No network, no space, or a program is missing or failed.
    """
    kernel_package(kernel_name)
    progress = progress or Silent()
    store = Cache(cache)
    files = source.snapshot()
    keys = _names(kernel_name, files)
    started = time.strftime("%Y%m%d-%H%M%S")

    def get(name: str, title: str, build: Callable[[Path, Path], None]) -> Path:
        log = store.logs / f"{started}-{name}.log"
        return store.get(name, keys[name], lambda new: build(new, log), progress, title).path

    of_base = get(
        "base",
        "Build the guests' Debian (once, about a minute)",
        lambda new, log: base.build(new, mirror=mirror, log=log),
    )
    of_kernel = get(
        f"kernel-{kernel_name}",
        f"Build the guests' kernel {kernel_name} (once)",
        lambda new, log: kernel.build(new, kernel_name, mirror=mirror, log=log),
    )
    initrd = get(
        f"initrd-{kernel_name}",
        f"Pack the initramfs for kernel {kernel_name}",
        lambda new, _: kernel.write_initrd(new, of_kernel),
    )
    rig = get(
        "source",
        "Pack this checkout's rig for the guests",
        lambda new, log: source.build(new, files, log=log),
    )
    return GuestImage(
        kernel=of_kernel / kernel.KERNEL,
        initrd=initrd / kernel.INITRD,
        layers=(
            Layer("rig-base", of_base / base.LAYER),
            Layer("rig-kernel", of_kernel / kernel.LAYER),
            Layer("rig-source", rig / source.LAYER),
        ),
        boot_args=" ".join((*BOOT_ARGS, *tsc.boot_args())),
        kernel_version=(of_kernel / kernel.VERSION).read_text().strip(),
    )


def missing(kernel_name: str = DEFAULT_KERNEL, cache: Path | None = None) -> list[str]:
    """Return the parts of this checkout's image that are not cached; the source layer aside.

    That one is made anew after each change of the checkout, in a second.

    Raises:
        UserError: No such kernel is known.
        MachineError: The rig does not run from a checkout.
    """
    store = Cache(cache)
    names = _names(kernel_name, source.snapshot())
    return [name for name, key in names.items() if name != "source" and not store.find(name, key)]


def used_entries() -> set[tuple[str, str]]:
    """Return name and key of every entry that this checkout can use, with any kernel."""
    files = source.snapshot()
    return {pair for name in KERNELS for pair in _names(name, files).items()}
