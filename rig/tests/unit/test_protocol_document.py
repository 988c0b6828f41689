"""``docs/protocol.md`` says what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import rig
from rig.net.address import DEFAULT_PORT
from rig.splitdriver import back_queues, session, wire
from rig.splitdriver.messages import (
    MAX_PORTS,
    NEWEST_VERSION,
    OLDEST_VERSION,
    PLUGS,
    Capability,
)
from rig.splitdriver.policy import ACA_STATUSES, NAIVE_WINDOW, PolicyCode
from rig.splitdriver.transport import caller
from rig.splitdriver.transport.peer import MAX_BACKLOG_BYTES
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
        f"split driver, version {NEWEST_VERSION}\n",
        f"Here {OLDEST_VERSION} and {NEWEST_VERSION} |",
        f"up to {MAX_PORTS} USB ports",
        f"| ports of a link | {MAX_PORTS} |",
        f"1, 2, … {PLUGS - 1}, 1, …",
        f"every {caller.RETRY_S} s; every {caller.REFUSED_RETRY_S:.0f} s if it was refused",
        f"({NAIVE_WINDOW} URBs each)",
        f"| {MAX_BACKLOG_BYTES >> 20} MiB | the link is lost",
        f"default port {DEFAULT_PORT}",
        f"{wire.MAX_FRAME_BYTES:,} (4 MiB + 64)",
        f"{MAX_TRANSFER_BYTES:,} (4 MiB)",
        f"at most {wire.MAX_TEXT_BYTES} octets",
        f"| {back_queues.MAX_QUEUED_BYTES >> 20} MiB | REFUSED",
        f"| {back_queues.MAX_QUEUED_URBS} | REFUSED",
        f"nothing for {session.HEARTBEAT_S:.0f} s sends PING",
        f"nothing for {session.DEAD_AFTER_S:.0f} s holds",
    ],
)
def test_the_document_tells_the_limits_of_the_code(claim: str) -> None:
    assert claim in TEXT


@pytest.mark.parametrize("code", PolicyCode)
def test_the_document_tells_every_policys_octet(code: PolicyCode) -> None:
    assert f"{code.value} {code.name.lower()}" in TEXT
    assert f"| {code.name.lower()} ({code.value}) |" in TEXT
    assert f"### Policy {code.name.lower()}\n" in TEXT


@pytest.mark.parametrize("capability", [c for c in Capability if c])
def test_the_document_tells_every_capabilitys_bit(capability: Capability) -> None:
    assert f"0x{capability.value:08x} {capability.name}" in TEXT
    assert f"Only with the capability {capability.name}." in TEXT


@pytest.mark.parametrize("name", ACA_STATUSES)
def test_the_document_tells_every_status_of_policy_aca(name: str) -> None:
    assert f"-{name}" in TEXT.split("### Policy aca")[1].split("###")[0]
