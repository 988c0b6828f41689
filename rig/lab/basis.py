"""What a lab's machines are made of: the guest image, or the hosts that the user chose.

The choice is the user's for all that a command does, as the image cache's place is: made once, by
`using`, and found by whoever opens labs, by `basis`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from rig.guest_images.image import GuestImage, ensure
from rig.lab.accelerator import accelerator
from rig.lab.hosts import Hosts
from rig.progress import Progress

Basis = GuestImage | Hosts

HARDWARE = "hosts"
"""Stands for an accelerator where machines are not guests of the station."""

_chosen: ContextVar[Hosts | None] = ContextVar("chosen", default=None)


@contextmanager
def using(file: Path) -> Iterator[None]:
    """Have labs made of the hosts of a labgrid environment file, for a while.

    Raises:
        UserError: The file is not what it must be.
    """
    before = _chosen.set(Hosts(file))
    try:
        yield
    finally:
        _chosen.reset(before)


def basis(kernel: str, progress: Progress) -> tuple[Basis, str]:
    """Return what a lab's machines are made of, and what runs them.

    Args:
        kernel: Of guests; hosts have theirs.
        progress: Is told of what is built.

    Raises:
        UserError: No such kernel is known.
        MachineError: The image could not be built.
    """
    hosts = _chosen.get()
    if hosts is not None:
        return hosts, HARDWARE
    image = ensure(kernel, progress)
    return image, accelerator(image)
