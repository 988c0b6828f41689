"""``rig``: finds the command, and turns errors into a sentence and an exit status.

The daemons that run on the machines are started without the station's libraries: under emulation
the import of a command-line framework costs more than the rest of their start.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
from types import ModuleType
from typing import NoReturn

from rig.cli.exits import Exit
from rig.errors import RigError, UserError

MACHINE_COMMANDS = {
    "back": "rig.splitdriver.back_service",
    "front": "rig.splitdriver.front_service",
    "gadget": "rig.gadget.service",
    "store": "rig.gadget.store_service",
    "workload": "rig.integrity.service",
    "scan": "rig.lab.scan_service",
}
"""Commands for a machine: each module has ``main(argv) -> int`` and imports little."""


def main() -> NoReturn:
    """Run the command that the arguments name, and end the process."""
    argv = sys.argv[1:]
    try:
        status = run(argv)
        # Here, and not when the interpreter ends: a reader that is gone is then still ours to tell.
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


def run(argv: list[str]) -> int:
    """Run one command.

    Returns:
        Its exit status.
    """
    if argv and argv[0] in MACHINE_COMMANDS:
        return int(_load_machine_command(argv[0]).main(argv[1:]))
    try:
        from rig.cli.app import call  # noqa: PLC0415 - see the module's docstring
    except ModuleNotFoundError as error:
        raise UserError(
            f"This machine lacks {error.name}, which only the station's commands need.",
            hint="On a machine: rig " + "|".join(MACHINE_COMMANDS) + ". On a station: make run.",
        ) from error
    return call(argv)


def _load_machine_command(name: str) -> ModuleType:
    try:
        return importlib.import_module(MACHINE_COMMANDS[name])
    except ModuleNotFoundError as error:
        raise UserError(
            f"This machine lacks {error.name}, which 'rig {name}' needs.",
            hint="The machines of a lab have it.",
        ) from error


def complain(what: object) -> None:
    """Say a sentence on standard error."""
    print(f"rig: {what}", file=sys.stderr)
