"""Who is at the other end, and is he still there: greeting and heartbeat.  No I/O, no clock."""

from __future__ import annotations

from rig.errors import RemoteProtocolError
from rig.splitdriver.messages import (
    ALL_CAPABILITIES,
    NEWEST_VERSION,
    OLDEST_VERSION,
    Capability,
    Hello,
    Message,
    Ping,
    Pong,
    Refused,
    Role,
)
from rig.splitdriver.policy import Policy

HEARTBEAT_S = 1.0
DEAD_AFTER_S = 5.0

_OURS = (Hello, Refused, Ping, Pong)
"""Messages that the session itself deals with."""


class Session:
    """One link from its first octet to its last.

    Send `opening()` first.  Give every message to `receive()` and handle what it returns; call
    `tick()` when `next_tick` has come and send what it returns.

    Args:
        role: Ours.
        policy: Ours; the other end's must be the same.
        name: Ours, for people.
        now: Seconds of a clock that never goes back; so are all other times here.
        heartbeat_s: After so long without hearing anything the peer is asked for a sign of life.
        dead_after_s: After so long without hearing anything the peer is held for dead.
        capabilities: What we can do.
    """

    def __init__(
        self,
        role: Role,
        policy: Policy,
        name: str,
        now: float,
        *,
        heartbeat_s: float = HEARTBEAT_S,
        dead_after_s: float = DEAD_AFTER_S,
        capabilities: Capability = ALL_CAPABILITIES,
    ) -> None:
        self._ours = capabilities
        self._role = role
        self._policy = policy
        self._name = name
        self._heartbeat_s = heartbeat_s
        self._dead_after_s = dead_after_s
        self._heard = now
        self._token = 0
        self.next_tick = now + heartbeat_s
        self.peer_name: str | None = None
        self.capabilities = Capability.NONE
        """What both ends can do, once the peer has greeted us."""

    @property
    def established(self) -> bool:
        """Whether the peer has greeted us properly."""
        return self.peer_name is not None

    def opening(self) -> Hello:
        """Return the message to begin with."""
        return Hello(self._role, self._policy, self._name, capabilities=self._ours)

    def receive(self, message: Message, now: float) -> tuple[Message | None, Message | None]:
        """Take a message.

        Returns:
            What to answer, and what the message means to the layer above; either may be None.

        Raises:
            RemoteProtocolError: The greeting is missing, repeated, or of a kind or version that
                does not fit; or the peer has refused us.
        """
        self._heard = now
        if self.peer_name is not None and not isinstance(message, _OURS):
            return None, message
        match message:
            case Refused():
                raise RemoteProtocolError(f"The other end closed the link: {message.reason}")
            case Hello():
                self._greeted(message)
                return None, None
            case Ping() if self.established:
                return Pong(message.token), None
            case Pong() if self.established:
                return None, None
        raise RemoteProtocolError(
            f"The first message was {type(message).__name__}, not a greeting."
        )

    def heard(self, now: float) -> None:
        """Take note of a sign of life that was no message to `receive`."""
        self._heard = now

    def tick(self, now: float) -> Message | None:
        """Take note of the time; return a Ping if it is time for one.

        Raises:
            RemoteProtocolError: Nothing was heard for too long.
        """
        silent_s = now - self._heard
        if silent_s >= self._dead_after_s:
            raise RemoteProtocolError(f"Nothing was heard from the other end for {silent_s:.1f} s.")
        if now < self.next_tick:
            return None
        self.next_tick = now + self._heartbeat_s
        if silent_s < self._heartbeat_s:
            return None
        self._token += 1
        return Ping(self._token)

    def _greeted(self, hello: Hello) -> None:
        if self.established:
            raise RemoteProtocolError("The other end greeted twice.")
        if hello.role is self._role:
            raise RemoteProtocolError(f"Both ends are a {self._role.name.lower()} end.")
        # With one version there is nothing to choose: both ends use the newest that both speak.
        if hello.newest < OLDEST_VERSION or hello.oldest > NEWEST_VERSION:
            raise RemoteProtocolError(
                f"The other end speaks protocol versions {hello.oldest} to {hello.newest}, this one"
                f" {OLDEST_VERSION} to {NEWEST_VERSION}: install the same rig on both machines."
            )
        if not isinstance(hello.policy, Policy):
            raise RemoteProtocolError(
                f"The other end's policy has the number {hello.policy}, which this one does not"
                " know: install the same rig on both machines."
            )
        if hello.policy is not self._policy:
            raise RemoteProtocolError(
                f"The other end's policy is {hello.policy}, this one's {self._policy}: start both"
                " with the same --policy."
            )
        self.capabilities = hello.capabilities & self._ours
        self.peer_name = hello.name or "?"
