"""The screen without its keys: the panes, the layout, and what brings things up to date."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from rich.text import Text
from textual.app import App, ComposeResult
from textual.containers import Container
from textual.driver import Driver
from textual.events import Event, InputEvent, Resize
from textual.message import Message
from textual.widget import Widget

from rig.session.screen.brain import Brain
from rig.session.screen.command_line import CommandLine
from rig.session.screen.desk import Desk, Heard, Reply
from rig.session.screen.dialogs.leaving import Ending
from rig.session.screen.garbage import Garbage
from rig.session.screen.keys import TABS
from rig.session.screen.panes.base import Pane, Rows, Tail
from rig.session.screen.panes.endpoints import Endpoints
from rig.session.screen.panes.faults import Faults
from rig.session.screen.panes.machines import Machines
from rig.session.screen.panes.plots import Plots
from rig.session.screen.panes.texts import KernelLog, Urbs
from rig.session.screen.panes.verdict import Verdict
from rig.session.screen.picks import Picked
from rig.session.screen.status import KeyLine, Status, TabLine
from rig.session.snapshot import Mode, Snapshot

POLL_S = 0.25
WIDE = (132, 40)
"""Columns and lines from which all panes have room at once."""
_OVER = (Mode.ENDED, Mode.BROKEN)


class Frame(App[None]):
    """Shows a session.

    Args:
        look: Says how things are, at once: `rig.session.deeds.Deeds.snapshot`.
        brain: Does commands.
        leave: Tells the session to end in order; does not wait for it.
        lost: Says whether the terminal is gone.
        driver: Of the terminal; None: textual's own.
    """

    TITLE = "rig session"
    ENABLE_COMMAND_PALETTE = False
    CSS: ClassVar[str] = """
    Screen { background: $background; }
    #panes { height: 1fr; }
    #panes.wide { layout: grid; grid-size: 2; grid-rows: 9 9 1fr 1fr; }
    #panes.wide > Pane { height: 100%; }
    #panes > #plots { height: 6; }
    #answers { height: 2; border-top: none; color: $foreground; }
    #answers.wide { height: 6; }
    """

    class Answered(Message):
        """A line was done, or was not.

        Attributes:
            reply: What came of it.
            heard: Who is to hear it.
        """

        def __init__(self, reply: Reply, heard: Heard) -> None:
            super().__init__()
            self.reply = reply
            self.heard = heard

    def __init__(
        self,
        look: Callable[[], Snapshot],
        brain: Brain,
        leave: Callable[[], None],
        lost: Callable[[], bool] = lambda: False,
        driver: type[Driver] | None = None,
    ) -> None:
        super().__init__(driver_class=driver)
        self._look = look
        self.brain = brain
        self.shown = Snapshot()
        self.tab = 0
        self.picked: Picked | None = None
        self._leave = leave
        self._lost = lost
        self._desk = Desk(brain.ask, self._answer)
        self._ending: Ending | None = None
        self._garbage = Garbage()

    def compose(self) -> ComposeResult:
        """See `App.compose`."""
        yield Status(id="status", markup=False)
        yield TabLine(id="tabs")
        with Container(id="panes"):
            yield Machines(id="machines")
            yield Plots(id="plots")
            yield Endpoints(id="endpoints")
            yield Verdict(id="verdict")
            yield Faults(id="faults")
            yield KernelLog("back")
            yield Urbs(id="urbs")
            yield KernelLog("front")
        answers: Tail[str] = Tail(id="answers")
        answers.can_focus = False
        yield answers
        yield CommandLine(self.brain.complete)
        yield KeyLine(id="keys")

    def on_mount(self) -> None:
        """Begin to look."""
        self._fit(self.size.width, self.size.height)
        self.show_tab(0)
        self.tick()
        self.set_interval(POLL_S, self.tick)

    async def on_event(self, event: Event) -> None:
        """Take note of keys; see `App.on_event`."""
        if isinstance(event, InputEvent):
            self._garbage.typed()
        await super().on_event(event)

    def on_resize(self, event: Resize) -> None:
        """Show everything if there is room, or else a tab of it."""
        self._fit(event.size.width, event.size.height)

    @property
    def wide(self) -> bool:
        """Whether there is room for all panes."""
        return self.query_one("#panes").has_class("wide")

    def _fit(self, columns: int, lines: int) -> None:
        if not self.screen_stack[0].query("#panes"):
            return
        wide = columns >= WIDE[0] and lines >= WIDE[1]
        self.screen_stack[0].query_one("#panes").set_class(wide, "wide")
        self.screen_stack[0].query_one("#answers").set_class(wide, "wide")
        self.screen_stack[0].query_one("#machine-rows", Rows).show_header = wide
        self.screen_stack[0].query_one(KeyLine).fit(columns)
        self._show_panes()

    def show_tab(self, number: int) -> None:
        """Show a tab's panes, and go to its first."""
        self.tab = number
        self._show_panes()
        self.focus_panes()

    def focus_panes(self) -> None:
        """Go to what can be picked, or scrolled, in the present tab."""
        within = TABS[self.tab][1]
        # The endpoints are what is picked most.
        order = ["endpoints"] if "endpoints" in within else list(within)
        for name in order:
            first = next((w for w in self._base(f"#{name}").query(Widget) if w.focusable), None)
            if first is not None:
                first.focus()
                return

    def _base(self, selector: str) -> Widget:
        # Not query_one of the app: that looks in the dialog that is on top.
        return self.screen_stack[0].query_one(selector)

    def _show_panes(self) -> None:
        wide = self._base("#panes").has_class("wide")
        for pane in self.screen_stack[0].query(Pane):
            pane.display = wide or pane.id in TABS[self.tab][1]
        self._show_tabs()

    def _show_tabs(self) -> None:
        wide = self._base("#panes").has_class("wide")
        picked = self.picked.words if self.picked else ""
        self.screen_stack[0].query_one(TabLine).show(self.tab, wide=wide, picked=picked)

    def pick(self, picked: Picked | None) -> None:
        """Take note of what a fault would be about."""
        if picked is not None and picked != self.picked:
            self.picked = picked
            self._show_tabs()

    def tick(self) -> None:
        """Bring everything up to date."""
        if self._lost():
            self.close()
            return
        base = self.screen_stack[0]
        if not base.query(Status):
            # Not composed yet, or being taken down.
            return
        now = self.shown = self._look()
        base.query_one(Status).show(now, self._desk.doing)
        for pane in base.query(Pane):
            pane.show(now)
        if self._ending is not None and self._ending.is_attached:
            self._ending.show(now)
        if now.mode is Mode.ENDED or (self._ending is not None and now.mode in _OVER):
            self.close()
        elif len(self.screen_stack) == 1:
            # A dialog that is passed over as long as it is open would never be collected.
            self._garbage.look()

    def do(self, line: str, heard: Heard | None = None) -> None:
        """Have a line done; the answer is shown, or somebody hears it."""
        self._desk.do(line, heard or self.hear)

    def _answer(self, reply: Reply, heard: Heard) -> None:
        # From the thread of the desk; a message that comes too late is for nobody.
        self.post_message(self.Answered(reply, heard))

    def on_frame_answered(self, event: Answered) -> None:
        """Give a reply to who is to hear it."""
        event.heard(event.reply)
        self.tick()

    def tell(self, reply: Reply) -> None:
        """Show an answer above the command line."""
        answers = self.screen_stack[0].query_one("#answers", Tail)
        answers.add(f"> {reply.line}")
        for sentence in reply.sentences:
            answers.add(sentence if reply.good else f"NOT DONE: {sentence}")
        answers.scroll_end(animate=False)

    def hear(self, reply: Reply) -> None:
        """Take the answer to what nobody else waits for."""
        self.tell(reply)

    def _fatal_error(self) -> None:
        # Instead of textual's traceback: the session goes on to its end, and its words say it all.
        error = self._exception
        said = f"The screen failed ({type(error).__name__}: {error}); the session ends in order."
        self.panic(Text(said))

    def end(self) -> None:
        """Tell the session to end, and show how far it is."""
        if self._ending is None:
            self._ending = Ending()
            self.push_screen(self._ending)
            self._leave()

    def close(self) -> None:
        """Leave the terminal; the session is told to end if it was not."""
        self._leave()
        self.exit()
