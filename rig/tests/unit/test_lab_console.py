from __future__ import annotations

import itertools
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rig.errors import LostVMError
from rig.lab.console import Console, clean, pump
from rig.lab.health import Health

PANIC = b"[ 9.1] Kernel panic - not syncing: sysrq\n[ 9.2] Call Trace:\n[ 9.3]  <TASK>\n"


@pytest.fixture
def console(tmp_path: Path) -> Iterator[Console]:
    console = Console("back", tmp_path / "console.log", Health("back"), clock=lambda: 1.5)
    yield console
    console.end("")


def test_every_line_in_the_log_has_the_stations_time(console: Console) -> None:
    console.feed(b"one\r\ntwo\r\n")
    assert console.log.read_text() == "1970-01-01T00:00:01.500Z one\n1970-01-01T00:00:01.500Z two\n"


def test_an_unfinished_line_is_logged_when_the_console_ends(console: Console) -> None:
    console.feed(b"half")
    console.end("It was powered off.")
    assert console.log.read_text().endswith(" half\n")


def test_a_full_disk_costs_the_log_and_not_the_watch_over_the_machine() -> None:
    console = Console("back", Path("/dev/full"), Health("back"))
    console.feed(PANIC + b"[ 9.4] ---[ end Kernel panic - not syncing ]---\n")
    assert console.health.lost
    console.end("")


def test_control_sequences_are_not_kept() -> None:
    assert clean(b"\x1b[0;32m[ OK ]\x1b[0m done\x07\r\n") == "[ OK ] done"


def test_a_line_that_came_already_is_found(console: Console) -> None:
    console.feed(b"rig-guest: booted back 6.12\n")
    assert console.wait_for("rig-guest: booted", 0.0) == "rig-guest: booted back 6.12"


def test_a_prompt_without_line_end_is_found(console: Console) -> None:
    console.feed(b"one\nlogin: ")
    assert console.wait_for("login:", 0.0) == "login: "


def test_lines_before_the_given_position_do_not_count(console: Console) -> None:
    console.feed(b"ready\n")
    with pytest.raises(LostVMError, match=r"did not print 'ready' on its console in 0 s"):
        console.wait_for("ready", 0.0, since=console.position)


def test_the_lines_since_a_position_are_returned(console: Console) -> None:
    console.feed(b"one\ntwo\n")
    position = console.position
    console.feed(b"three\nfou")
    assert console.since(position) == ["three"]
    assert console.since(0) == ["one", "two", "three"]


def test_a_waiter_is_woken_by_its_line(console: Console) -> None:
    found: list[str] = []
    waiter = threading.Thread(target=lambda: found.append(console.wait_for("^two", 10.0)))
    waiter.start()
    console.feed(b"one\ntw")
    console.feed(b"o\n")
    waiter.join(10.0)
    assert found == ["two"]


def test_the_error_of_a_silent_machine_shows_its_last_lines(console: Console) -> None:
    console.feed(b"stuck here\n")
    with pytest.raises(LostVMError, match="stuck here"):
        console.wait_for("booted", 0.0)


@pytest.mark.parametrize(
    "line",
    [
        "[    9.1] Kernel panic - not syncing: Fatal exception",
        "[    9.1] Oops: 0002 [#1] PREEMPT SMP NOPTI",
        "[    9.1] Oops: general protection fault, maybe for address 0xdead: 0000 [#1] SMP",
        "[    9.1] general protection fault, probably for address 0xdead: 0000 [#1] SMP PTI",
        "[    9.1] BUG: kernel NULL pointer dereference, address: 0000000000000008",
        "[  242.1] INFO: task usb-storage:77 blocked for more than 120 seconds.",
    ],
)
def test_a_kernels_last_words_are_a_crash(console: Console, line: str) -> None:
    console.feed(f"{line}\nand more\n".encode())
    console.quiet()
    with pytest.raises(LostVMError, match="The kernel of machine 'back' crashed") as caught:
        console.health.check()
    assert line in caught.value.message


@pytest.mark.parametrize(
    "line", ["DEBUG: all is well", "panic=-1 oops=panic", "rcu: INFO: rcu_sched stall", "debug: x"]
)
def test_an_innocent_line_is_no_crash(console: Console, line: str) -> None:
    console.feed(f"{line}\n".encode())
    console.quiet()
    console.health.check()


def test_the_report_of_a_crash_holds_what_came_before_and_after(console: Console) -> None:
    console.feed(
        b"long ago\n" * 50 + b"sysrq: Trigger a crash\n" + PANIC + b"---[ end Kernel panic"
    )
    console.feed(b" ]---\n")
    with pytest.raises(LostVMError) as caught:
        console.health.check()
    assert "sysrq: Trigger a crash" in caught.value.hint
    assert "<TASK>" in caught.value.hint
    assert caught.value.hint.count("long ago") == 4


def test_a_crash_ends_all_waits(console: Console) -> None:
    errors: list[str] = []

    def wait() -> None:
        with pytest.raises(LostVMError) as caught:
            console.wait_for("never", 10.0)
        errors.append(caught.value.message)

    waiters = [threading.Thread(target=wait) for _ in range(3)]
    for waiter in waiters:
        waiter.start()
    console.feed(PANIC)
    console.quiet()
    for waiter in waiters:
        waiter.join(10.0)
    assert (
        errors
        == ["The kernel of machine 'back' crashed: [ 9.1] Kernel panic - not syncing: sysrq"] * 3
    )


def test_a_crash_explains_the_end_that_follows(console: Console) -> None:
    console.feed(PANIC)
    console.end("QEMU ended.")
    with pytest.raises(LostVMError, match="Kernel panic"):
        console.health.check()


def test_what_is_printed_after_a_report_is_still_logged(console: Console) -> None:
    console.feed(PANIC)
    console.quiet()
    console.feed(b"afterwards\n")
    assert "afterwards" in console.log.read_text()


def test_a_kernel_that_runs_has_not_crashed(console: Console) -> None:
    console.feed(b"[ 9.0] all is well\n")
    console.check_crash(0.0)


def test_a_crash_that_is_being_told_is_awaited(console: Console) -> None:
    console.feed(PANIC)
    console.check_crash(0.0)
    assert not console.health.lost
    told = threading.Timer(0.05, console.quiet)
    told.start()
    with pytest.raises(LostVMError, match=r"crashed: .*sysrq"):
        console.check_crash(10.0)
    with pytest.raises(LostVMError, match="crashed"):
        console.check_crash(0.0)
    told.join()


def test_raw_bytes_can_be_read_once(console: Console) -> None:
    console.feed(b"abc\n")
    assert console.read_raw(2, 0.0) + console.read_raw(10, 0.0) == b"abc\n"
    assert console.read_raw(10, 0.0) == b""


def test_the_pump_feeds_until_the_other_end_closes(console: Console) -> None:
    ours, theirs = socket.socketpair()
    with ours:
        theirs.sendall(b"one\ntwo")
        theirs.close()
        pump(ours, console, lambda: "QEMU ended.")
    assert console.tail() == ["one", "two"]
    with pytest.raises(LostVMError, match="QEMU ended"):
        console.health.check()


@settings(max_examples=50)
@given(data=st.binary(max_size=300), cuts=st.lists(st.integers(0, 300), max_size=5))
def test_how_bytes_are_cut_changes_nothing(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, cuts: list[int]
) -> None:
    log = tmp_path_factory.mktemp("c") / "log"
    whole = Console("a", log, Health("a"))
    parts = Console("b", log, Health("b"))
    whole.feed(data)
    edges = [0, *sorted(cut for cut in cuts if cut <= len(data)), len(data)]
    for start, stop in itertools.pairwise(edges):
        parts.feed(data[start:stop])
    assert whole.tail(1000) == parts.tail(1000)
    whole.end("")
    parts.end("")
