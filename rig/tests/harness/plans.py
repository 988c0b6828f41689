"""Makes rules of plans up: mostly good values for keys that there are, and now and then others."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import strategies as st
from msgspec import inspect

from rig.faults.plan import FAULT_TYPES

_ALWAYS = {"when", "status"}
"""Keys that rules nearly always have, although they may do without."""
_STRANGE: st.SearchStrategy[Any] = st.one_of(
    st.integers(),
    st.booleans(),
    st.floats(allow_nan=False),
    st.text('ab\n"\\é', max_size=4),
    st.lists(st.integers(), max_size=3),
)


def _good(kind: inspect.Type) -> st.SearchStrategy[Any]:
    match kind:
        case inspect.Metadata():
            return _good(kind.type)
        case inspect.UnionType():
            return st.one_of([_good(k) for k in kind.types if not isinstance(k, inspect.NoneType)])
        case inspect.EnumType():
            return st.sampled_from([str(value) for value in kind.cls])
        case inspect.IntType():
            low = kind.ge if kind.ge is not None else -100
            return st.integers(low, kind.le if kind.le is not None else low + 10_000)
        case inspect.FloatType():
            return st.floats(0.25, 1)
        case inspect.BoolType():
            return st.booleans()
        case inspect.TupleType():
            return st.tuples(*map(_good, kind.item_types)).map(list)
    return st.text("abc", min_size=1, max_size=3)


def rules_of(kind: type[msgspec.Struct]) -> st.SearchStrategy[dict[str, Any]]:
    """Tables of one layer's rules that are good but for contradictions."""
    told = inspect.type_info(kind)
    assert isinstance(told, inspect.StructType)
    layer = st.just(told.tag)
    good = {field.encode_name: _good(field.type) for field in told.fields}
    triggers = {"nth", "every", "probability", "at_s"}
    must = {
        f.encode_name: good[f.encode_name]
        for f in told.fields
        if f.required or f.encode_name in _ALWAYS
    }
    may = sorted(set(good) - set(must) - triggers)

    def with_keys(keys: list[str]) -> st.SearchStrategy[dict[str, Any]]:
        return st.fixed_dictionaries({"layer": layer, **must, **{key: good[key] for key in keys}})

    # Few keys: the more there are, the likelier they contradict each other.
    chosen = st.lists(st.sampled_from(may), max_size=2, unique=True)
    trigger = st.sampled_from(sorted(triggers))
    return st.tuples(chosen, trigger).map(lambda c: [*c[0], c[1]]).flatmap(with_keys)


RULES = st.one_of([rules_of(kind) for kind in FAULT_TYPES.values()])
"""The same for all layers."""

DISTURBED_RULES = st.builds(
    lambda rule, strange: {**rule, **strange},
    RULES,
    st.dictionaries(
        st.sampled_from(
            sorted({"layer", "x", *(k for f in FAULT_TYPES.values() for k in f.__struct_fields__)})
        ),
        _STRANGE,
        max_size=2,
    ),
)
"""The same with keys and values that may not be."""


def toml(rule: dict[str, Any]) -> str:
    """A plan with one rule, as text."""
    lines = [f"{key} = {_toml(value)}" for key, value in rule.items()]
    return "\n".join(['name = "x"', "[[fault]]", *lines])


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return '"' + "".join(f"\\U{ord(letter):08x}" for letter in value) + '"'
    return str(value)
