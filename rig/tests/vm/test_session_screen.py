"""The full screen in front of two guests, in a pseudo-terminal."""

from __future__ import annotations

import sys
from contextlib import closing, suppress
from pathlib import Path

import msgspec
import pytest

from rig.tests.harness.emulated import Emulated

pytestmark = [pytest.mark.vm, pytest.mark.nightly, pytest.mark.timeout(900)]

LONG_S = 240.0
ESCAPE, ENTER = "\x1b", "\r"


@pytest.mark.parametrize(("columns", "lines"), [(160, 50), (80, 24)])
def test_a_fault_is_armed_fires_and_is_verified_with_keys(
    columns: int, lines: int, tmp_path: Path
) -> None:
    argv = [sys.executable, "-m", "rig", "session", "--out", str(tmp_path / "run")]
    with closing(Emulated(argv, columns, lines)) as terminal:
        terminal.until(lambda text: "LIVE" in text, LONG_S)
        terminal.press("r", lambda text: "Ready faults: type" in text)
        terminal.press("write-lost", lambda text: "write-lost" in text)
        terminal.press(ENTER, lambda text: "Ready fault write-lost" in text)
        terminal.press(ENTER, lambda text: "write-lost is armed" in text)
        terminal.press("2", lambda text: "1 of 1" in text, LONG_S)
        terminal.press("v", lambda text: "sectors as they must be" in text, LONG_S)
        terminal.press("q", lambda text: "Leave the session" in text)
        terminal.press(ENTER, lambda text: "The session ends" in text)
        assert terminal.end(LONG_S) == 0
        assert "Verdict: PASS" in terminal.text
    verdict = msgspec.json.decode((tmp_path / "run/verdict.json").read_bytes())
    assert verdict["verdict"] == "pass"


def machines_of(directory: Path) -> list[str]:
    """Return the command lines of emulators that belong to a run."""
    found = []
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            words = process.read_bytes().replace(b"\0", b" ").decode(errors="replace")
            found += [words] if "qemu-system" in words and str(directory) in words else []
    return found


def test_a_terminal_that_closes_leaves_a_run_that_was_judged_and_no_machine(tmp_path: Path) -> None:
    directory = tmp_path / "run"
    argv = [sys.executable, "-m", "rig", "session", "--out", str(directory)]
    with closing(Emulated(argv, 80, 24)) as terminal:
        terminal.until(lambda text: "LIVE" in text, LONG_S)
        assert len(machines_of(directory)) == 2
        terminal.hang_up(LONG_S)
    verdict = msgspec.json.decode((directory / "verdict.json").read_bytes())
    assert verdict["verdict"] == "pass"
    left = {"summary.txt", "trace.jsonl", "session.jsonl", "verdict.json"}
    assert left <= {path.name for path in directory.iterdir()}
    assert machines_of(directory) == []
