"""Plans and rules as a plan's file says them.  Pure."""

from __future__ import annotations

from typing import Any

import msgspec

from rig.faults.plan import Head, Plan

Table = dict[str, Any]
"""A table of a plan: key and value."""


def table_of(said: msgspec.Struct) -> Table:
    """Return a rule, or a plan's head, without the keys that have their usual value."""
    usual = {field.encode_name: field.default for field in msgspec.structs.fields(said)}
    table: Table = msgspec.to_builtins(said)
    return {key: value for key, value in table.items() if key not in usual or value != usual[key]}


def text_of(plan: Plan) -> str:
    """Return a plan as TOML, which `rig.faults.reader.parse_plan` reads as the same plan."""
    fields = {field.name: getattr(plan, field.name) for field in msgspec.structs.fields(Head)}
    faults = [table_of(fault) for fault in plan.faults]
    table = table_of(Head(**fields))
    return msgspec.toml.encode(table | ({"fault": faults} if faults else {})).decode()
