"""The screen with its keys: each has a command done, or asks what the command needs."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from typing import ClassVar

from textual import on
from textual.app import SuspendNotSupported
from textual.binding import Binding, BindingType
from textual.events import DescendantFocus
from textual.widgets import Input

from rig.integrity.workloads.table import WORKLOADS
from rig.session.screen import offers
from rig.session.screen.command_line import CommandLine
from rig.session.screen.desk import Reply
from rig.session.screen.dialogs.arm import ArmDialog
from rig.session.screen.dialogs.leaving import Ending, LeaveDialog
from rig.session.screen.dialogs.line import LineDialog
from rig.session.screen.dialogs.reading import Reading
from rig.session.screen.dialogs.search import Search
from rig.session.screen.frame import Frame
from rig.session.screen.items import Item
from rig.session.screen.keys import KEYS, TABS
from rig.session.screen.manual import page
from rig.session.screen.panes.base import Rows
from rig.session.screen.panes.endpoints import picked_address
from rig.session.screen.picks import (
    MEDIUM,
    Picked,
    endpoint_key,
    machine_key,
    picked_endpoint,
    subjects,
)
from rig.session.screen.words import endpoint_name, quoted
from rig.session.snapshot import FaultRow, Mode
from rig.splitdriver.policy import Policy

LIGHT, DARK = "textual-light", "textual-dark"
POLICIES = {
    Policy.HOLD: "After an error, what has not run is kept until the client is done with it.",
    Policy.ACA: "After an error, all that is queued or comes fails until the client lets go.",
    Policy.NAIVE: "Nothing is stopped: what is queued runs at once, to show the hazard.",
}
LONG = 4
"""An answer of more sentences is opened to be read."""


class SessionApp(Frame):
    """A session for a person at a terminal; see `Frame` for the arguments."""

    BINDINGS: ClassVar[list[BindingType]] = [
        *(Binding(key.key, key.action, key.short, show=False) for key in KEYS),
        *(
            Binding(str(number), f"tab({number - 1})", name, show=False)
            for number, (name, _) in enumerate(TABS, 1)
        ),
        Binding("f1", "help", "help", show=False),
        # Before an input takes it to copy what is marked.
        Binding("ctrl+c", "interrupt", "quit", show=False, priority=True),
    ]

    # What is picked

    @on(Rows.RowHighlighted)
    def _row_highlighted(self, event: Rows.RowHighlighted) -> None:
        if event.data_table.has_focus and isinstance(event.data_table, Rows):
            self._pick_in(event.data_table)

    @on(DescendantFocus)
    def _focused(self, event: DescendantFocus) -> None:
        if isinstance(event.widget, Rows):
            self._pick_in(event.widget)

    def _pick_in(self, rows: Rows) -> None:
        key = rows.picked
        if key is None:
            return
        match rows.id:
            case "machine-rows":
                self.pick(Picked(machine_key(key), f"the {key} machine"))
            case "endpoint-rows":
                address = picked_address(key)
                self.pick(Picked(endpoint_key(address), f"endpoint {endpoint_name(address)}"))
            case _:
                # A further fault of the same layer, if it is one that is about one thing.
                layers = {row.name: row.layer for row in self.shown.faults}
                self.pick(Picked(layers.get(key, ""), f"fault {key}"))

    @on(Rows.RowSelected)
    def _row_selected(self, event: Rows.RowSelected) -> None:
        if event.data_table.id != "fault-rows":
            self.action_arm()
            return
        row = self._fault()
        if row is not None:
            self.tell(Reply(f"fault {row.name}", (f"{row.layer}: {row.words}.",)))

    def _fault(self) -> FaultRow | None:
        rows = self.screen_stack[0].query_one("#fault-rows", Rows)
        found = next((row for row in self.shown.faults if row.name == rows.picked), None)
        if found is None:
            self.tell(Reply("fault", ("There is no fault yet; a arms one.",), good=False))
        return found

    # Faults

    def action_arm(self) -> None:
        """Ask for a fault of what is picked."""
        key = self.picked.key if self.picked else ""
        if key == endpoint_key(0):
            said = "Faults are about bulk endpoints; pick one that is not 0."
            self.tell(Reply("arm", (said,), good=False))
        else:
            self._ask_rule(key)

    def action_blocks(self) -> None:
        """Ask for a fault of a range of LBAs; it begins with where the file system is."""
        first = next(iter(self.shown.file_systems), None)
        lbas = f"{first.first_lba}-{first.first_lba + first.blocks - 1}" if first else ""
        self._ask_rule(MEDIUM.key, lbas)

    def _ask_rule(self, key: str, lbas: str = "") -> None:
        dialog = ArmDialog(self.do, tuple(subjects(self.shown)), key, lbas=lbas)
        self.push_screen(dialog, self._done)

    def action_fire(self) -> None:
        """Fire the picked fault."""
        self._by_name("fire")

    def action_disarm(self) -> None:
        """Disarm the picked fault, or arm it again."""
        row = self._fault()
        if row is not None:
            self.do(f"{'disarm' if row.armed else 'rearm'} {quoted(row.name)}")

    def action_remove(self) -> None:
        """Remove the picked fault."""
        self._by_name("remove")

    def _by_name(self, do: str) -> None:
        row = self._fault()
        if row is not None:
            self.do(f"{do} {quoted(row.name)}")

    def action_release(self) -> None:
        """End what hangs."""
        self.do("release")

    def action_recipes(self) -> None:
        """Search the ready faults."""
        self.push_screen(Search("Ready faults", offers.recipes()), self._recipe)

    def _recipe(self, name: str | None) -> None:
        if name is not None:
            self._ask_line(
                f"Ready fault {name}",
                offers.recipe_about(name),
                value=offers.recipe_line(name, self._picked_endpoint),
            )

    @property
    def _picked_endpoint(self) -> int | None:
        return picked_endpoint(self.picked.key) if self.picked else None

    # The workload and the machines

    def action_pause(self) -> None:
        """Pause, or go on."""
        self.do("go" if self.shown.mode is Mode.PAUSED else "pause")

    def action_workload(self) -> None:
        """Choose a workload."""
        items = [Item(kind.name, kind.name, kind.sentence) for kind in WORKLOADS.values()]
        self._choose("Workload", "workload", items)

    def action_policy(self) -> None:
        """Choose a policy."""
        items = [Item(name.value, name.value, POLICIES[name]) for name in Policy]
        self._choose("Policy", "policy", items)

    def action_shell(self) -> None:
        """Choose a machine, and open a shell there."""
        items = [Item(row.name, row.name, row.state) for row in self.shown.machines]
        self._choose("Shell on a machine", "shell", items)

    def _choose(self, title: str, command: str, items: Sequence[Item]) -> None:
        def chosen(key: str | None) -> None:
            if key is not None:
                self.do(f"{command} {key}")

        self.push_screen(Search(title, items), chosen)

    def action_unplug(self) -> None:
        """Unplug, or plug."""
        ports = self.shown.ports
        gone = bool(ports) and all(port.device is None for port in ports)
        self.do("plug" if gone else "unplug")

    def action_reset(self) -> None:
        """Reset the port."""
        self.do("reset")

    def action_power(self) -> None:
        """Take the back machine's power away, if that is really meant."""
        about = "The back machine loses its power and boots again: some seconds without a disk."
        self._ask_line("Power-cycle", about, value="power-cycle back")

    def action_verify(self) -> None:
        """Read everything back now."""
        self.do("verify")

    def action_note(self) -> None:
        """Ask for a note."""
        self._ask_line("Note", "A text that marks this moment.", command="note")

    def action_undo(self) -> None:
        """Undo the last."""
        self.do("undo")

    def action_save(self) -> None:
        """Ask where to save the plan."""
        self._ask_line("Save as a plan", "The name of the file.", command="save", value="plan.toml")

    def _ask_line(self, title: str, about: str, *, command: str = "", value: str = "") -> None:
        dialog = LineDialog(title, self.do, about=about, command=command, value=value)
        self.push_screen(dialog, self._done)

    def _done(self, reply: Reply | None) -> None:
        if reply is not None:
            self.hear(reply)

    def hear(self, reply: Reply) -> None:
        """See `Frame.hear`; what wants the terminal, or to leave, gets it."""
        if reply.leaving:
            self.action_leave()
            return
        self.tell(reply._replace(sentences=reply.sentences[:LONG]))
        if reply.argv:
            self._open(reply.argv)
        elif len(reply.sentences) > LONG:
            self.push_screen(Reading(reply.line, "\n".join(reply.sentences)))

    def _open(self, argv: Sequence[str]) -> None:
        try:
            with self.suspend():
                print(f"{' '.join(argv)}\nThe session goes on; leave the shell to come back.")
                status = self.run_shell(argv)
        except SuspendNotSupported:
            self.tell(Reply("shell", ("This terminal cannot be given away.",), good=False))
            return
        self.refresh(repaint=True, layout=True)
        if status:
            self.tell(Reply("shell", (f"It ended with status {status}.",)))

    def run_shell(self, argv: Sequence[str]) -> int:
        """Give the terminal to a program until it ends; return its exit status."""
        try:
            return subprocess.call(list(argv))
        except OSError as error:
            self.tell(Reply("shell", (f"{argv[0]} cannot be run: {error.strerror}.",), good=False))
            return 0

    # Reading, searching, typing

    def action_journal(self) -> None:
        """Show what was done."""
        lines = self.brain.journal() or ["Nothing was done yet."]
        self.push_screen(Reading("Journal", "\n".join(lines)))

    def action_help(self) -> None:
        """Explain everything."""
        self.push_screen(Reading("Help", page(self.brain.help())))

    def action_palette(self) -> None:
        """Search everything that can be done."""
        self.push_screen(Search("All", offers.everything()), self._from_palette)

    def _from_palette(self, key: str | None) -> None:
        kind, _, rest = (key or "").partition(":")
        match kind:
            case offers.KEY:
                self.call_later(self.run_action, f"app.{rest}")
            case offers.LINE:
                self._type(f"{rest} ")
            case offers.RECIPE:
                self._recipe(rest)

    def action_command(self) -> None:
        """Go to the command line."""
        self._command_line.focus()

    def _type(self, text: str) -> None:
        line = self._command_line
        line.value = text
        line.focus()
        line.cursor_position = len(text)

    @property
    def _command_line(self) -> CommandLine:
        return self.screen_stack[0].query_one(CommandLine)

    @on(Input.Submitted, "#command")
    def _entered(self, event: Input.Submitted) -> None:
        line = event.value.strip()
        if line:
            self._command_line.taken(line)
            self.do(line, self._typed)

    def _typed(self, reply: Reply) -> None:
        self.hear(reply)
        if not reply.good:
            self._command_line.restore(reply.line)

    @on(CommandLine.Several)
    def _several(self, event: CommandLine.Several) -> None:
        self.tell(Reply("Tab", (", ".join(event.lines),)))

    def action_panes(self) -> None:
        """Leave the command line, with what is typed there."""
        self.focus_panes()

    def action_tab(self, number: int) -> None:
        """Show a tab, or go to its pane where all are shown."""
        self.show_tab(number)

    def action_theme(self) -> None:
        """Change between light and dark."""
        self.theme = DARK if self.theme == LIGHT else LIGHT

    # The end

    def action_leave(self) -> None:
        """Ask once, and leave."""
        self.push_screen(LeaveDialog(), lambda leave: self.end() if leave else None)

    def action_interrupt(self) -> None:
        """Ctrl-C: close the dialog that is open, or ask whether to leave."""
        top = self.screen
        if isinstance(top, Ending):
            self.close()
        elif isinstance(top, LeaveDialog):
            top.dismiss(True)
        elif len(self.screen_stack) > 1:
            top.dismiss(None)
        else:
            self.action_leave()
