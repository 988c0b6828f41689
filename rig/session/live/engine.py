"""A live rig, and what can be done to it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

from rig.control.ways import load_ways
from rig.errors import MachineError, UserError
from rig.experiments.run.options import Recovery, check_recovery
from rig.experiments.run.sitting import Scene
from rig.faults.plan import Fault
from rig.lab.machine_faults import NotBackError
from rig.session.live.checks import check_machine_is_up, check_rule, coming_back
from rig.session.live.findings import Verified
from rig.session.live.hands import reset_port
from rig.session.live.inquest import verify
from rig.session.live.rules import AwayError
from rig.session.live.running import LiveRun
from rig.session.live.start import kind_for
from rig.session.live.switch import ROLES, switch
from rig.session.live.watch import Watch
from rig.session.snapshot import Mode

BACK_S = 30.0
"""For the disk under another policy; it is waited for longer, but whoever asked is told."""
T = TypeVar("T")


class Engine(LiveRun):
    """Implements `rig.session.deeds.Deeds`; `Engine.open` begins one."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self._recovery = self._options.recovery

    def shell(self, machine: str) -> list[str]:
        """See `Deeds.shell`."""
        check_machine_is_up(machine, self._snapshot)
        ways = load_ways(self.directory.path).ssh
        if machine not in ways:
            raise UserError(f"There is no machine '{machine}'.", hint="There are: back, front.")
        program, *words = ways[machine]
        return [program, "-t", *words]

    # Deeds: rules.

    def add(self, rules: Sequence[Fault], *, armed: bool = True) -> list[str]:
        """See `Deeds.add`."""
        watch = self._live()
        for rule in rules:
            check_rule(rule, self._snapshot)
        try:
            return self._changing(partial(watch.rules.add, rules, armed=armed))
        except AwayError as away:
            raise coming_back(away.process, away.machine, self._snapshot) from away

    def remove(self, name: str) -> tuple[Fault, bool]:
        """See `Deeds.remove`."""
        return self._changing(partial(self._live().rules.remove, name))

    def arm(self, name: str) -> None:
        """See `Deeds.arm`."""
        self._changing(partial(self._live().rules.change, "arm", name))

    def disarm(self, name: str) -> None:
        """See `Deeds.disarm`."""
        self._changing(partial(self._live().rules.change, "disarm", name))

    def fire(self, name: str) -> None:
        """See `Deeds.fire`."""
        self._changing(partial(self._live().rules.change, "fire", name))

    def release(self) -> int:
        """See `Deeds.release`: also what is unplugged, and plugged in by nothing else."""
        watch, scene = self._live(), self._scene()
        released = self._changing(lambda: self._release(watch, scene))
        self._sitting.look_again()
        return released

    # Deeds: the workload.

    def pause(self) -> bool:
        """See `Deeds.pause`."""
        return self._sitting.pause()

    def go(self) -> bool:
        """See `Deeds.go`."""
        return self._sitting.go()

    def use(self, workload: str) -> str:
        """See `Deeds.use`."""
        self._sitting.check()
        return self._sitting.use(kind_for(workload, self._options.file_systems))

    def verify(self) -> list[str]:
        """See `Deeds.verify`."""
        verified = self._view.verified = self._sitting.do(self._verify)
        self._compose()
        return verified.words()

    # Deeds: the device.

    def reset(self) -> None:
        """See `Deeds.reset`."""
        scene = self._scene()
        check_machine_is_up(scene.lab.strategy.client, self._snapshot)
        reset_port(scene.lab)
        self._sitting.look_again()

    def switch(self, policy: str) -> str:
        """See `Deeds.switch`."""
        wanted, watch = check_recovery(policy), self._live()
        before = self._recovery
        self._check_ends()
        self._sitting.do(lambda scene: self._switch(scene, watch, wanted), without_disk=True)
        return str(before)

    def mark(self, text: str) -> None:
        """See `Deeds.mark`."""
        self._scene().disturbance.note(text)
        self._changes.set()

    # On the run's own thread.

    def _verify(self, scene: Scene) -> Verified:
        self._sitting.set_mode(Mode.VERIFYING, "Everything is read back and judged.")
        return verify(scene)

    def _check_ends(self) -> None:
        """Return if both ends can be started anew.

        Raises:
            MachineError: A machine is not up, or an end of the link or the device is away.
        """
        for name in ROLES:
            row = check_machine_is_up(name, self._snapshot)
            daemons = () if row is None else row.daemons
            if any(one.name == name and not one.alive for one in daemons):
                raise MachineError(f"The {name} end is away.", hint="Wait until it is back.")
        if any(port.device is None for port in self._snapshot.ports):
            # The front end that begins anew has nothing to attach.
            raise MachineError("Nothing is plugged in.", hint="Plug it in, or wait for it.")

    def _switch(self, scene: Scene, watch: Watch, wanted: Recovery) -> None:
        self._check_ends()  # what was up when it was asked for may have been struck since
        self._sitting.set_mode(self._sitting.mode, f"Both ends begin anew, policy {wanted}.")
        before = scene.lab.setup
        try:
            switch(scene, wanted, self.directory.file("plan.toml"), watch.rules)
        finally:
            if scene.lab.setup is not before:  # whatever came of it, an end may have begun anew
                self._recovery = wanted
                self._sitting.policies += (str(wanted),)
        if self._sitting.waiting:
            self._sitting.look_again()
            return
        hint = (
            "'policy' with another one may bring it back; docs/recovery.md tells which drivers bear"
            " which."
        )
        try:
            self._sitting.take_up(BACK_S)
        except NotBackError as away:
            raise MachineError(f"Under policy {wanted} {_lower(away.message)}", hint=hint) from away
        if not scene.use.names:
            why = " ".join(scene.use.given_up_words())
            raise MachineError(f"The disk is of no use under policy {wanted}: {why}", hint=hint)

    def _changing(self, do: Callable[[], T]) -> T:
        """Do something to rules, and show at once what has become of them."""
        try:
            return do()
        finally:
            self._compose()
            self._changes.set()


def _lower(sentence: str) -> str:
    return sentence[:1].lower() + sentence[1:]
