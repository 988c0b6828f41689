"""Runs *on a machine of the lab*, copied there: an end of the split driver, broken on purpose.

    python3 -c 'START' NAME back ARGUMENTS...     as ``rig back ARGUMENTS``, with the mutant NAME

No mutant is part of the product: a machine has the rig without its tests, and `START` adds this
package to it.  There is no lane: it would carry what the mutant is to break past it.
"""

from __future__ import annotations

import sys

from rig.cli.machine import run_machine_command
from rig.tests.mutants import drivers
from rig.tests.mutants.patch import Patch

DIRECTORY = "/run/rig-mutants"
START = (
    f"import sys, rig; rig.__path__.append('{DIRECTORY}/rig');"
    " from rig.tests.mutants.daemon import main; sys.exit(main(sys.argv[1:]))"
)


def main(argv: list[str]) -> int:
    """Run a daemon; its name and what is broken come first."""
    name, command, *arguments = argv
    with Patch() as patch:
        getattr(drivers, name)(patch)
        return run_machine_command(command, [*arguments, "--no-lane"])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
