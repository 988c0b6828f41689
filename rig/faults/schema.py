"""The JSON schema of a plan: read off the rules' types and docstrings, so that it cannot lag."""

from __future__ import annotations

import re
import textwrap
from typing import Any

import msgspec

from rig.faults.plan import FAULT_TYPES, Head
from rig.faults.rules.base import TRIGGERS

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_ENTRY = re.compile(r"^    (\w+): ", re.MULTILINE)
Node = dict[str, Any]  # JSON schemas are as JSON is: of any shape


def plan_schema() -> Node:
    """Return the schema of a plan, as JSON carries it."""
    kinds = [Head, *FAULT_TYPES.values()]
    _, parts = msgspec.json.schema_components(kinds, ref_template="#/$defs/{name}")
    for kind in kinds:
        _explain(parts[kind.__name__], kind)
    for kind in FAULT_TYPES.values():
        rule = parts[kind.__name__]
        rule["oneOf"] = [{"required": [key]} for key in TRIGGERS if key in rule["properties"]]
    head = parts.pop(Head.__name__)
    head["properties"]["fault"] = {
        "type": "array",
        "description": "The rules, in the order in which they are asked.",
        "items": {"oneOf": [{"$ref": f"#/$defs/{kind.__name__}"} for kind in FAULT_TYPES.values()]},
    }
    schema = {"$schema": DIALECT, **head, "title": "A fault plan of rig", "$defs": parts}
    without_null: Node = _without_null(schema)
    return without_null


def attributes(kind: type[Any]) -> dict[str, str]:
    """What the docstrings of a type and its bases say of its attributes."""
    said: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        _, _, text = textwrap.dedent("    " + (base.__doc__ or "")).partition("Attributes:\n")
        pieces = _ENTRY.split(text)[1:]
        for name, what in zip(pieces[::2], pieces[1::2], strict=True):
            said[name] = " ".join(what.partition("\n\n")[0].split())
    return said


def _explain(part: Node, kind: type[msgspec.Struct]) -> None:
    part["description"] = " ".join((kind.__doc__ or "").partition("\n\n")[0].split())
    said = attributes(kind)
    for field in msgspec.structs.fields(kind):
        part["properties"][field.encode_name]["description"] = said[field.name]


def _without_null(node: Any) -> Any:
    """Drop what TOML does not have: a key that is not given is left out."""
    if isinstance(node, list):
        return [_without_null(one) for one in node]
    if not isinstance(node, dict):
        return node
    kept = {k: _without_null(v) for k, v in node.items() if not (k == "default" and v is None)}
    kinds = [one for one in kept.get("anyOf", []) if one != {"type": "null"}]
    if len(kinds) == 1 and len(kept["anyOf"]) > 1:
        del kept["anyOf"]
        return {**kinds[0], **kept}
    return kept
