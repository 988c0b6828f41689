"""Numbered records: what came through, what did not, and for how long nothing did."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator

import pytest

from rig.daemon import Events
from rig.errors import UserError
from rig.integrity.account import ENOUGH, Account
from rig.integrity.flow import Blocks, Receiver, Sender, main, open_work, serve


class Flows:
    """Counts how often it was told that data flow."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self) -> None:
        self.times += 1


@pytest.fixture
def flows() -> Flows:
    return Flows()


@pytest.fixture
def account(flows: Flows) -> Account:
    return Account(flows)


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reader, writer = os.pipe()
    for end in (reader, writer):
        os.set_blocking(end, False)
    yield reader, writer
    for end in (reader, writer):
        os.close(end)


def fill(pipe_end: int) -> int:
    """Write until nothing more goes in; return how much did."""
    count = 0
    try:
        while True:
            count += os.write(pipe_end, bytes(65536))
    except BlockingIOError:
        return count


def test_data_flow_when_enough_records_came(account: Account, flows: Flows) -> None:
    for number in range(ENOUGH - 1):
        account.came(number)
    assert flows.times == 0

    account.came(ENOUGH)

    assert flows.times == 1


def test_a_watch_asks_for_as_many_again_and_keeps_the_account(
    account: Account, flows: Flows
) -> None:
    account.came(1)
    account.watch()
    for number in range(2, 2 + ENOUGH):
        account.came(number)

    assert flows.times == 1
    assert account.told().records == ENOUGH + 1


def test_records_between_others_are_missing(account: Account) -> None:
    for number in (4, 5, 9):
        account.came(number)

    assert account.told().missing == 3


def test_a_mark_forgets_what_was_before(account: Account) -> None:
    account.came(1)
    account.error(OSError(errno.EIO, ""))
    account.garbled()
    account.mark()

    told = account.told()

    assert (told.records, told.missing, told.garbled, told.errors) == (0, 0, 0, [])


def test_a_record_lost_right_behind_a_mark_is_missing(account: Account) -> None:
    account.came(1)
    account.mark()
    account.came(3)

    assert account.told().missing == 1


def test_errors_are_told_once_by_name(account: Account) -> None:
    for number in (errno.EIO, errno.EIO, errno.ENODEV):
        account.error(OSError(number, ""))

    assert account.told().errors == ["EIO", "ENODEV"]


def test_what_is_sent_is_received(account: Account, flows: Flows, pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    sender, receiver = Sender(writer, datagrams=False), Receiver(reader)
    for _ in range(ENOUGH):
        sender.step(Account(flows))
    receiver.step(account)

    assert account.told().records == ENOUGH
    assert account.told().garbled == 0


def test_octets_that_are_no_record_are_garbled(account: Account, pipe: tuple[int, int]) -> None:
    os.write(pipe[1], b"00000001\n0003\n00000004\n000")
    Receiver(pipe[0]).step(account)

    told = account.told()

    assert (told.records, told.missing, told.garbled) == (2, 2, 5)


def test_a_sender_offers_again_what_the_kernel_did_not_take(
    account: Account, pipe: tuple[int, int]
) -> None:
    reader, writer = pipe
    full = fill(writer)
    sender = Sender(writer, datagrams=False)
    sender.step(account)
    assert account.told().records == 0
    while full > 0:
        full -= len(os.read(reader, 65536))

    sender.step(account)

    assert os.read(reader, 100) == b"00000001\n"


def test_blocks_are_compared_with_what_was_written(account: Account, pipe: tuple[int, int]) -> None:
    medium = os.memfd_create("medium")
    blocks = Blocks(medium, write=False)
    os.pwrite(medium, b"00000001", 0)  # another's data in the first block
    for _ in range(2):
        blocks.step(account)

    assert account.told().garbled == 1
    assert account.told().records == 2
    os.close(medium)


def test_a_place_of_unknown_form_is_refused() -> None:
    with pytest.raises(UserError, match="no place for records"):
        open_work("send", "carrier-pigeon")


@pytest.mark.parametrize(
    "argv", [("send", "tty:/nowhere"), ("read", "/nowhere"), ("test", "usbtest:x:/dev/null")]
)
def test_a_place_that_cannot_be_opened_is_told_with_the_forms_there_are(
    argv: tuple[str, str],
) -> None:
    with pytest.raises(UserError, match=f"'{argv[1]}' cannot be used: .*Write tty:PATH"):
        main(argv)


def test_a_lab_can_mark_watch_and_ask(pipe: tuple[int, int]) -> None:
    reader, writer = os.pipe()
    for number, do in enumerate(("mark", "watch", "tell", "sing")):
        os.write(writer, json.dumps({"id": number, "do": do}).encode() + b"\n")
    os.close(writer)
    out_reader, out_writer = os.pipe()

    with os.fdopen(out_writer, "wb") as out:
        serve(Receiver(pipe[0]), Events(out), reader)
    with os.fdopen(out_reader, "rb") as told:
        replies = [json.loads(line) for line in told]

    assert [reply["ok"] for reply in replies] == [True, True, True, False]
    assert replies[2]["result"]["records"] == 0
    os.close(reader)
