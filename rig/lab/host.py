"""A machine of a lab that is a real host, or looks like one: it is there, and stays there."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rig.errors import LaunchFailure, LostVMError, MachineError
from rig.lab.console import Console
from rig.lab.dialect import Dialect
from rig.lab.doctor import State
from rig.lab.environment import Role
from rig.lab.examination import Examination
from rig.lab.facts import Facts, MachineRow, sentence
from rig.lab.health import Health
from rig.lab.host_options import PORT_DRIVER, HostOptions, port_of, power_of, serial_of
from rig.lab.keeping import Keeper, Task, owner
from rig.lab.machine import Machine
from rig.lab.on_host_keeper import MARK
from rig.lab.serial_line import SerialLine
from rig.lab.ssh import RigSSHDriver, connect, ssh_argv
from rig.lab.timetable import Deed
from rig.lab.unit import MACHINE_PLACE

NEEDS_POWER = frozenset({Deed.KILL, Deed.CUT_POWER, Deed.SHUT_DOWN, Deed.BRING_UP})
NEEDS_PORT = frozenset({Deed.CUT_PORT, Deed.POWER_PORT})
STANDS_STILL = frozenset({Deed.PAUSE, Deed.RESUME})
RETRY_S = 1.0

KEEP = (
    "chattr +S {place} && find {place} -mindepth 1 -xdev"
    r" \( -type f -o -type d ! -exec mountpoint -q {{}} \; \) -exec chattr +S {{}} + && sync"
)
"""By file, as the file system is shared with others; new files inherit it (chattr(1))."""


class Host:
    """A host; see `rig.lab.unit.Unit`.

    Args:
        role: Which machine it is.
        target: labgrid's, with a `RigSSHDriver`.
        options: Of its target in the environment file.
        examination: What it has to be.
        log_directory: Gets its logs.
        note: Is told what the user should know.
        words: Returns what daemons' command lines say there instead of guests' words.

    Attributes:
        facts: What it told when it was last looked at; None before.
    """

    says_when_silent = False
    keep_command = KEEP.format(place=MACHINE_PLACE)

    def __init__(
        self,
        role: Role,
        target: Any,
        *,
        options: HostOptions,
        examination: Examination,
        log_directory: Path,
        note: Callable[[str], None],
        words: Callable[[Role], Mapping[str, Sequence[str]]],
    ) -> None:
        self.role = role
        self.health = Health(role.value)
        self.ssh: list[str] = []
        self.facts: Facts | None = None
        self._target = target
        self._options = options
        self._examination = examination
        self._logs = log_directory
        self._note = note
        self._words = words
        self._token = secrets.token_hex(4)
        self._ssh_driver: RigSSHDriver = target.get_driver("RigSSHDriver", activate=False)
        self._power, self._port = power_of(target), port_of(target)
        self._is_port_cut = False
        serial = serial_of(target)
        log = log_directory / "console.log"
        self._serial = SerialLine(role.value, serial, log, note) if serial else None
        self._console: Console | None = None
        self._keeper: Keeper | None = None
        self._is_cut = False

    @property
    def pids(self) -> list[int]:
        """See `Unit`."""
        return [] if self._ssh_driver.pid is None else [self._ssh_driver.pid]

    def start(self) -> None:
        """See `Unit`.

        Raises:
            LaunchFailure: It cannot be reached, or is not what it has to be.
        """
        for row in self.examine():
            if row.state is State.LACKING:
                raise LaunchFailure(sentence(row), hint=row.mend)

    def examine(self) -> list[MachineRow]:
        """Look at it; change nothing.  It is reached then, unless a row says why not."""
        self._logs.mkdir(parents=True, exist_ok=True)
        self.health = Health(self.role.value)
        try:
            if self._serial is not None and self._console is None:
                self._console = self._serial.open(self.health)
            self._connect()
        except LaunchFailure as error:
            return [self._row("reached", State.LACKING, error.message, error.hint)]
        rows = [
            self._row("reached", State.OK, f"over SSH at {self._ssh_driver.networkservice.address}")
        ]
        rows += [self._extra("console", self._serial, "no SerialDriver: no panic is seen")]
        rows += [
            self._extra("power", self._power, "no power driver: no power cut can be asked for")
        ]
        try:
            self.facts, judged = self._examination.look(self._machine())
        except MachineError as error:
            return [*rows, self._row("told", State.LACKING, error.message, error.hint)]
        return [*rows, *judged]

    def wait_alive(self) -> None:
        """See `Unit`: it is."""

    def reach(self) -> Machine:
        """See `Unit`."""
        if not self.ssh:
            self._wait_booted()
        machine = self._machine()
        task = Task(self._token, owner(), self._options.work_directory, self._examination.modules)
        self._keeper = Keeper(machine, task)
        if self._keeper.cleaned:
            left = ", ".join(self._keeper.cleaned)
            self._note(
                f"On machine {self.role.value!r}, what a lab that was killed had left there"
                f" was cleaned up: {left}."
            )
        return machine

    def leave(self) -> None:
        """See `Unit`."""
        keeper, self._keeper = self._keeper, None
        try:
            if self._is_port_cut:
                self.switch_port(on=True)
            if self._is_cut:
                self.restore_power()
                self.reach()
                keeper, self._keeper = self._keeper, None
            if keeper is not None:
                keeper.release()
        finally:
            self._disconnect(f"Machine {self.role.value!r} was left.")

    def cut_power(self) -> None:
        """See `Unit`."""
        reason = f"Machine {self.role.value!r} was powered off."
        self._is_cut = True
        self._switch(self._power, "off")
        self.health.lose(LostVMError(reason))
        # Only now: daemons end in order when their connection does.
        self._disconnect(reason)
        self._keeper = None

    def restore_power(self) -> None:
        """See `Unit`."""
        self.health = Health(self.role.value)
        late = False
        if self._serial is not None:
            try:
                self._console = self._serial.open(self.health)
            except LaunchFailure:
                late = True  # it gets its own power from the machine
        self._switch(self._power, "on")
        self._is_cut = False
        if late:
            assert self._serial is not None
            self._console = self._serial.open(self.health, self._options.boot_deadline_s)

    def kill(self) -> None:
        """See `Unit`: as far as the lab is concerned."""
        self.cut_power()

    def pause(self) -> None:
        """See `Unit`."""
        raise MachineError(self.lacks(Deed.PAUSE))

    def resume(self) -> None:
        """See `Unit`."""
        raise MachineError(self.lacks(Deed.RESUME))

    def switch_port(self, *, on: bool) -> None:
        """See `Unit`."""
        self._is_port_cut = True
        self._switch(self._port, "on" if on else "off", "the USB port of ")
        self._is_port_cut = not on

    def lacks(self, deed: Deed) -> str:
        """See `Unit`."""
        if deed in STANDS_STILL:
            return "nothing can make a host's processors stand still.  Stop its daemon instead."
        where = f"target '{self.role.value}' in the environment file has no driver"
        if deed in NEEDS_POWER and self._power is None:
            return (
                f"{where} for its power.  Give it one: NetworkPowerDriver, ExternalPowerDriver, ..."
            )
        if deed in NEEDS_PORT and self._port is None:
            return (
                f"{where} for the power of a USB port.  Give it one, such as USBPowerDriver, with"
                f" the name {PORT_DRIVER}."
            )
        return ""

    def standstill(self) -> LaunchFailure | None:
        """See `Unit`."""
        return None

    def _machine(self) -> Machine:
        dialect = Dialect(self._words(self.role), f"{MARK}={self._token}", has_virtio=False)
        name = self.role.value
        return Machine(
            name, self._ssh_driver, self._logs, self.health, self._console, dialect=dialect
        )

    def _row(self, what: str, state: State, found: str, mend: str = "") -> MachineRow:
        return MachineRow(what, state, found, mend, machine=self.role.value)

    def _extra(self, what: str, thing: object, without: str) -> MachineRow:
        there = thing is not None
        return self._row(what, State.OK if there else State.NOTE, "there" if there else without)

    def _connect(self) -> None:
        try:
            connect(self.role.value, self._target, self._ssh_driver)
        except LaunchFailure as error:
            if error.hint:
                raise
            service = self._ssh_driver.networkservice
            raise LaunchFailure(
                f"Machine {self.role.value!r} does not answer at {service.address}, port"
                f" {service.port}.",
                hint="Power it on, see that sshd runs there, and 'address' of its NetworkService.",
            ) from error
        self.ssh = ssh_argv(self._ssh_driver)

    def _wait_booted(self) -> None:
        until = time.monotonic() + self._options.boot_deadline_s
        while True:
            try:
                self._connect()
                break
            except LaunchFailure:
                self.health.check()
                if time.monotonic() >= until:
                    raise
            self.health.wait_for_loss(RETRY_S)
        before = self.facts
        self.facts, _ = self._examination.look(self._machine())
        if before is not None and self.facts.boot_id == before.boot_id:
            raise LaunchFailure(
                f"Machine {self.role.value!r} did not lose its power: it has not booted anew.",
                hint="See that its power driver switches this machine.",
            )

    def _disconnect(self, reason: str) -> None:
        self.ssh = []
        self._target.deactivate(self._ssh_driver)
        if self._serial is not None:
            self._serial.close(reason)
        self._console = None

    def _switch(self, driver: Any, to: str, what: str = "") -> None:
        if driver is None:
            lack = self.lacks(Deed.CUT_PORT if what else Deed.CUT_POWER)
            raise MachineError(f"Machine {self.role.value!r}: {lack}")
        try:
            self._target.activate(driver)
            getattr(driver, to)()
        except Exception as error:  # each of labgrid's drivers has its own
            raise MachineError(
                f"The power of {what}machine {self.role.value!r} could not be switched {to}:"
                f" {error}.",
                hint="See its power driver in the environment file.",
            ) from error
