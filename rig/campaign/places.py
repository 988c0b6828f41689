"""Labs as labgrid places: taken one at a time, kept by a lease, given back, marked as broken.

A coordinator keeps a place for whoever has acquired it until that one releases it, even if it is
dead.  So a holder renews a lease, a tag of the place; whoever waits for a place and sees a lease
that nobody has renewed for long releases that place.  How long is measured by the watcher's own
clock: machines' clocks need not agree.

Which places are sound is a tag, too, which reservations ask for: the coordinator itself gives
nobody a place that is marked as broken.
"""

from __future__ import annotations

import contextlib
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from rig.campaign.desk import Desk, PlaceView
from rig.errors import MachineError, UserError

STATE = "rig"
"""The tag that makes a place a lab of the rig, and says whether it can be used."""
SOUND, BROKEN = "lab", "broken"
LEASE = "rig_lease"

RENEW_S = 10.0
LEASE_S = 60.0
"""After so long without a renewal the holder is taken for dead."""
LOOK_S = 1.0
POLL_S = 0.25
LONGEST_COMMENT = 300


class Held:
    """A place that is ours.

    Args:
        name: Its name.
        token: Of the reservation by which it was got.

    Attributes:
        name: See above.
        token: See above.
        fault: Why it can no longer be used, as a sentence; "" while it can.
        is_ours: Whether it is still to be given back.
    """

    def __init__(self, name: str, token: str) -> None:
        self.name = name
        self.token = token
        self.fault = ""
        self.is_ours = True


class Places:
    """The places that fit; see `kept`.

    Args:
        desk: The coordinator.
        tags: What a place must have, besides being a sound lab.
        note: Is told what the user should know.
        clock: Seconds, never backwards.
    """

    def __init__(
        self,
        desk: Desk,
        tags: Mapping[str, str],
        note: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._desk = desk
        self._tags = {**tags, STATE: SOUND}
        self._note = note
        self._clock = clock
        self._me = secrets.token_hex(4)
        self._renewals = 0
        self._renewed_s = clock()
        self._held: dict[str, Held] = {}
        self._lock = threading.Lock()
        self._seen: dict[str, tuple[str, float]] = {}
        self.gone = ""

    def fitting(self) -> dict[str, PlaceView]:
        """Return the sound places that have the tags, free or not.

        Raises:
            MachineError: The coordinator is gone.
        """
        return {name: place for name, place in self._desk.places().items() if self._fits(place)}

    def check(self) -> int:
        """Return how many places fit.

        Raises:
            UserError: None does.
            MachineError: The coordinator is gone.
        """
        found = len(self.fitting())
        if not found:
            told = ", ".join(
                f"{place.name} ({', '.join(f'{k}={v}' for k, v in sorted(place.tags.items()))})"
                for place in self._desk.places().values()
            )
            wanted = " ".join(f"{key}={value}" for key, value in self._tags.items())
            raise UserError(
                f"No place at {self._desk.address} has the tags {wanted}. There are:"
                f" {told or 'none'}.",
                hint=f"labgrid-client -p PLACE set-tags {wanted}",
            )
        return found

    def take(self, wanted: Callable[[], bool], wait_s: float) -> Held | None:
        """Wait for a place, and take it.

        Args:
            wanted: Says whether one is still wanted.
            wait_s: For how long.

        Returns:
            The place; None if it is no longer wanted, or none that fits is left.

        Raises:
            MachineError: None was free in time, or the coordinator is gone.
        """
        until = self._clock() + wait_s
        while wanted() and self.fitting():
            token = self._desk.reserve(self._tags)
            held = None
            try:
                held = self._await(token, wanted, until)
            finally:
                if held is None:
                    self._desk.cancel(token)
            if held is not None:
                return held
        return None

    def release(self, held: Held) -> None:
        """Give a place back; safe to call again, and when the coordinator is gone."""
        with self._lock:
            self._held.pop(held.name, None)
            ours, held.is_ours = held.is_ours, False
        if not ours:
            return
        with contextlib.suppress(MachineError):  # gone, and with it all that it knew
            self._free(held.name, self._desk.me, held.token)

    def mark_broken(self, name: str, why: str) -> None:
        """Have nobody use a place until somebody has mended it.

        Args:
            name: The place.
            why: A sentence.
        """
        self._note(f"Place '{name}' is broken: {why}")
        with contextlib.suppress(MachineError):
            before = self._desk.places()[name].comment
            self._desk.tag(name, {STATE: BROKEN})
            said = f"broken, says {self._desk.me}: {why}"
            if before and not before.startswith("broken, says"):
                said += f" (Before: {before})"
            self._desk.comment(name, said[:LONGEST_COMMENT])

    def look(self) -> None:
        """Renew what is due, and see whether what is held is still there and ours.

        Raises:
            MachineError: The coordinator is gone.
        """
        with self._lock:
            held = list(self._held.values())
        if self._clock() - self._renewed_s >= RENEW_S:
            self._renewed_s = self._clock()
            self._renewals += 1
            for one in held:
                self._renew(one)
        places = self._desk.places()
        for one in held:
            self._judge(one, places.get(one.name))
        self._free_abandoned(places)

    def _fits(self, place: PlaceView) -> bool:
        tags = {**place.tags, "name": place.name}  # as the coordinator itself takes a name
        return all(tags.get(key) == value for key, value in self._tags.items())

    def _await(self, token: str, wanted: Callable[[], bool], until: float) -> Held | None:
        """Wait until a reservation has its place; return None to begin anew, or to give up."""
        pause = threading.Event()
        while wanted():
            name = self._desk.allocated(token)
            if name is None or not self.fitting():
                return None
            if name:
                return self._acquire(name, token)
            if self._clock() >= until:
                raise MachineError(
                    f"No place was free in time: {self._holders()}.",
                    hint="'labgrid-client who' tells who uses what; --wait S waits longer.",
                )
            pause.wait(POLL_S)
        return None

    def _acquire(self, name: str, token: str) -> Held | None:
        missing = self._desk.missing(name)
        if missing:
            self.mark_broken(name, f"no exporter has what it consists of: {missing}.")
            return None
        try:
            self._desk.acquire(name)
        except MachineError as error:
            if not self._desk.places()[name].holder:
                self.mark_broken(name, error.message)
            return None
        held = Held(name, token)
        with self._lock:
            self._held[name] = held
        self._renew(held)
        return held

    def _renew(self, held: Held) -> None:
        with self._lock:  # a lease behind our back would look like another's to the next holder
            if self._held.get(held.name) is held:
                self._desk.tag(held.name, {LEASE: self._word})

    @property
    def _word(self) -> str:
        return f"{self._me}_{self._renewals}"

    def _judge(self, held: Held, place: PlaceView | None) -> None:
        if place is None:
            held.fault = "It was deleted at the coordinator."
        elif place.holder != self._desk.me or self._is_anothers(place):
            held.fault = f"It was taken from us; now it is {place.holder or 'nobody'}'s."
            held.is_ours = False
        elif place.lost:
            held.fault = f"Its exporter '{place.lost}' is gone."

    def _is_anothers(self, place: PlaceView) -> bool:
        lease = place.tags.get(LEASE, "")
        return bool(lease) and not lease.startswith(self._me)

    def _free_abandoned(self, places: Mapping[str, PlaceView]) -> None:
        """Release places whose holder has not renewed its lease for `LEASE_S`."""
        now = self._clock()
        for place in places.values():
            lease = place.tags.get(LEASE, "")
            if not lease or not place.holder or lease.startswith(self._me):
                self._seen.pop(place.name, None)
                continue
            word, since = self._seen.get(place.name, ("", now))
            if word != lease:
                self._seen[place.name] = (lease, now)
            elif now - since >= LEASE_S:
                self._seen.pop(place.name)
                self._free(place.name, place.holder, place.reservation)
                self._note(
                    f"Place '{place.name}' was taken from {place.holder}, which has not been heard"
                    f" of for {LEASE_S:.0f} s."
                )

    def _free(self, name: str, holder: str, reservation: str) -> None:
        """Release a place.

        Its reservation first: the coordinator's scheduler sees one that is gone only the next time,
        which would be seconds after the release.
        """
        self._desk.tag(name, {LEASE: ""})
        if reservation:
            self._desk.cancel(reservation)
        self._desk.release(name, holder)

    def _holders(self) -> str:
        found = [f"{p.name} is {p.holder or 'reserved'}'s" for p in self.fitting().values()]
        return ", ".join(found) or "none is left"

    def release_all(self) -> None:
        """Give everything back."""
        with self._lock:
            held = list(self._held.values())
        for one in held:
            self.release(one)


@contextmanager
def kept(desk: Desk, tags: Mapping[str, str], note: Callable[[str], None]) -> Iterator[Places]:
    """Have the places that fit, for a while; what is held is looked after, and given back.

    Args:
        desk: The coordinator.
        tags: What a place must have, besides being a sound lab.
        note: Is told what the user should know; from any thread.
    """
    places = Places(desk, tags, note)
    over = threading.Event()

    def look_after() -> None:
        while not over.wait(LOOK_S):
            try:
                places.look()
            except MachineError as error:
                places.gone = error.message
                return

    thread = threading.Thread(target=look_after, name="leases", daemon=True)
    thread.start()
    try:
        yield places
    finally:
        over.set()
        thread.join()
        places.release_all()
