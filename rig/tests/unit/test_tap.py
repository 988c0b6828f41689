"""A tap tells all that a core hears and wants, and the monitors find nothing wrong with it."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path

import pytest

from rig.errors import RemoteProtocolError, UserError
from rig.integrity.monitors.merge import merged
from rig.integrity.monitors.run import watch
from rig.splitdriver.backend import Discard, Perform, Start
from rig.splitdriver.backend import Send as BackSend
from rig.splitdriver.frontend import Fence
from rig.splitdriver.frontend import Send as FrontSend
from rig.splitdriver.messages import ALL_CAPABILITIES, Message
from rig.splitdriver.policy import Policy
from rig.splitdriver.tap import TappedBackEnd, TappedFrontEnd
from rig.usb.setup import SetupPacket
from rig.usb.urb import Speed, TransferType
from rig.usb.urblog import Kind, Place, UrbEvent, digest_of, read_events
from rig.usb.urblog_file import UrbLog
from rig.usb.usbip import CmdSubmit, CmdUnlink

DATA = b"\x11" * 512
CONFIGURE = SetupPacket(0x00, 0x09, 1, 0, 0).pack()


class Pair:
    """Both tapped ends; what one says the other hears at once."""

    def __init__(self, directory: Path) -> None:
        self.paths = {end: directory / f"{end}.urbs" for end in ("front", "back")}
        self.logs = {end: UrbLog(str(path)) for end, path in self.paths.items()}
        self.front = TappedFrontEnd(self.logs["front"], Policy.HOLD, ALL_CAPABILITIES)
        self.back = TappedBackEnd(self.logs["back"], Policy.HOLD, 1, -errno.EPROTO, 0)
        self.running: list[int] = []
        self.said: list[Message] = []  # by the front end
        self.back.linked()
        self.back.plugged(Speed.HIGH)
        self.back.configured({1: TransferType.BULK, 0x81: TransferType.BULK})
        self.settle()

    def settle(self) -> None:
        while True:
            wanted = [*self.back.take_actions(), *self.front.take_actions()]
            if not wanted:
                return
            for action in wanted:
                match action:
                    case BackSend(message):
                        self.front.receive(message)
                    case FrontSend(message):
                        self.said.append(message)
                        self.back.receive(message)
                    case Start(urb) | Perform(urb):
                        self.running.append(urb.urb_id)
                    case Discard(urb_id):
                        self.end(urb_id, -errno.ENOENT, 0)
                    case Fence():
                        self.front.fence_passed()

    def submit(self, number: int, endpoint: int = 1, setup: bytes = bytes(8)) -> None:
        length = 0 if setup != bytes(8) else len(DATA)
        data = DATA if endpoint == 1 else b""
        command = CmdSubmit(number, 0, endpoint, 0, length, 0, 0, setup)
        self.front.submit(command, data)
        self.settle()

    def end(self, number: int, status: int = 0, moved: int = 512, data: bytes = b"") -> None:
        self.running.remove(number)
        self.back.completed(number, status, moved, data)
        self.settle()

    def unlink(self, number: int, seqnum: int) -> None:
        self.front.unlink(CmdUnlink(seqnum, 0, number))
        self.settle()

    def read(self, end: str) -> list[UrbEvent]:
        self.logs[end].close()
        return list(read_events(self.paths[end].read_bytes()))


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    both = Pair(tmp_path)
    yield both
    for log in both.logs.values():
        log.close()


def kinds(events: list[UrbEvent]) -> list[Kind]:
    return [event.kind for event in events]


def test_the_front_end_tells_an_urbs_life(pair: Pair) -> None:
    pair.submit(1)
    pair.end(1)
    events = pair.read("front")
    assert kinds(events) == [Kind.UP, Kind.SUBMIT, Kind.GIVEBACK]
    assert {event.place for event in events} == {Place.FRONT}
    assert (events[1].urb, events[1].endpoint, events[1].digest) == (1, 1, digest_of(DATA))
    assert (events[2].status, events[2].length_bytes) == (0, 512)


def test_the_back_end_tells_an_urbs_life(pair: Pair) -> None:
    pair.submit(1)
    pair.end(1)
    events = pair.read("back")
    assert kinds(events) == [Kind.UP, Kind.SUBMIT, Kind.START, Kind.END, Kind.GIVEBACK]
    assert events[2].digest == digest_of(DATA)
    assert all(event.endpoint == 1 for event in events[1:])


def test_data_that_came_in_have_the_same_digest_on_both_ends(pair: Pair) -> None:
    pair.submit(1, 0x81)
    pair.end(1, data=DATA)
    assert pair.read("back")[-1].digest == pair.read("front")[-1].digest == digest_of(DATA)


def test_a_request_that_the_kernel_carries_out_is_started_too(pair: Pair) -> None:
    pair.submit(1, 0, CONFIGURE)
    pair.end(1, moved=0)
    assert Kind.START in kinds(pair.read("back"))


def test_a_failure_its_unlink_and_the_resume_are_told(pair: Pair) -> None:
    for number in (1, 2):
        pair.submit(number)
    pair.end(1, -errno.EPROTO, 0)
    back = pair.read("back")
    assert [event.epoch for event in back if event.kind is Kind.RESUME] == [1]
    assert [event.epoch for event in back if event.kind is Kind.GIVEBACK] == [1]


def test_an_unlink_is_told_and_its_answer(pair: Pair) -> None:
    pair.submit(1)
    pair.unlink(1, 9)
    front = pair.read("front")
    assert kinds(front)[2:] == [Kind.UNLINK, Kind.GIVEBACK, Kind.ANSWER]
    assert {event.urb for event in front[1:]} == {1}
    assert Kind.UNLINK in kinds(pair.read("back"))


def test_a_lost_link_takes_the_device_down_on_both_ends(pair: Pair) -> None:
    pair.submit(1)
    pair.back.link_lost()
    pair.front.link_lost()
    pair.settle()
    assert pair.read("front")[-1].kind is Kind.DOWN
    back = pair.read("back")
    assert kinds(back)[-2:] == [Kind.DOWN, Kind.END]
    assert back[-2].status == 0


def test_a_device_that_is_pulled_out_is_told_as_gone(pair: Pair) -> None:
    pair.back.unplugged()
    pair.settle()
    back = pair.read("back")
    assert (back[-1].kind, back[-1].status) == (Kind.DOWN, -errno.ENODEV)


def test_what_comes_for_a_device_that_is_gone_is_not_told(pair: Pair) -> None:
    pair.front.link_lost()
    pair.submit(1)
    pair.unlink(1, 2)
    assert kinds(pair.read("front")) == [Kind.UP, Kind.DOWN]


def test_the_monitors_find_nothing_wrong_with_it(pair: Pair) -> None:
    for number in (1, 2, 3):
        pair.submit(number)
    pair.end(1)
    pair.end(2, -errno.EPROTO, 100)
    pair.unlink(3, 8)
    pair.submit(9, 0x81)
    pair.end(9, data=DATA)
    stream = merged(pair.read("front"), pair.read("back"))
    assert not watch(stream)


def test_what_the_back_end_refuses_has_not_come_and_breaks_no_rule(pair: Pair) -> None:
    pair.submit(1)
    with pytest.raises(RemoteProtocolError, match="submitted twice"):
        pair.back.receive(pair.said[-1])  # as a link may bring it that is to be noticed
    pair.back.link_lost()
    pair.settle()
    events = pair.read("back")
    assert kinds(events) == [Kind.UP, Kind.SUBMIT, Kind.START, Kind.DOWN, Kind.END]
    assert not watch(events)


def test_what_is_told_behind_the_end_is_let_go(pair: Pair) -> None:
    pair.logs["front"].close()
    pair.front.link_lost()
    pair.front.take_actions()
    assert kinds(pair.read("front")) == [Kind.UP]


def test_a_log_that_cannot_be_written_is_the_users_to_mend(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be written"):
        UrbLog(str(tmp_path / "no" / "log"))


def test_a_tapped_back_end_counts_what_has_ended_on_each_endpoint(pair: Pair) -> None:
    pair.submit(1)
    pair.end(1)
    pair.submit(2)
    pair.end(2, -errno.EPROTO, 100)
    told = {one.address: one for one in pair.back.standing()}
    assert (told[1].done, told[1].failed, told[1].octets) == (1, 1, 612)
    assert (told[0x81].done, told[0x81].failed) == (0, 0)
