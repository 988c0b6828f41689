"""The queues of the device that a back end serves, and the account of what is in them.  Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from rig.errors import RemoteProtocolError
from rig.splitdriver.back_actions import LentEndpoint
from rig.splitdriver.endpoint import Endpoint
from rig.splitdriver.messages import Reset, Submit
from rig.splitdriver.policy import NAIVE_WINDOW, Policy
from rig.usb.urb import CONTROL_ENDPOINT, DIRECTION_IN, TransferType

MAX_QUEUED_BYTES = 64 << 20
"""Transfer buffers that one front end may have queued here.  usbfs itself allows 16 MiB in flight
by default (``usbfs_memory_mb``); a client that queues four times that is broken."""

MAX_QUEUED_URBS = 4096

COPIED_BYTES = 64 << 10
"""OUT data of an URB that must wait is copied if it is smaller than that: a quarter of a receive
buffer."""


class Standing(msgspec.Struct, frozen=True):
    """How an endpoint stands.

    Attributes:
        address: As in its descriptor; 0 for endpoint 0.
        kind: ``control``, ``bulk``, ``interrupt`` or ``isochronous``.
        queued: URBs that have come and not ended.
        in_flight: Those of them that the controller has.
        stopped: Whether nothing starts there for now.
        done: URBs that have ended without an error; None: nobody counts them.
        failed: Those that ended with one.
        octets: What they moved.
    """

    address: int
    kind: str
    queued: int = 0
    in_flight: int = 0
    stopped: bool = False
    done: int | None = None
    failed: int | None = None
    octets: int | None = None


def _standing(address: int, kind: TransferType, endpoint: Endpoint | None) -> Standing:
    if endpoint is None:  # not used yet
        return Standing(address, kind.name.lower())
    return Standing(address, kind.name.lower(), len(endpoint), endpoint.in_flight, endpoint.stopped)


class Queues:
    """All URBs of a device that the front end has submitted and has not been told the end of.

    Args:
        policy: What happens on an endpoint behind an error.
        window: URBs of one bulk endpoint that may be in the controller at a time, under policy
            `hold`.
    """

    def __init__(self, policy: Policy, window: int) -> None:
        self._policy = policy
        self._window = {Policy.NAIVE: NAIVE_WINDOW, Policy.ACA: 1}.get(policy, window)
        self._endpoints: dict[int, Endpoint] = {}
        self._where: dict[int, tuple[Endpoint, int]] = {}  # of every URB: its queue, its octets
        self._past_violations = 0
        self.kinds: Mapping[int, TransferType] = {}
        """The transfer types of the device's endpoints, by address, but endpoint 0's."""
        self.queued_bytes = 0
        """Of all transfer buffers."""
        self.unlinked: set[int] = set()
        """Running URBs that the front end wants back."""
        self.aside: set[int] = set()
        """URBs that are taken back only because they stand behind one of those."""

    @property
    def single(self) -> bool:
        """Whether the controller never has two URBs of one endpoint."""
        return self._window == 1

    @property
    def violations(self) -> int:
        """How many URBs ran in the controller although one before them had failed there."""
        return self._past_violations + sum(e.violations for e in self._endpoints.values())

    @property
    def stopped(self) -> frozenset[int]:
        """The addresses of the endpoints that have stopped and do not go on yet."""
        return frozenset(address for address, e in self._endpoints.items() if e.stopped)

    @property
    def open(self) -> frozenset[int]:
        """The numbers of all URBs, and of whatever else is kept of one."""
        return frozenset(self._where) | self.unlinked | self.aside

    def standing(self) -> list[Standing]:
        """Say how each endpoint stands, endpoint 0 first."""
        return [
            _standing(address, kind, self._endpoints.get(address))
            for address, kind in ((CONTROL_ENDPOINT, TransferType.CONTROL), *self.kinds.items())
        ]

    def all(self) -> Iterable[Endpoint]:
        """Return the queues that there are."""
        return self._endpoints.values()

    def running(self) -> set[int]:
        """Return the numbers of all that the controller has."""
        return {number for each in self._endpoints.values() for number in each.running()}

    def control(self) -> Endpoint | None:
        """Return endpoint 0's queue, if it was ever used."""
        return self._endpoints.get(CONTROL_ENDPOINT)

    def of(self, address: int) -> Endpoint:
        """Return an endpoint's queue; both directions of endpoint 0 are one."""
        key = address if address & ~DIRECTION_IN else CONTROL_ENDPOINT
        endpoint = self._endpoints.get(key)
        if endpoint is None:
            # BULK_CONTINUATION is for bulk alone; without a policy nothing needs to be taken back.
            deep = self.kinds.get(key) is TransferType.BULK or self._policy is Policy.NAIVE
            endpoint = Endpoint(self._policy, self._window if deep and key else 1)
            self._endpoints[key] = endpoint
        return endpoint

    def find(self, urb_id: int) -> Endpoint | None:
        """Return the queue of an URB, if it is here."""
        where = self._where.get(urb_id)
        return None if where is None else where[0]

    def put(self, urb: Submit) -> tuple[Endpoint, bool]:
        """Queue an URB.

        Returns:
            Its queue, and whether it is there; if not, it must be failed.

        Raises:
            RemoteProtocolError: It is here already, is older than the last one of its endpoint, or
                too much is.
        """
        if urb.urb_id in self._where:
            raise RemoteProtocolError(f"URB {urb.urb_id} was submitted twice.")
        self.queued_bytes += urb.buffer_bytes
        if self.queued_bytes > MAX_QUEUED_BYTES or len(self._where) >= MAX_QUEUED_URBS:
            raise RemoteProtocolError(
                f"More than {MAX_QUEUED_BYTES} octets or {MAX_QUEUED_URBS} URBs are queued."
            )
        endpoint = self.of(urb.endpoint_address)
        if len(endpoint) and len(urb.data) < COPIED_BYTES:
            # It is a view, and would keep a whole receive buffer for as long as it waits.
            urb = msgspec.structs.replace(urb, data=bytearray(urb.data))
        self._where[urb.urb_id] = endpoint, urb.buffer_bytes
        return endpoint, endpoint.add(urb)

    def put_reset(self, reset: Reset) -> Endpoint:
        """Queue a port reset on endpoint 0; return that queue.

        Raises:
            RemoteProtocolError: Too much is there.
        """
        endpoint = self.of(CONTROL_ENDPOINT)
        if len(endpoint) >= MAX_QUEUED_URBS:
            raise RemoteProtocolError(f"More than {MAX_QUEUED_URBS} resets are queued.")
        endpoint.add(reset)
        return endpoint

    def forget(self, urb_id: int) -> None:
        """An URB has been answered."""
        _, buffer_bytes = self._where.pop(urb_id)
        self.queued_bytes -= buffer_bytes
        self.unlinked.discard(urb_id)
        self.aside.discard(urb_id)

    def forget_all(self) -> None:
        """Nobody waits for an answer any more."""
        self._past_violations = self.violations
        self._endpoints.clear()
        self._where.clear()
        self.unlinked.clear()
        self.aside.clear()
        self.queued_bytes = 0

    # The lane.

    def lend(self) -> tuple[list[LentEndpoint], list[tuple[Submit, bool]]] | None:
        """Return all endpoints and URBs in the form of `Loan`, if none needs a decision."""
        if any(len(e) for address, e in self._endpoints.items() if address not in self.kinds):
            return None  # endpoint 0 is busy, or one that the device does not have
        endpoints: list[LentEndpoint] = []
        lent: list[tuple[Submit, bool]] = []
        for address, kind in self.kinds.items():
            endpoint = self.of(address)
            urbs = endpoint.lend()
            if urbs is None:
                return None
            endpoints.append(LentEndpoint(address, kind, endpoint.epoch, endpoint.latest))
            lent += urbs
        return endpoints, lent

    def take_back(self, urbs: Iterable[tuple[Submit, bool]], latest: int) -> None:
        """Go on with these URBs in place of those that were lent.

        Args:
            urbs: Those that are still here, in the form of `Loan.urbs`.
            latest: The number of the last URB that came.
        """
        by_endpoint: dict[int, list[tuple[Submit, bool]]] = {a: [] for a in self.kinds}
        for urb, runs in urbs:
            by_endpoint[urb.endpoint_address].append((urb, runs))
        self._where.clear()
        self.queued_bytes = 0
        for address, those in by_endpoint.items():
            endpoint = self.of(address)
            endpoint.replace(those, latest)
            for urb, _ in those:
                self._where[urb.urb_id] = endpoint, urb.buffer_bytes
                self.queued_bytes += urb.buffer_bytes
