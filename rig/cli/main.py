"""``rig``: finds the command, and turns errors into a sentence and an exit status."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import traceback
from collections.abc import Callable
from typing import NoReturn

from rig import __version__
from rig.cli.exits import Exit
from rig.cli.machine import MACHINE_COMMANDS, run_machine_command
from rig.errors import RigError, UserError
from rig.faults.shown import printable


def main() -> NoReturn:
    """Run the command that the arguments name, and end the process."""
    end_with(lambda: run(sys.argv[1:]))


def end_with(command: Callable[[], int]) -> NoReturn:
    """Run a command and end the process, as all commands of the rig end.

    Args:
        command: Returns the exit status, or ends by itself, as argparse's ``--help`` does.
    """
    try:
        status = _status(command)
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
        # Whoever read our output has gone, as in ``rig image list | head -1``.
        _forget_output()
        sys.exit(128 + signal.SIGPIPE)
    except OSError as error:
        _forget_output()
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


def _status(command: Callable[[], int]) -> int:
    try:
        return command()
    except SystemExit as ended:
        if isinstance(ended.code, str):
            complain(ended.code)
            return Exit.USAGE
        return ended.code or Exit.PASS


def _forget_output() -> None:
    """Let what is still to be written go nowhere: the interpreter must not complain at its end."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def run(argv: list[str]) -> int:
    """Run one command.

    Returns:
        Its exit status.
    """
    if argv and argv[0] in MACHINE_COMMANDS:
        return run_machine_command(argv[0], argv[1:])
    if argv == ["--version"]:  # on machines, too, which lack the station's libraries
        print(__version__)
        return Exit.PASS
    try:
        from rig.cli.app import call  # noqa: PLC0415 - see rig.cli.machine
    except ModuleNotFoundError as error:
        raise UserError(
            f"This machine lacks {error.name}, which only the station's commands need.",
            hint="On a machine: rig " + "|".join(MACHINE_COMMANDS) + ". On a station: make run.",
        ) from error
    return call(argv)


def complain(what: object) -> None:
    """Say a sentence on standard error; where nobody reads it, the status alone has to tell.

    What a terminal would obey is escaped: sentences show what others wrote.
    """
    said = "\n".join(map(printable, str(what).replace("\t", " ").split("\n")))
    try:
        print(f"rig: {said}", file=sys.stderr)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
