"""What is tried by ``rig fidelity``, how it is read, judged and told, without machines."""

from __future__ import annotations

import errno
import mmap
import os
from pathlib import Path

import msgspec
import pytest

from rig.cable.controllers import Controller
from rig.cli.main import run as rig
from rig.errors import UserError
from rig.experiments.fidelity import agent
from rig.experiments.fidelity.cells import (
    ATTACHMENTS,
    OPCODES,
    Injection,
    injections,
    no_path,
    plan,
    refused,
)
from rig.experiments.fidelity.document import cell, document
from rig.experiments.fidelity.findings import explain
from rig.experiments.fidelity.monitor import Record, Seen, Told, look
from rig.experiments.fidelity.report import (
    Data,
    Fidelity,
    Observation,
    Report,
    judge_read,
    judge_write,
    kernel_words,
)
from rig.experiments.fidelity.wishes import Wishes, read_wishes
from rig.faults.reader import parse_plan
from rig.faults.rules.endpoint import EndpointFault, EndpointStatus, When
from rig.lab.paths import PathName
from rig.report.record import encode
from rig.tests.harness.fidelity_cells import (
    INJECTION,
    PROTO,
    TOLD,
    observation,
    records,
    write_once,
)
from rig.usb.urb import Direction


def report(*observations: Observation) -> Report:
    return Report(
        command="rig fidelity",
        kernel="6.12",
        accelerator="tcg",
        date="2026-01-02",
        patience_s=6,
        whole=False,
        observations=observations,
    )


# What is tried.


@pytest.mark.parametrize("attachment", ATTACHMENTS)
def test_each_error_that_can_be_made_has_a_rule_in_a_phase_of_its_own(attachment: str) -> None:
    made = injections(attachment)
    rules = parse_plan(plan(made), "plan.toml").rules(EndpointFault)
    assert [(rule.phase, rule.halt) for rule in rules] == [(one.name, one.halt) for one in made]
    assert len({rule.phase for rule in rules}) == len(made) > 0


@pytest.mark.parametrize("attachment", ATTACHMENTS)
def test_each_error_is_either_made_or_refused_with_a_reason(attachment: str) -> None:
    made = {f"{one.direction.upper()} {one.label}" for one in injections(attachment)}
    not_made = [name for names in refused(attachment).values() for name in names]
    labels = (*EndpointStatus, "EPIPE halted")
    everything = {f"{way.upper()} {label}" for way in Direction for label in labels}
    assert everything <= made | set(not_made)
    assert not made & set(not_made)
    assert all(refused(attachment))


def test_on_ohci_the_moment_is_a_packet_of_the_data_going_out() -> None:
    made = [Injection(Controller.OHCI, Direction.OUT, EndpointStatus.ETIME, when) for when in When]
    rules = parse_plan(plan(tuple(made)), "plan.toml").rules(EndpointFault)
    assert [(rule.nth, rule.when) for rule in rules] == [
        (1, When.BEFORE),
        (33, When.BEFORE),
        (64, When.AFTER),
    ]


def test_without_a_back_end_there_is_no_error_in_its_port() -> None:
    assert no_path("dummy", PathName.USBIP)
    assert not no_path("dummy", PathName.SPLIT)
    assert not no_path("ehci", PathName.DIRECT)


def test_no_wish_is_the_whole_table() -> None:
    assert read_wishes().whole
    assert not read_wishes(paths=["split"]).whole


def test_what_is_not_known_is_refused() -> None:
    with pytest.raises(UserError, match="no attachment"):
        read_wishes(attachments=["uhci"])
    with pytest.raises(UserError, match="no moment"):
        read_wishes(moments=["later"])
    with pytest.raises(UserError, match="None of these errors"):
        read_wishes(attachments=["ehci"], statuses=["ENOSR"])


def test_only_the_split_driver_is_tried_where_the_port_makes_the_errors() -> None:
    wishes = read_wishes(attachments=["dummy", "ehci"], statuses=["EPIPE"])
    assert [path for path, _ in wishes.cells("dummy")] == [PathName.SPLIT]
    assert [path for path, _ in wishes.cells("ehci")] == list(PathName)
    assert wishes.cells("ohci") == Wishes(statuses=(EndpointStatus.EPIPE,)).cells("ohci")


# What usbmon says.


def test_the_first_urb_of_the_data_is_told_whatever_follows() -> None:
    seen = look([*write_once(PROTO, 2048), *write_once(0, 4096)], OPCODES[Direction.OUT])
    assert seen == Seen(first=TOLD, sent=2)


def test_what_is_no_disk_is_left_out() -> None:
    other = records(("S", 0x01, -115, 64, "00"), ("C", 0x01, PROTO, 0, ""), device=3)
    assert look(other, OPCODES[Direction.OUT]) == Seen()


def test_another_command_is_left_out() -> None:
    assert look(write_once(PROTO, 0), OPCODES[Direction.IN]) == Seen()


def test_data_that_were_never_submitted_are_not_taken_for_those_of_the_next_try() -> None:
    only_command = write_once(0, 0)[:2]
    seen = look([*only_command, *write_once(0, 4096)], OPCODES[Direction.OUT])
    assert seen == Seen(first=None, sent=2)


def test_an_urb_that_does_not_come_back_tells_nothing() -> None:
    assert look(write_once(0, 4096)[:3], OPCODES[Direction.OUT]) == Seen(sent=1)


def test_cleared_halts_are_counted() -> None:
    clear = Record(8, "S", 2, 0, 1, 2, -115, 0, 1, "0201000001000000")
    assert look([clear, clear], 0x2A).halts_cleared == 2


def test_an_event_of_usbmon_is_read_as_the_kernel_lays_it_out() -> None:
    event = agent.EVENT.pack(
        9, ord("C"), 3, 0x81, 2, 1, ord("-"), 0, 3, 4, PROTO, 2048, 5, bytes(8)
    )
    assert len(event) == 48
    told = msgspec.convert(agent.decode(event + b"hello"), Record)
    assert told == Record(9, "C", 3, 0x81, 1, 2, PROTO, 2048, 3000004, b"hello".hex())


def test_of_a_control_transfer_the_setup_packet_is_told() -> None:
    setup = bytes.fromhex("0201000081000000")
    event = agent.EVENT.pack(9, ord("S"), 2, 0, 2, 1, 0, 0, 0, 0, -115, 0, 0, setup)
    assert msgspec.convert(agent.decode(event), Record).head == setup.hex()


def test_a_line_of_the_log_is_told_without_its_head() -> None:
    assert agent.words(b"6,12,34,-;usb 1-1: reset\n SUBSYSTEM=usb\n") == "usb 1-1: reset"


def test_a_request_reads_what_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "O_DIRECT", 0)  # the file system of the tests' files may not know it
    disk = tmp_path / "disk"
    disk.write_bytes(bytes(8192))
    page = mmap.mmap(-1, 4096)
    page[:] = agent.pattern(3, 4096)
    place = {"node": str(disk), "offset": 4096, "bytes": 4096}
    assert agent.request(str(disk), 4096, page, write=True)["errno"] == ""
    got = agent.obey({"do": "read", "numbers": [2, 3], **place}, watch=None)  # type: ignore[arg-type]
    assert isinstance(got, dict)
    assert (got["errno"], got["number"]) == ("", 3)


# How it is judged.


@pytest.mark.parametrize(
    ("name", "found", "data"),
    [
        ("", 2, "right"),
        ("EIO", 2, "right"),
        ("EIO", 1, "old"),
        ("", 1, "wrong"),
        ("EIO", -1, "wrong"),
    ],
)
def test_only_a_writer_that_was_told_may_find_old_data(name: str, found: int, data: str) -> None:
    assert judge_write(name, found, new=2, old=1) == data


@pytest.mark.parametrize(
    ("name", "found", "data"), [("", 1, "right"), ("EIO", -1, "none"), ("", -1, "wrong")]
)
def test_a_reader_gets_what_is_there_or_is_told(name: str, found: int, data: str) -> None:
    assert judge_read(name, found, old=1) == data


@pytest.mark.parametrize(
    ("above", "fidelity"),
    [
        (TOLD, Fidelity.SAME),
        (Told(-errno.EPIPE, 2048), Fidelity.STATUS),
        (Told(PROTO, 0), Fidelity.LENGTH),
        (None, Fidelity.UNSEEN),
    ],
)
def test_status_and_length_are_compared(above: Told | None, fidelity: Fidelity) -> None:
    assert observation(above=above).fidelity is fidelity


def test_the_split_drivers_cells_decide() -> None:
    other = {"above": Told(PROTO, 0)}
    assert not report(observation(path=PathName.USBIP, **other)).unfaithful
    assert report(observation(**other)).unfaithful
    assert report(observation(data=Data.WRONG)).unfaithful
    assert report(observation(fired=0)).incomplete
    assert report(observation(note="gone")).incomplete
    assert not report(observation()).incomplete


def test_the_kernels_words_are_the_same_each_time() -> None:
    assert kernel_words(
        [
            "usb 3-1: reset high-speed USB device number 2 using vhci_hcd",
            "usb 4-1: reset high-speed USB device number 5 using vhci_hcd",
            "clocksource: something else",
            "sd 2:0:0:0: [sda] tag#7 Sense Key : 0x5",
            "critical target error, dev sda, sector 2048 op 0x0:(READ)",
        ]
    ) == (
        "reset high-speed USB device",
        "Sense Key : 0x5",
        "critical target error, the disk op 0x0:(READ)",
    )


# How it is told.

LETTERS = {"reset high-speed USB device": "a"}


def test_a_cell_says_what_was_told_and_what_became_of_it() -> None:
    assert cell(observation(), str(TOLD), LETTERS) == "= · 2 sent · a · ok"
    lost = observation(above=Told(PROTO, 0), errno="EIO", data=Data.OLD, lines=())
    assert cell(lost, str(TOLD), LETTERS) == "≠ -EPROTO, 0 · 2 sent · EIO, old"
    assert cell(observation(data=Data.WRONG, lines=()), str(TOLD), {}).endswith("**WRONG**")
    assert cell(observation(note="gone"), str(TOLD), LETTERS) == "lost"
    assert cell(observation(fired=0), str(TOLD), LETTERS) == "?"


def test_each_thing_that_is_not_as_it_should_be_is_explained() -> None:
    unlike = (
        observation(note="the kernel died"),
        observation(fired=2),
        observation(above=None),
        observation(above=Told(-errno.EPIPE, 2048)),
        observation(above=Told(PROTO, 0)),
        observation(data=Data.WRONG),
    )
    assert len({explain(one) for one in unlike}) == len(unlike)
    page = document(report(*unlike))
    assert all(explain(one) in page for one in unlike)


def test_the_page_says_how_it_was_made_and_what_is_missing() -> None:
    page = document(report(observation(), observation(path=PathName.USBIP)))
    assert "Generated by `rig fidelity` on 2026-01-02, kernel 6.12" in page
    assert "| OUT | EPROTO | middle | -EPROTO, 2048 | = · 2 sent · a · ok |" in page
    assert "Not the whole table" in page
    assert "each error came through as it was made" in page


def test_what_the_clients_driver_does_is_compared_with_no_split() -> None:
    direct = observation(path=PathName.DIRECT)
    same = observation(lines=(*direct.lines, "SetAddress Request"))
    assert not report(direct, same).otherwise(PathName.SPLIT)
    other = observation(sent=3)
    assert report(direct, other).otherwise(PathName.SPLIT) == [other]
    assert "- split at xhci-raw (OUT EPROTO middle): the client's driver did otherwise" in document(
        report(direct, other)
    )


def test_what_is_refused_of_both_directions_is_said_once() -> None:
    page = document(report(observation()))
    assert "- Not EILSEQ, ETIME, ETIMEDOUT, ECONNRESET, EAGAIN, ESHUTDOWN; IN ECOMM" in page


def test_a_path_without_errors_is_said() -> None:
    at_dummy = msgspec.structs.replace(INJECTION, attachment="dummy")
    elsewhere = observation(path=PathName.USBIP)
    page = document(report(observation(injection=at_dummy), elsewhere))
    assert "- Not over USB/IP: the error is made in the port of `rig back`" in page


def test_the_command_writes_the_page_of_a_report_anew(tmp_path: Path) -> None:
    source, page = tmp_path / "fidelity.json", tmp_path / "page.md"
    source.write_bytes(encode(report(observation())))
    assert rig(["fidelity", "--from", str(source), "--write", str(page)]) == 0
    assert page.read_text() == document(report(observation()))


@pytest.mark.parametrize(("fields", "status"), [({"data": Data.WRONG}, 1), ({"above": None}, 4)])
def test_the_exit_status_is_the_split_drivers(
    tmp_path: Path, fields: dict[str, object], status: int
) -> None:
    source = tmp_path / "fidelity.json"
    source.write_bytes(encode(report(observation(**fields))))
    assert rig(["fidelity", "--from", str(source)]) == status


def test_what_is_no_report_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no report"):
        rig(["fidelity", "--from", str(tmp_path / "nothing.json")])
