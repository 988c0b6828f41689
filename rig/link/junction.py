"""The relay's sockets: who calls is answered, the back end is called, and octets move."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from rig.faults.rules.link import LinkEnd
from rig.link.actions import Action, Close, Dial, Send
from rig.link.circuit import other
from rig.link.plug import Plug
from rig.link.relay import Relay
from rig.net.accepting import Accepting
from rig.net.address import Address
from rig.net.connecting import Connecting
from rig.reactor import Reactor

_log = logging.getLogger("rig.link")

MAX_BACKLOG_BYTES = 4 << 20
"""Of what an end has sent, so much waits here; the rest waits in its socket."""


class Junction:
    """Joins a relay with sockets.

    Args:
        listener: Where front ends call; belongs to the junction.
        back: Where the back end listens.
        relay: Is told what happens, by the reactor's clock.
        reactor: Waits.
        opened: Called with a new circuit's number, and the front end's address.
        gone: Called with the number of one of which nothing is left.
        changed: Called when the relay has been told something: it may want something done.
    """

    def __init__(
        self,
        listener: socket.socket,
        back: Address,
        relay: Relay,
        reactor: Reactor,
        *,
        opened: Callable[[int, str], None],
        gone: Callable[[int], None],
        changed: Callable[[], None],
    ) -> None:
        listener.setblocking(False)
        self._back = back
        self._relay = relay
        self._reactor = reactor
        self._opened = opened
        self._gone = gone
        self._changed = changed
        self._plugs: dict[tuple[int, LinkEnd], Plug] = {}
        self._lingering: list[Plug] = []
        self._calls: dict[int, Connecting] = {}
        self._said = ""
        self._accepting = Accepting(listener, reactor, self._on_caller)

    @property
    def address(self) -> Address:
        """Where front ends call."""
        return self._accepting.address

    def close(self) -> None:
        """Close everything."""
        self._accepting.close()
        for call in self._calls.values():
            call.close()
        self._calls.clear()
        for plug in [*self._plugs.values(), *self._lingering]:
            plug.drop()
        self._plugs.clear()

    def do(self, action: Action) -> None:
        """Do what the relay wants."""
        match action:
            case Dial():
                self._dial(action.circuit)
            case Send():
                plug = self._plugs.get((action.circuit, action.end))
                if plug is not None:
                    plug.send(action.data)
            case Close():
                self._close(action.circuit, action.end, reset=action.reset)

    def watch(self) -> None:
        """Read from an end only while what it sends finds room."""
        for (number, end), plug in self._plugs.items():
            target = self._plugs.get((number, other(end)))
            waiting = self._relay.backlog_bytes(number, end)
            waiting += target.backlog_bytes if target is not None else 0
            plug.read_on(waiting < MAX_BACKLOG_BYTES)

    # The ends.

    def _on_caller(self, stream: socket.socket, address: Any) -> None:
        number = self._relay.opened(time.monotonic())
        self._opened(number, f"{address[0]}:{address[1]}")
        self._plug(number, LinkEnd.FRONT, stream)
        self._changed()

    def _dial(self, number: int) -> None:
        self._calls[number] = call = Connecting(
            self._back,
            self._reactor,
            connected=partial(self._on_connected, number),
            failed=partial(self._on_unanswered, number),
        )
        call.start()

    def _on_connected(self, number: int, stream: socket.socket) -> None:
        del self._calls[number]
        self._said = ""
        self._plug(number, LinkEnd.BACK, stream)
        self._relay.reached(number, time.monotonic())
        self._changed()

    def _on_unanswered(self, number: int, reason: str) -> None:
        del self._calls[number]
        if reason != self._said:  # a front end calls again and again
            _log.warning("no answer from %s:%d: %s", *self._back, reason)
            self._said = reason
        self._relay.ended(number, LinkEnd.BACK, time.monotonic(), reset=True)
        self._changed()

    def _plug(self, number: int, end: LinkEnd, stream: socket.socket) -> None:
        self._plugs[number, end] = Plug(
            stream,
            self._reactor,
            time.monotonic,
            readable=partial(self._on_readable, number, end),
            sent=self.watch,
        )

    def _on_readable(self, number: int, end: LinkEnd) -> None:
        plug, reset = self._plugs[number, end], False
        try:
            count = plug.stream.recv_into(self._relay.space(number, end))
        except BlockingIOError:
            return
        except OSError:
            count, reset = 0, True
        if count:
            self._relay.received(number, end, count, time.monotonic())
        else:
            self._relay.ended(number, end, time.monotonic(), reset=reset)
        self._changed()

    def _close(self, number: int, end: LinkEnd, *, reset: bool) -> None:
        plug = self._plugs.pop((number, end), None)
        call = self._calls.pop(number, None) if end is LinkEnd.BACK else None
        if plug is None and call is None:
            return
        if call is not None:
            call.close()
        if plug is not None:
            plug.close(reset=reset)
            self._lingering = [one for one in (*self._lingering, plug) if one.is_open]
        self._accepting.look_again()
        if number not in self._calls and not any((number, end) in self._plugs for end in LinkEnd):
            self._gone(number)
