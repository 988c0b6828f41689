"""Unlink very many URBs at the moment of their completion, through the split driver.

    python -m rig.tests.unlinks --unlinks 10000 --kernel 6.12 --window 1

Exit status 0 and the figures (`rig.tests.harness.unlink_client.Figures`) if none was lost or
doubled and no kernel complained.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from rig.cli.console import ConsoleProgress
from rig.guest_images.image import ensure
from rig.lab.accelerator import accelerator
from rig.lab.lab import Lab
from rig.lab.strategy import LabState
from rig.tests.harness.unlinks import try_unlinks


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m rig.tests.unlinks", description=__doc__)
    parser.add_argument("--unlinks", type=int, default=10_000)
    parser.add_argument("--kernel", default="6.12")
    parser.add_argument("--window", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processors", type=int, default=1)
    parser.add_argument("--out", type=Path, help="where logs go; default: a new directory in /tmp")
    options = parser.parse_args()
    if options.unlinks < 1:
        parser.error("--unlinks must be 1 or more: nothing tried proves nothing.")
    progress = ConsoleProgress()
    image = ensure(options.kernel, progress)
    directory = options.out or Path(tempfile.mkdtemp(prefix="unlinks-"))
    with Lab.open(
        image,
        directory,
        accelerator=accelerator(image),
        processors=options.processors,
        progress=progress,
    ) as lab:
        lab.transition(LabState.BOOTED)
        with progress.step(f"{options.unlinks} unlinks, window {options.window}"):
            figures = try_unlinks(lab, options.unlinks, window=options.window, seed=options.seed)
    print(" ".join(f"{name}={value}" for name, value in figures.items() if name != "event"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
