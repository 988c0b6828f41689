"""The logs of URBs that a run leaves in its directory, or is about to."""

from __future__ import annotations

from pathlib import Path

import msgspec

from rig.errors import UserError

ENDS = ("front", "back")
PLAN, VERDICT = "plan.toml", "verdict.json"
URBS = "urbs.bin"


class _Told(msgspec.Struct):
    watched: msgspec.Raw = msgspec.Raw(b"null")


class RunLogs:
    """The logs of one run.

    Args:
        directory: Of the run.

    Attributes:
        directory: Of the run.
        files: Where the logs are, or will be.

    Raises:
        UserError: The directory is none of a run.
    """

    def __init__(self, directory: Path) -> None:
        if not (directory / PLAN).exists():  # the first thing that a run leaves
            raise UserError(
                f"'{directory}' is no directory of a run.",
                hint="Give one that 'rig run' has made, below runs/.",
            )
        self.directory = directory
        self.files = [directory / end / URBS for end in ENDS]

    @property
    def over(self) -> bool:
        """Whether the run is over, and its directory complete."""
        return (self.directory / VERDICT).exists()

    @property
    def complete(self) -> bool:
        """Whether the logs tell the whole run: neither end was replaced, and both were asked.

        Raises:
            UserError: The run's verdict cannot be read.
        """
        path = self.directory / VERDICT
        try:
            told = msgspec.json.decode(path.read_bytes(), type=_Told)
        except FileNotFoundError as error:
            raise UserError(
                f"The run of '{self.directory}' is not over.",
                hint="Follow it with --follow if it goes on; if it was killed, name its logs.",
            ) from error
        except (OSError, msgspec.MsgspecError) as error:
            raise UserError(
                f"'{path}' is no verdict of a run.", hint="Name the run's logs themselves."
            ) from error
        return bytes(told.watched) != b"null" and all(path.exists() for path in self.files)

    def whole(self) -> list[Path]:
        """Return the logs of a run that is over.

        Raises:
            UserError: They do not tell the whole run.
        """
        if not self.complete:
            raise self.none_whole()
        return self.files

    def none_whole(self) -> UserError:
        """Return what is to be said where no logs tell the whole run."""
        return UserError(
            f"'{self.directory}' has no logs of URBs that tell its whole run.",
            hint="'rig run --urbs' keeps them; where an end was replaced, name the logs.",
        )
