"""A session with a labgrid coordinator, for callers that are no coroutines.

labgrid's client is asyncio's; its loop runs in a thread of its own here, and every call has a
deadline.  The coordinator knows a client by ``host/user``, not by its connection: what a client
has acquired stays acquired when it goes away, which is why `rig.campaign.places` has leases.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import logging
import threading
from collections.abc import Coroutine, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar
from urllib.parse import urlsplit

import grpc  # type: ignore[import-untyped]
from labgrid.remote.client import ClientSession
from labgrid.remote.common import Place, Reservation, ReservationState
from labgrid.remote.generated import labgrid_coordinator_pb2 as messages

from rig.campaign.desk import Exported, PlaceView
from rig.errors import MachineError, UserError

PORT = 20408
"""labgrid's own default."""
CALL_S = 30.0
"""The coordinator asks exporters while it acquires, 10 s each (labgrid, coordinator.py)."""
CONNECT_S = 10.0

_Result = TypeVar("_Result")
_OURS = (MachineError, UserError)


def full_address(address: str) -> str:
    """Return HOST:PORT of what may be HOST alone.

    Raises:
        UserError: It is neither.
    """
    try:
        parts = urlsplit(f"//{address}")
        host, port = parts.hostname, parts.port or PORT
    except ValueError:
        host, port = None, 0
    if not host or parts.path or parts.username:
        raise UserError(
            f"'{address}' is no address of a coordinator.", hint="Give HOST or HOST:PORT."
        )
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@contextmanager
def coordinator(address: str) -> Iterator[Coordinator]:
    """Be a client of a coordinator, for a while.

    Args:
        address: HOST or HOST:PORT.

    Raises:
        UserError: It is no address.
        MachineError: Nobody, or no coordinator, answers there.
    """
    session = Coordinator(full_address(address))
    try:
        session.start()
        yield session
    finally:
        session.close()


class Coordinator:
    """See `rig.campaign.desk.Desk`, and `coordinator`.

    Args:
        address: HOST:PORT.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self.me = ""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="coordinator", daemon=True
        )
        self._session: Any = None

    def start(self) -> None:
        """Connect.

        Raises:
            MachineError: No coordinator answers.
        """
        self._thread.start()
        logging.getLogger().addFilter(_unheard)
        try:
            self._call(self._open(), CONNECT_S)
        except MachineError as error:
            raise MachineError(
                f"No labgrid coordinator answers at {self.address}.",
                hint="Start labgrid-coordinator there, or name another: --coordinator HOST:PORT.",
            ) from error

    def close(self) -> None:
        """End the session; safe to call again, and if it never began."""
        if self._thread.is_alive():
            with contextlib.suppress(MachineError):
                self._call(self._shut(), CONNECT_S)
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(CONNECT_S)
            self._loop.close()
        logging.getLogger().removeFilter(_unheard)

    def places(self) -> dict[str, PlaceView]:
        """See `Desk.places`."""
        return self._call(self._places())

    def missing(self, place: str) -> str:
        """See `Desk.missing`."""
        return self._call(self._missing(place))

    def reserve(self, tags: Mapping[str, str]) -> str:
        """See `Desk.reserve`."""
        wanted = messages.Reservation.Filter(filter=dict(tags))
        request = messages.CreateReservationRequest(filters={"main": wanted}, prio=0.0)
        made = self._ask("CreateReservation", request)
        return str(made.reservation.token)

    def allocated(self, token: str) -> str | None:
        """See `Desk.allocated`."""
        try:
            found = self._ask("PollReservation", messages.PollReservationRequest(token=token))
        except MachineError as error:
            if "does not exist" in error.message:
                return None
            raise
        reservation = Reservation.from_pb2(found.reservation)
        if reservation.state in {ReservationState.expired, ReservationState.invalid}:
            return None
        return next(iter(reservation.allocations.get("main", [])), "")

    def cancel(self, token: str) -> None:
        """See `Desk.cancel`."""
        try:
            self._ask("CancelReservation", messages.CancelReservationRequest(token=token))
        except MachineError as error:
            if "does not exist" not in error.message:
                raise

    def acquire(self, place: str) -> None:
        """See `Desk.acquire`."""
        self._ask("AcquirePlace", messages.AcquirePlaceRequest(placename=place))

    def release(self, place: str, holder: str) -> None:
        """See `Desk.release`."""
        self._ask("ReleasePlace", messages.ReleasePlaceRequest(placename=place, fromuser=holder))

    def tag(self, place: str, tags: Mapping[str, str]) -> None:
        """See `Desk.tag`."""
        self._ask("SetPlaceTags", messages.SetPlaceTagsRequest(placename=place, tags=dict(tags)))

    def comment(self, place: str, text: str) -> None:
        """See `Desk.comment`."""
        request = messages.SetPlaceCommentRequest(placename=place, comment=text)
        self._ask("SetPlaceComment", request)

    def resources(self, place: str) -> list[Exported]:
        """See `Desk.resources`."""
        return self._call(self._resources(place))

    async def _open(self) -> None:
        self._session = session = ClientSession(self.address, self._loop)
        self.me = f"{session.gethostname()}/{session.getuser()}"
        await session.start()

    async def _shut(self) -> None:
        if self._session is not None:
            self._session.stopping.set()
            await self._session.stop()
            await self._session.close()

    async def _places(self) -> dict[str, PlaceView]:
        await self._sync()
        return {name: self._view(place) for name, place in self._session.places.items()}

    async def _missing(self, name: str) -> str:
        await self._sync()
        place = self._session.places.get(name)
        if place is None:
            raise MachineError(f"Place '{name}' was deleted.")
        paths = [
            (exporter, group, entry.cls, resource)
            for exporter, groups in self._session.resources.items()
            for group, entries in groups.items()
            for resource, entry in entries.items()
            if entry.data.get("cls") and entry.avail
        ]
        return str(place.unmatched(paths) or "") if place.matches else "it has no match"

    async def _sync(self) -> None:
        """Have seen all that the coordinator has told until now."""
        if self._session.stopping.is_set() or not await self._session.sync_with_coordinator():
            raise MachineError(f"The labgrid coordinator at {self.address} is gone.")

    def _view(self, place: Place) -> PlaceView:
        lost = [path[0] for path in place.acquired_resources if self._entry(path) is None]
        return PlaceView(
            place.name,
            dict(place.tags),
            place.comment,
            place.acquired or "",
            place.reservation or "",
            lost[0] if lost else "",
        )

    def _entry(self, path: list[str]) -> Any:
        """Return an acquired resource; None if its exporter is gone."""
        exporter, group, _, name = path
        entry = self._session.resources.get(exporter, {}).get(group, {}).get(name)
        return entry if entry is not None and entry.data.get("cls") else None

    async def _resources(self, name: str) -> list[Exported]:
        await self._sync()
        place = self._session.places.get(name)
        if place is None:
            raise MachineError(f"Place '{name}' was deleted.")
        return [self._exported(place, path) for path in place.acquired_resources]

    def _exported(self, place: Place, path: list[str]) -> Exported:
        exporter, group, kind, name = path
        entry = self._entry(path)
        if entry is None:
            raise MachineError(f"Exporter '{exporter}' of place '{place.name}' is gone.")
        match = place.getmatch(path)
        renamed = match.rename if match is not None else None
        return Exported(
            exporter,
            group,
            renamed or name,
            entry.cls or kind,
            dict(entry.args),
            named=bool(renamed),
            proxied=bool(entry.extra.get("proxy_required")),
        )

    def _ask(self, method: str, request: Any) -> Any:
        return self._call(self._request(method, request))

    async def _request(self, method: str, request: Any) -> Any:
        try:
            answer = await getattr(self._session.stub, method)(request, timeout=CALL_S)
        except grpc.aio.AioRpcError as error:
            if error.code() in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}:
                raise MachineError(f"The labgrid coordinator at {self.address} is gone.") from error
            raise MachineError(f"The labgrid coordinator refused: {error.details()}.") from error
        return answer

    def _call(
        self, work: Coroutine[Any, Any, _Result], deadline_s: float = CALL_S + 5.0
    ) -> _Result:
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result(deadline_s)
        except concurrent.futures.TimeoutError as error:
            future.cancel()
            raise MachineError(
                f"The labgrid coordinator at {self.address} does not answer."
            ) from error
        except _OURS:
            raise
        except Exception as error:  # labgrid's own, of many kinds
            raise MachineError(f"The labgrid coordinator at {self.address}: {error}") from error


def _unheard(record: logging.LogRecord) -> bool:
    """Say whether a line of the log is for the user: labgrid's client logs what we raise."""
    return not record.pathname.endswith("labgrid/remote/client.py")
