"""``rig``: finds the command, and turns errors into a sentence and an exit status."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from typing import NoReturn

from rig.cli.exits import Exit
from rig.cli.machine import MACHINE_COMMANDS, run_machine_command
from rig.errors import RigError, UserError


def main() -> NoReturn:
    """Run the command that the arguments name, and end the process."""
    argv = sys.argv[1:]
    try:
        status = run(argv)
        # Here, and not when the interpreter ends: a reader that is gone is then still ours to tell.
        if sys.stdout is not None:  # None if it was closed before we began
            sys.stdout.flush()
        sys.exit(status)
    except UserError as error:
        complain(error)
        sys.exit(Exit.USAGE)
    except RigError as error:
        complain(error)
        sys.exit(Exit.INFRASTRUCTURE)
    except KeyboardInterrupt:
        complain("Interrupted; everything that was started has been stopped.")
        sys.exit(128 + signal.SIGINT)
    except BrokenPipeError:
        # Whoever read our output has gone, as in ``rig image list | head -1``.  What is still to
        # be flushed goes nowhere, so that the interpreter does not complain when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(128 + signal.SIGPIPE)
    except OSError as error:
        complain(f"The operating system refused: {error}.")
        sys.exit(Exit.INFRASTRUCTURE)
    except Exception as error:
        # Python's own status for it would be 1: "data is not where it belongs".
        if os.environ.get("RIG_TRACEBACK"):
            traceback.print_exc()
        complain(
            f"The rig itself is at fault: {type(error).__name__}: {error}."
            " RIG_TRACEBACK=1 shows where."
        )
        sys.exit(Exit.INFRASTRUCTURE)


def run(argv: list[str]) -> int:
    """Run one command.

    Returns:
        Its exit status.
    """
    if argv and argv[0] in MACHINE_COMMANDS:
        return run_machine_command(argv[0], argv[1:])
    try:
        from rig.cli.app import call  # noqa: PLC0415 - see rig.cli.machine
    except ModuleNotFoundError as error:
        raise UserError(
            f"This machine lacks {error.name}, which only the station's commands need.",
            hint="On a machine: rig " + "|".join(MACHINE_COMMANDS) + ". On a station: make run.",
        ) from error
    return call(argv)


def complain(what: object) -> None:
    """Say a sentence on standard error; where nobody reads it, the status alone has to tell."""
    try:
        print(f"rig: {what}", file=sys.stderr)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
