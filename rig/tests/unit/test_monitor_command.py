"""``rig monitor``: files in, sentences out."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from rig.cli.app import call
from rig.cli.exits import Exit
from rig.errors import UserError
from rig.tests.unit.test_monitor_captures import event, pcap
from rig.tests.unit.test_monitors import back, crossing, crossing_of, ended, ran, submitted
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


def test_a_back_log_that_was_cut_is_held_against_what_it_covers(tmp_path: Path) -> None:
    events = [event for number in range(1, 5) for event in crossing_of(number)]
    files = logs(tmp_path, events)
    back_log = tmp_path / Place.BACK.name
    back_log.write_bytes(back_log.read_bytes()[: -9 * RECORD_BYTES - 7])
    assert call(["monitor", *files]) == Exit.PASS


def test_two_logs_of_one_end_are_refused(tmp_path: Path) -> None:
    files = [log(tmp_path / name, *submitted(1)) for name in ("one", "two")]
    with pytest.raises(UserError, match="second log of the same end"):
        call(["monitor", *files])


# Runs' directories.


def run_directory(path: Path, watched: object = None, *, over: bool = True) -> Path:
    """A run's directory, without logs."""
    (path / "plan.toml").write_text("")
    for end in ("front", "back"):
        (path / end).mkdir()
    if over:
        (path / "verdict.json").write_bytes(msgspec.json.encode({"watched": watched}))
    return path


def put(directory: Path, events: list[UrbEvent]) -> None:
    for place in Place:
        end = directory / place.name.lower()
        log(end / "urbs.bin", *(event for event in events if event.place is place))


def test_a_runs_directory_stands_for_its_logs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put(run_directory(tmp_path, {"urbs": 1}), crossing(arrived=6))
    assert call(["monitor", str(tmp_path)]) == Exit.FAIL
    assert "ends-agree: URB 1 was started" in capsys.readouterr().out


@pytest.mark.parametrize("follow", [[], ["--follow"]])
def test_a_directory_that_is_none_of_a_run_is_refused(tmp_path: Path, follow: list[str]) -> None:
    with pytest.raises(UserError, match="no directory of a run") as told:
        call(["monitor", *follow, str(tmp_path)])
    assert "--follow" not in (told.value.hint or "")


def test_a_run_that_goes_on_has_to_be_followed(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not over") as told:
        call(["monitor", str(run_directory(tmp_path, over=False))])
    assert "--follow" in (told.value.hint or "")


def test_logs_that_do_not_tell_a_whole_run_are_refused(tmp_path: Path) -> None:
    put(run_directory(tmp_path), crossing())
    with pytest.raises(UserError, match="no logs of URBs that tell its whole run"):
        call(["monitor", str(tmp_path)])


def test_a_run_that_is_over_and_left_no_logs_cannot_be_followed(
    tmp_path: Path, written: Callable[..., None]
) -> None:
    written()
    with pytest.raises(UserError, match="no logs of URBs"):
        call(["monitor", "--follow", "--json", str(run_directory(tmp_path))])


def test_a_verdict_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    (run_directory(tmp_path) / "verdict.json").write_text("{")
    with pytest.raises(UserError, match="no verdict of a run"):
        call(["monitor", str(tmp_path)])


def test_a_directory_stands_alone(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not all that was named"):
        call(["monitor", str(run_directory(tmp_path)), "usb.pcap"])


# Files that grow.


class Writer:
    """Goes on with files whenever the follower waits; then comes Ctrl-C."""

    def __init__(self, *steps: Callable[[], object]) -> None:
        self._steps = list(steps)

    def wait(self, _: float) -> None:
        if not self._steps:
            raise KeyboardInterrupt
        self._steps.pop(0)()


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def set_steps(*steps: Callable[[], object]) -> None:
        monkeypatch.setattr(threading, "Event", lambda: Writer(*steps))

    return set_steps


def append(path: Path, octets: bytes) -> None:
    with path.open("ab") as file:
        file.write(octets)


def test_files_are_followed_until_ctrl_c(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], written: Callable[..., None]
) -> None:
    file = tmp_path / "usb.pcap"
    octets = pcap(event("S", 1), event("C", 1), event("C", 1))
    file.write_bytes(octets[:-30])
    seen: list[str] = []
    written(
        lambda: seen.append(capsys.readouterr().out),
        lambda: append(file, octets[-30:]),
        lambda: seen.append(capsys.readouterr().out),
    )
    assert call(["monitor", "--follow", str(file)]) == Exit.FAIL
    assert seen[0] == ""
    assert "usb.pcap: event 2, 7.000000 s, one-completion" in seen[1]
    assert capsys.readouterr().out == f"{file}: 1 URBs, 1 breach.\n"


@pytest.mark.parametrize("place", Place)
def test_a_log_that_is_alone_waits_for_no_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], written: Callable[..., None], place: Place
) -> None:
    path = logs(tmp_path, crossing())[place is Place.BACK]
    written()
    assert call(["monitor", "--follow", path]) == Exit.PASS
    followed = capsys.readouterr().out
    assert call(["monitor", path]) == Exit.PASS
    assert capsys.readouterr().out == followed
    assert " 0 URBs" not in followed


def test_a_cut_off_end_breaks_no_rule(tmp_path: Path, written: Callable[..., None]) -> None:
    cut_off = (Kind.END, Kind.GIVEBACK)
    stream = [e for e in crossing() if e.place is Place.FRONT or e.kind not in cut_off]
    files = logs(tmp_path, stream)
    written()
    assert call(["monitor", "--follow", *files]) == Exit.PASS
    assert call(["monitor", *files]) == Exit.PASS


def test_a_run_is_followed_until_it_is_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], written: Callable[..., None]
) -> None:
    run_directory(tmp_path, over=False)
    whole = msgspec.json.encode({"watched": {"urbs": 1}})
    written(
        lambda: put(tmp_path, crossing(told=-71)[:3]),
        lambda: put(tmp_path, crossing(told=-71)),
        lambda: (tmp_path / "verdict.json").write_bytes(whole),
    )
    assert call(["monitor", "--follow", str(tmp_path)]) == Exit.FAIL
    out = capsys.readouterr().out
    assert "ends-agree: URB 1 ended with" in out
    assert "1 URBs, 1 breach." in out


def test_json_is_printed_at_the_end_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], written: Callable[..., None]
) -> None:
    written()
    lone = UrbEvent(Kind.GIVEBACK, Place.BACK, 1, 1)
    assert call(["monitor", "--follow", "--json", log(tmp_path / "log", lone)]) == Exit.FAIL
    (looked,) = msgspec.json.decode(capsys.readouterr().out)
    assert len(looked["breaches"]) == 1


@pytest.mark.parametrize("octets", [b"", HEADER[:3]])
def test_of_a_file_with_nothing_in_it_the_same_is_told_in_the_end(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    written: Callable[..., None],
    octets: bytes,
) -> None:
    file = tmp_path / "empty"
    file.write_bytes(octets)
    written()
    assert call(["monitor", "--follow", "--json", str(file)]) == Exit.PASS
    (looked,) = msgspec.json.decode(capsys.readouterr().out)
    assert looked == {"what": str(file), "urbs": 0, "breaches": []}


def test_a_file_that_becomes_shorter_is_another(
    tmp_path: Path, written: Callable[..., None]
) -> None:
    file = Path(log(tmp_path / "log", *submitted(1)))
    written(lambda: file.write_bytes(HEADER))
    with pytest.raises(UserError, match="has become shorter"):
        call(["monitor", "--follow", str(file)])


def test_a_file_that_is_not_there_is_not_waited_for(
    tmp_path: Path, written: Callable[..., None]
) -> None:
    written()
    with pytest.raises(UserError, match="cannot be read"):
        call(["monitor", "--follow", str(tmp_path / "none")])
