"""Rows of several comparisons as one report, so that one row can be measured anew.

Only what was measured under the same conditions can be in one table.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from rig.errors import UserError
from rig.experiments.compare.report import Report, Row

NAME = "compare.json"

CONDITIONS = (
    "plan",
    "client",
    "file_systems",
    "delay_ms",
    "kernel",
    "accelerator",
    "repetitions",
)
"""Attributes of a report that hold for each of its rows."""


def read_report(path: Path) -> Report:
    """Return what a comparison has left.

    Args:
        path: Its ``compare.json``, or the run directory with it.

    Raises:
        UserError: It is not there, or none.
    """
    file = path / NAME if path.is_dir() else path
    try:
        return msgspec.json.decode(file.read_bytes(), type=Report)
    except OSError as error:
        raise UserError(
            f"The comparison '{file}' cannot be read: {error.strerror}.",
            hint=f"Give a run directory of 'rig compare', or the {NAME} in it.",
        ) from error
    except msgspec.DecodeError as error:
        raise UserError(f"'{file}' is not what 'rig compare' leaves: {error}.") from error


def join(reports: Sequence[Report]) -> Report:
    """Put reports together; a row of a later one takes the place of that of an earlier one.

    Args:
        reports: At least one.

    Raises:
        UserError: They were not made under the same conditions.
    """
    first = reports[0]
    for report in reports[1:]:
        _check_conditions(first, report)
    rows = {row.subject: row for report in reports for row in _dated(report)}
    tried = {f"{subject.attachment}: {subject.name}" for subject in rows}
    without = {name: why for report in reports for name, why in report.without.items()}
    return msgspec.structs.replace(
        first,
        rows=tuple(rows.values()),
        without={name: why for name, why in without.items() if name not in tried},
    )


def _check_conditions(first: Report, other: Report) -> None:
    for name in CONDITIONS:
        one, another = getattr(first, name), getattr(other, name)
        if one != another:
            raise UserError(
                f"Comparisons with {name} {one} and {another} cannot be in one table.",
                hint="Measure them with the same options and the same guest image.",
            )


def _dated(report: Report) -> list[Row]:
    """Return the rows, each with the command that measured it."""
    return [
        row
        if row.command
        else msgspec.structs.replace(row, command=report.command, date=report.date)
        for row in report.rows
    ]
