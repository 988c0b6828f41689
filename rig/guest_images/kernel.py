"""The kernel layer: one of Debian's kernels with its modules, and what boots them."""

from __future__ import annotations

import lzma
import shutil
from pathlib import Path

from rig.errors import MachineError
from rig.guest_images import bzimage, debian, initramfs, tools
from rig.guest_images.spec import (
    APTNESS,
    BOOT_MODULES,
    DROPPED_MODULES,
    FILES,
    SUITE,
    kernel_package,
)

LAYER = "layer.erofs"
KERNEL = "vmlinux"
VERSION = "version"
INITRD = "initrd"
BUSYBOX = "busybox"
BOOT_ORDER = "boot-modules"
STEP_S = 300.0

# The named package only points to the newest build; neither is installed, for an installed kernel
# pulls in what makes initramfs images.
_FETCH = debian.shell(
    'export APT_CONFIG="$MMDEBSTRAP_APT_CONFIG"',
    'mkdir "$1/debs"',
    'cd "$1/debs"',
    "newest=$(apt-cache depends --important {package} | sed -n 's/^ *Depends: //p' | head -n 1)",
    'apt-get download "$newest" busybox-static >&2',
    "mv linux-image-*.deb kernel.deb",
    "mv busybox-static*.deb busybox.deb",
)


def inputs(kernel: str) -> dict[str, object]:
    """Return all that decides what the layer holds.

    Raises:
        UserError: No such kernel is known.
    """
    return {
        "suite": SUITE,
        "package": kernel_package(kernel),
        "apt": APTNESS.apt,
        "fetch": _FETCH,
        "dropped": DROPPED_MODULES,
        "boot": BOOT_MODULES,
        "format": 2,
    }


def build(new: Path, kernel: str, *, mirror: str | None, log: Path) -> None:
    """Make the layer in an empty directory.

    Args:
        new: Gets the layer, the kernel, its version, busybox and the modules to boot with.
        kernel: A name from `spec.KERNELS`.
        mirror: See `debian.sources`.
        log: Takes the output.

    Raises:
        MachineError: The network, the disk or a program did not do its part.
        UserError: No such kernel is known.
    """
    work = new / "work"
    work.mkdir()
    debian.mmdebstrap(
        variant="custom",
        hooks=[
            _FETCH.format(package=kernel_package(kernel)),
            debian.take_out("/debs/kernel.deb", work / "kernel.deb"),
            debian.take_out("/debs/busybox.deb", work / "busybox.deb"),
        ],
        mirror=mirror,
        log=log,
    )
    for package in ("kernel", "busybox"):
        command = ["dpkg-deb", "-x", str(work / f"{package}.deb"), str(work / package)]
        tools.run(command, log=log, timeout_s=STEP_S)
    shutil.copyfile(work / "busybox" / "bin" / "busybox", new / BUSYBOX)
    tree = work / "tree"
    version = _arrange_modules(work / "kernel", tree, log)
    packed = (work / "kernel" / "boot" / f"vmlinuz-{version}").read_bytes()
    (new / KERNEL).write_bytes(bzimage.unpack(packed, lambda data: _unzstd(data, work, log)))
    (new / VERSION).write_text(version)
    _keep_boot_modules(tree / "usr" / "lib" / "modules" / version, new)
    pack(tree, new / LAYER, log)
    shutil.rmtree(work)


def pack(tree: Path, image: Path, log: Path) -> None:
    """Make an erofs image of a tree, everything owned by root whoever made it."""
    owner = ["--force-uid=0", "--force-gid=0"]
    tools.run(["mkfs.erofs", *owner, str(image), str(tree)], log=log, timeout_s=STEP_S)


def write_initrd(new: Path, kernel: Path) -> None:
    """Make the initramfs of a built kernel layer.

    It is an entry of its own, for the script in it changes more often than a kernel does.

    Args:
        new: Gets ``initrd``.
        kernel: The kernel layer's directory.
    """
    names = (kernel / BOOT_ORDER / "order").read_text().split()
    modules = {name: (kernel / BOOT_ORDER / name).read_bytes() for name in names}
    init = (FILES / "init").read_bytes()
    busybox = (kernel / BUSYBOX).read_bytes()
    archive = initramfs.pack(initramfs.members(init, busybox, modules))
    (new / INITRD).write_bytes(archive)


def _unzstd(data: bytes, work: Path, log: Path) -> bytes:
    (work / "kernel.zst").write_bytes(data)
    command = ["zstd", "-d", "-q", "-f", str(work / "kernel.zst"), "-o", str(work / "kernel.elf")]
    tools.run(command, log=log, timeout_s=STEP_S)
    return (work / "kernel.elf").read_bytes()


def _arrange_modules(unpacked: Path, tree: Path, log: Path) -> str:
    """Move the modules that guests need into the layer's tree; return the kernel's version."""
    source = unpacked / "lib" / "modules"
    if not source.is_dir():
        source = unpacked / "usr" / "lib" / "modules"
    version = next(source.iterdir()).name
    modules = tree / "usr" / "lib" / "modules" / version
    modules.parent.mkdir(parents=True)
    (source / version).rename(modules)
    for folder in DROPPED_MODULES:
        shutil.rmtree(modules / "kernel" / folder, ignore_errors=True)
    for host in (modules / "kernel" / "drivers" / "scsi").iterdir():
        # Drivers of SCSI hosts have folders; those of the SCSI devices, which we need, have not.
        if host.is_dir():
            shutil.rmtree(host)
    for packed in modules.rglob("*.ko.xz"):
        # Unpacked here once, not by every guest at every boot.
        packed.with_suffix("").write_bytes(lzma.decompress(packed.read_bytes()))
        packed.unlink()
    # depmod looks below lib/, but /lib is a link in a guest: the layer must not turn it into a
    # directory.
    (tree / "lib").symlink_to("usr/lib")
    tools.run(["depmod", "-b", str(tree), version], log=log, timeout_s=STEP_S)
    (tree / "lib").unlink()
    return version


def _keep_boot_modules(modules: Path, new: Path) -> None:
    """Put the modules that the initramfs needs aside, with their order of loading."""
    dependencies = (modules / "modules.dep").read_text()
    builtin = (modules / "modules.builtin").read_text()
    try:
        order = initramfs.load_order(dependencies, BOOT_MODULES, builtin)
    except KeyError as error:
        raise MachineError(
            f"The kernel lacks the module {error}, without which no guest boots.",
            hint="Choose another kernel with --kernel.",
        ) from error
    folder = new / BOOT_ORDER
    folder.mkdir()
    for path in order:
        shutil.copyfile(modules / path, folder / Path(path).name)
    (folder / "order").write_text("".join(f"{Path(path).name}\n" for path in order))
