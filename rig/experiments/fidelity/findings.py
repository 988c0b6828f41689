"""What the table comes to: counts, and what is not as it should be.  No I/O."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from rig.experiments.fidelity.cells import Injection
from rig.experiments.fidelity.report import Data, Fidelity, Observation, Report
from rig.lab.paths import PathName
from rig.report.markdown import row, rule

TITLES = {PathName.SPLIT: "split", PathName.USBIP: "USB/IP", PathName.DIRECT: "direct"}
"""As the page has them."""

_OTHERWISE = "the client's driver did otherwise than with no split; compare the cells."


def summary(report: Report) -> Iterator[str]:
    """Count, path by path."""
    yield "## In short\n"
    names = (
        "errors",
        "told the same",
        "other status",
        "other length",
        "not seen",
        "data wrong",
        "did otherwise",
    )
    yield row("path", *names)
    yield rule(1, len(names))
    for path in PathName:
        seen = report.on(path)
        if not seen:
            continue
        kinds = Counter(one.fidelity for one in seen)
        wrong = sum(one.data is Data.WRONG and not one.note for one in seen)
        kinds_told = (kinds[kind] for kind in Fidelity)
        yield row(TITLES[path], len(seen), *kinds_told, wrong, len(report.otherwise(path)))
    yield ""
    yield """\
*Did otherwise*: the client's driver did not do, and say, what it did of the same error with no
split. What runs *behind* a failed URB is not seen here, where there is one at a time: that is
`rig hazard` ([recovery.md](recovery.md)).
"""


def differences(report: Report) -> Iterator[str]:
    """Explain what is not the same, or say that nothing is."""
    yield "## What is not the same, and why\n"
    found: dict[str, list[Observation]] = {}
    for one in report.observations:
        if not one.complete or one.data is Data.WRONG or one.fidelity is not Fidelity.SAME:
            found.setdefault(explain(one), []).append(one)
    for path in PathName:
        for one in report.otherwise(path):
            if not one.note:
                found.setdefault(_OTHERWISE, []).append(one)
    if not found:
        yield "Nothing: each error came through as it was made, over every path.\n"
        return
    for why, cells in found.items():
        places: dict[str, list[str]] = {}
        for one in cells:
            place = f"{TITLES[one.path]} at {one.injection.attachment}"
            places.setdefault(place, []).append(_name_of(one.injection))
        where = "; ".join(f"{place} ({', '.join(names)})" for place, names in places.items())
        yield f"- {where}: {why}"
    yield ""


def _name_of(injection: Injection) -> str:
    return f"{injection.direction.upper()} {injection.label} {injection.when}"


def explain(seen: Observation) -> str:
    """Say why a cell is not as it should be, as far as that is known."""
    if seen.note:
        return f"{seen.note.rstrip('.')}."
    if seen.fired != 1:
        return f"the error was made {seen.fired} times, not once."
    if seen.fidelity is Fidelity.UNSEEN:
        return "usbmon saw no completion of the URB."
    if seen.fidelity is Fidelity.STATUS:
        return f"the client was told {seen.above} where the controller's driver told {seen.below}."
    if seen.fidelity is Fidelity.LENGTH:
        return "the status came through; the count of bytes that had moved did not."
    return "the client's driver was told the same, but took it for a success: the data are wrong."
