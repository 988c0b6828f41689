"""The whole story of a manual session: by hand in a real pseudo-terminal, and again as a plan."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import msgspec
import pexpect
import pytest

from rig.experiments.run.trace import read_trace
from rig.session.holding import JOURNAL

pytestmark = pytest.mark.vm

RIG = [sys.executable, "-m", "rig"]
PROMPT = "rig> "
LONG_S = 240
RULE = (
    "arm layer=endpoint endpoint=2 direction=out opcode=0x2A stage=data status=EPROTO when=before"
    " nth=1 name=lost"
)


class Terminal:
    """A program in a terminal of its own."""

    def __init__(self, *words: str, state: Path) -> None:
        self.child = pexpect.spawn(
            RIG[0],
            [*RIG[1:], *words],
            env={**os.environ, "XDG_STATE_HOME": str(state), "TERM": "xterm"},
            encoding="utf-8",
            timeout=LONG_S,
            dimensions=(24, 200),
        )

    def give(self, line: str, answer: str) -> str:
        """Type a line, and wait until a line has the answer; return what follows it there.

        What happens by itself may be told at any time, with the prompt below it: no prompt says
        that a command is done.
        """
        self.child.sendline(line)
        self.child.expect_exact(answer)
        self.child.expect_exact("\r\n")
        return str(self.child.before)

    def end(self) -> tuple[str, int]:
        """Wait for the program's end; return what it said, and its exit status."""
        self.child.expect(pexpect.EOF)
        self.close()
        return str(self.child.before), int(self.child.exitstatus or 0)

    def close(self) -> None:
        """Take the terminal away, and the program with it if it is still there."""
        self.child.close(force=True)


Open = Callable[..., Terminal]


@pytest.fixture
def open_terminal(tmp_path: Path) -> Iterator[Open]:
    """Start a command of the rig in a terminal, which goes when the test does."""
    with ExitStack() as stack:

        def start(*words: str) -> Terminal:
            return stack.enter_context(closing(Terminal(*words, state=tmp_path / "state")))

        yield start


def verdict(directory: Path) -> dict[str, object]:
    told: dict[str, object] = msgspec.json.decode((directory / "verdict.json").read_bytes())
    return {key: told[key] for key in ("verdict", "policy", "driver", "kernel")}


def fired(directory: Path) -> list[str]:
    return [line.rule for line in read_trace(directory / "trace.jsonl") if line.event == "fault"]


@pytest.mark.timeout(900)
def test_a_session_that_was_saved_as_a_plan_ends_as_before_when_it_is_replayed(
    open_terminal: Open, tmp_path: Path
) -> None:
    by_hand, again, plan = tmp_path / "by-hand", tmp_path / "again", tmp_path / "mine.toml"
    terminal = open_terminal("session", "--plain", "--out", str(by_hand))
    terminal.child.expect_exact(PROMPT)
    terminal.give(f"wait live {LONG_S}", "The session is live.")
    terminal.give(RULE.replace("endpoint=2", "endpoint=9"), "error: The device has no endpoint 9")
    terminal.give(RULE, "lost is armed: ")
    terminal.give(f"wait fired lost {LONG_S}", "lost has fired.")
    terminal.give("verify", "Nothing is wrong.")
    replay = terminal.give(f"save {plan}", "Replay: rig ")
    terminal.child.sendline("quit")
    said, status = terminal.end()
    assert "Verdict: PASS" in said
    assert status == 0
    assert fired(by_hand) == ["lost"]
    entries = [msgspec.json.decode(line) for line in (by_hand / JOURNAL).read_text().splitlines()]
    assert [entry["line"].split()[0] for entry in entries] == ["arm", "verify"]

    words = shlex.split(replay)
    said, status = open_terminal(*words, "--out", str(again)).end()
    assert "This is what the plan expects." in said
    assert status == 0
    assert fired(again) == ["lost"]
    assert verdict(again) == verdict(by_hand)
