"""The full screen in front of two guests, in a pseudo-terminal."""

from __future__ import annotations

import sys
from contextlib import closing
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
