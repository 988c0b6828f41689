"""The archives that hosts get: what is in them, and that the same is always the same."""

from __future__ import annotations

import io
import json
import platform
import tarfile
from pathlib import Path

import pytest

from rig.guest_images import pack, source, wheels


@pytest.fixture(autouse=True)
def no_index(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is fetched: a stand-in for msgspec is written instead."""

    def install(target: Path, *, architecture: str, python: tuple[int, int], log: Path) -> None:
        (target / "msgspec").mkdir(parents=True)
        (target / "msgspec" / "__init__.py").write_text(f"for {architecture} {python}\n")

    monkeypatch.setattr(wheels, "install_msgspec", install)


def contents(packed: pack.Packed) -> dict[str, bytes]:
    with tarfile.open(packed.path) as tar:
        members = [member for member in tar.getmembers() if member.isfile()]
        return {member.name: tar.extractfile(member).read() for member in members}  # type: ignore[union-attr]


def test_the_same_files_make_the_same_octets() -> None:
    files = {"b/c": b"2", "a": b"1"}
    assert pack.archive(files) == pack.archive(dict(sorted(files.items())))


def test_an_archive_has_every_directory_and_says_what_is_executable() -> None:
    with tarfile.open(fileobj=io.BytesIO(pack.archive({"a/b/c": b""}, {"a/b/c"}))) as tar:
        assert [(m.name, m.mode, m.uid, m.mtime) for m in tar.getmembers()] == [
            ("a", 0o755, 0, 0),
            ("a/b", 0o755, 0, 0),
            ("a/b/c", 0o755, 0, 0),
        ]


def test_a_machine_gets_what_guests_get_and_msgspec(tmp_path: Path) -> None:
    found = contents(pack.pack_machine("aarch64", (3, 11), tmp_path))
    assert "lib/rig/splitdriver/back/service.py" in found
    assert found["lib/msgspec/__init__.py"] == b"for aarch64 (3, 11)\n"
    assert not [name for name in found if "tests" in Path(name).parts]


def test_a_machine_of_another_kind_gets_nothing_that_was_compiled_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lane = "splitdriver/lane/_lane.abi3.so"
    monkeypatch.setattr(
        source, "snapshot", lambda: {"__init__.py": b'__version__ = "1"\n', lane: b"\x7fELF"}
    )
    other = next(one for one in pack.ARCHITECTURES if one != platform.machine())
    assert f"lib/rig/{lane}" not in contents(pack.pack_machine(other, (3, 11), tmp_path))
    assert f"lib/rig/{lane}" in contents(pack.pack_machine(platform.machine(), (3, 11), tmp_path))


def test_what_is_packed_tells_its_version(tmp_path: Path) -> None:
    machine = pack.pack_machine("x86_64", (3, 11), tmp_path)
    told = f'__version__ = "{machine.version}"'
    assert told.encode() in contents(machine)["lib/rig/__init__.py"]


def test_a_station_gets_the_checkout_under_a_version_of_its_own(tmp_path: Path) -> None:
    station = pack.pack_station(tmp_path)
    found = contents(station)
    assert f'version = "{station.version}"'.encode() in found["pyproject.toml"]
    assert f'__version__ = "{station.version}"'.encode() in found["rig/__init__.py"]
    assert {"bootstrap", "packages/guest.txt", "rig/tests/conftest.py"} <= found.keys()
    assert not [name for name in found if name.endswith((".so", ".pyc"))]


def test_what_is_packed_already_is_taken_from_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = pack.pack_machine("x86_64", (3, 11), tmp_path)
    monkeypatch.delattr(wheels, "install_msgspec")
    assert pack.pack_machine("x86_64", (3, 11), tmp_path) == first


@pytest.mark.parametrize("python", ["2.7", "3.9", "3", "three"])
def test_a_python_that_is_too_old_is_refused(
    python: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert pack.main(["machine", "--python", python]) == 2
    assert "needs 3.11 or newer" in capsys.readouterr().err


def test_version_and_path_are_told_as_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RIG_CACHE", str(tmp_path))
    assert pack.main(["machine"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["version"].startswith("0.1.0+")
    assert Path(told["path"]).is_file()
