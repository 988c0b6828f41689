"""Labs whose QEMU, ssh and scp are fakes: everything of the lab runs but the guests."""

from __future__ import annotations

import os
import sys
from contextlib import AbstractContextManager
from pathlib import Path

from rig.guest_images.image import GuestImage, Layer
from rig.lab.lab import Lab
from rig.lab.strategy import Setup

HARNESS = Path(__file__).parent
FAKES = {"qemu-system-x86_64": "fake_qemu.sh", "ssh": "fake_ssh.sh", "scp": "fake_scp.sh"}
DAEMON = (sys.executable, "-m", "rig.tests.harness.fake_daemon")
SETUP = Setup(gadget=DAEMON, back=(*DAEMON, "listening"), front=(*DAEMON, "attached"))


def make_path(directory: Path) -> str:
    """Put the fakes into a directory; return a PATH on which they come first."""
    directory.mkdir()
    for name, fake in FAKES.items():
        (directory / name).symlink_to(HARNESS / fake)
    return f"{directory}:{os.environ['PATH']}"


def make_image(directory: Path) -> GuestImage:
    """Return an image of which only the paths exist."""
    blob = directory / "blob"
    blob.write_bytes(b"")
    return GuestImage(blob, blob, (Layer("rig-base", blob),), "console=ttyS0", "6.12")


def open_lab(directory: Path, mode: str = "boots") -> AbstractContextManager[Lab]:
    """Open a lab whose QEMUs behave as `fake_qemu` says for the mode."""
    return Lab.open(make_image(directory), directory / "lab", extra_args=("-fake", mode))


def main() -> None:
    """A station: open a lab in the directory given, boot it, tell its processes, wait."""
    with open_lab(Path(sys.argv[1])) as lab:
        lab.transition("booted")
        print(*lab.processes(), flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
