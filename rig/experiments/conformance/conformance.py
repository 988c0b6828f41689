"""``rig conformance``: the kernel's own test cases for host controllers, over each path.

usbtest's cases demand of a host controller what drivers rely on: order, unlinks, halts, short
transfers.  A split driver is a host controller to its client, so it has to pass them.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from rig.errors import UserError
from rig.experiments.conformance.path import PathTest
from rig.experiments.conformance.report import Report
from rig.experiments.run.options import one_of
from rig.guest_images.spec import kernel_package
from rig.lab.attachment import DUMMY, Attachment, parse_attachment
from rig.lab.basis import basis
from rig.lab.environment import Link
from rig.lab.lab import Lab
from rig.lab.paths import PathName
from rig.lab.strategy import Setup
from rig.lab.waits import Awaited
from rig.progress import Progress
from rig.report.record import leave
from rig.splitdriver.policy import Policy
from rig.usb.usbtest import parse_cases


@dataclass(frozen=True, slots=True)
class Wishes:
    """What to test.

    Attributes:
        paths: Over which paths, in this order.
        cases: Numbers of `rig.usb.usbtest.CASES`.
        kernel: ``6.12`` or ``6.1``.
        policy: The split driver's; None for its own default.
        times: Multiplies each case's iterations.
        memory_mib: Of each machine.
        attachment: What the gadget is plugged into.
    """

    paths: tuple[PathName, ...]
    cases: tuple[int, ...]
    kernel: str
    policy: str | None = None
    times: int = 1
    memory_mib: int = 512
    attachment: Attachment = DUMMY

    def setup(self, path: PathName) -> Setup:
        """Return what runs on the machines for a path."""
        policy = ("--policy", self.policy) if self.policy else ()
        link = (*Link.TCP.options, "--supervised", *policy)
        words = self.attachment.gadget_words()
        return Setup(
            gadget=("rig", "gadget", "--function", "source-sink", *words, "--supervised"),
            back=("rig", "back", "--port", self.attachment.port, "--listen", *link),
            front=("rig", "front", "--connect", *link),
            path=path,
            awaits=Awaited.USBTEST,
        )


def check_wishes(
    paths: Sequence[str],
    kernel: str,
    policy: str | None,
    cases: str | None,
    times: int,
    *,
    attachment: str = DUMMY.name,
) -> Wishes:
    """Return what to test.

    Args:
        paths: Names of paths; a repeated one counts once.
        kernel: ``6.12`` or ``6.1``.
        policy: The split driver's; None for its own default.
        cases: A list like ``0-14,24``; None for all.
        times: Multiplies each case's iterations.
        attachment: As `parse_attachment` takes it.

    Raises:
        UserError: Any of them is not known.
    """
    kernel_package(kernel)
    for path in paths:
        one_of("path", path, PathName)
    if policy is not None:
        one_of("policy", policy, Policy)
    chosen = tuple(dict.fromkeys(PathName(path) for path in paths))
    if policy is not None and PathName.SPLIT not in chosen:
        raise UserError(
            "--policy is the split driver's, and its path is not among those to test.",
            hint="Leave it out, or add --path split.",
        )
    plugged = parse_attachment(attachment)
    return Wishes(chosen, parse_cases(cases), kernel, policy, times, attachment=plugged)


def run(wishes: Wishes, directory: Path, progress: Progress) -> Report:
    """Build what is missing, and run all cases over all paths, each on machines of its own.

    Args:
        wishes: What to test.
        directory: Gets the machines' logs, below the paths' names, and ``conformance.json``.
        progress: Is told of the steps.

    Raises:
        MachineError: The image could not be built, or machines did not do their part.
    """
    image, chosen = basis(wishes.kernel, progress)

    def test(path: PathName) -> PathTest:
        def open_lab(before: int) -> AbstractContextManager[Lab]:
            return Lab.open(
                image,
                directory / f"{path.value}-{before + 1}",
                accelerator=chosen,
                memory_mib=wishes.memory_mib,
                attachment=wishes.attachment,
                progress=progress,
            )

        return PathTest(wishes.cases, wishes.times, wishes.setup(path), open_lab, progress)

    report = Report(
        kernel=image.kernel_version,
        accelerator=chosen,
        policy=wishes.policy or "default",
        times=wishes.times,
        paths=tuple(test(path).run() for path in wishes.paths),
    )
    leave(report, directory / "conformance.json")
    return report
