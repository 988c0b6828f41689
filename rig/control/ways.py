"""How the machines of a running lab are reached from the station, in its run directory."""

from __future__ import annotations

from pathlib import Path

import msgspec

from rig.errors import UserError

NAME = "lab.json"


class Ways(msgspec.Struct, frozen=True):
    """The ways to a lab's machines.

    Attributes:
        control: Directory of the control sockets of the lab's processes on the station.
        ssh: A command line for each machine, to which a command is appended.
    """

    control: str
    ssh: dict[str, list[str]]

    def save(self, directory: Path) -> None:
        """Leave it in a run directory; whoever reads it meanwhile finds the old one whole."""
        new = directory / f".{NAME}.new"
        new.write_bytes(msgspec.json.format(msgspec.json.encode(self)) + b"\n")
        new.rename(directory / NAME)


def load_ways(directory: Path) -> Ways:
    """Read it.

    Raises:
        UserError: No lab runs there.
    """
    try:
        return msgspec.json.decode((directory / NAME).read_bytes(), type=Ways)
    except (OSError, msgspec.MsgspecError) as error:
        raise UserError(
            f"No lab runs in '{directory}'.",
            hint="Give --lab the run directory of a 'rig run' that is under way.",
        ) from error


def remove_ways(directory: Path) -> None:
    """The lab's machines cannot be reached any more."""
    (directory / NAME).unlink(missing_ok=True)
