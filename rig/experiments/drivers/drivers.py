"""``rig drivers``: what the kernel's drivers do when one of their URBs fails, under each policy.

For each driver data flow through the split driver as numbered records (`rig.integrity.flow`); then
one transfer fails, or several in a row, with nothing moved; and it is seen whether the data flow
again, what was lost, how many URBs the driver submits meanwhile, and how long the endpoint stands
still.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import product
from pathlib import Path
from typing import Any

import msgspec

from rig.errors import MachineError
from rig.experiments.drivers.devices import DEVICES, Device, Route
from rig.experiments.drivers.report import Report, Trial
from rig.experiments.drivers.wishes import Wishes
from rig.experiments.run.options import Recovery
from rig.faults.rules.endpoint import EndpointStatus
from rig.integrity.account import Told
from rig.lab.basis import basis
from rig.lab.daemons import Daemon, Event
from rig.lab.environment import Link, Role
from rig.lab.lab import Lab
from rig.lab.paths import Split
from rig.lab.strategy import LabState, Setup
from rig.lab.waits import Awaited, wait_for
from rig.progress import Progress
from rig.report.record import leave
from rig.splitdriver.policy import Policy

PLAN_ON_MACHINE = "/run/rig-drivers.toml"
FLOW_DEADLINE_S = 12.0
START_DEADLINE_S = 40.0
SERIAL_OF_BACK = "/dev/ttyGS0"

COUNT_URBS = r"""
sum=0
for device in /sys/bus/usb/devices/[0-9]*-*[0-9]; do
    case $device in *:*) continue ;; esac
    case $(readlink -f "$device") in *vhci_hcd*) ;; *) continue ;; esac
    # Not the fence's own device.
    [ "$(cat "$device/idVendor")" = 1209 ] || sum=$((sum + $(cat "$device/urbnum")))
done
echo $sum
"""
"""``urbnum`` is how many URBs the kernel has submitted to a device
(Documentation/ABI/testing/sysfs-bus-usb)."""


class Trials:
    """Tries drivers in one lab.

    Args:
        lab: In the state ``booted``.
        wishes: What to try.
        progress: Is told of the steps.
    """

    def __init__(self, lab: Lab, wishes: Wishes, progress: Progress) -> None:
        self._lab = lab
        self._wishes = wishes
        self._progress = progress

    def run(self) -> tuple[Trial, ...]:
        """Try all.

        Raises:
            MachineError: A machine did not do its part.  That a driver does not is a result.
        """
        trials: list[Trial] = []
        for device in DEVICES:
            routes = [r for r in device.routes if self._wishes.want(r)]
            for recovery, status in product(self._wishes.recoveries, self._wishes.statuses):
                trials += self._with(device, routes, recovery, status) if routes else ()
        return tuple(trials)

    def _with(
        self, device: Device, routes: Sequence[Route], recovery: Recovery, status: EndpointStatus
    ) -> Iterator[Trial]:
        lab = self._lab
        plan = lab.directory / "plan.toml"
        plan.write_text(self._wishes.plan(routes, status))
        lab.back.put(plan, PLAN_ON_MACHINE)
        for command in device.prepare:
            lab.front.check(command)
        lab.setup = _setup(device, recovery)
        lab.transition(LabState.ATTACHED)
        for route in routes:
            what = f"{route.driver} {route.direction} {status}, {recovery}"
            with self._progress.step(what):
                trial = _Trier(lab, route, recovery, status).run()
            self._progress.note(f"{what}: {trial.verdict}")
            yield trial
        lab.transition(LabState.BOOTED)


class _Trier:
    """Tries one driver and direction on an attached device."""

    def __init__(self, lab: Lab, route: Route, recovery: Recovery, status: EndpointStatus) -> None:
        self._lab = lab
        self._route = route
        self._recovery = recovery
        self._status = status
        self._back = lab.strategy.daemons["back"]
        self._machines = {Role.FRONT: lab.front, Role.BACK: lab.back}

    def run(self) -> Trial:
        """Try; that the driver does not come up is a result, too."""
        with ExitStack() as stack:
            try:
                receiver = self._start(stack)
                receiver.wait_event("flows", FLOW_DEADLINE_S)
            except MachineError as error:
                self._lab.front.health.check()
                resets = self._resets(0)
                return self._trial(came_up=False, resets_before=resets, note=error.message)
            return self._fail(receiver)

    def _start(self, stack: ExitStack) -> Daemon:
        """Have data flow; return the end that takes note of what comes."""
        route = self._route
        found = wait_for(self._lab.front, route.awaits, Split.controller, START_DEADLINE_S)
        fields = {"front": found, "back": self._function()}
        for role, command in route.settle:
            self._machines[role].check(command.format(**fields))
        ends = []
        for number, (role, words) in enumerate(route.ends):
            argv = ["rig", "flow", *words.format(**fields).split()]
            ends.append(self._machines[role].start_daemon(argv, f"{route.phase}-{number}"))
            stack.callback(ends[-1].stop, FLOW_DEADLINE_S)
        for end in ends:
            end.wait_event("open", START_DEADLINE_S)
        return ends[0]

    def _function(self) -> str:
        """Return what the gadget's function is on its machine."""
        ready = self._lab.strategy.daemons["gadget"].wait_event("ready", FLOW_DEADLINE_S)
        functions: list[dict[str, Any]] = ready.get("functions", [{"device": SERIAL_OF_BACK}])
        return str(functions[0].get("device") or functions[0].get("interface") or "")

    def _fail(self, receiver: Daemon) -> Trial:
        back, seen, resets_before = self._back, len(self._back.events), self._resets(0)
        urbs = self._urbs()
        receiver.ask("mark", FLOW_DEADLINE_S)
        back.ask("phase", name=self._route.phase)
        fault = back.wait_event("fault", FLOW_DEADLINE_S, seen)
        began, marked = time.monotonic(), len(receiver.events)
        note = ""
        try:
            receiver.ask("watch", self._route.deadline_s)
            receiver.wait_event("flows", self._route.deadline_s, marked)
        except MachineError as error:
            self._lab.front.health.check()
            note = error.message
        watched_s = round(time.monotonic() - began, 2)
        return self._trial(
            resets_before=resets_before,
            flows_again=not note,
            urbs=self._urbs() - urbs,
            watched_s=watched_s,
            told=self._tell(receiver),
            stood_s=_stood(back.events[seen:], fault),
            resets=self._resets(seen),
            note=note,
        )

    def _tell(self, receiver: Daemon) -> Told:
        try:
            return msgspec.convert(receiver.ask("tell", START_DEADLINE_S), Told)
        except MachineError:  # it waits for its disk
            self._lab.front.health.check()
            return Told()

    def _urbs(self) -> int:
        """How many URBs the front's kernel has submitted to the device."""
        return int(self._lab.front.check(COUNT_URBS).stdout)

    def _resets(self, since: int) -> int:
        return sum(1 for event in self._back.events[since:] if event["event"] == "reset")

    def _trial(self, **fields: Any) -> Trial:
        recovery = self._recovery
        status = recovery.aca_status if recovery.policy is Policy.ACA else ""
        return Trial(
            driver=self._route.driver,
            direction=self._route.direction.value,
            policy=recovery.policy.value,
            status=status,
            failed_with=self._status.value,
            **fields,
        )


def _setup(device: Device, recovery: Recovery) -> Setup:
    link = (*Link.TCP.options, "--supervised")
    plan = ("--plan", PLAN_ON_MACHINE, "--time-stops")
    listen = ("--port", "dummy_hcd.0/1", "--listen", *link)
    return Setup(
        gadget=device.gadget,
        back=("rig", "back", *listen, *recovery.back_words(), *plan),
        front=("rig", "front", "--connect", *link, *recovery.front_words()),
        awaits=Awaited.NOTHING,
    )


def _stood(events: Sequence[Event], fault: Event) -> float | None:
    """Return how long the endpoint of a fault stood still, or None if it still does."""
    later = (e for e in events if e["event"] == "went-on" and e["t"] >= fault["t"])
    return next((float(e["stood_s"]) for e in later if e["endpoint"] == fault["endpoint"]), None)


def run(wishes: Wishes, directory: Path, progress: Progress) -> Report:
    """Build what is missing, boot two machines, try, and leave ``drivers.json``.

    Args:
        wishes: What to try.
        directory: Gets the machines' logs and the report.
        progress: Is told of the steps.

    Raises:
        MachineError: The image could not be built, or machines did not do their part.
    """
    image, chosen = basis(wishes.kernel, progress)
    with Lab.open(
        image,
        directory,
        accelerator=chosen,
        memory_mib=wishes.memory_mib,
        progress=progress,
    ) as lab:
        lab.transition(LabState.BOOTED)
        trials = Trials(lab, wishes, progress).run()
    report = Report(
        kernel=image.kernel_version, accelerator=chosen, errors=wishes.errors, trials=trials
    )
    leave(report, directory / "drivers.json")
    return report
