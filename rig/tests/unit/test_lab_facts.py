"""What of a host is in order, and the sentences where it is not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from rig.about import About
from rig.lab.authority import MACHINE_LIFETIME, Authority, Machine
from rig.lab.clock import Offset
from rig.lab.doctor import State
from rig.lab.facts import FREE_BYTES, Facts, MachineRow, Papers, Question, Wanted, judge, sentence

NOW = datetime(2026, 5, 1, tzinfo=UTC)
RIG = About("0.1.0", "0123456789abcdef")
QUESTION = Question(("vhci_hcd",), ("modprobe",), 7205, "/srv", "", "/run/lock")
GOOD = Facts(
    uid=0,
    kernel="6.12.1",
    python=(3, 11),
    modules={"vhci_hcd": True},
    programs={"modprobe": True},
    udcs={"fe98.usb": ""},
    hubs=("usb1", "1-1"),
    rig=RIG,
    why_no_rig="",
    listener="",
    free_bytes=FREE_BYTES,
    holder="",
    certificate=None,
    t_ns=0,
    boot_id="one",
)
WANTED = Wanted(QUESTION, RIG, NOW, "fe98.usb", "usb1")


def rows(offset_s: float = 0.0, wanted: Wanted = WANTED, **changes: Any) -> list[MachineRow]:
    facts = msgspec.structs.replace(GOOD, **changes)
    return judge("back", facts, Offset(0, round(offset_s * 1e9), 1000), wanted)


def lacking(**changes: Any) -> list[str]:
    return [sentence(row) for row in rows(**changes) if row.state is State.LACKING]


def papers(directory: Path, *, until: timedelta, mode: int = 0o600) -> Papers:
    """Return a certificate that is valid for so long from now on."""
    authority = Authority.open_or_make(directory, NOW - timedelta(days=1500))
    place = authority.issue(Machine("back.lab", ("10.0.0.1",)), NOW + until - MACHINE_LIFETIME)
    return Papers((place / "cert.pem").read_text(), (place / "ca.pem").read_text(), mode)


def test_a_host_that_has_all_lacks_nothing() -> None:
    assert lacking() == []
    assert {row.machine for row in rows()} == {"back"}


def test_every_row_that_lacks_something_tells_the_mend() -> None:
    bad = rows(
        uid=1000,
        holder="a lab of joe on pc (process 1)",
        python=(3, 9),
        rig=None,
        why_no_rig="there is no program 'rig'",
        modules={"vhci_hcd": False},
        programs={"modprobe": False},
        udcs={},
        hubs=(),
        listener="process 7 (rig back)",
        free_bytes=0,
        offset_s=3600.0,
    )
    assert all(row.mend for row in bad if row.state is State.LACKING)
    assert len([row for row in bad if row.state is State.LACKING]) == 11


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"uid": 1000}, "Machine 'back': user: SSH lets in user 1000."),
        ({"holder": "a lab of joe"}, "Machine 'back': lab: used by a lab of joe."),
        (
            {"rig": About("0.1.0", "f" * 16)},
            "Machine 'back': rig: 0.1.0 (ffffffffffffffff), and the station has"
            " 0.1.0 (0123456789abcdef).",
        ),
        (
            {"modules": {"vhci_hcd": False}},
            "Machine 'back': module vhci_hcd: kernel 6.12.1 has no module vhci_hcd.",
        ),
        (
            {"listener": "process 7 (nc -l)"},
            "Machine 'back': TCP port 7205: process 7 (nc -l) listens on it.",
        ),
        ({"free_bytes": 5 << 20}, "Machine 'back': /srv: 5 MiB free."),
        ({"free_bytes": -1}, "Machine 'back': /srv: cannot be written to."),
        ({"offset_s": -90.0}, "Machine 'back': clock: -90.000 s to the station's."),
        ({"udcs": {"other": ""}}, "Machine 'back': UDC fe98.usb: not one of: other."),
        ({"udcs": {"fe98.usb": "g1"}}, "Machine 'back': UDC fe98.usb: bound to gadget g1."),
        ({"hubs": ("usb2",)}, "Machine 'back': hub usb1: there is no such hub."),
    ],
)
def test_what_is_missing_is_a_sentence_with_the_machines_name(
    changes: dict[str, Any], said: str
) -> None:
    assert lacking(**changes) == [said]


def test_a_udc_of_dummy_hcd_is_there_when_it_is_wanted() -> None:
    wanted = msgspec.structs.replace(WANTED, udc="dummy_udc.0", hub="")
    assert lacking(wanted=wanted, udcs={}) == []


def test_without_certificates_the_link_is_said_to_be_open() -> None:
    notes = [row for row in rows() if row.what == "certificate"]
    assert [(row.state, row.found) for row in notes] == [
        (State.NOTE, "none: the link is neither encrypted nor authenticated")
    ]


@pytest.mark.parametrize(
    ("days", "state", "found"),
    [
        (-1, State.LACKING, "expired on 2026-04-30"),
        (3, State.NOTE, "of 'back.lab', until 2026-05-04"),
        (300, State.OK, "of 'back.lab', until 2027-02-25"),
        (740, State.LACKING, "not valid before 2026-05-10"),
    ],
)
def test_a_certificate_is_judged_by_the_stations_clock(
    tmp_path: Path, days: int, state: State, found: str
) -> None:
    made = papers(tmp_path, until=timedelta(days=days))
    seen = [row for row in rows(certificate=made) if row.what == "certificate"]
    assert [(row.state, row.found) for row in seen] == [(state, found)]


def test_no_certificate_where_one_was_promised_is_lacking() -> None:
    assert lacking(certificate=Papers("", "", 0o600)) == [
        "Machine 'back': certificate: none in /cert.pem."
    ]


@pytest.mark.parametrize(("mode", "found"), [(-1, "there is none"), (0o640, "mode 0640")])
def test_a_key_is_there_and_nobody_elses(tmp_path: Path, mode: int, found: str) -> None:
    made = papers(tmp_path, until=timedelta(days=300), mode=mode)
    assert lacking(certificate=made) == [f"Machine 'back': key: {found}."]


def test_a_certificate_names_its_machine(tmp_path: Path) -> None:
    assert papers(tmp_path, until=timedelta(days=300)).name() == "back.lab"
    assert Papers("-----nothing-----", "", 0).name() == ""
