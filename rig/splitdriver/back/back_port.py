"""One mapped port with what is plugged in there, joined to its core."""

from __future__ import annotations

import time
from collections.abc import Callable

from rig.daemon import Events
from rig.faults.rules.base import Layer
from rig.faults.rules.endpoint import EndpointEffect
from rig.faults.triggers import EndpointInjector, Fired
from rig.helper_thread import HelperThread
from rig.reactor import READABLE, Reactor
from rig.splitdriver.back.flight import Completion, Configured, Ended, ResetEnded
from rig.splitdriver.back.mapped_device import MappedDevice
from rig.splitdriver.back.port import Plugged, Port
from rig.splitdriver.backend import (
    BackEnd,
    Discard,
    Perform,
    ResetPort,
    Send,
    Start,
)
from rig.splitdriver.lane import BackLent, BackReturned
from rig.splitdriver.messages import Message, Submit
from rig.usb.urb import TransferType, status_name


class BackPort:
    """Joins a core with a port.

    Args:
        core: The port's.
        port: The port; belongs to this from now on.
        injector: Endpoint faults, or None.
        send: Sends messages to the front end.
        events: Where to tell what happens.
        reactor: Waits.
        time_stops: Tell of every endpoint that has stopped for how long it did.
    """

    def __init__(
        self,
        core: BackEnd,
        port: Port,
        injector: EndpointInjector | None,
        *,
        send: Callable[[list[Message]], None],
        events: Events,
        reactor: Reactor,
        time_stops: bool = False,
    ) -> None:
        self.core = core
        self.port = port
        self._injector = injector
        self._send = send
        self._events = events
        self._reactor = reactor
        self._device: MappedDevice | None = None
        self._device_name = ""
        self._violations = 0
        self._time_stops = time_stops
        self._stopped_at_s: dict[int, float] = {}
        self._found: Plugged | None = None  # by the helper
        self._look_again = False
        self._helper = HelperThread(f"port {port.name}")
        reactor.watch(self._helper, READABLE, self._on_looked)

    def close(self) -> None:
        """Give the device and the port back, when nothing blocks on them any more."""
        self._forget_device()
        self._reactor.unwatch(self._helper)
        self._helper.close(self._close_port)

    def _close_port(self) -> None:
        if self._found is not None:
            self._found.usbfs.close()
        self.port.close()

    def status(self) -> dict[str, object]:
        """Tell what a person would ask for."""
        return {
            "name": self.port.name,
            "device": self.core.device,
            "violations": self.core.violations,
            "served": self.core.served,
            "endpoints": self.core.standing(),
        }

    def look(self) -> None:
        """See what is in the port; a device that is known is left alone.

        Does not wait: who opens a device that does not answer may have to for seconds.
        """
        if self._helper.busy:
            self._look_again = True
            return
        if self._device is not None:
            if self.port.present:
                return
            self._take(self._device.ended())
            self._forget_device()
            self.port.forget()
            self.core.unplugged()
            self.act()
        self._helper.do(self._look)

    def _look(self) -> None:
        self._found = self.port.look()

    def _on_looked(self, _: int) -> None:
        self._helper.finished()
        found, self._found = self._found, None
        if found is not None:
            self._serve(found)
        if self._look_again:
            self._look_again = False
            self.look()

    def _serve(self, plugged: Plugged) -> None:
        self._device = MappedDevice(
            plugged.usbfs,
            plugged.layout,
            injector=self._injector,
            on_fault=self._on_fault,
            reactor=self._reactor,
            progressed=self._on_progress,
        )
        self._device_name = plugged.name
        self.core.plugged(plugged.speed)
        self._events.emit("plugged", device=plugged.name, speed=plugged.speed.name)
        self.act()

    def lend(self) -> BackLent | None:
        """Lend the device to a lane, if there is nothing to decide; until `take_back`."""
        loan = self.core.lend() if self._device is not None else None
        if loan is None or self._device is None:
            return None
        if any(e.kind not in (TransferType.BULK, TransferType.INTERRUPT) for e in loan.endpoints):
            return None
        urbs = self._device.lend(loan.urbs)
        if urbs is None:
            return None
        return BackLent(loan.device, self._device.fileno(), list(loan.endpoints), urbs)

    def take_back(self, returned: BackReturned) -> None:
        """Take what a lane has left of the device; `go_on` when all else is taken back, too."""
        assert self._device is not None
        assert self.core.device is not None
        urbs = self._device.take_back(returned.urbs, self.core.device, returned.reaped)
        self.core.take_back(urbs, returned.latest)

    def go_on(self) -> None:
        """Deal with what a lane has left."""
        self._on_progress()

    def act(self) -> None:
        """Do what the core wants until it wants nothing more."""
        messages: list[Message] = []
        while actions := self.core.take_actions():
            discarded: list[int] = []
            for action in actions:
                if isinstance(action, Send):
                    messages.append(action.message)
                elif isinstance(action, Discard):
                    discarded.append(action.urb_id)
                elif self._device is not None:
                    self._discard(discarded)
                    _do(self._device, action)
            self._discard(discarded)
            if self._device is not None:
                self._take(self._device.ended_at_once())
        if messages:
            self._send(messages)
        if self.core.violations != self._violations:
            self._violations = self.core.violations
            self._events.emit("violation", port=self.port.name, count=self._violations)
        if self._time_stops:
            self._tell_stops()

    def _discard(self, urb_ids: list[int]) -> None:
        """Take URBs back, and forget that they were to be."""
        if urb_ids and self._device is not None:
            self._device.discard(urb_ids.copy())
        urb_ids.clear()

    def _tell_stops(self) -> None:
        now_s, stopped = time.monotonic(), self.core.stopped
        for address in [a for a in self._stopped_at_s if a not in stopped]:
            stood_s = round(now_s - self._stopped_at_s.pop(address), 6)
            self._events.emit("went-on", endpoint=address, stood_s=stood_s)
        for address in stopped:
            self._stopped_at_s.setdefault(address, now_s)

    def _on_progress(self) -> None:
        if self._device is not None:
            self._take(self._device.ended())
            self.act()

    def _take(self, ended: list[Ended]) -> None:
        core = self.core
        for done in ended:
            match done:
                case Completion(urb_id, status, actual_bytes, data):
                    core.completed(urb_id, status, actual_bytes, data)
                case Configured(kinds):
                    core.configured(kinds)
                case ResetEnded(status):
                    self._events.emit("reset", status=status_name(status), port=self.port.name)
                    core.reset_done(status)

    def _forget_device(self) -> None:
        if self._device is not None:
            self._device.close()
            self._device = None
            self._events.emit("unplugged", device=self._device_name)

    def _on_fault(self, fired: Fired[EndpointEffect], urb: Submit) -> None:
        effect = fired.effect
        more = {"halt": effect.halt, "nak_s": effect.nak_s}
        self._events.emit(
            "fault",
            layer=Layer.ENDPOINT,
            rule=fired.rule_name,
            match=fired.match,
            by_hand=fired.by_hand,
            when=effect.when,
            status=status_name(effect.status),
            **{name: value for name, value in more.items() if value},
            endpoint=urb.endpoint_address,
            urb=urb.urb_id,
            buffer_bytes=urb.buffer_bytes,
        )


def _do(device: MappedDevice, action: Start | Perform | ResetPort) -> None:
    match action:
        case Start(urb, continues):
            device.start(urb, continues=continues)
        case Perform(urb, operation):
            device.perform(urb, operation)
        case ResetPort():
            device.reset()
