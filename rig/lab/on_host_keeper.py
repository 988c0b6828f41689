"""Runs *on a host*, sent there as text: keep it for one lab, and leave it as it was found.

It holds a lock while its standard input is open.  At the end of that, be it in order, by Ctrl-C or
because the station is gone, it waits for the lab's daemons (which end by the same sign), ends those
that do not, and takes away mounts, gadgets, files and modules that were not there before.  What it
cannot do itself, because it was killed or the host lost its power, the next one does by the record
that it left.

Standard library only.  Its argument is a JSON object, `rig.lab.keeping.Task`.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from typing import Any

RUN = "/run"
RECORD = f"{RUN}/rig-lab.json"
GADGETS = "/sys/kernel/config/usb_gadget"
PREFIX = "rig-lab-"
MADE = "made-place"
MARK = "RIG_LAB"
END_S = 20.0
COMMAND_S = 30.0
OWN_DEVICES = frozenset({"dummy_hcd", "vhci_hcd", "usbip_vudc"})
"""Modules whose devices are their own: others may drive what somebody has plugged in meanwhile."""

State = dict[str, list[str]]
Task = dict[str, Any]


def read(path: str) -> str:
    """Return a file's text; "" if it cannot be read."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except OSError:
        return ""


def listing(path: str) -> list[str]:
    """Return the names in a directory; none if it cannot be read."""
    try:
        return sorted(os.listdir(path))
    except OSError:
        return []


def tell(event: str, **fields: object) -> None:
    """Write an event as a supervised daemon does."""
    print(json.dumps({"event": event, "t": time.time(), **fields}), flush=True)


def command(*argv: str) -> str:
    """Run a program; return why it failed; "" if it did not."""
    try:
        done = subprocess.run(argv, capture_output=True, timeout=COMMAND_S, check=False)
    except (OSError, subprocess.SubprocessError) as error:
        return str(error)
    said = done.stderr.decode("utf-8", "replace").strip()
    return "" if done.returncode == 0 else said or f"status {done.returncode}"


def modules() -> list[str]:
    """Return the loaded modules."""
    return [line.split()[0] for line in read("/proc/modules").splitlines()]


def mounts() -> list[str]:
    """Return the mount points, the oldest first."""
    found = [line.split()[1] for line in read("/proc/self/mounts").splitlines()]
    return [place.replace("\\040", " ") for place in found]


def delayed_cards() -> list[str]:
    """Return the network interfaces whose packets are held back (tc-netem(8))."""
    try:
        done = subprocess.run(
            ["tc", "qdisc", "show"], capture_output=True, timeout=COMMAND_S, check=False
        )
    except (OSError, subprocess.SubprocessError):
        return []
    words = [line.split() for line in done.stdout.decode("utf-8", "replace").splitlines()]
    return [line[line.index("dev") + 1] for line in words if "netem" in line and "dev" in line]


def state() -> State:
    """Return what a lab may change."""
    return {
        "modules": modules(),
        "mounts": mounts(),
        "gadgets": listing(GADGETS),
        "run": [name for name in listing(RUN) if name.startswith("rig")],
        "in_run": listing(f"{RUN}/rig"),
        "delayed": delayed_cards(),
    }


def processes(token: str) -> list[int]:
    """Return the processes that a lab has started, by the mark in their environment."""
    mark = f"{MARK}={token}".encode()
    found = []
    for name in filter(str.isdigit, listing("/proc")):
        with contextlib.suppress(OSError), open(f"/proc/{name}/environ", "rb") as file:
            if mark in file.read().split(b"\0") and int(name) != os.getpid():
                found.append(int(name))
    return found


def await_ends(pids: list[int], deadline_s: float) -> list[int]:
    """Wait until processes have ended; return those that have not."""
    until = time.monotonic() + deadline_s
    left = []
    for pid in pids:
        try:
            ended = os.pidfd_open(pid)
        except OSError:
            continue
        try:
            rest_s = max(0.0, until - time.monotonic())
            if not select.select([ended], [], [], rest_s)[0]:
                left.append(pid)
        finally:
            os.close(ended)
    return left


def end_processes(token: str) -> list[str]:
    """End what a lab has started and still runs; return what had to be killed."""
    left = await_ends(processes(token), END_S)
    names = [read(f"/proc/{pid}/comm").strip() for pid in left]
    for number, deadline_s in ((signal.SIGTERM, 5.0), (signal.SIGKILL, 5.0)):
        for pid in left:
            with contextlib.suppress(OSError):
                os.kill(pid, number)
        left = await_ends(left, deadline_s)
    return [f"process {name}" for name in names]


def remove_gadget(path: str) -> None:
    """Take a gadget of configfs apart (Documentation/usb/gadget_configfs.rst)."""
    with contextlib.suppress(OSError), open(f"{path}/UDC", "r+", encoding="ascii") as udc:
        udc.write("\n")
    for root, directories, _ in os.walk(path, topdown=False):
        for name in directories:
            place = f"{root}/{name}"
            with contextlib.suppress(OSError):
                os.unlink(place) if os.path.islink(place) else os.rmdir(place)
    with contextlib.suppress(OSError):
        os.rmdir(path)


def is_driving(name: str) -> bool:
    """Say whether a module drives a device that is not its own."""
    if name in OWN_DEVICES:
        return False
    drivers = f"/sys/module/{name}/drivers"
    return any(
        os.path.islink(f"{drivers}/{driver}/{entry}")
        for driver in listing(drivers)
        for entry in listing(f"{drivers}/{driver}")
        if entry != "module"
    )


def unload(before: list[str]) -> list[str]:
    """Unload what was loaded since, as far as nobody uses it; return what stays."""
    while True:
        new = [name for name in modules() if name not in before]
        gone = [name for name in new if not is_driving(name) and not command("rmmod", name)]
        if not gone:
            return [f"module {name}" for name in new if not is_driving(name)]


def restore(token: str, before: State, where: str) -> tuple[list[str], list[str]]:
    """Undo what a lab did; return what was found that it should have undone, and what stays."""
    found = end_processes(token)
    for name in listing(GADGETS):
        if name not in before["gadgets"]:
            found.append(f"gadget {name}")
            remove_gadget(f"{GADGETS}/{name}")
    for card in delayed_cards():
        if card not in before["delayed"]:
            found.append(f"delay of {card}")
            command("tc", "qdisc", "del", "dev", card, "root")
    stays = []
    for place in reversed(mounts()):
        if place not in before["mounts"] and place.startswith((f"{RUN}/rig", where)):
            found.append(f"mount {place}")
            reason = command("umount", place) and command("umount", "--lazy", place)
            stays += [f"mount {place}: {reason}"] if reason else []
    unmount(where, before)
    for name in listing(f"{RUN}/rig"):
        if name not in before["in_run"]:
            remove(f"{RUN}/rig/{name}")
    for name in listing(RUN):
        if (
            name.startswith("rig")
            and name not in before["run"]
            and not name.startswith(PREFIX[:-1])
        ):
            remove(f"{RUN}/{name}")
    return found, [*stays, *unload(before["modules"])]


def remove(path: str) -> None:
    """Remove a file or a directory, but nothing that is mounted in it."""
    if any(place.startswith(path) for place in mounts()):
        return
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path, ignore_errors=True)
        return
    with contextlib.suppress(OSError):
        os.unlink(path)


def remove_work(directory: str, place: str) -> None:
    """Remove a lab's directory, and the place for it if that was made for it."""
    made = os.path.exists(f"{directory}/{MADE}")
    shutil.rmtree(directory, ignore_errors=True)
    if made:
        with contextlib.suppress(OSError):
            os.rmdir(place)


def clean_up_after_others(task: Task) -> list[str]:
    """Undo what labs left that could not; return it in words."""
    told = []
    old = read(RECORD)
    if old:
        record = json.loads(old)
        found, _ = restore(record["token"], record["before"], task["place"])
        told += found or ["its record"]
        os.unlink(RECORD)
    for name in listing(task["work"]):
        if name.startswith(PREFIX) and name != PREFIX + task["token"]:
            told.append(f"files {task['work']}/{name}")
            remove_work(f"{task['work']}/{name}", task["place"])
    return told


def unmount(place: str, before: State) -> None:
    """Take the lab's directory from its place."""
    while mounts().count(place) > before["mounts"].count(place):
        if command("umount", place) and command("umount", "--lazy", place):
            return


def set_up(task: Task, directory: str) -> list[str]:
    """Make the lab's directory and put it in its place; load modules; return what failed."""
    place = task["place"]
    os.makedirs(f"{directory}/files", mode=0o700, exist_ok=True)
    if not os.path.isdir(place):
        with open(f"{directory}/{MADE}", "w", encoding="ascii"):
            os.makedirs(place)
    failed = [command("mount", "--bind", f"{directory}/files", place)]
    failed += [command("modprobe", *words) for words in task["modules"]]
    if not os.path.ismount("/sys/kernel/config"):
        command("mount", "-t", "configfs", "configfs", "/sys/kernel/config")
    command("dmesg", "--clear")
    return [reason for reason in failed if reason]


def main(task: Task) -> int:
    """Keep the host; return the exit status."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    os.environ["PATH"] = f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/sbin"
    lock = os.open(task["lock"], os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        tell("error", error=f"The host is used by {read(task['lock']).strip() or 'another lab'}.")
        return 3
    os.ftruncate(lock, 0)
    os.write(lock, f"{task['owner']}, by process {os.getpid()}\n".encode())
    cleaned = clean_up_after_others(task)
    before = state()
    with open(RECORD, "w", encoding="utf-8") as file:
        json.dump({"token": task["token"], "before": before}, file)
    directory = f"{task['work']}/{PREFIX}{task['token']}"
    failed = set_up(task, directory)
    if failed:
        tell("error", error=f"The host cannot be made ready: {failed[0]}.")
    else:
        tell("kept", cleaned=cleaned)
        while os.read(0, 4096):
            pass
    _, stays = restore(task["token"], before, task["place"])
    remove_work(directory, task["place"])
    os.unlink(RECORD)
    os.ftruncate(lock, 0)
    with contextlib.suppress(OSError):
        tell("restored", stays=stays)
    with contextlib.suppress(OSError):
        os.unlink(task["lock"])
    return 3 if failed else 0


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1])))
