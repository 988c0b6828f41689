"""The back end's lane: which devices it is lent, and what it hands back."""

from __future__ import annotations

from collections.abc import Iterable

from rig.splitdriver.back.back_port import BackPort
from rig.splitdriver.backend import MAX_QUEUED_BYTES, MAX_QUEUED_URBS
from rig.splitdriver.lane import BackReturned, LentUrb, LinkReturned, Ready
from rig.splitdriver.lane._lane import back
from rig.splitdriver.transport.peer import Peer


def wait(epoll_fd: int, timeout_s: float, peer: Peer, ports: Iterable[BackPort]) -> Ready | None:
    """Forward what needs no decision, until something else comes or the time is up.

    Args:
        epoll_fd: Watches the link, the devices, and whatever else is to end the wait.
        timeout_s: Below 0 for ever.
        peer: The link.
        ports: Those on the link.

    Returns:
        What happened to other descriptors; None, at once, if nothing can be lent.
    """
    link = peer.lend()
    if link is None:
        return None
    lent = [(port, loan) for port in ports if (loan := port.lend()) is not None]
    if not lent:
        return None
    ready, heard, octets, unsent, returned = back(
        epoll_fd,
        timeout_s,
        link,
        MAX_QUEUED_BYTES,
        MAX_QUEUED_URBS,
        [loan for _, loan in lent],
        None,
    )
    peer.take_back(LinkReturned(heard, octets, unsent))
    for (port, _), (latest, urbs, reaped) in zip(lent, returned, strict=True):
        port.take_back(BackReturned(latest, [LentUrb(*urb) for urb in urbs], reaped))
    for port, _ in lent:
        port.go_on()
    peer.go_on()
    return ready
