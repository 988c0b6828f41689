"""What a session looks like at a moment: values only, for whoever shows it.  Pure."""

from __future__ import annotations

from enum import StrEnum

import msgspec

UP = "up"
"""The state of a machine that runs."""
MOUNTED = "mounted"
"""The state of a file system that is of use."""


class Mode(StrEnum):
    """What a session does."""

    STARTING = "starting"
    LIVE = "live"
    PAUSED = "paused"
    VERIFYING = "verifying"
    ENDING = "ending"
    ENDED = "ended"
    BROKEN = "broken"


class DaemonRow(msgspec.Struct, frozen=True):
    """A daemon of ours.

    Attributes:
        name: ``back``, ``front``, ``gadget``, ``cable``, ``link`` or ``workload``.
        alive: Whether it runs, as far as is known.
    """

    name: str
    alive: bool


class MachineRow(msgspec.Struct, frozen=True):
    """A machine.

    Attributes:
        name: ``back`` or ``front``.
        state: ``up``, ``down`` or ``paused``, or in words what is being done to it.
        kernel: Its kernel's release; empty while not known.
        daemons: What of ours runs there.
        since_s: Since when it has been in its state, in seconds since the session began.
    """

    name: str
    state: str
    kernel: str = ""
    daemons: tuple[DaemonRow, ...] = ()
    since_s: float = 0.0

    @property
    def whole(self) -> bool:
        """Whether it is up, and all of ours runs there."""
        return self.state == UP and all(one.alive for one in self.daemons)


class EndpointRow(msgspec.Struct, frozen=True):
    """An endpoint of the device in the mapped port, as the back end sees it.

    Attributes:
        address: As in its descriptor; 0 for endpoint 0.
        kind: ``control``, ``bulk`` or ``interrupt``.
        queued: URBs that the front end has sent and that have not ended.
        in_flight: Those of them that the controller has.
        stopped: Whether the queue stands still behind an error or an unlink.
        done: URBs that ended without an error so far.
        failed: URBs that ended with one.
        octets: What they moved.
    """

    address: int
    kind: str
    queued: int = 0
    in_flight: int = 0
    stopped: bool = False
    done: int = 0
    failed: int = 0
    octets: int = 0


class PortRow(msgspec.Struct, frozen=True):
    """A mapped port.

    Attributes:
        name: Of the port on the back machine.
        device: The device's number on the link; None while nothing is plugged in.
        linked: Whether a front end has it.
        endpoints: Of the device.
    """

    name: str
    device: int | None = None
    linked: bool = False
    endpoints: tuple[EndpointRow, ...] = ()


class FileSystemRow(msgspec.Struct, frozen=True):
    """A file system on the disk.

    Attributes:
        name: ``ext4`` and so on.
        node: The partition's node on the client's machine.
        first_lba: Where it begins on the disk, in blocks of 512 octets.
        blocks: How many of those it has.
        state: ``mounted``, or in words why not.
    """

    name: str
    node: str
    first_lba: int
    blocks: int
    state: str = MOUNTED


class WorkloadRow(msgspec.Struct, frozen=True):
    """What is written.

    Attributes:
        name: Of the workload (`rig.integrity.workloads.table`).
        file_system: Where it writes now.
        passes: How often it was run to its end.
        octets: Stamped data written so far.
        step: What it does now, in words.
    """

    name: str
    file_system: str = ""
    passes: int = 0
    octets: int = 0
    step: str = ""


class Sample(msgspec.Struct, frozen=True):
    """What went on in an interval of a second or so.

    Attributes:
        at_s: Its end, in seconds since the session began.
        written_bps: Octets a second that the disk took, as its client's kernel counts them.
        read_bps: Octets a second that it gave.
        latency_s: The median time from an URB's start to its end; None: none ended.
        longest_s: The longest.
    """

    at_s: float
    written_bps: float
    read_bps: float
    latency_s: float | None = None
    longest_s: float | None = None


class UrbRow(msgspec.Struct, frozen=True):
    """One of the last URBs, as the back end noted it.

    Attributes:
        at_s: When it ended, in seconds since the session began.
        number: The front end's number for it.
        endpoint: Address.
        buffer_bytes: What was asked for.
        actual_bytes: What moved.
        status: ``ok``, or the errno's name.
        took_s: From its start to its end; None if its start is not known.
    """

    at_s: float
    number: int
    endpoint: int
    buffer_bytes: int
    actual_bytes: int
    status: str
    took_s: float | None = None


class FaultRow(msgspec.Struct, frozen=True):
    """A rule that some process has.

    Attributes:
        process: Where: ``back/store``.
        name: Of the rule.
        layer: Of the rule.
        armed: Whether it counts and fires.
        fired: How often it did.
        planned: How often it may at most; -1 for no limit.
        matches: How many it has counted.
        words: What it is about and does.
    """

    process: str
    name: str
    layer: str
    armed: bool
    fired: int
    planned: int
    matches: int
    words: str


class LogLine(msgspec.Struct, frozen=True):
    """A line of a machine's kernel.

    Attributes:
        at_s: When it was read, in seconds since the session began.
        machine: ``back`` or ``front``.
        text: Without control characters.
    """

    at_s: float
    machine: str
    text: str


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """A session at a moment.  Lists grow at their end, and lose at their beginning.

    Attributes:
        at_s: The moment, in seconds since the session began.
        mode: What it does.
        words: The same in a sentence; of a session that is broken, why.
        away: Whether the disk is being waited for.
        away_s: For how long the disk has been seen to be away; 0: it is there.
        looked_s: When it was last begun to see whether the disk is there, and it was, in seconds
            since the session began; None: not yet.
        directory: The run directory.
        policy: The split driver's, as a verdict names it.
        disk_blocks: Size of the disk in blocks of 512 octets; 0 while not known.
        machines: Back first.
        ports: Mapped ports.
        file_systems: On the disk.
        workload: What is written.
        samples: The last two minutes or so.
        urbs: The last few.
        faults: All rules.
        log: The last lines of both kernels, in order.
        told: The last faults, ends of faults, daemons' words that a person would want, in order.
        verdict: ``pass so far``, or what is wrong so far, in a sentence.
        findings: What is wrong so far, a sentence each.
    """

    at_s: float = 0.0
    mode: Mode = Mode.STARTING
    words: str = ""
    away: bool = False
    away_s: float = 0.0
    looked_s: float | None = None
    directory: str = ""
    policy: str = ""
    disk_blocks: int = 0
    machines: tuple[MachineRow, ...] = ()
    ports: tuple[PortRow, ...] = ()
    file_systems: tuple[FileSystemRow, ...] = ()
    workload: WorkloadRow = WorkloadRow("")
    samples: tuple[Sample, ...] = ()
    urbs: tuple[UrbRow, ...] = ()
    faults: tuple[FaultRow, ...] = ()
    log: tuple[LogLine, ...] = ()
    told: tuple[str, ...] = ()
    verdict: str = ""
    findings: tuple[str, ...] = ()
