"""What goes into a guest image: data only, no work.

An image is three read-only layers joined by overlayfs (``base``, ``kernel``, ``source``), a kernel
and an initramfs.  Each layer depends on few inputs, so that a change costs little.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rig.errors import MachineError, UserError

SUITE = "bookworm"
"""Debian 12: the one release with a 6.1 and a 6.12 kernel whose USB gadget drivers we know."""

GUEST_PYTHON = (3, 11)
"""Debian 12's Python; bytecode for another version would be of no use to a guest."""

PACKAGE = Path(__file__).resolve().parent.parent
"""The Python package ``rig`` of this checkout."""

CHECKOUT = PACKAGE.parent
FILES = Path(__file__).resolve().parent / "files"
"""Scripts and configuration that go into the guests."""

KERNELS = {"6.12": "linux-image-6.12-amd64", "6.1": "linux-image-amd64"}
"""Kernel names that a user may ask for, and the Debian packages that depend on the newest build.

Not the ``cloud`` flavour: it has no USB.
"""

DEFAULT_KERNEL = "6.12"

BOOT_MODULES = ("virtio_pci", "crc32c_generic", "virtio_blk", "erofs", "overlay")
"""Modules that the initramfs loads, with all they depend on, if they are not built in.

``libcrc32c`` asks for crc32c by name, not by symbol, so depmod cannot know that it needs it.
"""

DROPPED_MODULES = (
    "drivers/accel",
    "drivers/ata",
    "drivers/bluetooth",
    "drivers/comedi",
    "drivers/edac",
    "drivers/gpu",
    "drivers/hwmon",
    "drivers/iio",
    "drivers/infiniband",
    "drivers/isdn",
    "drivers/media/dvb-core",
    "drivers/media/dvb-frontends",
    "drivers/media/i2c",
    "drivers/media/pci",
    "drivers/media/platform",
    "drivers/media/radio",
    "drivers/media/rc",
    "drivers/media/tuners",
    "drivers/media/usb",
    "drivers/mmc",
    "drivers/mtd",
    "drivers/net/can",
    "drivers/net/dsa",
    "drivers/net/ethernet",
    "drivers/net/fddi",
    "drivers/net/hamradio",
    "drivers/net/wireless",
    "drivers/net/wwan",
    "drivers/nvme",
    "drivers/platform",
    "drivers/staging",
    "drivers/video",
    "fs/bcachefs",
    "fs/ceph",
    "fs/nfs",
    "fs/nfsd",
    "fs/ocfs2",
    "fs/smb",
    "net/bluetooth",
    "net/ceph",
    "net/mac80211",
    "net/wireless",
    "sound/firewire",
    "sound/pci",
    "sound/soc",
)
"""Folders of modules for hardware and peers that no guest of ours can have: two thirds of all."""

BOOT_ARGS = (
    "console=ttyS0",
    # A crash must end QEMU (run with -no-reboot), or a test would wait for a dead guest.
    "panic=-1",
    "oops=panic",
    # The triple fault is the reset that QEMU sees; the default is a jump into the firmware.
    "reboot=t",
    # Boot messages cost time on the serial line; the boot script raises the level to "info".
    "loglevel=5",
    "random.trust_cpu=on",
    # Emulation pays dearly for what protects against neighbours that a guest does not have, and
    # for a fifth level of page tables that 1 GiB does not need.
    "mitigations=off",
    "no5lvl",
    "nokaslr",
    # Probes of hardware that microvm does not have, each with a time-out of its own.
    "i8042.noaux=1",
    "i8042.nokbd=1",
    "8250.nr_uarts=1",
)
"""Kernel arguments of every guest."""


@dataclass(frozen=True, slots=True)
class Aptness:
    """How apt and dpkg behave while a layer is made."""

    apt: tuple[str, ...] = (
        'APT::Install-Recommends "false"',
        'Acquire::Languages "none"',
        'Acquire::Retries "3"',
    )
    dpkg: tuple[str, ...] = (
        "path-exclude=/usr/share/man/*",
        "path-exclude=/usr/share/doc/*",
        "path-exclude=/usr/share/info/*",
        "path-exclude=/usr/share/locale/*",
        "path-exclude=/usr/share/lintian/*",
    )


APTNESS = Aptness()


def kernel_package(kernel: str) -> str:
    """Return the Debian package of a kernel that a user named.

    Raises:
        UserError: No such kernel is known.
    """
    try:
        return KERNELS[kernel]
    except KeyError:
        raise UserError(
            f"There is no guest kernel {kernel!r}.", hint=f"Known are: {', '.join(KERNELS)}."
        ) from None


def parse_package_list(text: str) -> list[str]:
    """Read a package list: one name a line, ``#`` begins a comment; sorted, without repeats."""
    names = (line.partition("#")[0].strip() for line in text.splitlines())
    return sorted({name for name in names if name})


def package_list(name: str) -> list[str]:
    """Return the packages named in ``packages/NAME.txt`` of this checkout.

    Raises:
        MachineError: The rig does not run from a checkout.
    """
    path = CHECKOUT / "packages" / f"{name}.txt"
    try:
        return parse_package_list(path.read_text())
    except FileNotFoundError:
        raise MachineError(
            f"The package list {path} is missing.",
            hint="Run the rig from a checkout (pip install -e).",
        ) from None
