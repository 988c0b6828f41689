"""The client with several URBs in flight, over a model of usbfs."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from typing import cast

import pytest

from rig.daemon import Events
from rig.deepqueue.initiator import Initiator, Recovery
from rig.integrity.continuation import Client, Outcome, Task, serve
from rig.integrity.stamp import Stamp, decode
from rig.tests.harness.fake_bulk_disk import FakeBulkDisk
from rig.usb.usbfs import BULK_CONTINUATION, UsbfsDevice


@pytest.fixture
def usbfs() -> Iterator[FakeBulkDisk]:
    fake = FakeBulkDisk(blocks=1024)
    yield fake
    fake.close()


@pytest.fixture
def client(usbfs: FakeBulkDisk) -> Client:
    return Client(Initiator(cast("UsbfsDevice", usbfs), stall_is_error=True))


def test_every_block_says_where_it_belongs_and_which_repetition_wrote_it(
    usbfs: FakeBulkDisk, client: Client
) -> None:
    outcome = client.write(Task(run_id=5, repetition=3, lba=1000, urbs=2, urb_bytes=1024))

    assert outcome.statuses == ["0", "0"]
    at = 1000 * 512
    stamps = [decode(bytes(usbfs.medium[at + n * 512 : at + n * 512 + 512])) for n in range(4)]
    assert [s.lba for s in stamps if isinstance(s, Stamp)] == [1000, 1001, 1002, 1003]
    assert {(s.run_id, s.generation) for s in stamps if isinstance(s, Stamp)} == {(5, 3)}


def test_every_piece_but_the_first_is_to_be_taken_back_if_one_fails(
    usbfs: FakeBulkDisk, client: Client
) -> None:
    client.write(Task(1, 1, 0, urbs=3, urb_bytes=512))

    assert usbfs.flags == [0, BULK_CONTINUATION, BULK_CONTINUATION]


def test_an_error_is_told_for_each_piece_and_followed_by_a_port_reset(
    usbfs: FakeBulkDisk, client: Client
) -> None:
    usbfs.fails, usbfs.refusals = {0: -errno.EPROTO}, 1

    outcome = client.write(Task(1, 1, 0, urbs=3, urb_bytes=512))

    assert outcome.statuses == ["-EPROTO", "-ECONNRESET", "-ECONNRESET"]
    assert outcome.moved_bytes == [0, 0, 0]
    assert outcome.attempts == 2  # the first command is told of the reset
    assert usbfs.calls == ["claim 0", "release 0", "reset", "claim 0"]


def test_a_bulk_only_reset_is_followed_by_both_halts(usbfs: FakeBulkDisk, client: Client) -> None:
    usbfs.fails = {0: -errno.EPROTO}

    client.write(Task(1, 1, 0, urb_bytes=512, recovery=Recovery.BULK_RESET))

    assert usbfs.calls[1:] == ["control 21ff000000000000", "clear 0x81", "clear 0x2"]


def test_a_lab_is_answered_with_the_outcome_or_with_a_sentence(client: Client) -> None:
    reader, writer = os.pipe()
    commands = [
        {"id": 1, "do": "write", "run_id": 1, "repetition": 1, "lba": 0, "urb_bytes": 512},
        {"id": 2, "do": "write", "lba": "none"},
        {"id": 3, "do": "dance"},
    ]
    os.write(writer, b"".join(json.dumps(c).encode() + b"\n" for c in commands))
    os.close(writer)
    out_reader, out_writer = os.pipe()

    with os.fdopen(out_writer, "wb") as out:
        serve(client, Events(out), reader)
    with os.fdopen(out_reader, "rb") as told:
        replies = [json.loads(line) for line in told]

    assert Outcome(**replies[0]["result"]).statuses == ["0"] * 4
    assert "A bad command 'write'" in replies[1]["error"]
    assert "knows no command 'dance'" in replies[2]["error"]
    os.close(reader)
