"""The screen in front of the real interpreter: what keys do arrives, and can be read and saved."""

from __future__ import annotations

from rig.tests.harness.fake_session_screen import Seated
from rig.tests.harness.screen_pilot import Player, play


def test_a_fault_is_armed_disarmed_fired_undone_and_saved_with_keys() -> None:
    session = Seated()

    async def script(player: Player) -> None:
        await player.press("down", "a", "tab", "tab", "tab", "'cut", "enter")
        await player.sees("cut is armed: OUT bulk transfers")
        await player.press("2", "d")
        await player.sees("cut is disarmed.")
        await player.press("z")
        await player.sees("Undone: disarm cut")
        await player.press("f")
        await player.sees("1 of 1")
        await player.press("n", "'seen it", "enter")
        await player.sees("Noted.")
        await player.press("j")
        await player.sees("10.0 s  note seen it")
        await player.press("escape", "S", "enter")
        await player.until(lambda: bool(session.seat.files))

    play(script, session)
    plan = session.seat.files["plan.toml"]
    assert 'name = "cut"' in plan
    assert "note seen it" in plan


def test_what_cannot_be_is_a_sentence_in_place() -> None:
    async def script(player: Player) -> None:
        await player.press("a", "tab", "tab", "'0", "enter")
        await player.until(lambda: "nth" in player.said())
        assert player.open
        await player.press("escape", "colon", "'fire nobody", "enter")
        await player.sees("NOT DONE: There is no rule 'nobody'.")
        assert player.value("#command") == "fire nobody"

    play(script, Seated())
