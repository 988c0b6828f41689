"""Plays on a session's screen without a terminal: keys in, text out."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from textual.events import Key
from textual.keys import _character_to_key
from textual.pilot import Pilot
from textual.widgets import Input, Static

from rig.session.screen.app import SessionApp
from rig.tests.harness.fake_session_screen import FakeSession

DEADLINE_S = 10.0
SMALL, LARGE = (80, 24), (160, 50)


class Player:
    """A person at the keys.

    Attributes:
        session: What is played with.
        app: The screen.
    """

    def __init__(self, session: FakeSession, app: SessionApp, pilot: Pilot[None]) -> None:
        self.session = session
        self.app = app
        self._pilot = pilot

    async def press(self, *keys: str) -> None:
        """Press keys, and let the screen answer to each; what begins with ``'`` is typed."""
        for key in keys:
            if key.startswith("'"):
                await self.type(key[1:])
            else:
                self._send(key)
                await self._settle()

    async def type(self, text: str) -> None:
        """Type a text."""
        for key in text:
            self._send(key)
        await self._settle()

    def _send(self, key: str) -> None:
        # Not Pilot.press: that waits for the processor to be idle, 40 ms a key at least.
        named = _character_to_key(key) if len(key) == 1 and not key.isalnum() else key
        self.app.post_message(Key(named, key if len(key) == 1 else None))

    async def _settle(self) -> None:
        # A key goes from the screen to what has the focus, and what that says, up to the app.
        for _ in range(3):
            await self._pilot.pause(0)

    async def set(self, **changes: object) -> None:
        """Change how things are, and have it shown."""
        self.session.change(**changes)
        self.app.tick()
        await self._settle()

    async def resize(self, columns: int, lines: int) -> None:
        await self._pilot.resize_terminal(columns, lines)
        await self._settle()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for something that a thread brings about."""
        end = time.monotonic() + DEADLINE_S
        while not condition():
            assert time.monotonic() < end, f"never; asked {self.session.asked}\n{self.text}"
            await self._pilot.pause(0.002)
        await self._settle()

    async def sees(self, text: str) -> None:
        """Wait until a text is on the screen."""
        await self.until(lambda: text in self.text)

    async def repaint_s(self, key: str, text: str) -> float:
        """Press a key; return how long it took until a text was on the screen."""
        begin = time.perf_counter()
        self._send(key)
        while text not in self.text:
            assert time.perf_counter() < begin + DEADLINE_S, f"never: {text}"
            await asyncio.sleep(0)
        return time.perf_counter() - begin

    async def asks(self, *lines: str) -> None:
        """Wait until just these lines were asked for."""
        await self.until(lambda: self.session.asked == list(lines))

    @property
    def lines(self) -> list[str]:
        """The screen's lines."""
        strips = self.app.screen._compositor.render_strips()
        return [strip.text for strip in strips]

    @property
    def text(self) -> str:
        """All that is on the screen."""
        return "\n".join(self.lines)

    def value(self, selector: str) -> str:
        """What is typed in an input of the dialog on top, or of the screen."""
        return self.app.screen.query_one(selector, Input).value

    def said(self) -> str:
        """What the dialog on top says in place."""
        return str(self.app.screen.query_one("#said", Static).content)

    @property
    def open(self) -> bool:
        """Whether a dialog is open."""
        return len(self.app.screen_stack) > 1


def play(
    script: Callable[[Player], Awaitable[None]],
    session: FakeSession | None = None,
    size: tuple[int, int] = SMALL,
    kind: type[SessionApp] = SessionApp,
) -> FakeSession:
    """Run a script on a screen of so many columns and lines; return the session."""
    played = session or FakeSession()

    async def run() -> None:
        app = kind(played.snapshot, played, played.leave)
        async with app.run_test(size=size) as pilot:
            await pilot.pause()
            await script(Player(played, app, pilot))

    asyncio.run(run())
    played.free.set()
    return played
