"""Reads a plan's file: the only I/O of this package."""

from __future__ import annotations

from pathlib import Path

from rig.errors import UserError
from rig.faults.plan import Plan
from rig.faults.reader import parse_plan

PLANS = Path(__file__).parent / "plans"
"""The plans that come with the rig."""


def shipped_plans() -> dict[str, Path]:
    """Names and files of the plans that come with the rig."""
    return {path.stem: path for path in sorted(PLANS.glob("*.toml"))}


def load_plan(path: str | Path, seed: int | None = None) -> Plan:
    """Read a plan from a file, or one that comes with the rig by its name.

    Args:
        path: A file, or a name out of `shipped_plans`.
        seed: Overrides the plan's own.

    Raises:
        UserError: There is no such file, it cannot be read, or the plan is bad.
    """
    file, text = _read(path)
    return parse_plan(text, file.name).with_seed(seed)


def read_plan_text(path: str | Path) -> str:
    """Return a plan's text as it stands in its file.

    Raises:
        UserError: As `load_plan`, but for a bad plan.
    """
    return _read(path)[1]


def _read(path: str | Path) -> tuple[Path, str]:
    file = Path(path)
    try:
        if not file.exists():
            file = shipped_plans().get(str(path), file)
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        known = ", ".join(shipped_plans())
        raise UserError(
            f"There is no plan file '{path}'.",
            hint=f"Give a file, or the name of a plan that comes with the rig: {known}.",
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"Plan file '{path}' cannot be read: {error}.") from error
    return file, text
