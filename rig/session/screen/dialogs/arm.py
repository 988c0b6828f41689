"""The dialog that makes a rule: filled in from what was picked, and the rule itself to edit."""

from __future__ import annotations

from collections.abc import Sequence

from textual import on
from textual.app import ComposeResult
from textual.containers import Grid
from textual.widgets import Button, Input, Label, Select

from rig.session.screen.dialogs.base import Dialog, Do
from rig.session.screen.picks import TRIGGERS, Choice, Subject, rule_line


class ArmDialog(Dialog):
    """Asks what shall happen to what, and when; the last line is the rule that comes of it.

    Args:
        do: Has a line done.
        subjects: What a fault may be about; one at least.
        key: Of the subject that was picked; another is taken if it is not there.
        lbas: To begin with.
    """

    HELP = "Enter arms it, Tab goes on, Escape leaves.  The rule may be edited."
    DEFAULT_CSS = """
    ArmDialog Grid { grid-size: 2; grid-columns: 11 1fr; grid-rows: auto; height: auto; }
    ArmDialog Select, ArmDialog Input { height: auto; }
    ArmDialog Select:focus > SelectCurrent { text-style: reverse; }
    ArmDialog Button { width: auto; min-width: 10; }
    """

    def __init__(self, do: Do, subjects: Sequence[Subject], key: str, *, lbas: str = "") -> None:
        super().__init__("Arm a fault", do)
        self._subjects = {subject.key: subject for subject in subjects}
        self._key = key if key in self._subjects else next(iter(self._subjects))
        self._lbas = lbas
        self._written = ""

    def compose_inside(self) -> ComposeResult:
        """See `Dialog.compose_inside`."""
        subject = self._subjects[self._key]
        with Grid():
            yield Label("What")
            yield Select(
                [(each.label, each.key) for each in self._subjects.values()],
                value=self._key,
                allow_blank=False,
                compact=True,
                id="subject",
            )
            yield Label("Effect")
            yield Select(_labels(subject), allow_blank=False, compact=True, id="effect")
            yield Label("When")
            yield Select(TRIGGERS, value="nth", allow_blank=False, compact=True, id="trigger")
            yield Label("Number")
            yield Input("1", id="value", compact=True)
            yield Label("LBAs")
            yield Input(
                self._lbas,
                id="lbas",
                compact=True,
                select_on_focus=False,
                placeholder="FIRST-LAST; all if empty",
            )
            yield Label("Name")
            yield Input(id="name", compact=True, placeholder="given by the session if empty")
            yield Label("Rule")
            yield Input(id="rule", compact=True, select_on_focus=False)
        yield Button("Arm it", id="arm", compact=True)

    def on_mount(self) -> None:
        """Fill in what follows from what was picked."""
        self._fit_trigger()
        self._write()
        if self._subject.has_blocks:
            self.query_one("#lbas").focus()
        else:
            self.query_one("#effect").focus()

    @property
    def _subject(self) -> Subject:
        return self._subjects[str(self.query_one("#subject", Select).value)]

    @property
    def _choice(self) -> Choice:
        number = self.query_one("#effect", Select).value
        return self._subject.choices[number if isinstance(number, int) else 0]

    @on(Select.Changed, "#subject")
    def _another_subject(self) -> None:
        if self._subject.key != self._key:
            self._key = self._subject.key
            self.query_one("#effect", Select).set_options(_labels(self._subject))
        self._fit_trigger()
        self._write()

    @on(Select.Changed, "#effect")
    def _another_effect(self) -> None:
        self._fit_trigger()
        self._write()

    def _fit_trigger(self) -> None:
        """What fires by the clock has no match; what waits for a match counts them."""
        trigger = self.query_one("#trigger", Select)
        value = self.query_one("#value", Input)
        if self._choice.by_clock and trigger.value != "at_s":
            trigger.value, value.value = "at_s", "0"
        elif not self._choice.by_clock and trigger.value == "at_s" and value.value == "0":
            trigger.value, value.value = "nth", "1"

    @on(Select.Changed, "#trigger")
    @on(Input.Changed, "#value")
    @on(Input.Changed, "#lbas")
    @on(Input.Changed, "#name")
    def _write(self) -> None:
        text = {id_: self.query_one(f"#{id_}", Input).value for id_ in ("value", "lbas", "name")}
        trigger = str(self.query_one("#trigger", Select).value)
        self.query_one("#lbas", Input).disabled = not self._subject.has_blocks
        rule = self.query_one("#rule", Input)
        if rule.value != self._written:
            self.say("The rule was edited: it is taken as it stands.  Empty it to begin anew.")
            return
        self._written = rule_line(
            self._subject,
            self._choice,
            trigger,
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
    @on(Button.Pressed)
    def _arm(self) -> None:
        self.have(f"arm {self.query_one('#rule', Input).value.strip()}")


def _labels(subject: Subject) -> list[tuple[str, int]]:
    return [(choice.label, number) for number, choice in enumerate(subject.choices)]
