"""Whether KVM really runs guests here: found out by booting one, once per boot of this machine.

``/dev/kvm`` may exist and still be unable to run a kernel, for instance where virtual machines are
nested.  No flag tells; a guest that says its first line does.
"""

from __future__ import annotations

import os
import selectors
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from rig.guest_images.cache import Cache
from rig.guest_images.image import KERNEL_RUNS, GuestImage
from rig.guest_images.tools import find
from rig.lab.children import spawn

Accelerator = Literal["kvm", "tcg"]

DEVICE = Path("/dev/kvm")
PROBE_S = 5.0
"""With KVM a guest's first line comes within half a second."""
END_S = 10.0

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_MEMO = "accelerator.json"


@dataclass(frozen=True, slots=True)
class Finding:
    """What is known about KVM on this machine.

    Attributes:
        accelerator: What QEMU is to use.
        why: One sentence.
        boot_id: The boot of this machine that it holds for.
    """

    accelerator: Accelerator
    why: str
    boot_id: str


def accelerator(image: GuestImage, cache: Path | None = None) -> Accelerator:
    """Return the accelerator that guests run with: ``kvm`` if it boots this image, else ``tcg``."""
    return probe(image, cache).accelerator


def remembered(cache: Path | None = None) -> Finding | None:
    """Return what an earlier probe found since this machine started; None if there was none.

    A machine without a usable device needs no probe.
    """
    boot_id = _BOOT_ID.read_text().strip()
    if not DEVICE.exists():
        return Finding("tcg", f"There is no {DEVICE}.", boot_id)
    if not os.access(DEVICE, os.R_OK | os.W_OK):
        return Finding("tcg", f"{DEVICE} may not be opened by this user.", boot_id)
    try:
        memo = (Cache(cache).directory / _MEMO).read_bytes()
        found = msgspec.json.decode(memo, type=Finding)
    except (OSError, msgspec.DecodeError):
        return None
    return found if found.boot_id == boot_id else None


def probe(image: GuestImage, cache: Path | None = None) -> Finding:
    """Find out whether KVM boots an image, and remember it.

    Args:
        image: Its kernel and initramfs are booted, without its layers.
        cache: The image cache, which remembers.

    Raises:
        MachineError: QEMU is not installed.
    """
    if found := remembered(cache):
        return found
    said = _says_its_line(image)
    why = (
        f"{DEVICE} boots a kernel."
        if said
        else f"{DEVICE} exists, but a guest said nothing within {PROBE_S:.0f} s."
    )
    found = Finding("kvm" if said else "tcg", why, _BOOT_ID.read_text().strip())
    memo = Cache(cache).directory / _MEMO
    new = memo.with_suffix(f".{os.getpid()}")
    new.write_bytes(msgspec.json.encode(found))
    new.replace(memo)
    return found


def _says_its_line(image: GuestImage) -> bool:
    command = [find("qemu-system-x86_64"), "-M", "microvm,pcie=on,rtc=on", "-accel", "kvm"]
    command += ["-cpu", "host", "-m", "256", "-nodefaults", "-no-user-config", "-no-reboot"]
    command += ["-display", "none", "-serial", "stdio", "-kernel", str(image.kernel)]
    command += ["-initrd", str(image.initrd), "-append", image.boot_args]
    process = spawn(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    try:
        return _wait_for(process, KERNEL_RUNS.encode(), time.monotonic() + PROBE_S)
    finally:
        process.kill()
        process.communicate(timeout=END_S)


def _wait_for(process: subprocess.Popen[bytes], line: bytes, deadline: float) -> bool:
    """Say whether a process printed something before a moment of the monotonic clock."""
    assert process.stdout is not None
    descriptor = process.stdout.fileno()
    output = b""
    with selectors.DefaultSelector() as selector:
        selector.register(descriptor, selectors.EVENT_READ)
        while (left_s := deadline - time.monotonic()) > 0:
            if not selector.select(left_s):
                continue
            data = os.read(descriptor, 4096)
            output += data
            if line in output:
                return True
            if not data:
                return False
    return False
