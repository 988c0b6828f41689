"""``rig monitor``: files in, sentences out."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from rig.cli.app import call
from rig.cli.exits import Exit
from rig.errors import UserError
from rig.tests.unit.test_monitor_captures import event, pcap
from rig.tests.unit.test_monitors import back, crossing, ended, ran, submitted
from rig.usb.urblog import HEADER, RECORD_BYTES, Kind, Place, UrbEvent


def log(path: Path, *events: UrbEvent) -> str:
    path.write_bytes(HEADER + b"".join(each.pack() for each in events))
    return str(path)


def logs(directory: Path, events: list[UrbEvent]) -> list[str]:
    """The two logs of a stream."""
    return [
        log(directory / place.name, *(e for e in events if e.place is place)) for place in Place
    ]


def test_logs_of_a_good_run_break_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(["monitor", *logs(tmp_path, crossing())]) == Exit.PASS
    assert "1 URBs, 0 breaches." in capsys.readouterr().out


def test_both_ends_logs_are_held_against_each_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(["monitor", *logs(tmp_path, crossing(arrived=6))]) == Exit.FAIL
    assert "ends-agree: URB 1 was started with other data" in capsys.readouterr().out


def test_the_order_of_the_files_does_not_matter(tmp_path: Path) -> None:
    assert call(["monitor", *reversed(logs(tmp_path, crossing()))]) == Exit.PASS


def test_the_window_is_the_users_to_tell(tmp_path: Path) -> None:
    started = [back(Kind.START, 1), back(Kind.START, 2)]
    file = log(tmp_path / "log", *submitted(1, 2), *started, *ended(1), *ended(2))
    assert call(["monitor", file]) == Exit.FAIL
    assert call(["monitor", "--window", "2", file]) == Exit.PASS


def test_another_policy_may_run_on(tmp_path: Path) -> None:
    file = log(tmp_path / "log", *submitted(1, 2), *ran(1, -71, 0, epoch=1), *ran(2, epoch=1))
    assert call(["monitor", file]) == Exit.FAIL
    assert call(["monitor", "--no-hold", file]) == Exit.PASS


def test_what_is_under_way_when_a_log_ends_is_no_breach(tmp_path: Path) -> None:
    assert call(["monitor", log(tmp_path / "log", *submitted(1))]) == Exit.PASS


def test_a_capture_is_looked_at_by_itself(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "usb.pcap"
    file.write_bytes(pcap(event("S", 1), event("C", 1), event("C", 1)))
    assert call(["monitor", "--json", str(file)]) == Exit.FAIL
    (looked,) = msgspec.json.decode(capsys.readouterr().out)
    assert looked["urbs"] == 1
    assert looked["breaches"][0]["rule"] == "one-completion"


def test_a_breach_is_told_with_its_event_and_time(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "usb.pcap"
    file.write_bytes(pcap(event("S", 1), event("C", 1), event("C", 1)))
    assert call(["monitor", str(file)]) == Exit.FAIL
    assert "event 2, 7.000000 s, one-completion: URB 1 of 1:003, 0x01" in capsys.readouterr().out


def test_a_time_of_the_calendar_is_told_as_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = UrbEvent(Kind.GIVEBACK, Place.FRONT, 1, 1, t_ns=1_700_000_000_123_456_789)
    assert call(["monitor", log(tmp_path / "log", given)]) == Exit.FAIL
    assert "22:13:20.123456 UTC" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot be read"),
        (b"rubbish", "Line 1 is no event of usbmon"),
        (HEADER + bytes(RECORD_BYTES), "no meaning"),
    ],
)
def test_what_cannot_be_read_is_told_with_its_name(
    tmp_path: Path, content: bytes | None, said: str
) -> None:
    file = tmp_path / "file"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(UserError, match=said) as told:
        call(["monitor", str(file)])
    assert str(file) in str(told.value)
    assert told.value.hint


def test_two_logs_of_one_end_are_refused(tmp_path: Path) -> None:
    files = [log(tmp_path / name, *submitted(1)) for name in ("one", "two")]
    with pytest.raises(UserError, match="second log of the same end"):
        call(["monitor", *files])
