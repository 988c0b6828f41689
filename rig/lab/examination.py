"""What each host of a lab has to be, and the look at it."""

from __future__ import annotations

import inspect
import shlex
import time
from datetime import UTC, datetime

import msgspec

from rig.about import about
from rig.errors import MachineError
from rig.lab import on_host_facts
from rig.lab.clock import Trip, estimate
from rig.lab.environment import Role
from rig.lab.facts import Facts, MachineRow, Question, Wanted, judge
from rig.lab.host_options import HostOptions
from rig.lab.keeping import LOCK
from rig.lab.machine import Machine

LOOK_DEADLINE_S = 120.0
TRIP_DEADLINE_S = 30.0
TELL_TIME = "date +%s%N"

_DUMMY = ("dummy_hcd", "num=4", "is_super_speed=0")
"""As in guests: several gadgets at once, on buses whose bulk packets are those of most sticks."""
LOADED = {
    Role.BACK: (("configfs",), ("libcomposite",)),
    Role.FRONT: (("vhci_hcd",), ("usb_storage",), ("sd_mod",)),
}
"""Modules that are loaded before any daemon starts: arguments of modprobe."""
NEEDED = {Role.BACK: ("usb_f_mass_storage", "fuse"), Role.FRONT: ()}
"""Those that daemons load."""
PROGRAMS = {
    Role.BACK: ("modprobe", "rmmod", "chattr"),
    Role.FRONT: ("modprobe", "rmmod", "mkfs.ext4", "mkfs.vfat"),
}


class Examination:
    """Looks at one host.

    Args:
        role: Which machine it is.
        options: Of its target.
    """

    def __init__(self, role: Role, options: HostOptions) -> None:
        self._options = options
        self._plays = role is Role.BACK
        dummy = (_DUMMY,) if self._plays and not options.udc else ()
        self.modules = (*LOADED[role], *dummy)
        needed = (*(words[0] for words in self.modules), *NEEDED[role])
        self._question = Question(
            needed,
            PROGRAMS[role],
            options.link_port if self._plays else 0,
            options.work_directory,
            options.certificates,
            LOCK,
        )

    def look(self, machine: Machine) -> tuple[Facts, list[MachineRow]]:
        """Ask a host that answers, and judge it.

        Raises:
            MachineError: It does not say what it was asked.
        """
        source = inspect.getsource(on_host_facts)
        question = msgspec.json.encode(self._question).decode()
        argv = ["python3", "-I", "-S", "-c", source, question]
        told = machine.run(shlex.join(argv), LOOK_DEADLINE_S)
        try:
            facts = msgspec.json.decode(told.stdout, type=Facts)
        except msgspec.MsgspecError as error:
            said = (told.stderr.strip() or told.stdout.strip() or "nothing").splitlines()[-1]
            raise MachineError(
                f"Machine {machine.name!r} cannot tell what it has; it says: {said}",
                hint="Install python3 there, and let root in with a plain shell.",
            ) from error
        offset = estimate([_trip(machine) for _ in range(3)])
        options = self._options
        wanted = Wanted(
            self._question,
            about(),
            datetime.now(UTC),
            options.attachment.udc if self._plays else "",
            options.hub if self._plays else "",
        )
        return facts, judge(machine.name, facts, offset, wanted)


def _trip(machine: Machine) -> Trip:
    sent_ns = time.time_ns()
    told_ns = int(machine.check(TELL_TIME, TRIP_DEADLINE_S).stdout)
    return Trip(sent_ns, told_ns, time.time_ns())
