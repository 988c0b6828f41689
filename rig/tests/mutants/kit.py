"""All mutants, by whom each must be seen, and the score."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from enum import StrEnum

import msgspec

from rig.integrity.judgement import SectorClass, View
from rig.integrity.monitors.breach import Rule
from rig.splitdriver.policy import Policy
from rig.tests.mutants import devices, drivers, links, media
from rig.tests.mutants.patch import Patch
from rig.tests.mutants.trial import Alarm, Parts, play

TRIALS = 40
"""Runs of a mutant, at most: the first in which the right one sees it ends them."""


class Kind(StrEnum):
    """What is broken."""

    DRIVER = "split driver"
    LINK = "link"
    DEVICE = "device"
    MEDIUM = "medium"


class Mutant(msgspec.Struct, frozen=True):
    """One broken thing.

    Attributes:
        name: Of it.
        kind: What is broken.
        what: In words.
        seen_by: Alarms; the mutant is killed when one of them is raised.
        parts: What the run is made of.
        breaks: Breaks what is not among its parts.
    """

    name: str
    kind: Kind
    what: str
    seen_by: tuple[str, ...]
    parts: Parts = Parts()
    breaks: Callable[[Patch], None] | None = None


class Score(msgspec.Struct, frozen=True):
    """How a mutant fared.

    Attributes:
        name: Of the mutant.
        kind: What was broken.
        seen_by: Who had to see it.
        killed: One of them has.
        trials: In so many runs.
        alarms: All that was raised in these runs, and of each the first sentence.
    """

    name: str
    kind: Kind
    seen_by: tuple[str, ...]
    killed: bool
    trials: int
    alarms: dict[str, str]


def arrival(*classes: SectorClass) -> tuple[str, ...]:
    return tuple(f"{View.ARRIVAL}/{each}" for each in classes)


def medium(*classes: SectorClass) -> tuple[str, ...]:
    return tuple(f"{View.MEDIUM}/{each}" for each in classes)


def host(*classes: SectorClass) -> tuple[str, ...]:
    return tuple(f"{View.HOST}/{each}" for each in classes)


def monitor(*rules: Rule) -> tuple[str, ...]:
    return tuple(f"monitor/{each}" for each in rules)


_C = SectorClass
_GONE = (_C.LOST, _C.STALE, _C.ZEROED)
_DRIVERS: tuple[tuple[Callable[[Patch], None], tuple[str, ...]], ...] = (
    (drivers.resumes_too_early, arrival(_C.MISDIRECTED)),
    (drivers.failure_does_not_stop, monitor(Rule.BEHIND)),
    (drivers.unlink_does_not_stop, monitor(Rule.BEHIND)),
    (drivers.swaps_two_urbs, monitor(Rule.ORDER)),
    (drivers.ignores_the_window, monitor(Rule.WINDOW)),
    (drivers.drops_a_write, monitor(Rule.ENDS_AGREE)),
    (drivers.runs_a_write_twice, monitor(Rule.ONE_COMPLETION)),
    (drivers.tries_again_by_itself, monitor(Rule.ONE_COMPLETION)),
    (drivers.sends_a_stale_buffer, arrival(_C.MISDIRECTED)),
    (drivers.cuts_a_write_short, monitor(Rule.ENDS_AGREE)),
    (drivers.flips_a_bit, arrival(_C.CORRUPT)),
    (drivers.swaps_sectors, arrival(_C.MISDIRECTED)),
    (drivers.writes_one_lba_too_far, arrival(_C.MISDIRECTED)),
    (drivers.forgets_flushes, medium(*_GONE)),
    (drivers.gives_a_stale_buffer, host(_C.MISDIRECTED)),
    (drivers.gives_zeros, host(_C.ZEROED)),
    (drivers.cuts_a_read_short, monitor(Rule.ENDS_AGREE)),
    (drivers.tells_errors_as_success, monitor(Rule.ENDS_AGREE)),
    (drivers.tells_success_as_error, monitor(Rule.ENDS_AGREE)),
    (drivers.claims_too_much, monitor(Rule.LENGTH)),
    (drivers.completes_twice, monitor(Rule.ONE_COMPLETION)),
    (drivers.never_completes, monitor(Rule.ONE_COMPLETION)),
    (drivers.tells_every_end_twice, (Alarm.REFUSED, *monitor(Rule.ONE_COMPLETION))),
    (drivers.completes_before_the_end, monitor(Rule.ONE_COMPLETION)),
    (drivers.ignores_unlinks, (Alarm.STUCK,)),
    (drivers.answers_unlinks_twice, monitor(Rule.ONE_COMPLETION)),
    (drivers.answers_unlinks_first, monitor(Rule.ONE_COMPLETION)),
    (drivers.keeps_the_device_without_a_link, monitor(Rule.ONE_COMPLETION)),
    (drivers.serves_a_device_that_still_works_for_another, monitor(Rule.PORT_DOWN)),
)
_LINKS = (
    (links.Reorders, (Alarm.REFUSED, *monitor(Rule.ORDER))),
    (links.Duplicates, (Alarm.REFUSED, *monitor(Rule.ONE_COMPLETION))),
    (links.Drops, (Alarm.STUCK, *monitor(Rule.ONE_COMPLETION))),
)
_DEVICES = (
    (devices.WritesOneLbaTooFar, arrival(_C.MISDIRECTED)),
    (devices.ReadsOneLbaTooFar, host(_C.MISDIRECTED)),
    (devices.SwapsSectors, arrival(_C.MISDIRECTED)),
    (devices.RepeatsASector, arrival(_C.MISDIRECTED)),
    (devices.WritesElsewhereToo, arrival(_C.MISDIRECTED)),
    (devices.LosesWrites, medium(*_GONE)),
    (devices.LosesTheLastSector, medium(*_GONE)),
    (devices.HidesErrors, (*host(*_GONE), *medium(*_GONE))),
    (devices.TearsSectors, arrival(_C.TORN)),
    (devices.WritesAgainLater, arrival(_C.STALE)),
    (devices.ReadsStaleData, host(*_GONE)),
    (devices.ReadsTheSameAgain, host(_C.MISDIRECTED)),
    (devices.ReadsZeros, host(_C.ZEROED)),
    (devices.ReadsShort, host(_C.ZEROED)),
    (devices.LosesFlushes, medium(*_GONE)),
)
_MEDIA = (
    (media.LosesWrites, medium(*_GONE)),
    (media.Misdirects, medium(_C.MISDIRECTED)),
    (media.IgnoresAnAddressLine, medium(_C.MISDIRECTED)),
    (media.FlipsBits, medium(_C.CORRUPT)),
    (media.FlipsBitsOnReading, host(_C.CORRUPT)),
    (media.Tears, medium(_C.TORN)),
    (media.LosesFlushes, medium(*_GONE)),
    (media.LosesAPartOfTheCache, medium(*_GONE)),
    (media.BringsBackOldData, medium(*_GONE)),
    (media.KeepsRubbish, medium(_C.FOREIGN)),
    (media.Forgets, medium(_C.ZEROED)),
)


def _words(name: str) -> str:
    return "".join(f"-{c.lower()}" if c.isupper() else c for c in name).strip("-").replace("_", "-")


def _first_line(thing: object) -> str:
    return (inspect.getdoc(thing) or "").partition("\n")[0]


def _all() -> Iterator[Mutant]:
    by = monitor(Rule.BEHIND)
    text = "Both ends know no recovery: what stands behind an error runs on."
    yield Mutant("driver/naive", Kind.DRIVER, text, by, Parts(policy=Policy.NAIVE))
    for breaks, by in _DRIVERS:
        name = f"driver/{_words(breaks.__name__)}"
        yield Mutant(name, Kind.DRIVER, _first_line(breaks), by, breaks=breaks)
    for lane, by in _LINKS:
        parts = Parts(lane=lane)
        yield Mutant(f"link/{_words(lane.__name__)}", Kind.LINK, _first_line(lane), by, parts)
    for disk, by in _DEVICES:
        parts = Parts(disk=disk)
        yield Mutant(f"device/{_words(disk.__name__)}", Kind.DEVICE, _first_line(disk), by, parts)
    for kind, by in _MEDIA:
        parts = Parts(medium=kind)
        yield Mutant(f"medium/{_words(kind.__name__)}", Kind.MEDIUM, _first_line(kind), by, parts)


MUTANTS = tuple(_all())


def score(mutant: Mutant, trials: int = TRIALS) -> Score:
    """Run a mutant until the right one sees it, or so many times."""
    alarms: dict[str, str] = {}
    with Patch() as patch:
        if mutant.breaks is not None:
            mutant.breaks(patch)
        for seed in range(trials):
            for alarm, text in play(seed, mutant.parts).alarms.items():
                alarms.setdefault(alarm, text)
            if alarms.keys() & set(mutant.seen_by):
                return Score(mutant.name, mutant.kind, mutant.seen_by, True, seed + 1, alarms)
    return Score(mutant.name, mutant.kind, mutant.seen_by, False, trials, alarms)
