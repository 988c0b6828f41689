"""Watches a live rig: daemons, machines, endpoints, rules, kernels' logs, transfers, URBs.

`poll` is called about once a second, by one thread; it asks, and keeps what a snapshot shows.
Whoever does not answer keeps nobody from the rest.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from rig.errors import MachineError, RemoteProtocolError, UserError
from rig.experiments.explain.recorded import URBS
from rig.experiments.run.disturbance import EVENTS as MACHINE_EVENTS
from rig.experiments.run.places import STORE
from rig.experiments.run.sitting import Scene
from rig.experiments.run.trace import read_events
from rig.lab.cable import STATION_NAME
from rig.lab.daemons import Daemon
from rig.lab.environment import Role
from rig.lab.hands import RUNS_ON
from rig.lab.machine import Machine
from rig.report.rundir import RunDirectory
from rig.session.live import lookout
from rig.session.live.rules import LiveRules
from rig.session.live.told import (
    LastingMoments,
    StruckMachines,
    as_before,
    machine_row,
    moves_disk,
    port_rows,
    sentence,
)
from rig.session.live.urbs import Urbs
from rig.session.snapshot import DaemonRow, FaultRow, LogLine, MachineRow, PortRow, Sample, UrbRow
from rig.usb.urblog import LogReader

ASK_DEADLINE_S = 5.0
STOP_DEADLINE_S = 2.0
KEPT_SAMPLES = 150
KEPT_LINES = 300
KEPT_TOLD = 200
Clock = Callable[[], float]


class Watch:
    """See the module.

    Args:
        scene: What is watched.
        directory: Of the run.
        kernel: The machines' kernel.
        clock: Seconds since the session began.

    Attributes:
        rules: The fault rules, for whoever changes them, too.
        room_bytes: What is left for the medium's journal; None: not known yet.
        step: What the workload does, in words.
        moments: What the gadget does for ever.
        returns: How often something was heard after which a disk may have gone or come back.
    """

    def __init__(self, scene: Scene, directory: RunDirectory, kernel: str, clock: Clock) -> None:
        self.rules = LiveRules(directory.path, self._that_answer, self._silent)
        self.room_bytes: int | None = None
        self.step = ""
        self.returns = 0
        self.machines: tuple[MachineRow, ...] = ()
        self.ports: tuple[PortRow, ...] = ()
        self.samples: deque[Sample] = deque(maxlen=KEPT_SAMPLES)
        self.log: deque[LogLine] = deque(maxlen=KEPT_LINES)
        self.told: deque[str] = deque(maxlen=KEPT_TOLD)
        self._scene = scene
        self._strategy = scene.lab.strategy
        self._directory = directory
        self._kernel = kernel
        self._clock = clock
        self._struck = StruckMachines()
        self._read: dict[Daemon, int] = {}
        self._struck_read = 0
        self._lookouts: dict[str, tuple[Machine, Daemon]] = {}
        self._meter = lookout.Meter()
        self._urbs = Urbs()
        self._urbs_lock = threading.Lock()
        self._log_of_urbs: Path | None = directory.file(f"back/{URBS}")
        self._records = LogReader(goes_on=True)
        self._urbs_read = 0
        self._ended = False
        self._posting = threading.Lock()
        self.moments = LastingMoments()

    def end(self) -> None:
        """Ask nobody any more, and let go of all; what daemons tell is still heard."""
        self._ended = True
        self.rules.close()
        with self._posting:
            for _, daemon in self._lookouts.values():
                daemon.stop(STOP_DEADLINE_S)

    def poll(self) -> None:
        """Look at everything."""
        self._look_at_machines()
        with self._posting:
            if not self._ended:
                self._post_lookouts()
                self._look_at_back_end()
        self._read_urbs()
        self._hear()
        if not self._ended:
            with suppress(MachineError, UserError):
                self.rules.look()

    @property
    def faults(self) -> tuple[FaultRow, ...]:
        """All rules, and what they have done."""
        return tuple(self.rules.rows())

    def urbs(self) -> tuple[UrbRow, ...]:
        """Return the last URBs."""
        with self._urbs_lock:
            return tuple(self._urbs.rows)

    # Machines and daemons.

    def _that_answer(self) -> list[str]:
        """The machines that can be asked."""
        return [
            role.value
            for role, machine in dict(self._strategy.machines).items()
            if not machine.health.lost and not self._struck.of(role.value)
        ]

    def _silent(self) -> frozenset[str]:
        return self._struck.silent

    def _answers(self, name: str) -> Daemon | None:
        """Return a daemon that can be asked."""
        daemon = self._strategy.daemons.get(name)
        if daemon is None or daemon.ended:
            return None
        if daemon.machine not in (STATION_NAME, *self._that_answer()):  # a cable is the station's
            return None
        return None if name in self._struck.silent else daemon

    def _look_at_machines(self) -> None:
        there, rows = self._that_answer(), []
        for role in Role:
            daemons = [*RUNS_ON[role], "cable"] if role is Role.BACK else [*RUNS_ON[role]]
            shown = [
                DaemonRow(name, role.value in there and self._answers(name) is not None)
                for name in daemons
                if name in self._strategy.daemons
            ]
            if role is self._strategy.client:
                shown.append(DaemonRow("workload", not self._scene.workload.ended))
            row = machine_row(
                role.value,
                self._kernel,
                there=role.value in there,
                struck=self._struck.of(role.value),
                daemons=tuple(shown),
                now_s=self._clock(),
            )
            rows.append(as_before(row, self.machines))
        self.machines = tuple(rows)

    # What daemons tell.

    def _hear(self) -> None:
        own = read_events(self._directory.file(MACHINE_EVENTS))
        for event in own[self._struck_read :]:
            self._struck.take(event)
            self.returns += moves_disk(event)
            self._tell("run", event)
        self._struck_read = len(own)
        crew = self._strategy.crew
        for daemon in [*crew.former, *dict(crew.daemons).values(), self._scene.workload]:
            for event in self._new(daemon):
                self._take(daemon, event)
        for machine, daemon in list(self._lookouts.values()):
            for event in self._new(daemon):
                self._take_lookout(machine.name, event)

    def _new(self, daemon: Daemon) -> list[dict[str, Any]]:
        position = self._read.get(daemon, 0)
        events = daemon.events_from(position)
        self._read[daemon] = position + len(events)
        return events

    def _take(self, daemon: Daemon, event: dict[str, Any]) -> None:
        if event.get("event") == "progress" and daemon is self._scene.workload:
            done, total = event.get("done"), event.get("total")
            part = f" {100 * done // total} %" if done is not None and total else ""
            self.step = f"{event['step']} {event.get('fs', '')}{part}".strip()
        else:
            self.moments.take(event)
            self.returns += moves_disk(event)
            self._tell(daemon.name, event)

    def _tell(self, process: str, event: dict[str, Any]) -> None:
        said = sentence(process, event)
        if said:
            self.told.append(f"{self._clock():.1f} s  {said}")

    # Lookouts.

    def _post_lookouts(self) -> None:
        """Have one on each machine that is there, also after it has booted anew."""
        for role, machine in dict(self._strategy.machines).items():
            known = self._lookouts.get(role.value)
            gone = known is None or known[0] is not machine or known[1].ended
            if gone and role.value in self._that_answer():
                place = STORE if role is Role.BACK else "/run"
                with suppress(MachineError):
                    daemon = machine.start_daemon(lookout.command(place), lookout.NAME)
                    self._lookouts[role.value] = machine, daemon

    def _take_lookout(self, machine: str, event: dict[str, Any]) -> None:
        now_s = self._clock()
        match event.get("event"):
            case "kernel":
                self.log.append(LogLine(now_s, machine, str(event["line"])))
            case "room" if machine == Role.BACK:
                self.room_bytes = int(event["bytes"])
            case "disk" if machine == self._strategy.client:
                rate = self._meter.take(event)
                if rate is not None:
                    with self._urbs_lock:
                        latency_s, longest_s = self._urbs.latency()
                    self.samples.append(
                        Sample(now_s, rate.written_bps, rate.read_bps, latency_s, longest_s)
                    )

    # The back end.

    def _look_at_back_end(self) -> None:
        back = self._answers("back")
        if back is None:
            return
        with suppress(MachineError, msgspec.ValidationError):
            self.ports = port_rows(back.ask("status", ASK_DEADLINE_S))
        if self._scene.options.notes_urbs:
            with suppress(MachineError, UserError):
                back.ask("urbs", ASK_DEADLINE_S)

    def _read_urbs(self) -> None:
        """Read on in the back end's log, which the run keeps here while it is written."""
        if self._log_of_urbs is None or not self._log_of_urbs.exists():
            return
        with self._log_of_urbs.open("rb") as log:
            log.seek(self._urbs_read)
            octets = log.read()
        self._urbs_read += len(octets)
        try:
            events = self._records.feed(octets)
        except RemoteProtocolError as error:
            self.told.append(f"{self._clock():.1f} s  {error} No more URBs are shown.")
            self._log_of_urbs, events = None, []
        now_s = self._clock()
        with self._urbs_lock:
            for event in events:
                self._urbs.feed(event, now_s)
