"""What a key of a rule wants, in words, read off its type: a new key needs its field alone."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from functools import cache
from typing import Any

import msgspec
from msgspec import inspect


@cache
def _fields(kind: type[msgspec.Struct]) -> dict[str, inspect.Type]:
    told = inspect.type_info(kind)
    assert isinstance(told, inspect.StructType)
    return {field.encode_name: field.type for field in told.fields}


def wants(kind: type[msgspec.Struct], key: str) -> str:
    """Return what the key must be: ``a whole number, at least 1``.

    A type whose words cannot be read off it carries them: ``msgspec.Meta(extra={"wants": ...})``.
    """
    return _words(_fields(kind)[key])


def choices(kind: type[msgspec.Struct], key: str) -> tuple[str, ...]:
    """Return the values that the key can have if these are few; none for a number or a text."""
    found = _fields(kind).get(key)
    return () if found is None else _choices(found)


def nearest(word: str, known: Iterable[str]) -> str:
    """Return the known word that was probably meant; empty when none is near."""
    found = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return found[0] if found else ""


def _choices(kind: inspect.Type) -> tuple[str, ...]:
    match kind:
        case inspect.Metadata():
            return _choices(kind.type)
        case inspect.UnionType():
            return tuple(word for one in kind.types for word in _choices(one))
        case inspect.EnumType():
            return tuple(str(value.value) for value in kind.cls)
        case inspect.BoolType():
            return "true", "false"
    return ()


def _words(kind: inspect.Type) -> str:
    said = "something else"
    match kind:
        case inspect.Metadata():
            said = str((kind.extra or {}).get("wants") or _words(kind.type))
        case inspect.UnionType():
            kinds = (one for one in kind.types if not isinstance(one, inspect.NoneType))
            said = " or ".join(map(_words, kinds))
        case inspect.EnumType():
            known = [repr(str(value)) for value in kind.cls]
            said = known[0] if len(known) == 1 else f"one of {', '.join(known)}"
        case inspect.IntType():
            said = "a whole number" + _whole_bounds(kind)
        case inspect.FloatType():
            said = "a number" + _bounds(kind)
        case inspect.StrType():
            said = "a text that is not empty" if kind.min_length else "a text"
        case inspect.VarTupleType():
            said = f"a list of {_words(kind.item_type)}"
        case inspect.BoolType():
            said = "true or false"
    return said


def _whole_bounds(kind: inspect.IntType) -> str:
    if kind.ge is not None and kind.le is not None:
        return f" from {kind.ge} to {kind.le}"
    return _bounds(kind)


def _bounds(kind: Any) -> str:  # IntType and FloatType have these in common, and no base
    said = []
    if kind.gt is not None:
        said.append(f"greater than {kind.gt:g}")
    if kind.ge is not None:
        said.append(f"at least {kind.ge:g}")
    if kind.le is not None:
        said.append(f"at most {kind.le:g}")
    return (" " if kind.gt is not None else ", ") + " and ".join(said) if said else ""
