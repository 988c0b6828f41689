"""Where a run keeps what on the machines, and what it starts there."""

from __future__ import annotations

from pathlib import Path

from rig.experiments.run.options import RunOptions
from rig.lab.environment import Link
from rig.lab.strategy import Setup

STORE = "/var/lib/rig/gadget"
PLAN_ON_MACHINE = "/var/lib/rig/plan.toml"
RANGES_ON_MACHINE = "/run/rig-ranges.json"
URBS_ON_MACHINE = "/run/rig-urbs.bin"
WISH_ON_MACHINE = "/run/rig-reread.json"
BACK_BEHIND_LINK = "127.0.0.1:7206"
"""Where the back end listens if a relay is at its usual place."""


def setup_of(options: RunOptions, plan_on_station: Path) -> Setup:
    """Return what runs on the machines.

    Args:
        options: What to run.
        plan_on_station: The plan's file, for what the station starts itself; the back machine has
            it as `PLAN_ON_MACHINE`.
    """
    plan = ("--plan", PLAN_ON_MACHINE, "--seed", str(options.plan.seed), "--supervised")
    size = str(options.lun_bytes)
    gadget = ("--directory", STORE, "--size", size, *options.gadget_words)
    address, *security = Link.TCP.options
    listens = BACK_BEHIND_LINK if options.relayed else address
    relay = ("rig", "link", "--listen", address, "--connect", listens, *plan)
    urbs = ("--urb-log", URBS_ON_MACHINE) if options.notes_urbs else ()
    back = ("--port", options.attachment.port, "--listen", listens, *security, *urbs)
    front = ("--connect", address, *security, *options.recovery.front_words(), *urbs)
    return Setup(
        gadget=("rig", "gadget", *gadget, *plan),
        back=("rig", "back", *back, *options.recovery.back_words(), *plan),
        front=("rig", "front", *front, "--supervised"),
        link=relay if options.relayed else (),
        cable=("--plan", str(plan_on_station), "--seed", str(options.plan.seed)),
        path=options.driver,
        awaits=options.client.awaits,
    )
