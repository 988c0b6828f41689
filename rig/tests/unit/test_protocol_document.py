"""``docs/protocol.md`` says what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import rig
from rig.splitdriver import backend, session, wire
from rig.splitdriver.link import DEFAULT_PORT
from rig.splitdriver.messages import PROTOCOL_VERSION
from rig.splitdriver.wire import HEADER, FrameReader, FrameType
from rig.tests.harness.frames import GOLDEN, feed, octets_of
from rig.usb.urb import MAX_TRANSFER_BYTES

TEXT = (Path(rig.__file__).parent.parent / "docs" / "protocol.md").read_text()
VECTORS = dict(re.findall(r"^```golden (\w+)\n(.*?)\n```$", TEXT, re.MULTILINE | re.DOTALL))
ROWS = re.findall(r"^\| (\d+) \| (\w+) \| (\w+) \| (\d+) \|([^|]*)\|", TEXT, re.MULTILINE)
DATA_OCTETS = {"HELLO": 5, "REFUSED": 4, "SUBMIT": 4, "COMPLETE": 2}
"""Of the golden vectors: what follows the body."""


@pytest.mark.parametrize("kind", FrameType.__members__)
def test_every_messages_golden_frame_stands_in_the_document(kind: str) -> None:
    message, _ = GOLDEN[kind]
    octets = bytes.fromhex(VECTORS[kind])
    assert octets == octets_of([message])
    assert feed(FrameReader(), octets) == [message]


def test_the_document_has_no_other_vectors() -> None:
    assert set(VECTORS) == set(FrameType.__members__)


def test_the_table_has_every_type_with_its_number() -> None:
    assert {name: int(number) for number, name, *_ in ROWS} == dict(FrameType.__members__)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[1])
def test_the_table_tells_the_length_of_every_body(row: tuple[str, ...]) -> None:
    _, name, _, body_octets, rest = row
    octets = bytes.fromhex(VECTORS[name])
    assert len(octets) - HEADER.size - DATA_OCTETS.get(name, 0) == int(body_octets)
    assert bool(rest.strip()) == (name in DATA_OCTETS)


@pytest.mark.parametrize(
    "claim",
    [
        f"version {PROTOCOL_VERSION}\n",
        f"default port {DEFAULT_PORT}",
        f"{wire.MAX_FRAME_BYTES:,} (4 MiB + 64)",
        f"{MAX_TRANSFER_BYTES:,} (4 MiB)",
        f"at most\n{wire.MAX_TEXT_BYTES} octets",
        f"| {backend.MAX_QUEUED_BYTES >> 20} MiB | REFUSED",
        f"| {backend.MAX_QUEUED_URBS} | REFUSED",
        f"nothing for {session.HEARTBEAT_S:.0f} s sends PING",
        f"nothing for {session.DEAD_AFTER_S:.0f} s holds",
    ],
)
def test_the_document_tells_the_limits_of_the_code(claim: str) -> None:
    assert claim in TEXT
