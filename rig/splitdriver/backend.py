"""The back end's core: messages and completions in, actions out.  No I/O.

It keeps a queue for each endpoint of the one device in the mapped port, lets an URB go to the
controller when the endpoint's state allows it (`rig.splitdriver.endpoint`), and answers every
submit exactly once, unless the device is gone: then one DISCONNECT answers them all.

Three control requests are not sent to the device as they are, because the kernel keeps state about
them; they become `Perform` actions, in ep0's queue order like the rest.
"""

from __future__ import annotations

import errno

import msgspec

from rig.errors import ApiViolationError, RemoteProtocolError
from rig.splitdriver.endpoint import RESET_NUMBER, Endpoint, Unlinked, Work
from rig.splitdriver.messages import (
    Complete,
    Connect,
    Disconnect,
    Disconnected,
    Message,
    Payload,
    Reset,
    ResetDone,
    Resume,
    Submit,
    Unlink,
)
from rig.usb.setup import Operation, SetupPacket, operation
from rig.usb.urb import (
    CONTROL_ENDPOINT,
    DIRECTION_IN,
    Speed,
    TransferType,
    stops_endpoint,
)

MAX_QUEUED_BYTES = 64 << 20
"""Transfer buffers that one front end may have queued here.  usbfs itself allows 16 MiB in flight
by default (``usbfs_memory_mb``); a client that queues four times that is broken."""

MAX_QUEUED_URBS = 4096


class Send(msgspec.Struct, frozen=True):
    """Send a message to the front end."""

    message: Message


class Start(msgspec.Struct, frozen=True):
    """Give an URB to the controller; tell its end to `BackEnd.completed`."""

    urb: Submit


class Perform(msgspec.Struct, frozen=True):
    """Have the kernel carry out a control request; tell its end to `BackEnd.completed`."""

    urb: Submit
    operation: Operation


class Discard(msgspec.Struct, frozen=True):
    """Take an URB back from the controller; its completion is told as any other."""

    urb_id: int


class ResetPort(msgspec.Struct, frozen=True):
    """Reset the device's port; tell the end to `BackEnd.reset_done`."""


Action = Send | Start | Perform | Discard | ResetPort


class BackEnd:
    """The back end of one port.

    Args:
        window: URBs of one endpoint that may be in the controller at a time.
    """

    def __init__(self, window: int = 1) -> None:
        self._window = window
        self._device: int | None = None
        self._last_device = 0
        self._speed = Speed.UNKNOWN
        self._linked = False
        self._awaits_farewell = False
        self._endpoints: dict[int, Endpoint] = {}
        self._where: dict[int, tuple[Endpoint, int]] = {}  # of every URB: its queue, its octets
        self._queued_bytes = 0
        self._unlinked: set[int] = set()  # running URBs that the front end wants back
        self._actions: list[Action] = []

    @property
    def device(self) -> int | None:
        """The number of the device that the front end knows of, if any."""
        return self._device

    def take_actions(self) -> list[Action]:
        """Return what is to be done now, in this order, and forget it."""
        actions, self._actions = self._actions, []
        return actions

    # What the port tells.

    def plugged(self, speed: Speed) -> None:
        """A device is ready behind the port.

        The front end hears of it once it has let go of the device before.
        """
        if self._device is not None:
            raise ApiViolationError("A device was plugged in where there is one already.")
        self._speed = speed
        self._last_device = self._last_device % 0xFFFF + 1
        self._device = self._last_device
        if self._linked and not self._awaits_farewell:
            self._actions.append(Send(Connect(self._device, speed)))

    def unplugged(self) -> None:
        """The device is gone, and with it every URB."""
        if self._device is None:
            return
        if self._linked and not self._awaits_farewell:
            self._actions.append(Send(Disconnect(self._device)))
            self._awaits_farewell = True
        self._forget_device()

    def completed(self, urb_id: int, status: int, actual_bytes: int, data: Payload = b"") -> None:
        """An URB that was started, or a request that was performed, has ended.

        What belongs to a device that is gone is ignored.

        Args:
            urb_id: The URB.
            status: 0 or a negative errno.
            actual_bytes: What moved.
            data: IN data, `actual_bytes` long.
        """
        if urb_id not in self._where:
            return
        endpoint = self._forget_urb(urb_id)
        if urb_id in self._unlinked:
            self._unlinked.discard(urb_id)
            # Not -ENOENT, which usbfs gives to what it discards: the client asked asynchronously.
            status = status if status not in (0, -errno.ENOENT) else -errno.ECONNRESET
        control = endpoint is self._endpoints.get(CONTROL_ENDPOINT)
        kind = TransferType.CONTROL if control else TransferType.BULK
        endpoint.end(urb_id, stops=stops_endpoint(kind, status))
        self._complete(endpoint, urb_id, status, actual_bytes, data)
        self._advance(endpoint)

    def reset_done(self, status: int) -> None:
        """The port reset that was asked for has ended.

        Args:
            status: 0 or a negative errno.
        """
        endpoint = self._endpoints.get(CONTROL_ENDPOINT)
        if endpoint is None or RESET_NUMBER not in endpoint.running():
            return
        endpoint.end(RESET_NUMBER, stops=False)
        assert self._device is not None
        self._actions.append(Send(ResetDone(self._device, status)))
        self._advance(endpoint)

    # What the link tells.

    def linked(self) -> None:
        """A front end has come and has greeted: it knows nothing yet."""
        self._linked = True
        self._awaits_farewell = False
        if self._device is not None:
            self._actions.append(Send(Connect(self._device, self._speed)))

    def link_lost(self) -> list[int]:
        """The front end is gone: forget all that it queued.

        Returns:
            The URBs that the controller has; they must be discarded and reaped.
        """
        self._linked = False
        running = [n for e in self._endpoints.values() for n in e.running() if n != RESET_NUMBER]
        self._actions.clear()
        self._forget_urbs()
        return running

    def receive(self, message: Message) -> None:
        """Take one message of the front end.

        Raises:
            RemoteProtocolError: The front end must not say that, or not now.
        """
        match message:
            case Submit() if not self._is_stale(message.device):
                self._submit(message)
            case Unlink() if not self._is_stale(message.device):
                self._unlink(message)
            case Resume() if not self._is_stale(message.device):
                endpoint = self._endpoint(message.endpoint_address)
                if endpoint.resume(message.epoch):
                    self._advance(endpoint)
            case Reset() if not self._is_stale(message.device):
                endpoint = self._endpoint(CONTROL_ENDPOINT)
                if len(endpoint) >= MAX_QUEUED_URBS:
                    raise RemoteProtocolError(f"More than {MAX_QUEUED_URBS} resets are queued.")
                endpoint.add(message)
                self._advance(endpoint)
            case Submit() | Unlink() | Resume() | Reset():
                pass  # sent before the front end knew; DISCONNECT has answered it
            case Disconnected():
                self._farewell()
            case _:
                raise RemoteProtocolError(f"A front end must not send {type(message).__name__}.")

    def _is_stale(self, device: int) -> bool:
        return self._awaits_farewell or device != self._device

    def _farewell(self) -> None:
        if not self._awaits_farewell:
            raise RemoteProtocolError("The front end answered a DISCONNECT that was not sent.")
        self.linked()

    def _submit(self, urb: Submit) -> None:
        if urb.urb_id in self._where:
            raise RemoteProtocolError(f"URB {urb.urb_id} was submitted twice.")
        self._queued_bytes += urb.buffer_bytes
        if self._queued_bytes > MAX_QUEUED_BYTES or len(self._where) >= MAX_QUEUED_URBS:
            raise RemoteProtocolError(
                f"More than {MAX_QUEUED_BYTES} octets or {MAX_QUEUED_URBS} URBs are queued."
            )
        endpoint = self._endpoint(urb.endpoint_address)
        endpoint.add(urb)
        self._where[urb.urb_id] = endpoint, urb.buffer_bytes
        self._advance(endpoint)

    def _unlink(self, message: Unlink) -> None:
        if message.urb_id not in self._where:
            return  # COMPLETE crossed it on the link
        endpoint, _ = self._where[message.urb_id]
        if message.local:
            endpoint.drop(message.urb_id)
            self._forget_urb(message.urb_id)
            return
        match endpoint.unlink(message.urb_id):
            case Unlinked.RUNNING:
                if message.urb_id not in self._unlinked:
                    self._unlinked.add(message.urb_id)
                    self._actions.append(Discard(message.urb_id))
            case Unlinked.DROPPED:
                self._forget_urb(message.urb_id)
                self._complete(endpoint, message.urb_id, -errno.ECONNRESET, 0)

    def _complete(
        self, endpoint: Endpoint, urb_id: int, status: int, actual_bytes: int, data: Payload = b""
    ) -> None:
        assert self._device is not None
        self._actions.append(
            Send(
                Complete(
                    self._device,
                    urb_id,
                    status,
                    actual_bytes,
                    endpoint.epoch,
                    endpoint.quiet,
                    data,
                )
            )
        )

    def _advance(self, endpoint: Endpoint) -> None:
        while (work := endpoint.start()) is not None:
            self._actions.append(_action(work))

    def _endpoint(self, address: int) -> Endpoint:
        key = address if address & ~DIRECTION_IN else CONTROL_ENDPOINT
        if key not in self._endpoints:
            self._endpoints[key] = Endpoint(self._window)
        return self._endpoints[key]

    def _forget_urb(self, urb_id: int) -> Endpoint:
        endpoint, buffer_bytes = self._where.pop(urb_id)
        self._queued_bytes -= buffer_bytes
        return endpoint

    def _forget_device(self) -> None:
        self._device = None
        self._forget_urbs()

    def _forget_urbs(self) -> None:
        self._endpoints.clear()
        self._where.clear()
        self._unlinked.clear()
        self._queued_bytes = 0


def _action(work: Work) -> Action:
    if isinstance(work, Reset):
        return ResetPort()
    if work.endpoint_address & ~DIRECTION_IN == CONTROL_ENDPOINT:
        wanted = operation(SetupPacket.unpack(work.setup))
        if wanted is not None:
            return Perform(work, wanted)
    return Start(work)
