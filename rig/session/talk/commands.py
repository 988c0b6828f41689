"""The commands of a session: their names, what they take, what they do.  Data, and the look-up.

A line is a command's name, or the beginning of one that fits no other, and words behind it, quoted
as a shell's.  Pure.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from rig.errors import UserError
from rig.faults.wants import nearest

UNLIMITED = 10**6


class Command(msgspec.Struct, frozen=True):
    """One command.

    Attributes:
        name: Its name.
        usage: What stands behind the name.
        sentence: What it does.
        more: What else is to be known, in sentences.
        least: It takes so many words at least.
        most: And at most so many.
        raw: What stands behind the name is not cut into words.
    """

    name: str
    usage: str
    sentence: str
    more: str = ""
    least: int = 0
    most: int = 0
    raw: bool = False

    @property
    def line(self) -> str:
        """Name and usage."""
        return f"{self.name} {self.usage}".rstrip()


class Asked(NamedTuple):
    """A line that was understood.

    Attributes:
        command: Which command.
        words: What stands behind it; of one that is `Command.raw` a single word, or none.
    """

    command: Command
    words: tuple[str, ...]


STATUS_TOPICS = ("machines", "port", "endpoints", "files", "workload")
WAITS = ("fired", "live", "paused")

_ROWS = (
    Command("help", "[COMMAND]", "Say what commands there are, or explain one.", most=1),
    Command(
        "status",
        f"[{'|'.join(STATUS_TOPICS)}]",
        "Say how things are, a row a line.",
        most=1,
    ),
    Command(
        "arm",
        "KEY=VALUE...",
        "Add a fault rule and arm it.",
        "Keys and values are those of a plan's [[fault]] (docs/faults.md), for instance:"
        " arm layer=endpoint direction=out status=EPROTO when=before nth=1. A rule may also be"
        " given as JSON. at_s counts from this moment on, and 0 is now; with a phase it counts from"
        " the phase's beginning, as in a plan.",
        least=1,
        most=UNLIMITED,
        raw=True,
    ),
    Command(
        "recipes",
        "[WORD]...",
        "List ready faults, and what the host should see of each.",
        most=UNLIMITED,
    ),
    Command(
        "recipe",
        "NAME [KEY=VALUE]...",
        "Arm a ready fault; keys and values change its rule.",
        least=1,
        most=UNLIMITED,
    ),
    Command(
        "fire",
        "NAME",
        "Have a rule fire at its next match, or at once if it goes by the clock.",
        least=1,
        most=1,
    ),
    Command("disarm", "NAME", "Let a rule neither count nor fire.", least=1, most=1),
    Command("rearm", "NAME", "Let a disarmed rule count and fire again.", least=1, most=1),
    Command("remove", "NAME", "Forget a rule.", least=1, most=1),
    Command("faults", "", "List the rules, and what each has done."),
    Command("release", "", "End what hangs, in the medium, the link and the machines."),
    Command("workload", "[NAME]", "List the workloads, or write another one from now on.", most=1),
    Command("pause", "", "Let the workload end the pass under way, and write no more."),
    Command("go", "", "Let the workload go on."),
    Command("verify", "", "Read everything back now, and judge it by host, journal and medium."),
    Command(
        "unplug",
        "[SECONDS]",
        "Unplug the device, for so long, or until 'plug'.",
        most=1,
    ),
    Command("plug", "", "Plug in what was unplugged."),
    Command("reset", "", "Have the client's host reset the device's port."),
    Command(
        "power-cycle",
        "[back]",
        "Take the back machine's power away; it boots again.",
        "The front machine cannot lose its power: the workload, and what it promised, is there.",
        most=1,
    ),
    Command(
        "kill",
        "DAEMON [SECONDS]",
        "Kill back, gadget or front; another is started after so long, 1 s if left out.",
        least=1,
        most=2,
    ),
    Command(
        "stop",
        "DAEMON [SECONDS]",
        "Stop back, gadget or front, for so long, 10 s if left out.",
        least=1,
        most=2,
    ),
    Command(
        "restart",
        "DAEMON",
        "Kill back, gadget or front, and start another at once.",
        least=1,
        most=1,
    ),
    Command(
        "policy",
        "[hold|aca|naive]",
        "Say the split driver's policy, or start both its ends anew under another.",
        "Under aca usb-storage may never get its disk back, and the session with it is over:"
        " docs/recovery.md, question 3, says why.",
        most=1,
    ),
    Command(
        "shell",
        "back|front",
        "Open a shell on a machine; the session goes on meanwhile.",
        least=1,
        most=1,
    ),
    Command(
        "note", "TEXT", "Mark this moment in the journal and the trace.", least=1, most=1, raw=True
    ),
    Command(
        "undo",
        "",
        "Undo the last that can be undone, and say what that was.",
        "What has fired stays, and so do resets, power cycles and what was read back.",
    ),
    Command("journal", "", "Say what was done so far, and when."),
    Command("log", "[back|front] [LINES]", "Show the last lines of the kernels' logs.", most=2),
    Command("urbs", "[N]", "Show the last URBs, 10 if left out.", most=1),
    Command(
        "wait",
        "fired NAME|live|paused [SECONDS]",
        "Wait until a rule has fired, or the workload is live or paused; 60 s at most if left out.",
        "If that does not come about in time, the command fails with a sentence.",
        least=1,
        most=3,
    ),
    Command(
        "save",
        "FILE",
        "Save what was done as a fault plan, which 'rig run --plan FILE' replays.",
        "An existing file is overwritten only if it is such a plan.",
        least=1,
        most=1,
    ),
    Command("quit", "", "Leave: the run ends in order, with its report and verdict."),
)

COMMANDS: dict[str, Command] = {row.name: row for row in _ROWS}
"""All commands, by name, in the order of the help."""


def parse(line: str) -> Asked | None:
    """Read a line; None if it is empty or a comment, which begins with ``#``.

    Raises:
        UserError: There is no such command, the beginning fits several, or it takes other words.
    """
    text = line.strip()
    if not text or text.startswith("#"):
        return None
    name, rest = _cut(text)
    command = find(name)
    raw = (rest,) if rest else ()
    words = raw if command.raw else tuple(split(rest))
    if len(words) < command.least:
        raise UserError(f"'{command.name}' needs more.", hint=f"Write: {command.line}")
    if len(words) > command.most:
        raise UserError(
            f"'{command.name}' does not take '{words[command.most]}'.",
            hint=f"Write: {command.line}",
        )
    return Asked(command, words)


def find(name: str) -> Command:
    """Look a command up by its name, or by the beginning of one.

    Raises:
        UserError: There is none, or several begin so.
    """
    if name in COMMANDS:
        return COMMANDS[name]
    fitting = [command for command in COMMANDS.values() if command.name.startswith(name)]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        names = ", ".join(command.name for command in fitting)
        raise UserError(f"'{name}' could be several commands.", hint=f"There are: {names}.")
    meant = nearest(name, COMMANDS)
    asked = f" Did you mean '{meant}'?" if meant else ""
    raise UserError(f"There is no command '{name}'.{asked}", hint="'help' says what there is.")


def split(text: str) -> list[str]:
    """Cut a text into words as a shell does.

    Raises:
        UserError: A quotation has no end.
    """
    try:
        return shlex.split(text)
    except ValueError as error:
        raise UserError(f"A quotation in '{text}' has no end.") from error


def one_of(word: str, known: Sequence[str]) -> str:
    """Return the word if it is known.

    Raises:
        UserError: It is not.
    """
    if word not in known:
        raise UserError(f"'{word}' is not known here.", hint=f"Say one of: {', '.join(known)}.")
    return word


def help_lines(name: str | None = None) -> list[str]:
    """Explain all commands, a line each, or one of them.

    Raises:
        UserError: There is no such command.
    """
    if name is None:
        lines = [f"{command.line}: {command.sentence}" for command in COMMANDS.values()]
        return [*lines, "The beginning of a name will do where no other name begins so."]
    command = find(name)
    return [f"{command.line}: {command.sentence}", *_sentences(command.more)]


def _cut(text: str) -> tuple[str, str]:
    name, *rest = re.split(r"\s+", text, maxsplit=1)
    return name, rest[0] if rest else ""


def _sentences(text: str) -> list[str]:
    return [text] if text else []
