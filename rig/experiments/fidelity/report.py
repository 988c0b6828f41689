"""What was seen of each error on each path.  No I/O."""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import StrEnum

import msgspec

from rig.experiments.fidelity.cells import Injection
from rig.experiments.fidelity.monitor import Told
from rig.lab.paths import PathName

_NOISE = re.compile(r"hrtimer: interrupt took|clocksource: |workqueue: .* hogged CPU|perf: ")
"""What a kernel says under emulation on a busy station."""

_WHO = re.compile(r"^(?:usb \S+: |sd \S+ (?:\[sd\w+\] )?|\[sd\w+\] )?(?:tag#\d+ )?")
"""Who says a line of the kernel's log, and of which request: another one each time."""

_VARIES = (
    (re.compile(r"\bUSB device number \d+ using \S+"), "USB device"),
    (re.compile(r"\bRequest \(\d+\) to port \d+"), "Request"),
    (re.compile(r"\bdev sd[a-z]+, sector \d+"), "the disk"),
    (re.compile(r"\bsd[a-z]+\b"), "sdX"),
    (re.compile(r"\bseqnum \d+"), "seqnum N"),
    (re.compile(r"\bcmd_age=\d+s"), "cmd_age=N"),
)


VHCI = re.compile(r"vhci_hcd|^SetAddress Request|urb->status")
"""What only a virtual host controller says, of its own work."""


class Data(StrEnum):
    """What became of a request's data."""

    RIGHT = "right"
    """The disk holds what was written, or the reader got what the disk holds."""
    OLD = "old"
    """The disk holds what was there before, and the writer was told of an error."""
    NONE = "none"
    """The reader was told of an error."""
    WRONG = "wrong"
    """Success was told, and it was none; or something else is there."""


class Fidelity(StrEnum):
    """Whether the client's driver was told what the driver of the back's controller told."""

    SAME = "same"
    STATUS = "other status"
    LENGTH = "other length"
    UNSEEN = "unseen"
    """One of the two was not seen."""


class Observation(msgspec.Struct, frozen=True, kw_only=True):
    """One error on one path.

    Attributes:
        injection: The error.
        path: Between device and client.
        fired: How often it was made; once, or the cell says nothing.
        below: What the driver of the back's controller told of the URB.  For an error that is made
            in the back end's port: the port's status, and what that driver has moved.
        above: What the client's driver was told.
        sent: How often the client's driver sent the command.
        halts_cleared: How often it cleared a halt.
        errno: What the request ended with, by name; "" for success.
        data: What became of the data.
        taken_s: By the request.
        lines: Of the client's kernel log.
        note: What else there is to say: a machine that was lost, for instance.
    """

    injection: Injection
    path: PathName
    fired: int = 0
    below: Told | None = None
    above: Told | None = None
    sent: int = 0
    halts_cleared: int = 0
    errno: str = ""
    data: Data = Data.NONE
    taken_s: float = 0.0
    lines: tuple[str, ...] = ()
    note: str = ""

    @property
    def fidelity(self) -> Fidelity:
        """Compare both ends."""
        if self.below is None or self.above is None:
            return Fidelity.UNSEEN
        if self.below.status != self.above.status:
            return Fidelity.STATUS
        same = self.below.actual_bytes == self.above.actual_bytes
        return Fidelity.SAME if same else Fidelity.LENGTH

    @property
    def reaction(self) -> tuple[object, ...]:
        """What the client's driver did, for comparison with other paths."""
        said = frozenset(line for line in self.lines if not VHCI.search(line))
        return self.sent, self.halts_cleared, self.errno, self.data, said

    @property
    def complete(self) -> bool:
        """Whether the error was made once, and seen at both ends."""
        return self.fired == 1 and not self.note and self.fidelity is not Fidelity.UNSEEN


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What ``fidelity.json`` holds.

    Attributes:
        command: That made it.
        kernel: The machines' kernel.
        accelerator: ``kvm`` or ``tcg``.
        date: ISO 8601, UTC.
        patience_s: How long SCSI waited for a command.
        whole: Whether nothing was left out by the command's options.
        observations: In the order in which they were made.
    """

    command: str
    kernel: str
    accelerator: str
    date: str
    patience_s: int
    whole: bool
    observations: tuple[Observation, ...]

    def on(self, path: PathName) -> list[Observation]:
        """Return those of a path."""
        return [one for one in self.observations if one.path is path]

    def otherwise(self, path: PathName) -> list[Observation]:
        """Return those of a path in which the client's driver did not do what it does directly."""
        direct = {one.injection: one.reaction for one in self.on(PathName.DIRECT)}
        return [
            one
            for one in self.on(path)
            if one.injection in direct and one.reaction != direct[one.injection]
        ]

    @property
    def unfaithful(self) -> list[Observation]:
        """Those of the split driver in which the client was told something else, or wrong data."""
        different = (Fidelity.STATUS, Fidelity.LENGTH)
        return [
            one
            for one in self.on(PathName.SPLIT)
            if one.fidelity in different or one.data is Data.WRONG
        ]

    @property
    def incomplete(self) -> list[Observation]:
        """Those of the split driver that say nothing."""
        return [one for one in self.on(PathName.SPLIT) if not one.complete]


def judge_write(errno: str, found: int, *, new: int, old: int) -> Data:
    """Say what became of written data.

    Args:
        errno: That the write ended with, "" for success.
        found: Which pattern the disk holds.
        new: That was written.
        old: That was there before.
    """
    if found == new:
        return Data.RIGHT
    return Data.OLD if errno and found == old else Data.WRONG


def judge_read(errno: str, found: int, *, old: int) -> Data:
    """Say what became of read data: as `judge_write`."""
    if errno:
        return Data.NONE
    return Data.RIGHT if found == old else Data.WRONG


def kernel_words(lines: Iterable[str]) -> tuple[str, ...]:
    """Return lines of a kernel's log without what differs from time to time, each once."""
    found: dict[str, None] = {}
    for line in lines:
        if _NOISE.search(line):
            continue
        words = _WHO.sub("", line.strip())
        for varies, instead in _VARIES:
            words = varies.sub(instead, words)
        if words:
            found[words] = None
    return tuple(found)
