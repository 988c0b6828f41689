"""``rig about``: which rig a machine has, so that a lab can compare it with the station's.

A version's number does not tell one checkout from another.  So what a machine runs of the rig is
told by a digest of its sources: those of the package but for what is the station's alone.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

from rig import __version__
from rig.arguments import ArgumentParser

PACKAGE = Path(__file__).resolve().parent
STATION_ONLY = frozenset({"tests", "__pycache__", "guest_images", "report", "campaign"})
"""Parts of the package that no machine needs; guests do not have them."""
SUFFIXES = frozenset({".py", ".toml"})
"""What is compiled is built where it runs, so it differs."""


class About(msgspec.Struct, frozen=True):
    """Which rig it is.

    Attributes:
        version: Of the package.
        digest: Of its sources, in hexadecimal digits.
    """

    version: str
    digest: str


def about(package: Path = PACKAGE) -> About:
    """Look at an installed package."""
    sources = hashlib.sha256()
    for path in sorted(package.rglob("*")):
        inside = path.relative_to(package)
        if path.suffix in SUFFIXES and not STATION_ONLY & set(inside.parts):
            content = path.read_bytes()
            sources.update(f"{inside}\0{len(content)}\0".encode())
            sources.update(content)
    return About(__version__, sources.hexdigest()[:16])


def main(argv: Sequence[str]) -> int:
    """Print it as JSON.

    Raises:
        UserError: It has no options.
    """
    ArgumentParser(
        prog="rig about", description="Say which rig this machine has, as JSON."
    ).parse_args(argv)
    sys.stdout.buffer.write(msgspec.json.encode(about()) + b"\n")
    return 0
