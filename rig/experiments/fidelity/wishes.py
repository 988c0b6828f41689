"""What a user of ``rig fidelity`` can wish, checked before anything is started."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rig.errors import UserError
from rig.experiments.fidelity.cells import ATTACHMENTS, Injection, injections, no_path
from rig.experiments.run.options import one_of
from rig.experiments.run.places import STORE
from rig.faults.rules.endpoint import EndpointStatus, When
from rig.guest_images.spec import kernel_package
from rig.lab.attachment import ATTACHMENTS as ALL_ATTACHMENTS
from rig.lab.environment import Link
from rig.lab.paths import PathName
from rig.lab.strategy import Setup
from rig.lab.waits import Awaited
from rig.usb.urb import Direction

PLAN_ON_MACHINE = "/run/rig-fidelity.toml"


@dataclass(frozen=True, slots=True)
class Wishes:
    """What to try.

    Attributes:
        attachments: Names in `rig.experiments.fidelity.cells.ATTACHMENTS`.
        paths: Over which paths.
        statuses: Which errors.
        directions: Of the data.
        moments: Before, in the middle of, after the data.
        kernel: ``6.12`` or ``6.1``.
        memory_mib: Of each machine.
    """

    attachments: tuple[str, ...] = ATTACHMENTS
    paths: tuple[PathName, ...] = tuple(PathName)
    statuses: tuple[EndpointStatus, ...] = tuple(EndpointStatus)
    directions: tuple[Direction, ...] = tuple(Direction)
    moments: tuple[When, ...] = tuple(When)
    kernel: str = "6.12"
    memory_mib: int = 512

    @property
    def whole(self) -> bool:
        """Whether nothing is left out."""
        return self == Wishes(kernel=self.kernel, memory_mib=self.memory_mib)

    def injections(self, attachment: str) -> tuple[Injection, ...]:
        """Return the wished errors that can be made at an attachment."""
        return tuple(
            one
            for one in injections(attachment)
            if one.status in self.statuses
            and one.direction in self.directions
            and one.when in self.moments
        )

    def cells(self, attachment: str) -> list[tuple[PathName, tuple[Injection, ...]]]:
        """Return what to try at an attachment, path by path."""
        wanted = self.injections(attachment)
        return [(p, wanted) for p in self.paths if wanted and not no_path(attachment, p)]

    @staticmethod
    def setup(attachment: str, path: PathName, plan_on_station: str, number: int) -> Setup:
        """Return what runs on the machines.

        Args:
            attachment: Its name.
            path: The path.
            plan_on_station: The fault plan; on the back machine it is `PLAN_ON_MACHINE`.
            number: Of the plug: each has a new medium.
        """
        plugged = ALL_ATTACHMENTS[attachment]
        link = (*Link.TCP.options, "--supervised")
        plan = () if plugged.has_cable else ("--plan", PLAN_ON_MACHINE)
        medium = ("--directory", f"{STORE}-{attachment}-{number}", "--size", "8M")
        disk = ("--function", "mass-storage,removable=0", *medium, *plugged.gadget_words())
        return Setup(
            gadget=("rig", "gadget", "--supervised", *disk),
            cable=("--plan", plan_on_station) if plugged.has_cable else (),
            back=("rig", "back", "--port", plugged.port, "--listen", *link, *plan),
            front=("rig", "front", "--connect", *link),
            path=path,
            awaits=Awaited.DISK,
        )


def read_wishes(
    *,
    attachments: Sequence[str] = (),
    paths: Sequence[str] = (),
    statuses: Sequence[str] = (),
    directions: Sequence[str] = (),
    moments: Sequence[str] = (),
    kernel: str = "6.12",
) -> Wishes:
    """Return the wishes; the arguments are those of `Wishes`, and none means all.

    Raises:
        UserError: One of them is not known, or nothing of it can be made.
    """
    kernel_package(kernel)
    for attachment in attachments:
        one_of("attachment for this experiment", attachment, ATTACHMENTS)
    wishes = Wishes(
        attachments=tuple(one for one in ATTACHMENTS if not attachments or one in attachments),
        paths=tuple(PathName(one_of("path", p, PathName)) for p in paths) or tuple(PathName),
        statuses=tuple(EndpointStatus(one_of("status", s, EndpointStatus)) for s in statuses)
        or tuple(EndpointStatus),
        directions=tuple(Direction(one_of("direction", d, Direction)) for d in directions)
        or tuple(Direction),
        moments=tuple(When(one_of("moment", w, When)) for w in moments) or tuple(When),
        kernel=kernel,
    )
    if not any(wishes.cells(attachment) for attachment in wishes.attachments):
        raise UserError(
            "None of these errors can be made at these attachments, on these paths.",
            hint="docs/cable.md says what each emulated controller can show.",
        )
    return wishes
