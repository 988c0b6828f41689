"""The front end's lane: what it is lent, and what it hands back."""

from __future__ import annotations

from collections.abc import Iterable

from rig.splitdriver.front.front_port import FrontPort
from rig.splitdriver.lane import FrontLent, FrontReturned, LinkLent, LinkReturned, Ready, lending
from rig.splitdriver.lane.compiled import front
from rig.splitdriver.transport.peer import Peer


def wait(epoll_fd: int, timeout_s: float, peer: Peer, ports: Iterable[FrontPort]) -> Ready | None:
    """See `rig.splitdriver.lane.lending.wait`.

    Args:
        epoll_fd: Watches the link, the ports' descriptors, and whatever else is to end the wait.
        timeout_s: Below 0 for ever.
        peer: The link.
        ports: Those on the link.
    """

    def forward(
        link: LinkLent, loans: list[FrontLent]
    ) -> tuple[Ready, LinkReturned, list[FrontReturned]]:
        ready, heard, octets, unsent, returned = front(epoll_fd, timeout_s, link, loans)
        ports_left = [FrontReturned(*left) for left in returned]
        return ready, LinkReturned(heard, octets, unsent), ports_left

    return lending.wait(peer, ports, forward)
