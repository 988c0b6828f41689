"""States of booted guests: the first lab of its kind boots and keeps them, the next ones resume.

What is kept is QEMU's own: a machine's memory and devices as its migration writes them, with the
scratch disk that belongs to them, in the image cache.  It is good for guests of the same command
line, by the same QEMU, until the station boots anew: the time-stamp counter that emulated guests
see is the station's.  Both guests are kept together, for one SSH key opens both.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple

from rig.errors import MachineError, RigError
from rig.guest_images.cache import STATE, Cache, key_of
from rig.guest_images.image import GuestImage
from rig.lab.environment import QEMU, GuestOptions, Places, Role, configuration
from rig.lab.guest import Guest
from rig.lab.machine import Machine
from rig.progress import Progress

MOST = 6
"""So many are kept, of about 250 MB each: of the kernels and attachments that are in use."""
NEVER = "RIG_BOOT"
"""Where this is set in the environment every guest boots, and none is kept."""
WARM_UP_DEADLINE_S = 60.0
COPY_DEADLINE_S = 60.0
PROGRAM_DEADLINE_S = 10.0

WARM_UP = {
    Role.BACK: (
        "rig gadget --help; python3 -c"
        " 'import rig.gadget.store_service, rig.splitdriver.back.service, rig.link.service'"
    ),
    Role.FRONT: (
        "rig front --help; python3 -c 'import rig.integrity.service'; partx --version;"
        " mount --version; mkfs.ext4 -V; mkfs.vfat --help"
    ),
}
"""What a run starts first is in memory then: reading it costs an emulated processor seconds.

One Python for several commands: each start of one takes a second."""

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_PATHLESS = Places(Path("/directory"), Path("/private"))


class Kept(NamedTuple):
    """A pair of guests that were kept."""

    directory: Path

    def memory(self, role: Role) -> Path:
        """The file with a guest's memory and devices."""
        return self.directory / f"{role.value}.memory"

    def scratch(self, role: Role) -> Path:
        """Its scratch disk."""
        return self.directory / f"{role.value}.scratch"

    def console(self, role: Role) -> Path:
        """What it said when it booted."""
        return self.directory / f"{role.value}.console"

    @property
    def key_pair(self) -> tuple[Path, Path]:
        """The SSH key that opens both, private and public."""
        key = self.directory / _PATHLESS.key.name
        return key, key.with_suffix(".pub")

    def lay_out(self, places: Places) -> bool:
        """Give a lab what belongs to the state; return whether it was there to the end."""
        try:
            for key in self.key_pair:
                shutil.copy2(key, places.private)
            for role in Role:
                places.logs(role).mkdir(parents=True, exist_ok=True)
                copy(self.scratch(role), places.scratch(role))
                shutil.copyfile(self.console(role), places.console(role))
        except (OSError, MachineError):  # forgotten by another lab this moment
            places.key.unlink(missing_ok=True)
            return False
        return True


class States:
    """The state that fits the guests of one lab.

    Args:
        image: What they boot.
        options: What both have in common.
        cache: Where states are kept.
    """

    def __init__(self, image: GuestImage, options: GuestOptions, cache: Cache) -> None:
        self._cache = cache
        # More arguments are an experiment's own: there may be no second lab like it.
        self._wanted = (
            options.accelerator == "tcg" and not options.extra_args and not os.environ.get(NEVER)
        )
        self._key = key_of(_inputs(image, options)) if self._wanted else ""

    def find(self) -> Kept | None:
        """Return the state, if one is kept and wanted."""
        entry = self._cache.find(STATE, self._key) if self._wanted else None
        if entry is None:
            return None
        with suppress(OSError):  # forgotten this moment
            os.utime(entry.path)
        return Kept(entry.path)

    def discard(self) -> None:
        """Forget the state: nothing can be resumed from it."""
        with suppress(RigError):
            if entry := self._cache.find(STATE, self._key):
                self._cache.remove(entry)

    def keep(
        self,
        guests: Mapping[Role, Guest],
        machines: Mapping[Role, Machine],
        places: Places,
        progress: Progress,
    ) -> None:
        """Keep the state of guests that have just booted, unless another lab has.

        They stand still for less than a second, and are reached anew.  That something cannot be
        kept is told, and no harm.

        Args:
            guests: Both.
            machines: The same, reached.
            places: Where their files are.
            progress: Is told.

        Raises:
            MachineError: A machine was lost.
        """
        if not self._wanted:
            return

        def build(directory: Path) -> None:
            directory.chmod(0o700)
            kept = Kept(directory)
            for key in kept.key_pair:
                shutil.copy2(places.private / key.name, key)
            with ThreadPoolExecutor(len(Role)) as threads:
                keep = partial(_keep, places, kept)
                list(threads.map(keep, guests.values(), (machines[role] for role in guests)))

        self._wanted = False
        try:
            title = "keep the booted machines for the next labs"
            self._cache.get(STATE, self._key, build, progress, title)
            entries = [entry for entry in self._cache.entries() if entry.name == STATE]
            for old in sorted(entries, key=lambda entry: -entry.made_at_s)[MOST:]:
                self._cache.remove(old)
        except RigError as error:
            for guest in guests.values():
                guest.health.check()
            progress.note(f"The booted machines are not kept: {error}")


def _keep(places: Places, kept: Kept, guest: Guest, machine: Machine) -> None:
    role = guest.role
    machine.run(f"({WARM_UP[role]}) >/dev/null 2>&1; sync", WARM_UP_DEADLINE_S)
    with guest.standing_still() as driver:
        driver.save(kept.memory(role))
        copy(places.scratch(role), kept.scratch(role))
    shutil.copyfile(places.console(role), kept.console(role))


def copy(source: Path, target: Path) -> None:
    """Copy a file of which most is a hole.

    Raises:
        MachineError: It could not be copied.
    """
    argv = ["cp", "--sparse=always", "--reflink=auto", str(source), str(target)]
    try:
        subprocess.run(argv, check=True, capture_output=True, timeout=COPY_DEADLINE_S)
    except (OSError, subprocess.SubprocessError) as error:
        raise MachineError(f"{source} could not be copied to {target}: {error}.") from error


def _inputs(image: GuestImage, options: GuestOptions) -> dict[str, object]:
    """Return all that decides whether a state fits."""
    made = configuration(image, _PATHLESS, options, "")
    for role in Role:
        arguments = made["targets"][role.value]["drivers"]["RigQEMUDriver"]
        # Measured anew by each process, and a little different each time.
        arguments["boot_args"] = [
            word for word in arguments["boot_args"].split() if not word.startswith("tsc_early_khz=")
        ]
    version = subprocess.run(
        [QEMU, "--version"], check=False, capture_output=True, timeout=PROGRAM_DEADLINE_S
    )
    return {
        "configuration": made,
        "qemu": version.stdout.decode("utf-8", "replace"),
        "station": _BOOT_ID.read_text(),
        "warm_up": {role.value: words for role, words in WARM_UP.items()},
    }
