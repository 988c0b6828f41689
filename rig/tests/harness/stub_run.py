"""Stands for ``rig run`` and ``rig doctor`` where a campaign is tested without hosts.

What a place does is in a file beside the environment files' pool: a JSON object, by the place's
name, of how a run ends there: an outcome; ``hang``, until there is ``go``
in its directory; then pass; ``usage``; ``down`` for hosts that are not there;
``odd`` for infrastructure that fails though nothing is lacking.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from types import FrameType

from rig.report.record import leave
from rig.report.verdict import Faults, Outcome, Verdict

MANNERS = "RIG_TEST_MANNERS"
ENDS = {"hang": "pass"}


def verdict(outcome: Outcome, plan: str) -> Verdict:
    """Return one that says so."""
    return Verdict(
        verdict=outcome,
        reasons=() if outcome is Outcome.PASS else (f"It is {outcome}.",),
        sectors={},
        views={},
        findings=(),
        checks=(),
        faults=Faults(),
        durations_s={},
        kernel="",
        policy="",
        seed=0,
        plan=plan,
        file_systems=(),
        accelerator="hosts",
        boot_retries=0,
        rig_version="0",
    )


def main() -> int:
    """Be ``run`` or ``doctor``."""
    options = dict(zip(sys.argv[2::2], sys.argv[3::2], strict=False))
    place = Path(options["--lg-env" if sys.argv[1] == "run" else "--lab"]).stem
    manner = json.loads(Path(os.environ[MANNERS]).read_text()).get(place, "pass")
    if sys.argv[1] == "doctor":
        state = "lacking" if manner == "down" else "ok"
        row = {"machine": "back", "what": "reached", "state": state, "found": "no.", "mend": ""}
        print(json.dumps([row]))
        return 3 if manner == "down" else 0
    if manner == "usage":
        print("rig: There is no such plan.", file=sys.stderr)
        return 2
    out = Path(options["--out"])
    out.mkdir()
    busy = Path(f"{os.environ[MANNERS]}.{place}")
    busy.mkdir()  # fails if two runs use one place
    try:
        (out / "place").write_text(place)
        if manner == "hang":
            while not (out / "go").exists():
                time.sleep(0.05)
        outcome = (
            Outcome.INFRASTRUCTURE
            if manner in {"down", "odd"}
            else Outcome(ENDS.get(manner, manner))
        )
        leave(verdict(outcome, options["--plan"]), out / "verdict.json")
    finally:
        busy.rmdir()
    return 0


def interrupt(number: int, frame: FrameType | None) -> None:
    """End in order, as ``rig run`` does."""
    raise KeyboardInterrupt


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, interrupt)
    sys.exit(main())
