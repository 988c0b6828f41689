"""The end of a session's screen: asked once, shown to the verdict, in order even without it."""

from __future__ import annotations

from rig.session.snapshot import Mode
from rig.tests.harness.fake_session_screen import FakeSession
from rig.tests.harness.screen_pilot import Player, play


class Slow(FakeSession):
    """A session whose end takes until it is told to."""

    def leave(self) -> None:
        self.left = True
        self.change(mode=Mode.ENDING, words="reads everything back")


def test_leaving_asks_once_and_may_be_thought_over() -> None:
    async def script(player: Player) -> None:
        await player.press("q")
        await player.sees("Leave the session?")
        await player.press("escape")
        await player.until(lambda: not player.open)
        assert not player.session.left

    play(script)


def test_the_end_is_shown_until_the_verdict() -> None:
    async def script(player: Player) -> None:
        await player.press("q", "enter")
        await player.sees("reads everything back")
        await player.set(words="judges")
        await player.sees("judges")
        assert player.app.is_running
        await player.set(mode=Mode.ENDED)
        await player.until(lambda: not player.app.is_running)

    assert play(script, Slow()).left


def test_the_command_quit_asks_too() -> None:
    async def script(player: Player) -> None:
        await player.press("colon", "'quit", "enter")
        await player.sees("Leave the session?")

    assert not play(script).left


def test_interrupting_closes_a_dialog_then_asks_then_leaves() -> None:
    async def script(player: Player) -> None:
        await player.press("n", "ctrl+c")
        await player.until(lambda: not player.open)
        await player.press("ctrl+c")
        await player.sees("Leave the session?")
        await player.press("ctrl+c")
        await player.sees("reads everything back")
        assert player.session.left
        await player.press("ctrl+c")
        await player.until(lambda: not player.app.is_running)

    play(script, Slow())


def test_a_broken_session_says_why_and_stays_to_be_looked_at() -> None:
    async def script(player: Player) -> None:
        await player.set(mode=Mode.BROKEN, words="The back machine fell silent.")
        await player.sees("BROKEN")
        await player.sees("The back machine fell silent.")
        assert player.app.is_running
        await player.press("4")
        await player.sees("front says 49")
        await player.press("q", "y")
        await player.until(lambda: not player.app.is_running)

    class Broken(FakeSession):
        def leave(self) -> None:
            self.left = True

    assert play(script, Broken()).left


def test_a_session_that_ends_by_itself_closes_the_screen() -> None:
    async def script(player: Player) -> None:
        await player.set(mode=Mode.ENDED)
        await player.until(lambda: not player.app.is_running)

    play(script)
