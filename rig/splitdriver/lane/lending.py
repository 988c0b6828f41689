"""How a link and its devices are lent to a lane for one wait, at either end."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol, TypeVar

from rig.splitdriver.lane import LinkLent, LinkReturned, Ready
from rig.splitdriver.transport.peer import Peer

Lent = TypeVar("Lent")
Returned = TypeVar("Returned")
Lent_co = TypeVar("Lent_co", covariant=True)
Returned_contra = TypeVar("Returned_contra", contravariant=True)


class Lender(Protocol[Lent_co, Returned_contra]):
    """A port whose device may be lent."""

    def lend(self) -> Lent_co | None:
        """Lend the device, if there is nothing to decide; until `take_back`."""

    def take_back(self, returned: Returned_contra, /) -> None:
        """Take what a lane has left of the device."""

    def go_on(self) -> None:
        """Deal with what a lane has left; when all is taken back."""


def wait(
    peer: Peer,
    ports: Iterable[Lender[Lent, Returned]],
    forward: Callable[[LinkLent, list[Lent]], tuple[Ready, LinkReturned, list[Returned]]],
) -> Ready | None:
    """Forward what needs no decision, until something else comes or the time is up.

    Args:
        peer: The link.
        ports: Those on the link.
        forward: The lane, given what is lent: waits, and hands it back in the same order.

    Returns:
        What happened to other descriptors; None, at once, if nothing can be lent.
    """
    link = peer.lend()
    if link is None:
        return None
    lent = [(port, loan) for port in ports if (loan := port.lend()) is not None]
    if not lent:
        return None
    ready, rest, returned = forward(link, [loan for _, loan in lent])
    peer.take_back(rest)
    for (port, _), left in zip(lent, returned, strict=True):
        port.take_back(left)
    for port, _ in lent:
        port.go_on()
    peer.go_on()
    return ready
