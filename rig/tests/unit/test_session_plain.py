"""A session line by line, in a real pseudo-terminal and from a list of lines."""

from __future__ import annotations

import io
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pytest

from rig.session.plain.lines import Conversation, Ended
from rig.session.plain.speaking import Speaker, Spoken
from rig.session.plain.typed import history_file
from rig.session.snapshot import Mode, Snapshot
from rig.session.talk.interpreter import Answer
from rig.session.waiting import Patience
from rig.tests.harness.fake_deeds import LIVE, Seat

PROMPT = "rig> "
IN_PTY = "rig.tests.harness.plain_in_pty"
DEADLINE_S = 20.0
SMALL = (24, 40)


class Terminal:
    """A person's terminal with a session in it."""

    def __init__(self, directory: Path, term: str = "xterm") -> None:
        self.directory = directory
        self.child = pexpect.spawn(
            sys.executable,
            ["-m", IN_PTY, str(directory)],
            env={"TERM": term, "PATH": "/usr/bin:/bin"},
            cwd=Path(__file__).parents[3],
            encoding="utf-8",
            timeout=DEADLINE_S,
            dimensions=SMALL,
        )
        self.expect(PROMPT)

    def expect(self, text: str) -> str:
        self.child.expect_exact(text)
        return str(self.child.before)

    def give(self, line: str) -> str:
        """Type a line; return what is printed up to the next prompt."""
        self.child.sendline(line)
        self.expect("\n")
        return self.expect(PROMPT)

    def ends(self) -> str:
        """Wait for the end; return how it ended."""
        self.child.expect(pexpect.EOF)
        self.child.close()
        return (self.directory / "left").read_text()


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    one = Terminal(tmp_path)
    yield one
    one.child.close(force=True)


def test_a_line_is_answered_in_lines_without_colours_or_frames(terminal: Terminal) -> None:
    assert terminal.give("status port") == "port 1-1: device 3, linked\r\n"


def test_what_cannot_be_is_told_and_it_goes_on(terminal: Terminal) -> None:
    assert "error: There is no command 'moon'" in terminal.give("moon")
    assert "The policy is hold." in terminal.give("policy")


def test_tab_completes_commands_keys_and_values(terminal: Terminal) -> None:
    terminal.child.send("wor\tran\t\n")
    terminal.expect("random writes from the next pass on.")
    terminal.expect(PROMPT)
    terminal.child.send("arm lay\tmed\top=wr\tnth=1\n")
    terminal.expect("nth=1")
    assert "medium-1 is armed" in terminal.expect(PROMPT)


def test_lines_are_remembered_until_the_next_session(terminal: Terminal) -> None:
    terminal.give("note once")
    terminal.child.sendline("quit")
    terminal.ends()
    again = Terminal(terminal.directory)
    again.child.send("\x1b[A\x1b[A\n")
    again.expect("note once")
    again.expect("Noted.")
    again.child.close(force=True)


def test_news_have_their_own_line_and_the_typed_line_stays_with_its_cursor(
    terminal: Terminal,
) -> None:
    terminal.child.send("note elo\x1b[D\x1b[D\x1b[D")  # the cursor is before "elo"
    terminal.expect("elo")
    (terminal.directory / "told").touch()
    terminal.expect("back: fault 'x' fired at match 1.\r\n")
    terminal.expect("rig> note elo")
    terminal.child.send("h\x05!\n")
    terminal.expect("Noted.")
    terminal.expect(PROMPT)
    assert "10.0 s  note helo!" in terminal.give("journal")


def test_on_a_dumb_terminal_news_are_told_without_control_characters(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path, "dumb")
    terminal.child.send("note hello")
    terminal.expect("hello")
    (tmp_path / "told").touch()
    assert "\x1b" not in terminal.expect("fired at match 1.")
    terminal.child.send("\n")
    assert "\x1b" not in terminal.expect("Noted.")
    terminal.child.close(force=True)


def test_ctrl_c_breaks_a_line_off_and_twice_at_an_empty_prompt_leaves(terminal: Terminal) -> None:
    terminal.child.send("note never")
    terminal.expect("never")
    terminal.child.send("\x03")
    terminal.expect(PROMPT)
    terminal.child.send("\x03")
    terminal.expect("Ctrl-C once more leaves.")
    terminal.expect(PROMPT)
    terminal.child.send("\x03")
    assert "failed=0" in terminal.ends()
    assert (terminal.directory / "journal").read_text() == ""


def test_ctrl_c_breaks_a_wait_off(terminal: Terminal) -> None:
    terminal.give("recipe write-lost")
    terminal.child.sendline("wait fired write-lost 3000")
    terminal.expect("3000\r\n")
    terminal.child.send("\x03")
    terminal.expect("error: The wait was broken off.")
    terminal.expect(PROMPT)


def test_what_cannot_be_broken_off_goes_on_behind_the_prompt(terminal: Terminal) -> None:
    terminal.child.sendline("reset")
    terminal.expect("reset\r\n")
    terminal.child.send("\x03")
    terminal.expect("'reset' cannot be broken off; its answer comes later.")
    terminal.expect(PROMPT)


def test_a_shell_has_the_terminal_and_the_session_comes_back(terminal: Terminal) -> None:
    said = terminal.give("shell back")
    assert "shell on back\r\nThe shell has ended with status 0." in said


@pytest.mark.parametrize("way", ["quit\n", "\x04"])
def test_it_ends_in_order(terminal: Terminal, way: str) -> None:
    terminal.child.send(way)
    terminal.expect("It has ended in order.")
    assert "lost=False" in terminal.ends()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_in_order(terminal: Terminal, number: int) -> None:
    terminal.child.kill(number)
    terminal.expect("It has ended in order.")
    assert terminal.ends()


def test_a_signal_ends_it_in_order_while_a_command_is_done(terminal: Terminal) -> None:
    terminal.child.sendline("reset")
    terminal.expect("reset\r\n")
    terminal.child.kill(signal.SIGTERM)
    terminal.expect("It has ended in order.")
    assert terminal.ends()


def test_a_terminal_that_goes_away_ends_it_in_order(terminal: Terminal) -> None:
    terminal.give("note here")
    terminal.child.close(force=False)
    assert (terminal.directory / "journal").read_text() == "10.0 s  note here"
    assert (terminal.directory / "left").exists()


def test_a_session_that_ends_by_itself_does_not_wait_for_the_line_being_typed(
    terminal: Terminal,
) -> None:
    terminal.child.send("note hal")
    terminal.expect("hal")
    (terminal.directory / "over").touch()
    terminal.expect("It has ended in order.")
    assert terminal.ends()


# From a pipe


class Piped:
    """A session whose commands come from elsewhere."""

    def __init__(self) -> None:
        self.seat = Seat()
        self.said, self.aside = io.StringIO(), io.StringIO()
        self.patience = Patience()

    def hold(self, *lines: str, strict: bool = False) -> Ended:
        speaker = Speaker(self.said, self.aside)
        talk = Conversation(
            self.seat.interpreter.ask,
            self.seat.deeds.snapshot,
            self.patience,
            speaker,
            strict=strict,
        )
        return talk.hold(lines, by_hand=False)


def test_nothing_but_answers_is_printed() -> None:
    piped = Piped()
    assert piped.hold("policy\n", "# a comment\n", "\n", "quit\n", "policy\n").failed == 0
    assert piped.said.getvalue() == "The policy is hold.\nThe session ends in order.\n"


def test_a_command_that_fails_does_not_end_it() -> None:
    piped = Piped()
    assert piped.hold("moon", "policy").failed == 1
    assert piped.said.getvalue().endswith("The policy is hold.\n")


def test_a_command_that_fails_ends_a_strict_one() -> None:
    piped = Piped()
    assert piped.hold("moon", "policy", strict=True).failed == 1
    assert "policy" not in piped.said.getvalue()


def test_a_shell_from_a_pipe_is_told_and_not_run() -> None:
    piped = Piped()
    piped.hold("shell back")
    assert piped.said.getvalue() == 'A shell needs a terminal: sh -c "echo shell on back"\n'


def test_a_reader_that_has_gone_ends_it_in_order() -> None:
    piped = Piped()
    piped.said.close()
    assert piped.hold("policy", "pause").lost
    assert piped.seat.deeds.done == []


def test_the_first_line_waits_until_the_session_has_begun() -> None:
    seen = iter([Mode.STARTING] * 3)
    asked: list[Mode] = []

    def look() -> Snapshot:
        mode = next(seen, Mode.LIVE)
        return Snapshot(mode=mode, machines=() if mode is Mode.STARTING else LIVE.machines)

    def ask(line: str) -> Answer:
        asked.append(look().mode)
        return Answer(line)

    talk = Conversation(ask, look, Patience(), Speaker(io.StringIO(), io.StringIO()))
    talk.hold(["pause"], by_hand=False)
    assert asked == [Mode.LIVE]


def test_a_mistake_of_ours_costs_its_command_alone() -> None:
    def ask(line: str) -> Answer:
        raise KeyError(line)

    said = io.StringIO()
    look = Piped().seat.deeds.snapshot
    talk = Conversation(ask, look, Patience(), Speaker(said, io.StringIO()))
    assert talk.hold(["x", "y"], by_hand=False).failed == 2
    assert "error: The rig itself is at fault: KeyError: 'x'." in said.getvalue()


# Speaking


def test_control_characters_of_others_are_escaped() -> None:
    said = io.StringIO()
    Speaker(said, said).say("a\x1b[2Jb")
    assert said.getvalue() == "a\\x1b[2Jb\n"


def test_letters_that_the_terminal_lacks_are_escaped() -> None:
    octets = io.BytesIO()
    speaker = Speaker(io.TextIOWrapper(octets, encoding="latin-1"), io.StringIO())
    speaker.say("a ▁ é")
    assert (octets.getvalue(), speaker.lost) == (b"a \\u2581 \\xe9\n", False)


def test_what_is_told_while_another_has_the_terminal_comes_behind() -> None:
    said = io.StringIO()
    speaker = Speaker(said, said)
    with speaker.silent():
        speaker.tell("news")
        assert said.getvalue() == ""
    assert said.getvalue() == "news\n"


def test_quick_steps_are_not_told() -> None:
    told: list[str] = []
    progress = Spoken(told.append)
    with progress.step("blink"):
        progress.note("a note")
    assert told == ["a note"]


def test_the_history_is_in_the_users_state_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/states")
    assert history_file() == Path("/states/rig/session-history")
    monkeypatch.delenv("XDG_STATE_HOME")
    assert history_file() == Path.home() / ".local/state/rig/session-history"
