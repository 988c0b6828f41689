"""The keys, in the order in which the footer shows them: what each does, in words.  Data."""

from __future__ import annotations

from typing import NamedTuple


class Key(NamedTuple):
    """A key of the main screen.

    Attributes:
        key: As textual names it.
        shown: As the person reads it.
        action: The app's method behind ``action_``.
        short: In the footer.
        words: In the palette and in the help.
    """

    key: str
    shown: str
    action: str
    short: str
    words: str


KEYS = (
    Key("a", "a", "arm", "arm", "Arm a fault for what is picked"),
    Key("l", "l", "blocks", "LBAs", "Arm a fault for a range of LBAs"),
    Key("f", "f", "fire", "fire", "Fire the picked fault"),
    Key("d", "d", "disarm", "disarm", "Disarm the picked fault, or arm it again"),
    Key("x", "x", "remove", "remove", "Remove the picked fault"),
    Key("e", "e", "release", "end hangs", "End what hangs"),
    Key("r", "r", "recipes", "recipes", "Search the ready faults, and what the host should see"),
    Key("p", "p", "pause", "pause/go", "Pause the workload, or let it go on"),
    Key("w", "w", "workload", "workload", "Change the workload"),
    Key("o", "o", "policy", "policy", "Switch the policy"),
    Key("u", "u", "unplug", "un/plug", "Unplug the device, or plug it in again"),
    Key("R", "R", "reset", "reset", "Have the host reset the device's port"),
    Key("P", "P", "power", "power", "Power-cycle the back machine"),
    Key("s", "s", "shell", "shell", "Open a shell on a machine"),
    Key("v", "v", "verify", "verify", "Read everything back now and judge it"),
    Key("n", "n", "note", "note", "Mark this moment with a note"),
    Key("z", "z", "undo", "undo", "Undo the last that can be undone"),
    Key("j", "j", "journal", "journal", "Show what was done"),
    Key("S", "S", "save", "save", "Save what was done as a plan"),
    Key("t", "t", "theme", "light/dark", "Change between a light and a dark theme"),
    Key("colon", ":", "command", "command", "Type a command; Escape leaves the line"),
    Key("ctrl+p", "^P", "palette", "all", "Search all commands and recipes"),
    Key("question_mark", "?", "help", "help", "Explain the screen, its keys and all commands"),
    Key("q", "q", "leave", "quit", "Leave: the run ends in order, with its verdict"),
)

TABS = (
    ("State", ("machines", "plots", "endpoints")),
    ("Faults", ("faults",)),
    ("URBs", ("urbs",)),
    ("Logs", ("back-log", "front-log")),
    ("Verdict", ("verdict",)),
)
"""What is shown together where there is no room for everything: keys 1, 2 and so on."""
