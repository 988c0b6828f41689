"""The whole world of a schedule: what goes on by itself, and what disturbs it.  Pure.

Each move is one thing that can happen next; whatever can happen at the same time can happen in any
order.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator

from rig.sim.calm import Calm
from rig.sim.ends import CONFIGURE, DESCRIBE
from rig.sim.promise import BUFFER_BYTES, BrokenError, Rule
from rig.sim.scenario import DISTURBS_FROM, HEADER_BYTES
from rig.sim.story import Place
from rig.usb.urb import status_name

SETTLE_MOVES = 400
"""By then everything must have ended: so few URBs need a quarter of it."""


class World(Calm):
    """Plays a schedule."""

    __slots__ = ()

    def play(self, schedule: bytes) -> None:
        """Make a move for each choice, let everything come to its end, and see whether it did.

        Raises:
            BrokenError: Something must not happen and did, or the other way round.
        """
        try:
            for choice in schedule[HEADER_BYTES:]:
                if not self._choose(choice):
                    break
            self.settle()
            self._check_nothing_open()
            self._probe()
        except BrokenError:
            raise
        except Exception as error:
            where = f"{type(error).__name__}: {error}"
            raise BrokenError(Rule.RAISED, f"One end raised {where}") from error

    def _choose(self, choice: int) -> bool:
        """Make the move that an octet chooses; returns whether there is anything to happen."""
        if choice >= DISTURBS_FROM:
            disturbances = self._disturbances()
            if disturbances:
                which, how = choice % len(disturbances), choice // 8 % 8
                self.moves_made += 1
                disturbances[which](how)
                return True
        return self.go_on(choice) or bool(self._disturbances())

    def settle(self) -> None:
        """Let things go on without disturbance until nothing is left to happen.

        Raises:
            BrokenError: There is no end to it.
        """
        for _ in range(SETTLE_MOVES):
            if not self.go_on(0):
                return
        raise BrokenError(
            Rule.ENDLESS,
            f"There is no end to it: after {SETTLE_MOVES} moves without a disturbance the client"
            f" has submitted {len(self.client.urbs)} URBs, and still things happen.",
        )

    def _check_nothing_open(self) -> None:
        for who, rest in self._leftovers():
            raise BrokenError(Rule.STUCK, f"All has settled, and {who} still has {rest}.")

    def _leftovers(self) -> Iterator[tuple[str, object]]:
        # The cores' own books: what is forgotten there grows without bound.
        front, back, client = self.front, self.back, self.client
        for who, rest in (
            ("the client", client.open or client.unanswered),
            ("the merge", self.edge.merge.waiting),
            ("the front end", front._urbs),
            ("the back end", back._queues.open or back._plug.orphans),
            ("the back end's account", back._queues.queued_bytes),
            ("the device", self.device.busy),
        ):
            if rest:
                yield who, rest

    def _probe(self) -> None:
        """Every endpoint still works: an URB that is submitted now succeeds."""
        if not self.client.plugged:
            raise BrokenError(Rule.STUCK, "All has settled, and the device is not plugged in.")
        self._tell(Place.CLIENT, "submits an URB to each endpoint, to see whether it still works")
        probes = [self.client.submit(pipe) for pipe in self.pipes]
        self.settle()
        for urb in probes:
            status = self.client.done.get(urb.number)
            if status != 0:
                told = "was not given back" if status is None else f"ended in {status_name(status)}"
                raise BrokenError(
                    Rule.STUCK, f"URB {urb.number}, submitted to {urb.pipe.name} in calm, {told}."
                )
        self._check_nothing_open()

    # Disturbances.

    def _disturbances(self) -> list[Callable[[int], None]]:
        moves: list[Callable[[int], None]] = []
        client = self.client
        if self._faults and any(pipe.running for pipe in self.pipes):
            moves.append(self._fail)
        if client.plugged:
            if self._unlinks and client.open:
                moves.append(self._unlink)
            if self._resets:
                moves.append(self._reset)
            if self._reconfigurations:
                moves.append(self._reconfigure)
            if self._port_breaks:
                moves.append(self._break_port)
        if self.device.job is not None:
            moves.append(self._do_job)
        if self._link_losses and self.linked:
            moves.append(self._lose_link)
        if self._unplugs and not self.device.gone:
            moves.append(self._unplug)
        return moves

    def _fail(self, how: int) -> None:
        self._faults -= 1
        candidates = [pipe for pipe in self.pipes if pipe.running]
        pipe = candidates[how % len(candidates)]
        count = (0, BUFFER_BYTES // 2, BUFFER_BYTES)[how % 3]
        short = pipe.is_in and how >= 4
        if short:  # a short read with SHORT_NOT_OK
            self._end(pipe, -errno.EREMOTEIO, BUFFER_BYTES // 2)
        else:
            self._end(pipe, -errno.EPROTO, count)

    def _unlink(self, how: int) -> None:
        self._unlinks -= 1
        numbers = list(self.client.open)
        number = numbers[how % len(numbers)]
        if self.client.unlink(number):
            self._tell(Place.CLIENT, f"unlinks URB {number}")

    def _reset(self, _: int) -> None:
        self._resets -= 1
        urb = self.client.submit(self.ep0, DESCRIBE)
        self._tell(Place.CLIENT, f"resets the port, and asks for the descriptor by {urb.number}")

    def _reconfigure(self, _: int) -> None:
        self._reconfigurations -= 1
        urb = self.client.submit(self.ep0, CONFIGURE)
        self._tell(Place.CLIENT, f"submits URB {urb.number}, SET_CONFIGURATION")

    def _lose_link(self, _: int) -> None:
        self._tell(Place.LINK, "is lost")
        self._link_losses -= 1
        self.linked = False
        self.to_front.lose()
        self.to_back.lose()

    def _break_port(self, _: int) -> None:
        self._tell(Place.KERNEL, "detaches the port: somebody has asked it to")
        self._port_breaks -= 1
        self.client.lose_device()

    def _unplug(self, _: int) -> None:
        self._tell(Place.DEVICE, "is pulled out")
        self._unplugs -= 1
        self.device.lose()
