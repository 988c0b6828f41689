"""Ready faults: a name, the words of a rule, and what the host should see of it.  Pure.

What is said of the host is that of Linux's usb-storage over the split driver under policy `hold`;
docs/faults.md tells where it was seen.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from rig.control.rules import table_of_words
from rig.errors import UserError
from rig.faults.plan import Fault
from rig.faults.reader import parse_rule
from rig.faults.rules.base import TRIGGERS
from rig.faults.wants import nearest
from rig.faults.writer import Table

EXCLUSIVE = (TRIGGERS, ("when", "at_bytes"), ("status", "for_s"))
"""Of each of these keys a rule has one at most: another one takes the place of a recipe's."""


class Recipe(msgspec.Struct, frozen=True):
    """A ready fault.

    Attributes:
        name: What it, and its rule, is called.
        sentence: What goes wrong.
        words: The rule, ``KEY=VALUE`` each.
        host: What the host should see.
        verdict: How a session ends whose only fault it was, if everybody is correct.
    """

    name: str
    sentence: str
    words: str
    host: str
    verdict: str = "pass"

    @property
    def table(self) -> Table:
        """The rule's keys and values."""
        return table_of_words(self.words.split())


_RESET = "usb-storage resets the device, and the command is sent again."
_WRITE = "layer=endpoint direction=out opcode=0x2A stage=data"
_READ = "layer=endpoint direction=in opcode=0x28 stage=data"
_SILENT = "Nothing at all; 'verify' shows it until a later pass has written there again."
_AWAY = "The disk is unplugged, and comes back as another one; what fsync had promised is there."
_CORRUPT = "fail"

_ROWS = (
    # Endpoint: single transfers.
    Recipe(
        "write-lost",
        "A WRITE's data never reach the device.",
        f"{_WRITE} status=EPROTO when=before nth=1",
        _RESET,
    ),
    Recipe(
        "write-cut",
        "A WRITE's data break off in the middle.",
        f"{_WRITE} status=EPROTO when=middle nth=1",
        _RESET,
    ),
    Recipe(
        "write-unheard",
        "A WRITE's data arrive, and the host is told of an error.",
        f"{_WRITE} status=EPROTO when=after nth=1",
        _RESET,
    ),
    Recipe(
        "write-again-and-again",
        "Three WRITEs in a row lose their data.",
        f"{_WRITE} status=EPROTO when=before nth=1 times=3",
        "A reset, and the command sent again, three times.",
    ),
    Recipe(
        "read-crc",
        "A READ's data have a CRC error (READs come with 'verify').",
        f"{_READ} status=EILSEQ when=before nth=1",
        _RESET,
    ),
    Recipe(
        "read-babble",
        "A READ brings more than was asked for (READs come with 'verify').",
        f"{_READ} status=EOVERFLOW when=after nth=1",
        _RESET,
    ),
    Recipe(
        "read-short",
        "A READ ends early, with SHORT_NOT_OK (READs come with 'verify').",
        f"{_READ} status=EREMOTEIO when=middle nth=1",
        _RESET,
    ),
    Recipe(
        "command-lost",
        "A command (CBW) never reaches the device.",
        "layer=endpoint direction=out stage=command status=EPROTO when=before nth=1",
        _RESET,
    ),
    Recipe(
        "status-lost",
        "The status (CSW) of a WRITE arrives as an error.",
        "layer=endpoint direction=in opcode=0x2A stage=status status=EPROTO when=after nth=1",
        _RESET,
    ),
    Recipe(
        "stall-told",
        "The host is told of a STALL where nothing has halted.",
        "layer=endpoint direction=in opcode=0x2A stage=status status=EPIPE when=before nth=1",
        "usb-storage clears the halt and asks for the status once more; no reset, and no command"
        " is sent twice.",
    ),
    Recipe(
        "stall-halted",
        "The device's endpoint is really halted before a WRITE's data.",
        f"{_WRITE} status=EPIPE when=before halt=true nth=1",
        "EPIPE; usb-storage clears the halt; what the device makes of the rest decides whether a"
        " reset follows, and the command is sent again.",
    ),
    Recipe(
        "nak",
        "The device answers NAK to a WRITE's data for 5 s.",
        f"{_WRITE} for_s=5 nth=1",
        "Nothing but time: below 30 s no time-out passes.",
    ),
    Recipe(
        "noisy",
        "Now and then a WRITE's data are cut, by chance.",
        f"{_WRITE} status=EPROTO when=middle probability=0.5 interval=30 times=5",
        "A reset, and the command sent again, five times at most.",
    ),
    # Medium.
    Recipe(
        "medium-write-error",
        "The medium refuses a write.",
        "layer=medium op=write effect=error nth=1",
        "Sense 3/0C/02; the SCSI layer sends the WRITE again.",
    ),
    Recipe(
        "medium-read-error",
        "The medium refuses a read (reads come with 'verify').",
        "layer=medium op=read effect=error nth=1",
        "Sense 3/11/00, 'Medium Error' in the kernel's log, EIO to who reads the file.",
    ),
    Recipe(
        "medium-slow",
        "The medium answers a write 5 s late.",
        "layer=medium op=write effect=delay delay_s=5 nth=1",
        "Nothing but time.",
    ),
    Recipe(
        "medium-hang",
        "The medium does not answer a write until 'release', or for 33 s.",
        "layer=medium op=write effect=hang nth=1",
        "Below 30 s nothing but time; then the command is aborted, the device reset, and the"
        " command sent again.",
    ),
    Recipe(
        "medium-torn",
        "Of a write only the first part is stored.",
        "layer=medium op=write effect=torn nth=1",
        _SILENT,
        _CORRUPT,
    ),
    Recipe(
        "medium-lost",
        "A write is answered, and not stored.",
        "layer=medium op=write effect=lost nth=1",
        _SILENT,
        _CORRUPT,
    ),
    Recipe(
        "medium-misdirected",
        "A write is stored 8 blocks further on.",
        "layer=medium op=write effect=misdirected nth=1",
        _SILENT,
        _CORRUPT,
    ),
    Recipe(
        "medium-flip",
        "One bit of a write is turned over.",
        "layer=medium op=write effect=flip nth=1",
        _SILENT,
        _CORRUPT,
    ),
    Recipe(
        "medium-stale",
        "A read gives what was there before (reads come with 'verify').",
        "layer=medium op=read effect=stale nth=1",
        "Nothing at all; the host's view alone is wrong, and a second look is right.",
        _CORRUPT,
    ),
    # Device.
    Recipe(
        "unplug",
        "The device is unplugged for 5 s.",
        "layer=device effect=soft-disconnect for_s=5 at_s=0",
        _AWAY,
    ),
    Recipe(
        "eject",
        "The medium is taken out for 5 s, although the host has locked it.",
        "layer=device effect=eject for_s=5 at_s=0",
        "Sense 2/3A/00, 'Medium not present', EIO; then 6/28/00.",
    ),
    Recipe(
        "unbind",
        "The gadget is taken off its UDC for 5 s.",
        "layer=device effect=unbind for_s=5 at_s=0",
        _AWAY,
    ),
    # Link.
    Recipe(
        "link-slow",
        "What is sent arrives 50 ms late, for 20 s.",
        "layer=link effect=delay delay_ms=50 for_s=20 at_s=0",
        "All takes longer.",
    ),
    Recipe(
        "link-narrow",
        "The link carries 500 kB/s, for 20 s.",
        "layer=link effect=bandwidth bytes_per_s=500000 for_s=20 at_s=0",
        "All takes longer.",
    ),
    Recipe(
        "link-stall",
        "Nothing moves on the link for 3 s.",
        "layer=link effect=stall for_s=3 at_s=0",
        "It waits; below 5 s nothing else.",
    ),
    Recipe(
        "link-cut",
        "The link is cut.",
        "layer=link effect=cut at_s=0",
        f"At once: {_AWAY[0].lower()}{_AWAY[1:]}",
    ),
    Recipe(
        "link-half-open",
        "The link is closed at the front end, and the back end is not told.",
        "layer=link effect=half-open end=front at_s=0",
        "An unplug at once; the disk when the back end has missed its heartbeats (5 s).",
    ),
    Recipe(
        "link-partition",
        "Neither end hears the other for 10 s.",
        "layer=link effect=partition for_s=10 at_s=0",
        "An unplug after 5 s, and the disk when it is over.",
    ),
    # Machine.
    Recipe(
        "back-end-killed",
        "The back end's daemon is killed, and started after 1 s.",
        "layer=machine machine=back effect=kill-daemon daemon=back at_s=0",
        _AWAY,
    ),
    Recipe(
        "front-end-killed",
        "The front end's daemon is killed, and started after 1 s.",
        "layer=machine machine=front effect=kill-daemon daemon=front at_s=0",
        _AWAY,
    ),
    Recipe(
        "gadget-killed",
        "The gadget's daemon, and its medium with it, is killed.",
        "layer=machine machine=back effect=kill-daemon daemon=gadget at_s=0",
        "First errors of a medium that answers nothing, then an unplug; the disk comes back.",
    ),
    Recipe(
        "back-end-stopped",
        "The back end's daemon stands still for 3 s.",
        "layer=machine machine=back effect=stop-daemon daemon=back for_s=3 at_s=0",
        "It waits; from 5 s on it would be an unplug.",
    ),
    Recipe(
        "back-paused",
        "The back machine's processors stand still for 10 s.",
        "layer=machine machine=back effect=pause for_s=10 at_s=0",
        "It waits; an unplug after 5 s, and the disk when the machine goes on.",
    ),
    Recipe(
        "power-cycle",
        "The back machine loses its power, and boots again.",
        "layer=machine machine=back effect=power-cycle at_s=0",
        "An unplug after 5 s, and the disk when all is up; what fsync had promised is there.",
    ),
    Recipe(
        "reboot",
        "The back machine is rebooted in order.",
        "layer=machine machine=back effect=reboot at_s=0",
        "An unplug at once, and the disk when all is up.",
    ),
)

RECIPES: dict[str, Recipe] = {row.name: row for row in _ROWS}
"""All ready faults, by name."""


def find(name: str) -> Recipe:
    """Look a recipe up.

    Raises:
        UserError: There is none of this name.
    """
    if name in RECIPES:
        return RECIPES[name]
    meant = nearest(name, RECIPES)
    asked = f" Did you mean '{meant}'?" if meant else ""
    raise UserError(f"There is no recipe '{name}'.{asked}", hint="'recipes' lists them.")


def search(words: Sequence[str] = ()) -> list[Recipe]:
    """Return the recipes that have all of these words, in whatever case and order."""
    wanted = [word.lower() for word in words]
    return [
        recipe for recipe in RECIPES.values() if all(word in _all_of(recipe) for word in wanted)
    ]


def rule_of(recipe: Recipe, changes: Table, name: str) -> Fault:
    """Make a recipe's rule.

    Args:
        recipe: Which.
        changes: Keys and values that take the place of the recipe's.
        name: Of the rule, unless the changes give another.

    Raises:
        UserError: The changes make it a bad rule.
    """
    table = {"name": name, **recipe.table}
    for keys in EXCLUSIVE:
        if any(key in changes for key in keys):
            table = {key: value for key, value in table.items() if key not in keys}
    return parse_rule(table | changes)


def _all_of(recipe: Recipe) -> str:
    said = (recipe.name, recipe.sentence, recipe.words, recipe.host, recipe.verdict)
    return " ".join(said).lower()
