"""The rig of this checkout as one archive, for hosts: ``python3 -m rig.guest_images.pack``.

Two kinds, both kept in the image cache, so that a second host, or a second try, needs no network:

* ``machine``: what the guests get, too, for front, back and gadget, with msgspec beside it;
* ``station``: the checkout itself, to be set up by its own ``bootstrap``.

An archive's version is the rig's with a hash of all that is in it, as in ``0.1.0+1f0c9e7ab5d2``
(PEP 440 calls it local).  It is written into what is packed, so ``rig --version`` tells it there,
and ``rig doctor`` on a station.  The same contents make the same octets.
"""

from __future__ import annotations

import argparse
import gzip
import io
import platform
import re
import sys
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

import rig
from rig.arguments import ArgumentParser
from rig.errors import RigError, UserError
from rig.guest_images import source, wheels
from rig.guest_images.cache import Cache, key_of
from rig.guest_images.spec import CHECKOUT, PACKAGE
from rig.progress import Silent

ARCHIVE = "rig.tar.gz"
ARCHITECTURES = ("x86_64", "aarch64")
STATION_PARTS = (
    *("Makefile", "bootstrap", "pyproject.toml", "README.md", "CHANGELOG.md", "LICENSE"),
    *(".ci", "ansible", "docs", "packages", "rig"),
)
"""What a station needs of a checkout: all but what is made there, and its history."""

_COMPILED = ".so"
_MADE = {"__pycache__"}
_DIGITS = 12


class Packed(msgspec.Struct, frozen=True):
    """An archive.

    Attributes:
        version: Of the rig in it.
        path: Where it is.
    """

    version: str
    path: str


def pack_machine(architecture: str, python: tuple[int, int], cache: Path | None = None) -> Packed:
    """Pack what a machine needs; ``lib`` in it belongs on its Python's path.

    Args:
        architecture: One of `ARCHITECTURES`.
        python: Version of the machine's Python.
        cache: The image cache; None takes the usual one.

    Raises:
        MachineError: msgspec cannot be fetched, or there is none for that Python.
    """
    files = {
        f"lib/{PACKAGE.name}/{name}": data
        for name, data in source.snapshot().items()
        # The command's script is put in its place by whoever installs; the others boot guests.
        if not name.startswith("files/")
        # What is compiled here runs on machines of this kind; elsewhere the rig does without.
        and (not name.endswith(_COMPILED) or architecture == platform.machine())
    }
    wanted = {"msgspec": wheels.msgspec_version(), "for": [architecture, *python]}
    version = _version(files, wanted)
    _mark(files, f"lib/{PACKAGE.name}/__init__.py", version)

    def build(new: Path) -> None:
        unpacked = new / "msgspec"
        wheels.install_msgspec(unpacked, architecture=architecture, python=python, log=new / "log")
        found = {f"lib/{name}": data for name, data in _files(unpacked, ()).items()}
        (new / ARCHIVE).write_bytes(archive({**files, **found}))

    entry = Cache(cache).get(
        f"machine-{architecture.replace('_', '-')}",
        key_of(version),
        build,
        Silent(),
        "Pack the rig",
    )
    return Packed(version, str(entry.path / ARCHIVE))


def pack_station(cache: Path | None = None) -> Packed:
    """Pack this checkout.

    Args:
        cache: The image cache; None takes the usual one.

    Raises:
        MachineError: The cache cannot be written.
    """
    files = {
        name: data
        for part in STATION_PARTS
        for name, data in _files(CHECKOUT, (part,)).items()
        if not name.endswith(_COMPILED)
    }
    version = _version(files, {})
    _mark(files, f"{PACKAGE.name}/__init__.py", version)
    _mark(files, "pyproject.toml", version)

    def build(new: Path) -> None:
        programs = {name for name in files if (CHECKOUT / name).stat().st_mode & 0o100}
        (new / ARCHIVE).write_bytes(archive(files, programs))

    entry = Cache(cache).get("station", key_of(version), build, Silent(), "Pack the checkout")
    return Packed(version, str(entry.path / ARCHIVE))


def archive(files: Mapping[str, bytes], programs: frozenset[str] | set[str] = frozenset()) -> bytes:
    """Return a gzipped tar of files; the same files always make the same octets.

    Args:
        files: Contents by path.
        programs: Paths of those that are executable.
    """
    packed = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=packed, mode="wb", mtime=0) as zipped,
        tarfile.open(fileobj=zipped, mode="w") as tar,
    ):
        for name in sorted({str(above) for path in files for above in Path(path).parents} - {"."}):
            member = tarfile.TarInfo(name)
            member.type, member.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(member)
        for name, data in sorted(files.items()):
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(data), 0o755 if name in programs else 0o644
            tar.addfile(member, io.BytesIO(data))
    return packed.getvalue()


def _version(files: Mapping[str, bytes], wanted: Mapping[str, object]) -> str:
    contents = {name: key_of(data.hex()) for name, data in files.items()}
    return f"{rig.__version__.partition('+')[0]}+{key_of([contents, wanted])[:_DIGITS]}"


def _mark(files: dict[str, bytes], name: str, version: str) -> None:
    """Write the version into one of the files that tell it."""
    text = files[name].decode()
    marked, count = re.subn(
        r'^((?:__version__|version) = )".*"$', rf'\1"{version}"', text, flags=re.MULTILINE
    )
    assert count == 1, f"{name} tells no version"
    files[name] = marked.encode()


def _files(directory: Path, parts: Sequence[str]) -> dict[str, bytes]:
    """Return the files below a directory, or below some parts of it, by their paths in it."""
    tops = [directory / part for part in parts] or [directory]
    paths = (path for top in tops for path in ([top] if top.is_file() else top.rglob("*")))
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in paths
        if path.is_file() and not set(path.parts) & _MADE
    }


def _python(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"3\.(\d{1,3})", text)
    if match is None or int(match[1]) < 11:
        raise UserError(f"The rig does not run with Python {text}.", hint="It needs 3.11 or newer.")
    return 3, int(match[1])


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = ArgumentParser(
        prog="python3 -m rig.guest_images.pack",
        description="Pack the rig of this checkout for a host; print version and path as JSON.",
    )
    made.add_argument("kind", choices=["machine", "station"])
    made.add_argument("--architecture", choices=ARCHITECTURES, default=platform.machine())
    made.add_argument("--python", default="3.11", help="version of the machine's Python")
    return made


def main(argv: list[str]) -> int:
    """Pack, and tell where.

    Returns:
        The exit status: 0, 2 for what the user must mend, 3 if something cannot be had.
    """
    options = parser().parse_args(argv)
    try:
        if options.kind == "machine":
            packed = pack_machine(options.architecture, _python(options.python))
        else:
            packed = pack_station()
    except RigError as error:
        print(f"rig: {error}", file=sys.stderr)
        return 2 if isinstance(error, UserError) else 3
    print(msgspec.json.encode(packed).decode())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
