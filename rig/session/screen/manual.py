"""The page that the help shows.  Pure."""

from __future__ import annotations

from collections.abc import Sequence

from rig.session.screen.keys import KEYS, TABS

_HEAD = (
    "The line at the top says what the session does: LIVE, PAUSED, VERIFYING.",
    "A fault is about what is picked: go with Tab and the arrows to an endpoint, a machine or a"
    " fault, and press the key.  Enter on an endpoint or a machine is the same as a.",
    "Answers come above the command line.  One that could not be done begins with NOT DONE, and"
    " what was typed is still there.",
    "What takes long is done one after the other, while the screen goes on: 'doing:' names it.",
    "A log stays where it is while you have scrolled up, and follows again at its end.",
)


def page(commands: Sequence[str]) -> str:
    """Explain the screen.

    Args:
        commands: All commands, explained, a line each.
    """
    keys = [f"  {key.shown:<4} {key.words}" for key in KEYS]
    tabs = [f"  {number:<4} Show {name}" for number, (name, _) in enumerate(TABS, 1)]
    return "\n".join(
        [*_HEAD, "", "Keys", *keys, *tabs, "", "Commands", *(f"  {line}" for line in commands)]
    )
