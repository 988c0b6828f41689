"""Powers and reaches the machines of a lab, and lets them go."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rig.control.ways import Ways, remove_ways
from rig.errors import ApiViolationError, LostVMError, MachineError
from rig.lab.crew import Crew
from rig.lab.environment import Places, Role
from rig.lab.timetable import Deed
from rig.lab.unit import Unit
from rig.progress import Progress, Silent

ABANDON_DEADLINE_S = 5.0
"""For each daemon of a machine that is thrown away, or has lost its power, with all it holds."""


class Powering:
    """What is done to the machines of a lab as such.

    Args:
        crew: Gets those that are reached.

    Attributes:
        units: The machines; given by whoever opens the lab.
        places: Where the lab's files are; likewise.
        progress: Is told of the steps.
        booted: Called when all machines have been started and reached.
        retries: How many boots had to be tried again because a machine stayed silent.
    """

    def __init__(self, crew: Crew) -> None:
        self.units: dict[Role, Unit] = {}
        self.places: Places | None = None
        self.progress: Progress = Silent()
        self.booted: Callable[[], None] = _nothing
        self.retries = 0
        self._crew = crew

    def unit(self, role: Role) -> Unit:
        """Return a machine, whether or not it is reached.

        Raises:
            ApiViolationError: The lab was not opened.
        """
        if role not in self.units:
            raise ApiViolationError(f"Nobody has said what the {role.value} machine is.")
        return self.units[role]

    def boot(self) -> None:
        """Start and reach all machines; try once more if one stays silent.

        Guests on a busy station were seen to hang before their first console line.  A crash, or
        QEMU's end, is an answer and not tried again.

        Raises:
            MachineError: One does not start, or lacks something.
        """
        try:
            self._power_on()
        except LostVMError as error:
            units = self.units.values()
            if any(unit.health.lost or not unit.says_when_silent for unit in units):
                raise
            self.check_disks(error)
            self.count_retry()
            self.progress.note(f"{error.message}  The boot is tried once more.")
            self.power_off()
            self._power_on()

    def power_off(self) -> None:
        """Let go of all machines.

        Raises:
            MachineError: Something that was done to one could not be undone.
        """
        if self.places:
            remove_ways(self.places.directory)
        machines = self._crew.machines
        while machines:
            machines.popitem()[1].stop_daemons(ABANDON_DEADLINE_S)
        failed: MachineError | None = None
        # The front end's QEMU is the client of the port's socket: it goes first.
        for role in reversed(self.units):
            try:
                self.units[role].leave()
            except MachineError as error:
                failed = failed or error
        if failed is not None:
            raise failed

    def cut_power(self, role: Role) -> None:
        """Let a machine lose its power: all who use it lose it; `power_up` starts it again.

        Raises:
            MachineError: It still has it.
        """
        self.unit(role).cut_power()
        # Nothing of them is left but connections.
        self._crew.machines[role].stop_daemons(ABANDON_DEADLINE_S)

    def power_up(self, role: Role) -> None:
        """Start a machine that has lost its power, and reach it; its disk is as it was.

        Raises:
            MachineError: It did not boot in time, or cannot be reached.
        """
        self.unit(role).restore_power()
        self._reach(role)

    def check_able(self, role: Role, deeds: Sequence[Deed], subject: str) -> None:
        """Return if all of some deeds can be done to a machine.

        Args:
            role: The machine.
            deeds: What is to be done.
            subject: What asks for it, as the subject of a sentence.

        Raises:
            MachineError: One cannot, and what is missing.
        """
        for deed in deeds:
            lack = self.unit(role).lacks(deed)
            if lack:
                raise MachineError(f"{subject} cannot be done to machine {role.value!r}: {lack}")

    def check_disks(self, error: MachineError | OSError) -> None:
        """Return if every machine's disk could be written; else that is why there is an error.

        Args:
            error: What was met.

        Raises:
            LaunchFailure: One could not be, and its machine stands still.
        """
        for unit in self.units.values():
            reason = unit.standstill()
            if reason is not None:
                raise reason from error

    def count_retry(self) -> None:
        """Note that a boot is tried again."""
        self.retries += 1

    def processes(self) -> list[int]:
        """Return the process IDs of all that runs on the station for the machines."""
        return [pid for unit in self.units.values() for pid in unit.pids]

    def _power_on(self) -> None:
        with self.progress.step("start the machines"):
            for unit in self.units.values():
                unit.start()
            for unit in self.units.values():
                unit.wait_alive()
        for role in self.units:
            with self.progress.step(f"reach the {role.value} machine"):
                self._reach(role)
        self.booted()
        self._save_ways()

    def _reach(self, role: Role) -> None:
        self._crew.machines[role] = self.unit(role).reach()
        self._save_ways()

    def _save_ways(self) -> None:
        if self.places:
            ssh = {role.value: unit.ssh for role, unit in self.units.items() if unit.ssh}
            Ways(str(self.places.control), ssh).save(self.places.directory)


def _nothing() -> None:
    """Stand in for what is to be done with machines that have booted."""
