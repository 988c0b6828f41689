"""The back end's lane: what it is lent, and what it hands back."""

from __future__ import annotations

from collections.abc import Iterable

from rig.splitdriver.back.back_port import BackPort
from rig.splitdriver.back_queues import MAX_QUEUED_BYTES, MAX_QUEUED_URBS
from rig.splitdriver.lane import (
    BackLent,
    BackReturned,
    LentUrb,
    LinkLent,
    LinkReturned,
    Ready,
    lending,
)
from rig.splitdriver.lane.compiled import back
from rig.splitdriver.transport.peer import Peer


def wait(epoll_fd: int, timeout_s: float, peer: Peer, ports: Iterable[BackPort]) -> Ready | None:
    """See `rig.splitdriver.lane.lending.wait`.

    Args:
        epoll_fd: Watches the link, the ports' descriptors, and whatever else is to end the wait.
        timeout_s: Below 0 for ever.
        peer: The link.
        ports: Those on the link.
    """

    def forward(
        link: LinkLent, loans: list[BackLent]
    ) -> tuple[Ready, LinkReturned, list[BackReturned]]:
        ready, heard, octets, unsent, returned = back(
            epoll_fd, timeout_s, link, MAX_QUEUED_BYTES, MAX_QUEUED_URBS, loans, None
        )
        ports_left = [
            BackReturned(latest, [LentUrb(*urb) for urb in urbs], reaped)
            for latest, urbs, reaped in returned
        ]
        return ready, LinkReturned(heard, octets, unsent), ports_left

    return lending.wait(peer, ports, forward)
