"""Says how a session is, in sentences and rows: one of them a line.  Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from rig.errors import UserError
from rig.faults.rules.base import NO_LIMIT
from rig.faults.shown import printable
from rig.session.snapshot import (
    EndpointRow,
    FaultRow,
    LogLine,
    MachineRow,
    PortRow,
    Sample,
    Snapshot,
    UrbRow,
)
from rig.session.talk.recipes import Recipe
from rig.usb.urb import DIRECTION_IN

NUMBER = 0x0F
LOG_LINES = 10


def status_lines(seen: Snapshot, topic: str = "") -> list[str]:
    """Say how things are.

    Args:
        seen: The session.
        topic: Only this part: one of `rig.session.talk.commands.STATUS_TOPICS`.

    Raises:
        UserError: There is no such part.
    """
    if topic:
        if topic not in _TOPICS:
            raise UserError(f"There is no status of '{topic}'.", hint=f"There is: {_NAMES}.")
        return list(_TOPICS[topic](seen)) or ["There is nothing to be told of it yet."]
    lines = [f"{seen.mode}: {seen.words}" if seen.words else f"The session is {seen.mode}."]
    if seen.policy:
        lines.append(f"policy {seen.policy}")
    for tell in _TOPICS.values():
        lines += tell(seen)
    lines += [f"verdict {seen.verdict or 'not known yet'}", *seen.findings]
    return lines


def fault_lines(rows: Sequence[FaultRow]) -> list[str]:
    """List rules, and what each has done."""
    return [_fault(row) for row in rows] or ["There are no rules."]


def recipe_lines(recipes: Sequence[Recipe]) -> list[str]:
    """List ready faults, and what the host should see."""
    return [f"{one.name}: {one.sentence} Host: {one.host}" for one in recipes]


def log_lines(log: Sequence[LogLine], machine: str = "", count: int = LOG_LINES) -> list[str]:
    """Return the last lines of a machine's kernel, or of both."""
    lines = [line for line in log if machine in ("", line.machine)]
    told = [f"{line.at_s:.1f} s  {line.machine}  {line.text}" for line in lines[-count:]]
    return told or ["The kernels have said nothing yet."]


def urb_lines(rows: Sequence[UrbRow], count: int) -> list[str]:
    """Return the last URBs."""
    return [_urb(row) for row in rows[-count:]] or ["No URB is known yet."]


def endpoint_words(address: int) -> str:
    """Name an endpoint: ``endpoint 2 OUT``."""
    number = address & NUMBER
    if not number:
        return "endpoint 0"
    return f"endpoint {number} {'IN' if address & DIRECTION_IN else 'OUT'}"


def news(before: Sequence[str], after: Sequence[str]) -> list[str]:
    """Return what is new in a list that grows at its end and loses at its beginning."""
    for lost in range(len(before) + 1):
        kept = before[lost:]
        if list(after[: len(kept)]) == list(kept):
            return list(after[len(kept) :])
    return list(after)


def _machines(seen: Snapshot) -> Iterator[str]:
    for row in seen.machines:
        yield _machine(row)


def _machine(row: MachineRow) -> str:
    kernel = f", kernel {row.kernel}" if row.kernel else ""
    alive = ", ".join(f"{one.name} {'runs' if one.alive else 'is away'}" for one in row.daemons)
    return f"machine {row.name}: {row.state}{kernel}" + (f"; {alive}" if alive else "")


def _ports(seen: Snapshot) -> Iterator[str]:
    for row in seen.ports:
        yield _port(row)


def _port(row: PortRow) -> str:
    plugged = "nothing is plugged in" if row.device is None else f"device {row.device}"
    return f"port {row.name}: {plugged}, {'linked' if row.linked else 'no front end'}"


def _endpoints(seen: Snapshot) -> Iterator[str]:
    for port in seen.ports:
        for row in port.endpoints:
            yield _endpoint(row)


def _endpoint(row: EndpointRow) -> str:
    return (
        f"{endpoint_words(row.address)} ({row.kind}): {'stopped' if row.stopped else 'runs'},"
        f" {row.queued} queued, {row.in_flight} in flight, {row.done} done, {row.failed} failed,"
        f" {octets(row.octets)}"
    )


def _files(seen: Snapshot) -> Iterator[str]:
    if seen.disk_blocks:
        yield f"disk: {seen.disk_blocks} blocks of 512 octets, LBA 0 to {seen.disk_blocks - 1}"
    for row in seen.file_systems:
        last = row.first_lba + row.blocks - 1
        yield f"file system {row.name}: {row.state}, {row.node}, LBA {row.first_lba} to {last}"


def _workload(seen: Snapshot) -> Iterator[str]:
    row = seen.workload
    if not row.name:
        return
    where = f" on {row.file_system}" if row.file_system else ""
    step = f", now: {row.step}" if row.step else ""
    passes = "1 pass" if row.passes == 1 else f"{row.passes} passes"
    done = f"{passes}, {octets(row.octets)} written"
    yield f"workload {row.name}{where}: {done}{step}"
    for sample in seen.samples[-1:]:
        yield _sample(sample)


def _sample(row: Sample) -> str:
    latency = "" if row.latency_s is None else f", an URB takes {row.latency_s * 1000:.1f} ms"
    return f"speed: {octets(row.written_bps)}/s written, {octets(row.read_bps)}/s read{latency}"


def octets(count: float) -> str:
    """Say a number of octets: ``1.5 MB``."""
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count:.0f} B"


def _fault(row: FaultRow) -> str:
    limit = "" if row.planned == NO_LIMIT else f" of {row.planned}"
    state = "armed" if row.armed else "disarmed"
    matches = "1 match" if row.matches == 1 else f"{row.matches} matches"
    return (
        f"{row.name} ({row.process}): {state}, fired {row.fired}{limit} at {matches}; {row.words}"
    )


def _urb(row: UrbRow) -> str:
    took = "" if row.took_s is None else f" in {row.took_s * 1000:.1f} ms"
    return (
        f"{row.at_s:.1f} s  URB {row.number} {endpoint_words(row.endpoint)}:"
        f" {row.actual_bytes} of {row.buffer_bytes} octets, {printable(row.status)}{took}"
    )


_TOPICS: dict[str, Callable[[Snapshot], Iterator[str]]] = {
    "machines": _machines,
    "port": _ports,
    "endpoints": _endpoints,
    "files": _files,
    "workload": _workload,
}
_NAMES = ", ".join(_TOPICS)
