"""Try very many damaged conversations on both ends of a link (`rig.tests.harness.fuzzing`).

    python -m rig.tests.fuzz --inputs 1000000 --seed 1

Each input has its own chance, made of the seed and its number: ``--first N --inputs 1`` repeats it.
With ``--lane`` they go through the daemons and their lanes instead (`rig.tests.harness.lane_back`).
"""

from __future__ import annotations

import argparse
import faulthandler
import resource
import sys
import time
from collections import Counter
from collections.abc import Callable
from random import Random

from rig.tests.harness import lane_back, lane_front
from rig.tests.harness.fuzzing import run_one, sentences

Run = Callable[[Random, Counter[str]], None]

SLOW_S = 2.0
"""No conversation takes a hundredth of that.  One that does is tried again, and measured by the
processor's clock: a busy machine is no finding."""
HUNG_S = 120.0
"""After so long in one conversation the process ends, and shows where it was."""
MAX_GROWTH_KIB = 64 << 10
"""The process may grow by so much after its first inputs: a few buffers of the largest frame."""
LOOK_EVERY = 256
"""The kernel is asked for the process's size so seldom: it takes as long as an input."""
REPORT_EVERY_S = 5.0


class Limits:
    """Notices a process that grows.

    Args:
        warm: After so many inputs the process has its size.
    """

    def __init__(self, warm: int) -> None:
        self._warm = warm
        self._base_kib = 0

    def check(self, done: int) -> None:
        """Look at the process after so many inputs.

        Raises:
            AssertionError: It has grown.
        """
        if done == self._warm:
            self._base_kib = peak_kib()
        if done > self._warm and done % LOOK_EVERY == 0:
            grown_kib = peak_kib() - self._base_kib
            assert grown_kib <= MAX_GROWTH_KIB, f"the process has grown by {grown_kib} KiB"


def peak_kib() -> int:
    """The most memory that this process had, in KiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def run_lanes(rng: Random, seen: Counter[str]) -> None:
    """Have both daemons converse with their lanes and without, and then with bad peers.

    Raises:
        AssertionError: A lane made a difference, or a daemon did what it must not.
        Exception: A daemon raised it.
    """
    for ends in (lane_back, lane_front):
        seen["waits"] += ends.compare(f"{rng.getrandbits(64)}").waits
        seen["refused"] += ends.annoy(rng)


def try_input(seed: int, number: int, seen: Counter[str], run: Run | None = None) -> None:
    """Try one input.

    Args:
        seed: Of all.
        number: Its own.
        seen: Counts what was met.
        run: Instead of `run_one`.

    Raises:
        AssertionError: An end did what it must not, or took too long for it.
        Exception: An end raised it.
    """
    run = run or run_one
    began_s = time.monotonic()
    run(Random(f"{seed}/{number}"), seen)
    if time.monotonic() - began_s >= SLOW_S:
        began_s = time.process_time()
        run(Random(f"{seed}/{number}"), Counter())
        took_s = time.process_time() - began_s
        assert took_s < SLOW_S, f"it took {took_s:.1f} s"


def _nothing() -> None:
    """Stands for the watch over a process that hangs."""


def fuzz(
    inputs: int,
    seed: int,
    first: int = 0,
    alive: Callable[[], None] = _nothing,
    *,
    lane: bool = False,
) -> Counter[str]:
    """Try inputs, and show how far it is.

    Args:
        inputs: How many.
        seed: Of all of them.
        first: The number of the first.
        alive: Called every now and then.
        lane: Through the daemons and their lanes.

    Returns:
        What was met, by name.

    Raises:
        Exception: An end did what it must not; what is printed tells how to repeat it.
    """
    seen: Counter[str] = Counter()
    limits = Limits(warm=max(inputs // 20, 1))
    began_s = shown_s = time.monotonic()
    alive()
    for done in range(1, inputs + 1):
        number = first + done - 1
        try:
            try_input(seed, number, seen, run_lanes if lane else None)
            limits.check(done)
        except Exception as error:
            print(f"\ninput {number}: {type(error).__name__}: {error}", file=sys.stderr)
            again = f"--seed {seed} --first {number} --inputs 1{' --lane' if lane else ''}"
            print(f"again: python -m rig.tests.fuzz {again}", file=sys.stderr)
            raise
        now_s = time.monotonic()
        if now_s - shown_s >= REPORT_EVERY_S:
            shown_s = now_s
            alive()
            rate = done / (now_s - began_s)
            print(f"\r{done:>9} of {inputs}, {rate:.0f}/s ", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return seen


def main() -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m rig.tests.fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--lane", action="store_true", help="through the daemons and their lanes")
    options = parser.parse_args()
    if options.inputs < 1:
        parser.error("--inputs must be 1 or more: nothing tried proves nothing.")
    began_s = time.monotonic()
    seen = fuzz(
        options.inputs,
        options.seed,
        options.first,
        lambda: faulthandler.dump_traceback_later(HUNG_S, exit=True),
        lane=options.lane,
    )
    took_s = time.monotonic() - began_s
    if options.lane:
        print(
            f"{options.inputs} inputs on each daemon in {took_s:.0f} s, peak {peak_kib() >> 10}"
            f" MiB: the lanes had {seen['waits']} waits, {seen['refused']} links were ended."
        )
        return 0
    messages = sum(count for name, count in seen.items() if " " not in name and name != "refused")
    print(
        f"{options.inputs} inputs on each end in {took_s:.0f} s, peak {peak_kib() >> 10} MiB:"
        f" {messages} messages reached a core, {seen['refused']} links were ended,"
        f" with {len(list(sentences(seen)))} different complaints."
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
