"""The moves that let things go on.  Pure.

They are listed in the order in which a calm machine would make them, so that choosing the first
again and again brings everything to its end.
"""

from __future__ import annotations

from collections.abc import Callable

from rig.sim.client import MAX_OPEN
from rig.sim.ends import Ends
from rig.sim.promise import BUFFER_BYTES, Pipe
from rig.sim.scenario import Laggard, Scenario
from rig.sim.story import Place, Story, action_text, command_text, message_text, pdu_text
from rig.splitdriver.frontend import FrontEnd, GiveBack
from rig.splitdriver.messages import Unlink
from rig.splitdriver.policy import Policy
from rig.usb.urb import Speed, status_name

NOW_AND_THEN = 0x1C
"""Choices with these bits, one of eight, may also choose a laggard."""

_NO_TEXT = ""


class Calm(Ends):
    """Everything, and what can happen next without a disturbance."""

    __slots__ = ("_late",)

    def __init__(
        self, scenario: Scenario, policy: Policy, window: int, story: Story | None = None
    ) -> None:
        super().__init__(scenario, policy, window, story)
        first, second = scenario.laggards
        self._late = _LATE[first] + _LATE[second]

    def go_on(self, choice: int) -> bool:
        """Make one of the moves; returns whether there was any."""
        possible = self._possible()
        if not possible:
            return False
        late = self._late
        if late and choice & NOW_AND_THEN != NOW_AND_THEN:
            possible = [move for move in possible if move not in late] or possible
        self.moves_made += 1
        _MOVES[possible[choice % len(possible)]](self)
        return True

    def _possible(self) -> list[int]:
        moves: list[int] = []
        if self.edge.leaving or self.edge.broken or not self.linked or self.device.gone:
            # First, since a client that retries for ever may wait for just this.
            self._mendings(moves)
        client = self.client
        if client.plugged:
            for index in (0, 1):
                pipe = self.pipes[index]
                if pipe.left and pipe.open < MAX_OPEN:
                    moves.append(_SUBMIT + index)
            if client.submits or client.unlinks:
                moves.append(_SEND)
        self._back_moves(moves)
        self._front_moves(moves)
        return moves

    def _back_moves(self, moves: list[int]) -> None:
        if self.to_back.queue and self.back_knows:
            moves.append(_TO_BACK)
        device = self.device
        if device.job is not None:
            moves.append(_JOB)
        elif device.done:
            moves.append(_REAP)
        for index, pipe in enumerate(self.pipes):
            if pipe.running:
                moves.append(_END + index)

    def _front_moves(self, moves: list[int]) -> None:
        if self.to_front.queue and self.front_knows:
            moves.append(_TO_FRONT)
        client, edge = self.client, self.edge
        if client.handler is not None:
            moves.append(_HANDLER)
        elif client.pdus:
            moves.append(_READ)
        if edge.fence_at is not None and edge.read_on:
            moves.append(_READ_ON)
        if edge.hidden:
            moves.append(_HIDDEN)

    def _mendings(self, moves: list[int]) -> None:
        if self.edge.leaving:
            moves.append(_LEFT)
        if self.edge.broken:
            moves.append(_BROKE)
        if not self.linked:
            if self.front_knows:
                moves.append(_FRONT_LEARNS)
            if self.back_knows:
                moves.append(_BACK_LEARNS)
            elif not self.front_knows:
                moves.append(_RELINK)
        if self.device.gone:
            moves.append(_LOOK if self.back.device is not None else _REPLUG)

    def _submit_first(self) -> None:
        self._submit(self.pipes[0])

    def _submit_second(self) -> None:
        self._submit(self.pipes[1])

    def _submit(self, pipe: Pipe) -> None:
        pipe.left -= 1
        urb = self.client.submit(pipe)
        if self._story:
            place = f", command {urb.command}, place {urb.page * BUFFER_BYTES}"
            self._tell(
                Place.CLIENT,
                f"submits URB {urb.number} to {pipe.name}{place if pipe.placed else _NO_TEXT}",
            )

    def _send(self) -> None:
        command = self.edge.send()
        if self._story:
            self._tell(Place.KERNEL, f"sends {command_text(command)}")
        self._front_acts()

    def _deliver_to_back(self) -> None:
        lane, back = self.to_back, self.back
        while True:
            message = lane.take()
            if self._story:
                self._tell(Place.BACK, f"receives {message_text(message)}")
            if type(message) is Unlink and message.urb_id in self.client.urbs:
                self.client.urbs[message.urb_id].asked_back = True
            back.receive(message)
            if not self._batch or not lane.queue:
                break
        self._back_acts()

    def _deliver_to_front(self) -> None:
        lane = self.to_front
        while True:
            message = lane.take()
            if self._story:
                self._tell(Place.FRONT, f"receives {message_text(message)}")
            self.front.receive(message)
            if not self._batch or not lane.queue:
                break
        self._front_acts()

    def _finish_job(self) -> None:
        self._do_job(0)

    def _do_job(self, how: int) -> None:
        device = self.device
        ill = how % 2 == 1
        if self._story and device.job is not None:
            self._tell(
                Place.DEVICE, f"{action_text(device.job)}: done{', but ill' if ill else _NO_TEXT}"
            )
        device.finish_job(ill=ill)
        self._feed(device.at_once)
        if device.reset_ended is not None:
            status, device.reset_ended = device.reset_ended, None
            self.back.reset_done(status)
        self._back_acts()

    def _reap(self) -> None:
        done = self.device.done
        count = len(done) if self._batch else 1
        self._feed([done.popleft() for _ in range(count)])
        self._back_acts()

    def _end_first(self) -> None:
        self._end(self.pipes[0])

    def _end_second(self) -> None:
        self._end(self.pipes[1])

    def _end_third(self) -> None:
        self._end(self.pipes[2])

    def _end(self, pipe: Pipe, status: int = 0, count: int = BUFFER_BYTES) -> None:
        if self._story:
            self._tell(
                Place.DEVICE,
                f"ends URB {pipe.running[0].number} with {status_name(status)}, {count} octets",
            )
        self.device.end(pipe, status, count)

    def _read(self) -> None:
        pdu = self.client.read()
        if self._story:
            begins = "; the handler begins" if isinstance(pdu, GiveBack) else _NO_TEXT
            self._tell(Place.KERNEL, f"reads {pdu_text(pdu)}{begins}")

    def _handle(self) -> None:
        handler = self.client.handler
        did = self.client.handle()
        if self._story and handler is not None:
            self._tell(Place.CLIENT, f"in URB {handler.number}'s handler: {did}")

    def _kernel_read_on(self) -> None:
        self._tell(Place.FRONT, "sees that the kernel has read on")
        self.edge.pass_part_a()

    def _send_hidden(self) -> None:
        number = self.edge.send_hidden()
        if self._story:
            self._tell(Place.KERNEL, f"sends the barrier, number {number}")
        self._front_acts()

    def _left(self) -> None:
        self._tell(Place.KERNEL, "is done with the port")
        self.edge.left()

    def _port_broke(self) -> None:
        self._tell(Place.FRONT, "sees that its port is gone, and lets go of the device")
        self.front.let_go()
        self._front_acts()

    def _front_learns(self) -> None:
        self._tell(Place.FRONT, "learns that the link is lost")
        self.front_knows = False
        self.front.link_lost()
        self._front_acts()

    def _back_learns(self) -> None:
        self._tell(Place.BACK, "learns that the link is lost")
        self.back_knows = False
        self.back.link_lost()
        self._back_acts()

    def _relink(self) -> None:
        self._tell(Place.LINK, "is back")
        self.linked = self.back_knows = self.front_knows = True
        if self._scenario.another_front:
            self._tell(Place.FRONT, "is that of another machine")
            failed_for_nothing = self.client.failed_for_nothing
            self._new_front_machine()
            self.client.failed_for_nothing = failed_for_nothing
        self.front = FrontEnd(self._policy, self._capabilities)
        self.back.linked()
        self._back_acts()

    def _look(self) -> None:
        self._tell(Place.BACK, "sees that the device is gone")
        device = self.device
        if device.job is None:
            self._feed(list(device.done))
            device.done.clear()
        self._feed(device.at_once)
        self.back.unplugged()
        self._back_acts()

    def _replug(self) -> None:
        self._tell(Place.DEVICE, "is plugged in")
        self.device = self._new_device()
        self.back.plugged(Speed.HIGH)
        self.back.configured(self._kinds)
        self._back_acts()


_MOVES: tuple[Callable[[Calm], None], ...] = (
    Calm._submit_first,
    Calm._submit_second,
    Calm._send,
    Calm._deliver_to_back,
    Calm._finish_job,
    Calm._reap,
    Calm._end_first,
    Calm._end_second,
    Calm._end_third,
    Calm._deliver_to_front,
    Calm._read,
    Calm._handle,
    Calm._kernel_read_on,
    Calm._send_hidden,
    Calm._left,
    Calm._front_learns,
    Calm._back_learns,
    Calm._relink,
    Calm._look,
    Calm._replug,
    Calm._port_broke,
)
(
    _SUBMIT,
    _,
    _SEND,
    _TO_BACK,
    _JOB,
    _REAP,
    _END,
    _,
    _,
    _TO_FRONT,
    _READ,
    _HANDLER,
    _READ_ON,
    _HIDDEN,
    _LEFT,
    _FRONT_LEARNS,
    _BACK_LEARNS,
    _RELINK,
    _LOOK,
    _REPLUG,
    _BROKE,
) = range(len(_MOVES))

_LATE: dict[Laggard, tuple[int, ...]] = {
    Laggard.NOBODY: (),
    Laggard.CONTROLLER: (_END, _END + 1, _END + 2),
    Laggard.REAPING: (_REAP,),
    Laggard.HELPER: (_JOB,),
    Laggard.LINK_TO_BACK: (_TO_BACK,),
    Laggard.LINK_TO_FRONT: (_TO_FRONT,),
    Laggard.KERNEL_SENDER: (_SEND,),
    Laggard.KERNEL_READER: (_READ,),
    Laggard.HANDLER: (_HANDLER,),
    Laggard.BARRIER: (_HIDDEN,),
}
