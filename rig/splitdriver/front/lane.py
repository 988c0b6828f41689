"""The front end's lane: which devices it is lent, and what it hands back."""

from __future__ import annotations

from collections.abc import Iterable

from rig.splitdriver.front.front_port import FrontPort
from rig.splitdriver.lane import FrontReturned, LinkReturned, Ready
from rig.splitdriver.lane._lane import front
from rig.splitdriver.transport.peer import Peer


def wait(epoll_fd: int, timeout_s: float, peer: Peer, ports: Iterable[FrontPort]) -> Ready | None:
    """Forward what needs no decision, until something else comes or the time is up.

    Args:
        epoll_fd: Watches the link, the ports, and whatever else is to end the wait.
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
    ready, heard, octets, unsent, returned = front(
        epoll_fd, timeout_s, link, [loan for _, loan in lent]
    )
    peer.take_back(LinkReturned(heard, octets, unsent))
    for (port, _), left in zip(lent, returned, strict=True):
        port.take_back(FrontReturned(*left))
    for port, _ in lent:
        port.go_on()
    peer.go_on()
    return ready
