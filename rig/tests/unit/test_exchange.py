"""One Bulk-Only command with several URBs in flight: against a device, and rule by rule."""

from __future__ import annotations

import errno
from collections import deque
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rig.deepqueue.exchange import (
    Action,
    ClearHalt,
    Ended,
    Ending,
    Exchange,
    Submit,
    Unlink,
)
from rig.usb import bot
from rig.usb.bot_stages import Stage
from rig.usb.urb import Direction

TAG = 7
EPROTO, EPIPE, SHORT = -errno.EPROTO, -errno.EPIPE, -errno.EREMOTEIO
LOST, GONE = -errno.ECONNRESET, -errno.ESHUTDOWN
PASSED = bot.Csw(TAG, 0, bot.CommandStatus.PASSED).pack()


def write_of(blocks: int) -> tuple[Exchange, list[Action]]:
    """A write whose data go in URBs of one block; the command wrapper is out."""
    data = bytearray(range(256)) * (blocks * 2)
    exchange = Exchange(bot.write_10(TAG, 0, blocks), data, urb_bytes=512, first_urb_id=10)
    return exchange, exchange.begin()


def read_of(blocks: int) -> tuple[Exchange, list[Action]]:
    exchange = Exchange(
        bot.read_10(TAG, 0, blocks), bytearray(blocks * 512), urb_bytes=512, first_urb_id=10
    )
    return exchange, exchange.begin()


def submits(actions: Iterable[Action]) -> list[Submit]:
    found = list(actions)
    assert all(isinstance(action, Submit) for action in found)
    return [action for action in found if isinstance(action, Submit)]


def complete(exchange: Exchange, urb: Submit, status: int = 0) -> list[Action]:
    return exchange.completed(urb.urb_id, status, 0 if status else len(urb.buffer))


def data_stage(exchange: Exchange, begun: list[Action]) -> list[Submit]:
    (wrapper,) = submits(begun)
    assert bytes(wrapper.buffer).startswith(b"USBC")
    return submits(complete(exchange, wrapper))


def give_status(exchange: Exchange, urb: Submit, octets: bytes = PASSED) -> list[Action]:
    urb.buffer[: len(octets)] = octets
    return exchange.completed(urb.urb_id, 0, len(octets))


def ended(exchange: Exchange) -> Ended:
    assert exchange.ended is not None
    return exchange.ended


def test_all_urbs_of_a_stage_are_queued_at_once_and_each_but_the_first_may_be_taken_back() -> None:
    exchange, begun = write_of(3)

    urbs = data_stage(exchange, begun)

    assert [urb.behind for urb in urbs] == [False, True, True]
    assert {urb.direction for urb in urbs} == {Direction.OUT}
    assert b"".join(bytes(urb.buffer) for urb in urbs) == bytes(range(256)) * 6


def test_the_status_is_asked_for_when_all_data_have_moved() -> None:
    exchange, begun = write_of(2)
    first, second = data_stage(exchange, begun)

    assert complete(exchange, first) == []
    (status,) = submits(complete(exchange, second))
    assert give_status(exchange, status) == []

    assert ended(exchange).ending is Ending.PASSED
    assert ended(exchange).moved_bytes == 1024


def test_behind_the_first_error_all_others_are_unlinked_once_and_the_last_first() -> None:
    exchange, begun = write_of(4)
    urbs = data_stage(exchange, begun)

    assert complete(exchange, urbs[0]) == []
    unlinked = complete(exchange, urbs[1], EPROTO)

    assert unlinked == [Unlink(urbs[3].urb_id), Unlink(urbs[2].urb_id)]
    assert complete(exchange, urbs[2], LOST) == []
    assert complete(exchange, urbs[3], LOST) == []
    assert ended(exchange).ending is Ending.ERROR
    assert [piece.status for piece in ended(exchange).pieces] == [0, EPROTO, LOST, LOST]


def test_a_refused_urb_ends_those_behind_it_unqueued_and_unlinks_those_before() -> None:
    exchange, begun = write_of(3)
    urbs = data_stage(exchange, begun)

    assert exchange.refused(urbs[1].urb_id, -errno.ENOMEM) == [Unlink(urbs[0].urb_id)]
    assert complete(exchange, urbs[0], LOST) == []

    assert ended(exchange).ending is Ending.ERROR


def test_a_stalled_data_stage_is_cleared_and_the_status_asked_for() -> None:
    exchange, begun = read_of(1)
    (urb,) = data_stage(exchange, begun)

    assert complete(exchange, urb, EPIPE) == [ClearHalt(Direction.IN)]
    (status,) = submits(exchange.cleared(0))
    refused = bot.Csw(TAG, 512, bot.CommandStatus.FAILED).pack()
    give_status(exchange, status, refused)

    assert (ended(exchange).ending, ended(exchange).residue_bytes) == (Ending.FAILED, 512)


def test_a_stall_that_counts_as_an_error_ends_the_command() -> None:
    exchange = Exchange(
        bot.write_10(TAG, 0, 1),
        bytearray(512),
        urb_bytes=512,
        first_urb_id=1,
        stall_is_error=True,
    )
    (urb,) = data_stage(exchange, exchange.begin())

    assert complete(exchange, urb, EPIPE) == []
    assert ended(exchange).ending is Ending.ERROR


def test_a_short_read_goes_on_to_the_status() -> None:
    exchange, begun = read_of(2)
    first, second = data_stage(exchange, begun)
    assert first.exact

    exchange.completed(first.urb_id, SHORT, 100)
    (status,) = submits(complete(exchange, second, LOST))
    give_status(exchange, status, bot.Csw(TAG, 924, 0).pack())

    assert ended(exchange).ending is Ending.PASSED
    assert ended(exchange).moved_bytes == 100


@pytest.mark.parametrize("status", [EPIPE, 0])
def test_a_status_that_stalls_or_is_empty_is_asked_for_once_more(status: int) -> None:
    exchange = Exchange(bot.unit_ready(TAG), urb_bytes=512, first_urb_id=1)
    (wrapper,) = submits(exchange.begin())
    (urb,) = submits(complete(exchange, wrapper))

    actions = exchange.completed(urb.urb_id, status, 0)
    if status:
        assert actions == [ClearHalt(Direction.IN)]
        actions = exchange.cleared(0)
    (again,) = submits(actions)

    exchange.completed(again.urb_id, status, 0)
    assert ended(exchange).ending is Ending.ERROR


@pytest.mark.parametrize(
    "octets",
    [
        bot.Csw(TAG + 1, 0, 0).pack(),
        bot.Csw(TAG, 0, bot.CommandStatus.PHASE_ERROR).pack(),
        bot.Csw(TAG, 0, 0).pack(b"USBX"),
        PASSED[:12],
    ],
)
def test_a_status_of_no_meaning_is_an_error(octets: bytes) -> None:
    exchange = Exchange(bot.unit_ready(TAG), urb_bytes=512, first_urb_id=1)
    (wrapper,) = submits(exchange.begin())
    (urb,) = submits(complete(exchange, wrapper))

    give_status(exchange, urb, octets)

    assert (ended(exchange).ending, ended(exchange).stage) == (Ending.ERROR, Stage.STATUS)


def test_what_takes_too_long_is_given_up_when_all_urbs_are_back() -> None:
    exchange, begun = write_of(2)
    urbs = data_stage(exchange, begun)

    assert exchange.expired() == [Unlink(urb.urb_id) for urb in reversed(urbs)]
    complete(exchange, urbs[0], LOST)
    assert exchange.ended is None
    complete(exchange, urbs[1])  # it was quicker than its unlink

    assert ended(exchange).ending is Ending.TIMED_OUT


@pytest.mark.parametrize("status", [GONE, -errno.ENODEV])
def test_a_device_that_goes_is_told_apart_from_an_error(status: int) -> None:
    exchange, begun = write_of(1)
    (urb,) = data_stage(exchange, begun)

    complete(exchange, urb, status)

    assert ended(exchange).ending is Ending.GONE


def test_an_urb_that_is_not_out_is_ignored() -> None:
    exchange, begun = write_of(1)
    (urb,) = data_stage(exchange, begun)

    assert exchange.completed(urb.urb_id + 100, EPROTO, 0) == []
    assert exchange.ended is None


def test_what_moved_behind_a_failed_urb_is_seen() -> None:
    exchange, begun = write_of(3)
    urbs = data_stage(exchange, begun)

    complete(exchange, urbs[0], EPROTO)
    complete(exchange, urbs[1])
    complete(exchange, urbs[2], LOST)

    assert ended(exchange).ran_behind == 1
    assert ended(exchange).moved_bytes == 0


class Kernel:
    """Does what a command asks, in the order of its queue; any URB may fail, late or early.

    It takes back what `behind` names when one before it fails, as usbfs does, or leaves that to
    the command.
    """

    def __init__(self, exchange: Exchange, draw: st.DataObject, *, takes_back: bool) -> None:
        self.exchange = exchange
        self.draw = draw
        self.takes_back = takes_back
        self.out: dict[int, Submit] = {}
        self.unlinked: set[int] = set()
        self.given_back: list[int] = []
        self.broken = False
        self.expired = self.could_not_clear = self.said_gone = False
        self.halts: deque[ClearHalt] = deque()

    def do(self, actions: list[Action]) -> None:
        order = [action.urb_id for action in actions if isinstance(action, Unlink)]
        assert order == sorted(order, reverse=True), "none may run because one before it is gone"
        waiting = deque(actions)
        while waiting:
            match action := waiting.popleft():
                case Submit():
                    assert self.exchange.ended is None
                    assert action.urb_id not in self.out
                    assert action.urb_id not in self.given_back
                    if self.draw.draw(st.sampled_from([False] * 9 + [True])):
                        waiting = deque(self.exchange.refused(action.urb_id, -errno.ENOMEM))
                    else:
                        self.out[action.urb_id] = action
                case Unlink(urb_id):
                    assert urb_id in self.out, "only what is out is unlinked"
                    assert urb_id not in self.unlinked, "and once"
                    self.unlinked.add(urb_id)
                case ClearHalt():
                    self.halts.append(action)

    def step(self) -> None:
        if self.halts:
            self.halts.popleft()
            status = self.draw.draw(st.sampled_from([0, 0, 0, EPROTO, -errno.ENODEV]))
            self.could_not_clear = status != 0
            self.said_gone |= status == -errno.ENODEV
            self.do(self.exchange.cleared(status))
        elif self.draw.draw(st.sampled_from([False] * 9 + [True])):
            self.expired = True
            self.do(self.exchange.expired())
        else:
            self.give_back()

    def give_back(self) -> None:
        urb_id = self.draw.draw(st.sampled_from(sorted(self.out)))
        urb = self.out.pop(urb_id)
        if urb_id in self.unlinked:
            status = self.draw.draw(st.sampled_from([LOST, 0]))
        elif self.broken and urb.behind and self.takes_back:
            status = LOST
        else:
            status = self.draw.draw(st.sampled_from([0, 0, 0, EPROTO, EPIPE, GONE, SHORT]))
            self.broken = status != 0
            self.said_gone |= status == GONE
        if not status and urb.direction is Direction.IN and len(urb.buffer) == bot.CSW_BYTES:
            urb.buffer[:] = self.draw.draw(st.sampled_from([PASSED, bytes(bot.CSW_BYTES)]))
        self.given_back.append(urb_id)
        self.do(self.exchange.completed(urb_id, status, 0 if status else len(urb.buffer)))


@given(
    draw=st.data(),
    blocks=st.integers(0, 6),
    out=st.booleans(),
    takes_back=st.booleans(),
    stall_is_error=st.booleans(),
)
def test_every_command_ends_and_no_urb_of_it_is_out_then(
    draw: st.DataObject,
    blocks: int,
    out: bool,
    takes_back: bool,
    stall_is_error: bool,
) -> None:
    wrapper = (bot.write_10 if out else bot.read_10)(TAG, 0, blocks)
    exchange = Exchange(
        wrapper if blocks else bot.unit_ready(TAG),
        bytearray(blocks * 512),
        urb_bytes=1024,
        first_urb_id=1,
        stall_is_error=stall_is_error,
    )
    kernel = Kernel(exchange, draw, takes_back=takes_back)

    kernel.do(exchange.begin())
    while exchange.ended is None:
        assert kernel.out or kernel.halts, "a command that waits for nothing never ends"
        kernel.step()

    assert not kernel.out
    assert max(kernel.given_back, default=0) < exchange.next_urb_id
    result = ended(exchange)
    cause = next((piece.status for piece in result.pieces if piece.status), 0)
    harmless = {0, *({SHORT} if not out else ()), *({EPIPE} if not stall_is_error else ())}
    assert (result.ending is Ending.TIMED_OUT) is kernel.expired
    if result.ending is Ending.PASSED:
        assert cause in harmless
        assert result.stage is Stage.STATUS
        assert sum(piece.actual_bytes for piece in result.pieces) <= blocks * 512
    if result.stage is Stage.DATA and result.ending is Ending.ERROR:
        assert cause not in harmless or kernel.could_not_clear
    if result.ending is Ending.GONE:
        assert kernel.said_gone
