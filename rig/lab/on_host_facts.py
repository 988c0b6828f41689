"""Runs *on a host*, sent there as text: tell what a lab must know of it before it uses it.

Standard library only; nothing is changed.  Its argument is a JSON object, `rig.lab.facts.Question`;
it prints another, `rig.lab.facts.Facts`.  What it means is judged on the station.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import stat
import subprocess
import sys
import time

COMMAND_S = 30.0
LISTEN = "0A"  # TCP_LISTEN, include/net/tcp_states.h


def read(path: str) -> str:
    """Return a file's text; "" if it cannot be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def listing(path: str) -> list[str]:
    """Return the names in a directory; none if it cannot be read."""
    try:
        return sorted(os.listdir(path))
    except OSError:
        return []


def has_module(name: str) -> bool:
    """Say whether the kernel has a module, or can load it."""
    if os.path.isdir(f"/sys/module/{name}"):
        return True
    argv = ["modinfo", "-F", "filename", name]
    try:
        done = subprocess.run(argv, check=False, capture_output=True, timeout=COMMAND_S)
        file = done.stdout.decode("utf-8", "replace").strip()
        # It goes by an index, which may name what is no longer there.
        return done.returncode == 0 and (file == "(builtin)" or os.path.exists(file))
    except (OSError, subprocess.SubprocessError):
        return False


def udcs() -> dict[str, str]:
    """Return the UDCs, each with the gadget that is bound to it, or ""."""
    gadgets = "/sys/kernel/config/usb_gadget"
    bound = {read(f"{gadgets}/{name}/UDC").strip(): name for name in listing(gadgets)}
    return {udc: bound.get(udc, "") for udc in listing("/sys/class/udc")}


def rig() -> tuple[dict[str, str] | None, str]:
    """Return what the machine's rig says of itself, and, if it says nothing, why."""
    program = shutil.which("rig")
    if program is None:
        return None, "there is no program 'rig'"
    try:
        done = subprocess.run(
            [program, "about"], check=False, capture_output=True, timeout=COMMAND_S
        )
        return json.loads(done.stdout), ""
    except ValueError:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        return None, f"{program} says: {said[-1] if said else 'nothing'}"
    except (OSError, subprocess.SubprocessError) as error:
        return None, f"{program} cannot be run: {error}"


def listener(port: int) -> str:
    """Return who listens on a TCP port; "" if nobody does."""
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in read(table).splitlines()[1:]:
            fields = line.split()
            if fields[3] == LISTEN and int(fields[1].rpartition(":")[2], 16) == port:
                inodes.add(f"socket:[{fields[9]}]")
    if not inodes:
        return ""
    for pid in filter(str.isdigit, listing("/proc")):
        for number in listing(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                if os.readlink(f"/proc/{pid}/fd/{number}") in inodes:
                    words = read(f"/proc/{pid}/cmdline").replace("\0", " ").split()
                    return f"process {pid} ({' '.join(words[:4])})"
    return "somebody"


def free_bytes(place: str) -> int:
    """Return how much may be written to a directory; -1 if it is none."""
    try:
        if not os.access(place, os.W_OK):
            return -1
        return shutil.disk_usage(place).free
    except OSError:
        return -1


def holder(lock: str) -> str:
    """Return which lab holds this machine; "" if none does."""
    try:
        descriptor = os.open(lock, os.O_RDONLY)
    except OSError:
        return ""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return read(lock).strip() or "another lab"
    finally:
        os.close(descriptor)
    return ""


def certificate(directory: str) -> dict[str, object] | None:
    """Return the machine's certificate as PEM, and the mode of its key; None if not asked for."""
    if not directory:
        return None
    try:
        mode = stat.S_IMODE(os.stat(f"{directory}/key.pem").st_mode)
    except OSError:
        mode = -1
    return {
        "pem": read(f"{directory}/cert.pem"),
        "ca": read(f"{directory}/ca.pem"),
        "key_mode": mode,
    }


def main(question: dict[str, object]) -> dict[str, object]:
    """Answer a question."""
    os.environ["PATH"] = f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/sbin"
    found, why_no_rig = rig()
    port = int(str(question["port"]))
    return {
        "uid": os.getuid(),
        "kernel": os.uname().release,
        "python": list(sys.version_info[:2]),
        "modules": {name: has_module(name) for name in question["modules"]},  # type: ignore[attr-defined]
        "programs": {name: bool(shutil.which(name)) for name in question["programs"]},  # type: ignore[attr-defined]
        "udcs": udcs(),
        "hubs": listing("/sys/bus/usb/devices"),
        "rig": found,
        "why_no_rig": why_no_rig,
        "listener": listener(port) if port else "",
        "free_bytes": free_bytes(str(question["work"])),
        "holder": holder(str(question["lock"])),
        "certificate": certificate(str(question["certificates"])),
        "boot_id": read("/proc/sys/kernel/random/boot_id").strip(),
        "t_ns": time.time_ns(),
    }


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1]))))
