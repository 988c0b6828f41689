"""One simulated run, and all alarms that it raises.  Pure."""

from __future__ import annotations

from enum import StrEnum
from random import Random

import msgspec

from rig.errors import RemoteProtocolError
from rig.integrity.judgement import HARMLESS, Judgement
from rig.integrity.scan import scan
from rig.sim.promise import BrokenError
from rig.splitdriver.policy import Policy
from rig.tests.mutants.disk import Disk
from rig.tests.mutants.host import Host, StuckError
from rig.tests.mutants.medium import Medium
from rig.tests.mutants.world import DiskWorld, TappedLane

MAX_TROUBLES = 14


class Alarm(StrEnum):
    """What else can be seen than the oracle's classes and the monitors' rules."""

    STUCK = "watchdog/stuck"
    """Nothing goes on any more."""
    REFUSED = "protocol/refused"
    """One end does not accept what the other says."""
    GROWTH = "bounds/growth"
    """A queue grows without bound."""


class Parts(msgspec.Struct, frozen=True):
    """What a run is made of; any may be a broken one."""

    disk: type[Disk] = Disk
    medium: type[Medium] = Medium
    lane: type[TappedLane] = TappedLane
    policy: Policy = Policy.HOLD
    window: int = 1


class Trial(msgspec.Struct, frozen=True):
    """How a run ended.

    Attributes:
        alarms: Each alarm, and its first sentence.
        moves: How many things happened.
        gave_up: Commands that never succeeded.
        losses: How often the device went away.
    """

    alarms: dict[str, str]
    moves: int
    gave_up: int
    losses: int


def play(seed: int, parts: Parts = Parts()) -> Trial:  # noqa: B008 - it is frozen
    """Play the run of a seed."""
    chance = Random(seed)
    disk = parts.disk(parts.medium())
    world = DiskWorld(chance, disk, policy=parts.policy, window=parts.window, lane=parts.lane)
    host = Host(world, chance, chance.randrange(MAX_TROUBLES + 1))
    alarms: dict[str, str] = {}
    try:
        host.run()
        disk.medium.cut_power()
        host.read_files()
    except StuckError as error:
        alarms[Alarm.STUCK] = str(error)
    except RemoteProtocolError as error:
        alarms[Alarm.REFUSED] = str(error)
    except BrokenError as error:
        alarms[Alarm.GROWTH] = str(error)
    for judgement in host.judgements:
        _add(alarms, judgement)
    _add(alarms, host.oracle.judge_arrivals(disk.medium.arrivals))
    if not alarms.keys() & set(Alarm):
        _add(alarms, host.oracle.judge_medium(scan(bytes(disk.medium.platter), 0)))
        world.monitors.finish()
    for breach in world.monitors.breaches:
        alarms.setdefault(f"monitor/{breach.rule}", breach.text)
    return Trial(alarms, world.moves_made, host.gave_up, world.losses)


def _add(alarms: dict[str, str], judgement: Judgement) -> None:
    for finding in judgement.findings:
        if finding.sector_class not in HARMLESS:
            alarms.setdefault(f"{finding.view}/{finding.sector_class}", finding.sentence)
