"""The back end's core: messages and completions in, actions out.  No I/O.

It keeps a queue for each endpoint of the one device in a mapped port, lets an URB go to the
controller when the endpoint's state allows it (`rig.splitdriver.endpoint`), and answers every
submit exactly once, unless the device is gone: then one DISCONNECT answers them all.

Three control requests are not sent to the device as they are, because the kernel keeps state about
them; they become `Perform` actions, in ep0's queue order like the rest.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable, Mapping

from rig.errors import RemoteProtocolError
from rig.splitdriver.back_actions import (
    Action,
    Discard,
    LentEndpoint,
    Loan,
    Perform,
    ResetPort,
    Send,
    Start,
    action_for,
    number_of,
)
from rig.splitdriver.back_plug import Plug
from rig.splitdriver.back_queues import Queues, Standing
from rig.splitdriver.endpoint import RESET_NUMBER, Endpoint, Unlinked
from rig.splitdriver.messages import (
    ALL_CAPABILITIES,
    Capability,
    Complete,
    Disconnected,
    Message,
    Payload,
    Reset,
    ResetDone,
    Resume,
    Submit,
    Unlink,
)
from rig.splitdriver.policy import ACA_STATUSES, DEFAULT_ACA_STATUS, Policy
from rig.usb.urb import Speed, TransferType, stops_endpoint

__all__ = [
    "Action",
    "BackEnd",
    "Discard",
    "LentEndpoint",
    "Loan",
    "Perform",
    "ResetPort",
    "Send",
    "Start",
    "capabilities",
]

_UNTOUCHED = (-errno.ECONNRESET, -errno.ENOENT)
"""How the controller's kernel gives back what was unlinked or discarded."""


def capabilities(policy: Policy, window: int) -> Capability:
    """Return what a back end can do that has that policy and that window."""
    if policy is Policy.NAIVE or window > 1:
        # The controller's kernel has several: in which order it gives them back is its affair.
        return ALL_CAPABILITIES & ~Capability.IN_ORDER
    return ALL_CAPABILITIES


class BackEnd:
    """The back end of one port.

    Args:
        policy: What happens on an endpoint behind an error.
        window: URBs of one bulk endpoint that may be in the controller at a time, under policy
            `hold`.  Above 1 it is exact only where the kernel's BULK_CONTINUATION is.
        aca_status: What policy `aca` fails URBs with, a negative errno.
        port: The port's place on the link.
    """

    def __init__(
        self,
        policy: Policy = Policy.HOLD,
        window: int = 1,
        aca_status: int = ACA_STATUSES[DEFAULT_ACA_STATUS],
        port: int = 0,
    ) -> None:
        self._policy = policy
        self._queues = Queues(policy, window)
        self._aca_status = aca_status
        self._performed: int | None = None  # what the kernel carries out now; it may kill all else
        self._actions: list[Action] = []
        self._plug = Plug(port, self._say)

    @property
    def device(self) -> int | None:
        """The number of the device that the front end knows of, if any."""
        return self._plug.device

    @property
    def violations(self) -> int:
        """How many URBs ran in the controller although one before them had failed there."""
        return self._queues.violations

    @property
    def stopped(self) -> frozenset[int]:
        """The addresses of the endpoints that have stopped and do not go on yet."""
        return self._queues.stopped

    @property
    def served(self) -> bool:
        """Whether the front end knows of the device."""
        return self._plug.told

    def standing(self) -> list[Standing]:
        """Say how each endpoint of the device stands; nothing while there is none."""
        return self._queues.standing() if self._plug.device is not None else []

    def take_actions(self) -> list[Action]:
        """Return what is to be done now, in this order, and forget it."""
        actions, self._actions = self._actions, []
        return actions

    # What the port tells.

    def plugged(self, speed: Speed) -> None:
        """A device is ready behind the port.

        The front end hears of it once it has let go of the device before.
        """
        self._plug.arrive(speed)

    def unplugged(self) -> None:
        """The device is gone, and with it every URB."""
        if self._plug.device is None:
            return
        # What was to be done to it must not be done to the next device.
        self._actions = [action for action in self._actions if isinstance(action, Send)]
        self._plug.leave()
        self._queues.kinds = {}
        self._forget_urbs()

    def configured(self, kinds: Mapping[int, TransferType]) -> None:
        """The device's endpoints are these now, by address; endpoint 0 is not among them."""
        self._queues.kinds = kinds

    def completed(self, urb_id: int, status: int, actual_bytes: int, data: Payload = b"") -> None:
        """An URB that was started, or a request that was performed, has ended.

        What belongs to a device that is gone is ignored.

        Args:
            urb_id: The URB.
            status: 0 or a negative errno.
            actual_bytes: What moved.
            data: IN data, `actual_bytes` long.
        """
        endpoint = self._queues.find(urb_id)
        if endpoint is None:
            self._plug.bury(urb_id)
            return
        touched = actual_bytes > 0 or status not in _UNTOUCHED
        unlinked = urb_id in self._queues.unlinked
        if not touched and not unlinked and self._comes_back(endpoint, urb_id):
            self._queues.aside.discard(urb_id)
            endpoint.take_back(urb_id)
        else:
            self._ended(endpoint, urb_id, status, actual_bytes, data, ran=touched)
        self._go_on_behind(urb_id, endpoint)

    def reset_done(self, status: int) -> None:
        """The port reset that was asked for has ended.

        Args:
            status: 0 or a negative errno.
        """
        endpoint = self._queues.control()
        if endpoint is None or RESET_NUMBER not in endpoint.running():
            self._plug.bury(RESET_NUMBER)
            return
        endpoint.end(RESET_NUMBER, stops=False)
        assert self._plug.device is not None
        self._actions.append(Send(ResetDone(self._plug.device, status)))
        self._go_on_behind(RESET_NUMBER, endpoint)

    # The lane.

    def lend(self) -> Loan | None:
        """Lend the device, if nothing is to be decided about it; until `take_back`."""
        if self._plug.device is None or not self._plug.told or self._performed is not None:
            return None
        if self._policy is not Policy.HOLD or not self._queues.single:
            return None
        lent = self._queues.lend()
        return None if lent is None else Loan(self._plug.device, *lent)

    def take_back(self, urbs: Iterable[tuple[Submit, bool]], latest: int) -> None:
        """Go on with these URBs in place of those that were lent.

        Args:
            urbs: Those that are still here, in the form of `Loan.urbs`.
            latest: The number of the last URB that came.
        """
        self._queues.take_back(urbs, latest)
        for endpoint in self._queues.all():
            self._advance(endpoint)

    # What the link tells.

    def linked(self) -> None:
        """A front end has come and has greeted: it knows nothing yet."""
        self._plug.greet()

    def link_lost(self) -> None:
        """The front end is gone: forget all that it queued, and take back what runs.

        The next front end hears of the device when the controller has let go of all of it.
        """
        self._plug.linked = False
        self._take_all_back()

    def _take_all_back(self) -> None:
        self._plug.told = False
        unstarted = {
            number_of(a) for a in self._actions if isinstance(a, Start | Perform | ResetPort)
        }
        running = self._queues.running() - unstarted
        orphans = self._plug.orphans
        # What a front end has let go of may still have to be taken back.
        kept = [a for a in self._actions if isinstance(a, Discard) and a.urb_id in orphans]
        taken = [Discard(n) for n in sorted(running, reverse=True) if n != RESET_NUMBER]
        self._actions = [*kept, *taken]
        orphans.update(running)
        self._forget_urbs()

    def receive(self, message: Message) -> None:
        """Take one message of the front end.

        Raises:
            RemoteProtocolError: The front end must not say that, or not now.
        """
        match message:
            case Submit() if self._plug.is_known(message.device):
                self._submit(message)
            case Unlink() if self._plug.is_known(message.device):
                self._unlink(message)
            case Resume() if self._plug.is_known(message.device):
                self._resume(message)
            case Reset() if self._plug.is_known(message.device):
                self._reset(message)
            case Submit() | Unlink() | Resume() | Reset():
                pass  # sent before the front end knew; DISCONNECT has answered it
            case Disconnected():
                self._farewell(message.device)
            case _:
                raise RemoteProtocolError(f"A front end must not send {type(message).__name__}.")

    def _farewell(self, device: int) -> None:
        if self._plug.is_known(device):
            # It has let go of the device by itself: to it, what comes next is another one.
            self._take_all_back()
            self._plug.number()
        else:
            self._plug.farewell(device)
        self._plug.announce()

    def _say(self, message: Message) -> None:
        self._actions.append(Send(message))

    def _submit(self, urb: Submit) -> None:
        if urb.clear and self._policy is not Policy.ACA:
            raise RemoteProtocolError(f"URB {urb.urb_id} clears, but the policy is {self._policy}.")
        endpoint, queued = self._queues.put(urb)
        if queued:
            self._advance(endpoint)
        else:
            self._complete(endpoint, urb.urb_id, self._aca_status, 0)

    def _reset(self, message: Reset) -> None:
        self._advance(self._queues.put_reset(message))

    def _resume(self, message: Resume) -> None:
        if self._policy is not Policy.HOLD:
            raise RemoteProtocolError(f"RESUME, but the policy is {self._policy}.")
        endpoint = self._queues.of(message.endpoint_address)
        if endpoint.resume(message.epoch):
            self._advance(endpoint)

    def _unlink(self, message: Unlink) -> None:
        endpoint = self._queues.find(message.urb_id)
        if endpoint is None:
            return  # COMPLETE crossed it on the link
        if message.local:
            endpoint.drop(message.urb_id)
            self._queues.forget(message.urb_id)
            return
        if endpoint.unlink(message.urb_id) is Unlinked.RUNNING:
            self._discard(endpoint, message.urb_id)
        else:
            self._complete(endpoint, message.urb_id, -errno.ECONNRESET, 0)
        self._refuse(endpoint)

    def _discard(self, endpoint: Endpoint, urb_id: int) -> None:
        """Take a running URB back, and first what stands behind it: else that would run now."""
        if urb_id in self._queues.unlinked:
            return
        self._queues.unlinked.add(urb_id)
        if self._policy is Policy.HOLD:
            for behind in reversed(endpoint.running()):
                if behind > urb_id and behind not in self._queues.unlinked | self._queues.aside:
                    self._queues.aside.add(behind)
                    self._actions.append(Discard(behind))
        if urb_id not in self._queues.aside:
            self._actions.append(Discard(urb_id))

    def _comes_back(self, endpoint: Endpoint, urb_id: int) -> bool:
        """Whether an URB that the controller gave back untouched was meant to be queued again."""
        if urb_id in self._queues.aside:
            return True
        return not self._queues.single and endpoint.drains_after_failure

    def _ended(
        self,
        endpoint: Endpoint,
        urb_id: int,
        status: int,
        actual_bytes: int,
        data: Payload,
        *,
        ran: bool,
    ) -> None:
        late = urb_id in self._queues.unlinked and status == 0
        if urb_id in self._queues.unlinked:
            # Not -ENOENT, which usbfs gives to what it discards: the client asked asynchronously.
            status = status if status not in (0, -errno.ENOENT) else -errno.ECONNRESET
        elif urb_id in self._queues.aside and status in _UNTOUCHED:
            # It had begun when it was to be taken back: the client must know that it was cut off.
            status = -errno.EPROTO
        elif status == -errno.ENOENT:
            # Killed by a reset or a new configuration, as usb_disable_endpoint would tell it.
            status = -errno.ESHUTDOWN
        kind = TransferType.BULK  # interrupt endpoints have the same rule
        if endpoint is self._queues.control():
            kind = TransferType.CONTROL
        endpoint.end(urb_id, stops=stops_endpoint(kind, status), ran=ran, late=late)
        self._complete(endpoint, urb_id, status, actual_bytes, data)
        self._refuse(endpoint)

    def _refuse(self, endpoint: Endpoint) -> None:
        """Policy `aca`: fail what is queued."""
        for urb in endpoint.refused():
            self._complete(endpoint, urb.urb_id, self._aca_status, 0)

    def _complete(
        self, endpoint: Endpoint, urb_id: int, status: int, actual_bytes: int, data: Payload = b""
    ) -> None:
        assert self._plug.device is not None
        self._queues.forget(urb_id)
        self._actions.append(
            Send(
                Complete(
                    self._plug.device,
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
        # Without a policy the kernel must take nothing back, either: that would be one.
        takes_back = self._policy is not Policy.NAIVE
        # What is carried out may kill URBs, and nothing may run behind one that is not known yet.
        while self._performed is None and (work := endpoint.start()) is not None:
            action = action_for(work, continues=takes_back and len(endpoint.running()) > 1)
            self._actions.append(action)
            if not isinstance(action, Start):
                self._performed = number_of(action)

    def _go_on_behind(self, number: int, endpoint: Endpoint) -> None:
        """Let an endpoint go on; all of them, if what has ended was carried out by the kernel."""
        if number == self._performed:
            self._performed = None
            for each in self._queues.all():
                self._advance(each)
        else:
            self._advance(endpoint)

    def _forget_urbs(self) -> None:
        self._performed = None
        self._queues.forget_all()
