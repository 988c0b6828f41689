"""The screen of a session: what keys do, what is shown, and that nothing typed is lost."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import ClassVar

from textual.containers import VerticalScroll

from rig.session.screen.app import SessionApp
from rig.session.screen.keys import KEYS
from rig.session.screen.panes.base import Tail
from rig.session.snapshot import (
    FaultRow,
    LogLine,
    MachineRow,
    Mode,
    PortRow,
    Snapshot,
)
from rig.tests.harness.fake_session_screen import FakeSession, live
from rig.tests.harness.screen_pilot import LARGE, Player, play

ANSWER_S = 0.1
"""A key press is answered within this time."""


def test_all_that_matters_is_on_80_by_24() -> None:
    async def script(player: Player) -> None:
        text = player.text
        for words in ("LIVE", "hold", "usual on ext4", "written 5.9 MB/s", "pass so far"):
            assert words in text
        for words in ("gadget DOWN", "LBA 2048 to 67583: mounted", "1 in", "STOPPED", "MB/s"):
            assert words in text
        assert all(len(line) == 80 for line in player.lines)

    play(script)


def test_every_key_is_in_the_footer_of_80_by_24() -> None:
    async def script(player: Player) -> None:
        footer = " ".join(line.strip() for line in player.lines[-3:])
        for key in KEYS:
            assert f"{key.shown} {key.short}" in footer.replace("\u00a0", " ")

    play(script)


def test_tabs_show_the_rest_on_80_by_24() -> None:
    async def script(player: Player) -> None:
        for key, words in (
            ("2", "a transfer is lost"),
            ("3", "512/512"),
            ("4", "front says 49"),
            ("5", "Run directory: runs/1"),
        ):
            assert words not in player.text
            await player.press(key)
            await player.sees(words)

    play(script)


def test_a_large_terminal_shows_all_at_once() -> None:
    async def script(player: Player) -> None:
        for words in ("STOPPED", "a transfer is lost", "512/512", "front says 49", "runs/1"):
            await player.sees(words)

    play(script, size=LARGE)


def test_a_terminal_that_grows_shows_more() -> None:
    async def script(player: Player) -> None:
        await player.resize(*LARGE)
        await player.sees("front says 49")
        await player.resize(80, 24)
        assert "front says 49" not in player.text
        await player.sees("STOPPED")

    play(script)


def test_a_tiny_terminal_breaks_nothing() -> None:
    async def script(player: Player) -> None:
        await player.sees("LIVE")
        await player.press("a", "escape", "question_mark", "escape", "4")
        await player.sees("4 Logs")

    play(script, size=(40, 12))


def test_a_session_that_starts_is_shown() -> None:
    async def script(player: Player) -> None:
        await player.sees("STARTING")
        await player.sees("boots the machines")
        await player.set(**{name: getattr(live(), name) for name in Snapshot.__struct_fields__})
        await player.sees("LIVE")

    play(script, FakeSession(Snapshot(words="boots the machines")))


def test_a_key_has_its_command_done() -> None:
    keys = {
        "f": "fire lost-1",
        "d": "disarm lost-1",
        "x": "remove lost-1",
        "e": "release",
        "p": "pause",
        "u": "unplug",
        "R": "reset",
        "v": "verify",
        "z": "undo",
    }

    async def script(player: Player) -> None:
        for key, line in keys.items():
            await player.press(key)
            await player.sees(f"{line}: done.")

    assert play(script).asked == list(keys.values())


def test_keys_undo_themselves_where_things_are_the_other_way_round() -> None:
    fault = FaultRow("back/back", "a b", "endpoint", False, 0, 1, 0, "")

    async def script(player: Player) -> None:
        await player.set(mode=Mode.PAUSED, ports=(PortRow("1-1"),), faults=(fault,))
        await player.press("p", "u", "d")
        await player.asks("go", "plug", "rearm 'a b'")

    play(script)


def test_a_dialog_ends_in_its_command() -> None:
    dialogs = (
        (("w", "'small-f", "enter"), "workload small-files"),
        (("o", "down", "enter"), "policy aca"),
        (("P", "enter"), "power-cycle back"),
        (("n", "'hm!", "enter"), "note hm!"),
        (("S", "enter"), "save plan.toml"),
        (("r", "'stall-h", "enter", "enter"), "recipe stall-halted"),
        (("ctrl+p", "'link-cut", "enter", "enter"), "recipe link-cut"),
        (("ctrl+p", "'back now", "enter"), "verify"),
        (("ctrl+p", "'no more", "enter", "enter", "escape"), "pause"),
        (("colon", "'poli", "tab", "enter", "escape"), "policy"),
    )

    async def script(player: Player) -> None:
        for number, (keys, line) in enumerate(dialogs, 1):
            await player.press(*keys)
            await player.until(lambda: len(player.session.asked) == number)  # noqa: B023
            assert player.session.asked[-1] == line
            await player.until(lambda: not player.open)

    play(script)


class Shelled(SessionApp):
    """A screen that gives its terminal away, where there is none."""

    ran: ClassVar[list[str]] = []

    @contextmanager
    def suspend(self) -> Iterator[None]:
        yield

    def run_shell(self, argv: Sequence[str]) -> int:
        self.ran.extend(argv)
        return 3


def test_a_shell_gets_the_terminal_and_its_end_is_told() -> None:
    async def script(player: Player) -> None:
        await player.press("s", "enter")
        await player.sees("It ended with status 3.")

    assert play(script, kind=Shelled).asked == ["shell back"]
    assert Shelled.ran == ["true"]


def test_where_the_terminal_cannot_be_given_away_a_sentence_says_so() -> None:
    async def script(player: Player) -> None:
        await player.press("s", "enter")
        await player.sees("NOT DONE: This terminal cannot be given away.")

    play(script)


def test_the_journal_and_the_help_are_read_and_closed() -> None:
    async def script(player: Player) -> None:
        await player.press("j")
        await player.sees("1.0 s  pause")
        await player.press("escape", "question_mark")
        await player.sees("Arm a fault for what is picked")
        frame = player.app.screen.query_one(VerticalScroll)
        frame.scroll_end(animate=False)
        await player.sees("Leave: the run ends in order, with its report")
        await player.press("escape")
        await player.until(lambda: not player.open)

    play(script)


def test_a_fault_is_armed_for_the_picked_endpoint() -> None:
    async def script(player: Player) -> None:
        await player.press("down")
        await player.sees("picked: endpoint 2 out")
        await player.press("enter")
        assert player.value("#rule") == (
            "layer=endpoint endpoint=2 direction=out status=EPROTO when=before nth=1"
        )
        await player.press("tab", "tab")
        await player.type("2")
        await player.press("enter")
        await player.until(lambda: not player.open)

    asked = play(script).asked
    assert asked == ["arm layer=endpoint endpoint=2 direction=out status=EPROTO when=before nth=2"]


def test_a_fault_is_armed_for_the_picked_machine() -> None:
    async def script(player: Player) -> None:
        await player.press("shift+tab")
        await player.sees("picked: the back machine")
        await player.press("a", *["right"] * 4)
        assert player.value("#rule") == "layer=machine machine=back effect=pause for_s=10 at_s=0"

    play(script)


def test_a_fault_is_armed_for_a_range_of_lbas() -> None:
    async def script(player: Player) -> None:
        await player.press("l")
        assert player.value("#lbas") == "2048-67583"
        await player.press("enter")
        await player.asks("arm layer=medium op=write effect=error lba=[2048,67583] nth=1")

    play(script)


def test_a_rule_edited_by_hand_is_not_overwritten() -> None:
    async def script(player: Player) -> None:
        await player.press("a", *["tab"] * 4, "end", "' times=3", "shift+tab", "'one")
        assert player.value("#name") == "one"
        assert player.value("#rule").endswith("nth=1 times=3")
        await player.sees("The rule was edited")

    play(script)


def test_no_fault_is_about_endpoint_0() -> None:
    async def script(player: Player) -> None:
        await player.press("up", "a")
        await player.until(lambda: not player.open)
        await player.sees("NOT DONE: Faults are about bulk endpoints")

    play(script)


def test_without_a_fault_its_keys_say_so() -> None:
    async def script(player: Player) -> None:
        await player.set(faults=())
        await player.press("f")
        await player.sees("NOT DONE: There is no fault yet")

    assert play(script).asked == []


def test_a_refused_rule_is_told_in_place_and_can_be_mended() -> None:
    session = FakeSession()
    session.refuse["arm"] = "The disk ends at LBA 131071."

    async def script(player: Player) -> None:
        await player.press("l")
        await player.press("9", "enter")
        await player.until(lambda: player.said() == "The disk ends at LBA 131071.")
        assert player.value("#lbas") == "2048-675839"
        session.refuse.clear()
        await player.press("backspace", "enter")
        await player.until(lambda: not player.open)

    play(script, session)
    assert len(session.asked) == 2


def test_a_refused_line_comes_back_to_be_mended() -> None:
    session = FakeSession()
    session.refuse["frie"] = "There is no command 'frie'."

    async def script(player: Player) -> None:
        await player.press("colon")
        await player.type("frie lost-1")
        await player.press("enter")
        await player.sees("NOT DONE: There is no command 'frie'.")
        assert player.value("#command") == "frie lost-1"

    play(script, session)


def test_what_is_typed_meanwhile_is_not_overwritten_by_a_refused_line() -> None:
    session = FakeSession()
    session.refuse["bad"] = "No."
    session.free.clear()

    async def script(player: Player) -> None:
        await player.press("colon", "'bad", "enter", "'next")
        session.free.set()
        await player.sees("NOT DONE: No.")
        assert player.value("#command") == "next"
        await player.press("up")
        assert player.value("#command") == "bad"

    play(script, session)


def test_the_line_is_kept_while_the_person_looks_at_the_panes() -> None:
    async def script(player: Player) -> None:
        await player.press("colon", "'note x", "escape", "2", "colon", "'yz")
        assert player.value("#command") == "note xyz"

    assert play(script).asked == []


def test_completion_says_what_may_follow() -> None:
    async def script(player: Player) -> None:
        await player.press("colon", "p", "tab")
        await player.sees("pause, policy")

    play(script)


def test_a_key_is_answered_in_time_while_a_deed_blocks() -> None:
    session = FakeSession()
    session.free.clear()
    took_s = []

    async def script(player: Player) -> None:
        await player.press("v")
        await player.sees("doing: verify")
        for key, words in (("2", "[2 Faults]"), ("4", "[4 Logs]"), ("1", "[1 State]")) * 2:
            took_s.append(await player.repaint_s(key, words))

    play(script, session)
    # The quickest: what the tests beside this one take of the processor is not the screen's.
    assert min(took_s) < ANSWER_S


def test_deeds_wait_for_the_one_before() -> None:
    session = FakeSession()
    session.free.clear()

    async def script(player: Player) -> None:
        await player.press("v", "z")
        await player.sees("doing: verify, 1 waiting")
        session.free.set()
        await player.sees("undo: done.")
        assert "doing:" not in player.text

    play(script, session)


def test_what_breaks_inside_is_a_sentence_and_the_session_goes_on() -> None:
    class Broken(FakeSession):
        def ask(self, line: str) -> None:  # type: ignore[override]
            raise ZeroDivisionError("oh")

    async def script(player: Player) -> None:
        await player.press("v")
        await player.sees("failed inside the rig: ZeroDivisionError: oh")
        await player.sees("LIVE")

    play(script, Broken())


def test_a_log_stays_where_the_person_has_scrolled() -> None:
    def more(n: int) -> tuple[LogLine, ...]:
        return tuple(LogLine(float(i), "back", f"line {i} of back") for i in range(n))

    async def script(player: Player) -> None:
        await player.set(log=more(100))
        await player.press("4")
        await player.sees("line 99 of back")
        await player.press("pageup")
        tail = player.app.query_one("#back-lines", Tail)
        await player.until(lambda: "line 99 of back" not in player.text)
        await player.set(log=more(120)[10:])
        assert "line 119 of back" not in player.text
        tail.scroll_end(animate=False)
        await player.sees("line 119 of back")
        await player.set(log=more(121)[10:])
        await player.sees("line 120 of back")

    play(script)


def test_a_log_that_was_hidden_meanwhile_shows_its_end() -> None:
    async def script(player: Player) -> None:
        await player.press("4", "1")
        lines = [*live().log, LogLine(99.0, "back", "usb 1-1: " + "reset " * 20 + "done")]
        await player.set(log=tuple(lines))
        await player.press("4")
        await player.sees("reset done")

    play(script)


def test_names_with_brackets_are_shown_as_they_are() -> None:
    async def script(player: Player) -> None:
        await player.set(
            machines=(MachineRow("back", "[red]down[/red]"),), findings=("[b]LBA 7[/b] is lost",)
        )
        await player.sees("[red]down[/red]")
        await player.press("5")
        await player.sees("[b]LBA 7[/b] is lost")

    play(script)


def test_the_theme_changes() -> None:
    async def script(player: Player) -> None:
        before = player.app.current_theme.dark
        await player.press("t")
        assert player.app.current_theme.dark != before

    play(script)


def test_a_click_on_a_key_does_it() -> None:
    async def script(player: Player) -> None:
        line = next(n for n, text in enumerate(player.lines) if "v verify" in text)
        column = player.lines[line].index("v verify")
        await player._pilot.click(offset=(column, line))
        await player.asks("verify")

    play(script)
