"""The other end, as a service sees it: a link with a session, watched by the reactor."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable, Sequence

from rig.errors import ProtocolError
from rig.reactor import READABLE, WRITABLE, Reactor
from rig.splitdriver.lane import LinkLent, LinkReturned
from rig.splitdriver.messages import ALL_CAPABILITIES, Capability, Message, Refused, Role
from rig.splitdriver.policy import Policy
from rig.splitdriver.session import Session
from rig.splitdriver.transport.link import Link, Stream

MAX_BACKLOG_BYTES = 128 << 20
"""So much may wait to be sent, with what it costs to keep it.  It is twice what a front end may
have queued at the back end; a peer that lets more pile up does not read."""


class Peer:
    """One connection, from its greeting to its loss.

    Args:
        stream: Connected; belongs to the peer from now on.
        role: Ours.
        policy: Ours; the other end must have the same.
        reactor: Waits.
        greeted: Called with the other end's name when it has greeted us.
        received: Called with the messages that are for the core; may raise `ProtocolError`, which
            ends the link and is told to the other end.
        lost: Called exactly once, with the reason, when the link has ended in whatever way.
        capabilities: What this end can do.
    """

    def __init__(
        self,
        stream: Stream,
        role: Role,
        policy: Policy,
        reactor: Reactor,
        *,
        greeted: Callable[[str], None],
        received: Callable[[Sequence[Message]], None],
        lost: Callable[[str], None],
        capabilities: Capability = ALL_CAPABILITIES,
    ) -> None:
        self._reactor = reactor
        self._greeted = greeted
        self._received = received
        self._lost = lost
        self._open = True
        self._waiting_for_room = False
        self._link = Link(stream)
        self._session = Session(
            role, policy, socket.gethostname(), time.monotonic(), capabilities=capabilities
        )

    def start(self) -> None:
        """Greet the other end and listen to it; `lost` may be called before this returns."""
        self._reactor.watch(self._link, READABLE, self._on_link)
        self.send([self._session.opening()])
        self._tick()

    @property
    def name(self) -> str | None:
        """The other end's name, once it has greeted us."""
        return self._session.peer_name

    @property
    def capabilities(self) -> Capability:
        """What both ends can do, once the other end has greeted us."""
        return self._session.capabilities

    def send(self, messages: Sequence[Message]) -> None:
        """Send messages; a link that breaks meanwhile is told to `lost`."""
        if not self._open:
            return
        try:
            self._link.send(messages)
        except ProtocolError as error:
            self.close(str(error))
            return
        except OSError as error:
            self.close(f"The link broke: {error.strerror}.")
            return
        if self._link.held_bytes > MAX_BACKLOG_BYTES:
            self.close(f"The other end did not read {self._link.backlog_bytes} octets.")
            return
        self._watch()

    def lend(self) -> LinkLent | None:
        """Lend the link to a lane, if nothing is under way; until `take_back`."""
        return self._link.lend() if self._open and self._session.established else None

    def take_back(self, link: LinkReturned) -> None:
        """Take what a lane has left of the link; `go_on` when all else is taken back, too."""
        if link.heard:
            self._session.heard(time.monotonic())
        self._link.take_back(link.octets, link.unsent)

    def go_on(self) -> None:
        """Deal with what a lane has left."""
        if self._open:
            self._on_link(READABLE)
        self.send([])

    def close(self, reason: str) -> None:
        """End the link and tell the other end why; a second time is no error."""
        if not self._open:
            return
        self._open = False
        with contextlib.suppress(OSError, ProtocolError):
            self._link.send([Refused(reason)])
        self._reactor.unwatch(self._link)
        self._reactor.cancel(self._timer)
        self._link.close()
        self._lost(reason)

    @property
    def _timer(self) -> str:
        return f"heartbeat-{id(self)}"

    def _on_link(self, events: int) -> None:
        try:
            if events & WRITABLE:
                self._link.flush()
                self._watch()
            meant = [m for m in map(self._take, self._link.receive()) if m is not None]
            # An answer that could not be sent has ended the link already.
            if meant and self._open:
                self._received(meant)
        except ProtocolError as error:
            self.close(str(error))
        except OSError as error:
            self.close(f"The link broke: {error.strerror}.")

    def _take(self, message: Message) -> Message | None:
        known = self._session.established
        answer, meaning = self._session.receive(message, time.monotonic())
        if answer is not None:
            self.send([answer])
        if self._session.peer_name is not None and not known:
            self._greeted(self._session.peer_name)
        return meaning

    def _tick(self) -> None:
        # We may have been busy ourselves: what has come meanwhile is a sign of life.
        if self._open:
            self._on_link(READABLE)
        if not self._open:
            return
        try:
            ping = self._session.tick(time.monotonic())
        except ProtocolError as error:
            self.close(str(error))
            return
        self._reactor.at(self._timer, self._session.next_tick, self._tick)
        if ping is not None:
            self.send([ping])

    def _watch(self) -> None:
        """Wait for room in the socket only while something waits for it."""
        waits = self._link.waits_for_room
        if waits != self._waiting_for_room:
            self._waiting_for_room = waits
            room = WRITABLE if waits else 0
            self._reactor.watch(self._link, READABLE | room, self._on_link)
