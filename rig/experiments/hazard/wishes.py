"""What a user of ``rig hazard`` can wish, checked before anything is started."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rig.deepqueue.initiator import Recovery
from rig.errors import UserError
from rig.experiments.run.options import one_of
from rig.faults.rules.endpoint import EndpointStatus, Place, When
from rig.guest_images.spec import kernel_package
from rig.integrity.stamp import SECTOR_BYTES
from rig.lab.attachment import DUMMY, Attachment, parse_attachment
from rig.lab.environment import Link
from rig.lab.strategy import Setup
from rig.lab.waits import Awaited
from rig.splitdriver.policy import ACA_STATUSES, DEFAULT_ACA_STATUS, Policy

PLAN_ON_MACHINE = "/run/rig-hazard.toml"
MOST_DELAY_MS = 1000
"""Each way.  A link that is slower seems dead to its heartbeat before it is measured."""

FIRST_LBA = 64
"""Away from the medium's beginning: nobody may take it for a partition table."""

RULE = """
[[fault]]
name = "{phase}"
layer = "endpoint"
phase = "{phase}"
direction = "out"
min_bytes = {urb_bytes}
nth = 1
when = "{when}"
place = "{place}"
status = "{status}"
"""
"""For each repetition: its first piece of data fails, in whatever order the others come."""


FAILS_BY = {
    "dummy": (Place.PORT, EndpointStatus.EPROTO),
    "xhci-raw": (Place.CABLE, EndpointStatus.EPROTO),
    "ehci": (Place.CABLE, EndpointStatus.EPIPE),
}
"""Where and how the first piece fails, by attachment: in the back end, or below its kernel."""


@dataclass(frozen=True, slots=True)
class Wishes:
    """What to try.

    Attributes:
        policies: Each in turn, on the same machines.
        delays_ms: Of the link, each way; each in turn.
        repetitions: Of each combination.
        urbs: Pieces of data of one command, all in flight at once.
        urb_bytes: Of each piece.  The gadget writes what is full 16 KiB (``FSG_BUFLEN``), so
            smaller pieces hide the hazard.
        when: When the first piece fails.
        recovery: What the client does then.
        aca_status: What policy `aca` fails URBs with.
        kernel: ``6.12`` or ``6.1``.
        processors: Of each machine.
        memory_mib: Of each machine.
        attachment: What the gadget is plugged into, a key of `FAILS_BY`.
    """

    policies: tuple[Policy, ...]
    delays_ms: tuple[int, ...] = (0,)
    repetitions: int = 8
    urbs: int = 4
    urb_bytes: int = 16384
    when: When = When.BEFORE
    recovery: Recovery = Recovery.PORT_RESET
    aca_status: str = DEFAULT_ACA_STATUS
    kernel: str = "6.12"
    processors: int = 1
    memory_mib: int = 512
    attachment: Attachment = DUMMY

    @property
    def blocks(self) -> int:
        """Of one repetition."""
        return self.urbs * self.urb_bytes // SECTOR_BYTES

    @property
    def medium_bytes(self) -> int:
        """Every repetition has a range of its own; whole MiB."""
        ranges = len(self.delays_ms) * self.repetitions * self.blocks * SECTOR_BYTES
        return (ranges + FIRST_LBA * SECTOR_BYTES + (1 << 20) - 1) // (1 << 20) * (1 << 20)

    def plan(self) -> str:
        """Return the fault plan: a rule for each repetition, in a phase of its own."""
        place, status = FAILS_BY[self.attachment.name]
        words = {"urb_bytes": self.urb_bytes, "when": self.when, "place": place, "status": status}
        rules = (
            RULE.format(phase=phase(delay_ms, number), **words)
            for delay_ms in self.delays_ms
            for number in range(self.repetitions)
        )
        return 'name = "hazard"\nseed = 0\n' + "".join(rules)

    def setup(self, policy: Policy, store: str, plan_on_station: Path) -> Setup:
        """Return what runs on the machines under a policy."""
        link = (*Link.TCP.options, "--supervised", "--policy", policy)
        aca = ("--aca-status", self.aca_status) if policy is Policy.ACA else ()
        size = f"{max(self.medium_bytes >> 20, 1)}M"
        words = ("--directory", store, "--size", size, *self.attachment.gadget_words())
        plan = ("--plan", PLAN_ON_MACHINE, "--time-stops")
        return Setup(
            gadget=("rig", "gadget", *words, "--supervised"),
            cable=("--plan", str(plan_on_station)),
            back=("rig", "back", "--port", self.attachment.port, "--listen", *link, *aca, *plan),
            front=("rig", "front", "--connect", *link),
            awaits=Awaited.NOTHING,
        )


def phase(delay_ms: int, number: int) -> str:
    """Name the phase of a repetition, in which its rule alone fires."""
    return f"{delay_ms}ms-{number}"


def read_wishes(
    *,
    policies: Sequence[str],
    delays_ms: Sequence[int] = (0,),
    repetitions: int = 8,
    urbs: int = 4,
    urb_bytes: int = 16384,
    when: When = When.BEFORE,
    recovery: str = Recovery.PORT_RESET,
    aca_status: str = DEFAULT_ACA_STATUS,
    kernel: str = "6.12",
    processors: int = 1,
    attachment: str = DUMMY.name,
) -> Wishes:
    """Return the wishes; the arguments are those of `Wishes`, repeated ones count once.

    Raises:
        UserError: They cannot be fulfilled.
    """
    kernel_package(kernel)
    if urb_bytes % SECTOR_BYTES or urb_bytes <= 0:
        raise UserError(f"Pieces of {urb_bytes} octets are no whole blocks of {SECTOR_BYTES}.")
    if not all(0 <= delay_ms <= MOST_DELAY_MS for delay_ms in delays_ms):
        raise UserError(f"A delay must be from 0 to {MOST_DELAY_MS} ms.")
    one_of("ACA status", aca_status, ACA_STATUSES)
    one_of("attachment for this experiment", attachment, FAILS_BY)
    return Wishes(
        policies=tuple(dict.fromkeys(Policy(one_of("policy", p, Policy)) for p in policies)),
        delays_ms=tuple(dict.fromkeys(delays_ms)),
        repetitions=repetitions,
        urbs=urbs,
        urb_bytes=urb_bytes,
        when=when,
        recovery=Recovery(one_of("recovery", recovery, Recovery)),
        aca_status=aca_status,
        kernel=kernel,
        processors=processors,
        attachment=parse_attachment(attachment),
    )
