"""Runs both ends of the split driver under another policy while a disk is in use."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from rig.errors import MachineError, UserError
from rig.experiments.run.options import Recovery
from rig.experiments.run.places import setup_of
from rig.experiments.run.sitting import Scene
from rig.faults.phases import Phase
from rig.lab.environment import Role
from rig.lab.paths import PathName
from rig.session.live.rules import LiveRules

ROLES = {"front": Role.FRONT, "back": Role.BACK}
READY = {"front": "attached", "back": "listening"}


def switch(scene: Scene, recovery: Recovery, plan: Path, rules: LiveRules) -> None:
    """Start both ends anew under other rules; the disk goes away with the old ones.

    The faults of the old back end that can still fire go to the new one.

    Args:
        scene: Nothing is written to it meanwhile.
        recovery: What both ends do behind an error from now on.
        plan: Of the run, on the station.
        rules: All that there are.

    Raises:
        UserError: The device is not carried by the split driver.
        MachineError: An end is not there, or did not start.
    """
    lab, options = scene.lab, dataclasses.replace(scene.options, recovery=recovery)
    if options.driver is not PathName.SPLIT:
        raise UserError(f"A policy is the split driver's own: driver {options.driver} has none.")
    setup, crew = setup_of(options, plan), lab.strategy.crew
    if missing := [name for name in ROLES if name not in crew.daemons]:
        raise MachineError(f"The {missing[0]} end is not there.", hint="Wait until it is back.")
    kept = rules.of("back")
    lab.setup = setup
    for name in ("front", "back"):
        crew.daemons[name].stop(crew.stop_deadline_s)
    words = {"back": setup.back, "front": setup.front}
    for name in ("back", "front"):
        daemon = crew.replace(ROLES[name], name, words[name])
        daemon.wait_event(READY[name], setup.ready_deadline_s)
    scene.disturbance.set_phase(Phase.WRITE)
    rules.restore("back", kept)
