"""The screen on a real pseudo-terminal: shells, signals, a terminal that goes away."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pexpect
import pytest

from rig.tests.harness.until import await_end

DEADLINE_S = 30.0


@contextmanager
def screen(tmp_path: Path, *words: str) -> Iterator[tuple[pexpect.spawn, Path]]:
    """A screen that is live, and the file that it notes to."""
    notes = tmp_path / "notes"
    child = pexpect.spawn(
        sys.executable,
        ["-m", "rig.tests.harness.screen_in_pty", str(notes), *words],
        dimensions=(24, 80),
        timeout=DEADLINE_S,
        encoding="utf-8",
        env={**os.environ, "TERM": "xterm-256color"},
    )
    try:
        child.expect("STOPPED")
        child.expect("quit")
        yield child, notes
    finally:
        child.close(force=True)


def test_the_verdict_stays_on_the_terminal_and_a_shell_gives_it_back(tmp_path: Path) -> None:
    with screen(tmp_path) as (child, notes):
        child.send("s")
        child.expect("Shell on a machine")
        child.send("\r")
        child.expect("a shell")
        child.send("hello\r")
        child.expect("hello")
        child.expect("LIVE")
        child.send("q")
        child.expect("Leave the session")
        child.send("\r")
        child.expect(r"\x1b\[\?1049l")
        child.expect("Verdict: PASS")
        child.expect(pexpect.EOF)
        child.wait()
        assert child.exitstatus == 0
        assert notes.read_text().splitlines() == ["shell back", "left", "over"]


def test_a_signal_to_end_leaves_in_order(tmp_path: Path) -> None:
    with screen(tmp_path) as (child, notes):
        child.kill(signal.SIGTERM)
        child.expect("Verdict: PASS")
        child.expect(pexpect.EOF)
        child.wait()
        assert child.exitstatus == 0
        assert notes.read_text() == "left\nover\n"


@pytest.mark.parametrize("deaf", [False, True], ids=["told by a signal", "not told"])
def test_a_terminal_that_goes_away_leaves_in_order(tmp_path: Path, deaf: bool) -> None:
    with screen(tmp_path, *(["deaf"] if deaf else [])) as (child, notes):
        child.ptyproc.fileobj.close()
        await_end(child.pid, DEADLINE_S)
    assert child.exitstatus == 0
    assert notes.read_text() == "left\nover\n"
