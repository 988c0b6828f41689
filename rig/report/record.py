"""An experiment's report as JSON, for people and programs."""

from __future__ import annotations

from pathlib import Path

import msgspec


def encode(report: msgspec.Struct) -> bytes:
    """Return the report as indented JSON."""
    return msgspec.json.format(msgspec.json.encode(report), indent=2)


def leave(report: msgspec.Struct, path: Path) -> None:
    """Write the report to a file."""
    path.write_bytes(encode(report) + b"\n")
