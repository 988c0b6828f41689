"""What the workload's watchdog told, for the verdict.  Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

TOLD = frozenset({"stalled", "went_on", "blocked"})
"""Its events."""


def longest_d_state_s(events: Iterable[dict[str, Any]]) -> float:
    """The longest that any task of the host was in state D, as far as it was seen."""
    told = [event for event in events if event.get("event") in TOLD]
    blocked = [float(event["for_s"]) for event in told if event["event"] == "blocked"]
    tasks = [task for event in told for task in event.get("tasks", ())]
    return max([*blocked, *(float(task["for_s"]) for task in tasks)], default=0.0)


def stall_notes(events: Iterable[dict[str, Any]]) -> Iterator[str]:
    """Yield a sentence about each time in which the workload made no progress."""
    stall: dict[str, Any] | None = None
    for event in events:
        match event.get("event"):
            case "stalled":
                if stall is not None:
                    yield _sentence(stall, None)
                stall = event
            case "went_on" if stall is not None:
                yield _sentence(stall, event)
                stall = None
    if stall is not None:
        yield _sentence(stall, None)


def _sentence(stall: dict[str, Any], end: dict[str, Any] | None) -> str:
    quiet_s = float(stall["quiet_s"])
    if end is None:
        words = f"'{stall['step']}' made no progress for {quiet_s:.0f} s, and did not go on"
    else:
        quiet_s += float(end["t"]) - float(stall["t"])
        words = f"'{stall['step']}' made no progress for {quiet_s:.0f} s, and then went on"
    return f"{words}; {_waiting(stall['tasks'])}."


def _waiting(tasks: list[dict[str, Any]]) -> str:
    if not tasks:
        return "no task was in state D"
    named = []
    for task in tasks:
        stack = [frame.partition("+")[0] for frame in task["stack"][:3]]
        named.append(f"{task['name']} ({' < '.join(stack) or 'stack unknown'})")
    return f"in state D: {', '.join(named)}"
