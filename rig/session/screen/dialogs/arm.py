"""The dialog that makes a rule: filled in from what was picked, and the rule itself to edit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.widgets import Input, Static

from rig.session.screen.dialogs.base import Dialog, Do
from rig.session.screen.dialogs.choose import Choose
from rig.session.screen.picks import TRIGGERS, Choice, Subject, rule_line

_LABELS = "What\nEffect\nWhen\nNumber\nLBAs\nName\nRule"
_NTH = next(number for number, (_, key) in enumerate(TRIGGERS) if key == "nth")
_AT_S = next(number for number, (_, key) in enumerate(TRIGGERS) if key == "at_s")


class ArmDialog(Dialog):
    """Asks what shall happen to what, and when; the last line is the rule that comes of it.

    Args:
        do: Has a line done.
        subjects: What a fault may be about; one at least.
        key: Of the subject that was picked; another is taken if it is not there.
        lbas: To begin with.
    """

    HELP = "Enter arms it, Left and Right choose, Tab goes on, Escape leaves."
    DEFAULT_CSS = """
    ArmDialog Horizontal { height: 7; }
    ArmDialog #labels { width: 9; }
    ArmDialog Vertical.fields { width: 1fr; height: 7; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("down", "app.focus_next", "Next line", show=False),
        Binding("up", "app.focus_previous", "Line before", show=False),
        Binding("enter", "arm", "Arm it", show=False),
    ]

    def __init__(self, do: Do, subjects: Sequence[Subject], key: str, *, lbas: str = "") -> None:
        super().__init__("Arm a fault", do)
        self._subjects = tuple(subjects)
        keys = [subject.key for subject in subjects]
        self._first = keys.index(key) if key in keys else 0
        self._lbas = lbas
        self._written = ""

    def compose_inside(self) -> ComposeResult:
        """See `Dialog.compose_inside`."""
        with Horizontal():
            yield Static(_LABELS, id="labels")
            with Vertical(classes="fields"):
                yield Choose([each.label for each in self._subjects], self._first, id="subject")
                yield Choose(_effects(self._subjects[self._first]), id="effect")
                yield Choose([label for label, _ in TRIGGERS], _NTH, id="trigger")
                yield Input("1", id="value", compact=True)
                yield _line("lbas", "FIRST-LAST; all if empty", self._lbas)
                yield _line("name", "given by the session if empty")
                yield _line("rule", "layer=...")

    def on_mount(self) -> None:
        """Fill in what follows from what was picked."""
        self._fit_trigger()
        self._write()
        self.query_one("#lbas" if self._subject.has_blocks else "#effect").focus()

    def _chosen(self, id_: str) -> int:
        return self.query_one(f"#{id_}", Choose).chosen

    @property
    def _subject(self) -> Subject:
        return self._subjects[self._chosen("subject")]

    @property
    def _choice(self) -> Choice:
        return self._subject.choices[self._chosen("effect")]

    @on(Choose.Changed, "#subject")
    def _another_subject(self) -> None:
        self.query_one("#effect", Choose).offer(_effects(self._subject))

    @on(Choose.Changed, "#effect")
    def _another_effect(self) -> None:
        self._fit_trigger()
        self._write()

    def _fit_trigger(self) -> None:
        """What fires by the clock has no match; what waits for a match counts them."""
        trigger, value = self.query_one("#trigger", Choose), self.query_one("#value", Input)
        if self._choice.by_clock and trigger.chosen != _AT_S:
            trigger.choose(_AT_S)
            value.value = "0"
        elif not self._choice.by_clock and trigger.chosen == _AT_S and value.value == "0":
            trigger.choose(_NTH)
            value.value = "1"

    @on(Choose.Changed, "#trigger")
    @on(Input.Changed, "#value")
    @on(Input.Changed, "#lbas")
    @on(Input.Changed, "#name")
    def _write(self) -> None:
        self.query_one("#lbas", Input).disabled = not self._subject.has_blocks
        rule = self.query_one("#rule", Input)
        if rule.value != self._written:
            self.say("The rule was edited: it is taken as it stands.  Empty it to begin anew.")
            return
        text = {id_: self.query_one(f"#{id_}", Input).value for id_ in ("value", "lbas", "name")}
        self._written = rule_line(
            self._subject,
            self._choice,
            TRIGGERS[self._chosen("trigger")][1],
            text["value"],
            lbas=text["lbas"],
            name=text["name"],
        )
        rule.value = self._written

    @on(Input.Changed, "#rule")
    def _emptied(self, event: Input.Changed) -> None:
        if not event.value and self._written:
            self._written = ""
            self.say(self.HELP)

    @on(Input.Submitted)
    def action_arm(self) -> None:
        """Have the rule armed."""
        self.have(f"arm {self.query_one('#rule', Input).value.strip()}")


def _line(id_: str, placeholder: str, value: str = "") -> Input:
    # Typing goes on with what stands there, and does not replace it.
    return Input(value, id=id_, compact=True, select_on_focus=False, placeholder=placeholder)


def _effects(subject: Subject) -> list[str]:
    return [choice.label for choice in subject.choices]
