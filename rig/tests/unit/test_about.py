"""Which rig a machine has."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

import rig
from rig.about import About, about, main


def package(directory: Path, **files: str) -> Path:
    for name, text in files.items():
        path = directory / name.replace("__", "/").replace("_py", ".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return directory


def test_the_same_sources_have_the_same_digest_wherever_they_are(tmp_path: Path) -> None:
    first = package(tmp_path / "a", lab__x_py="1", y_py="2")
    second = package(tmp_path / "b", y_py="2", lab__x_py="1")
    assert about(first) == about(second)


@pytest.mark.parametrize("change", [{"y_py": "3"}, {"z_py": ""}])
def test_another_source_is_another_digest(tmp_path: Path, change: dict[str, str]) -> None:
    first = package(tmp_path / "a", y_py="2")
    second = package(tmp_path / "b", **{"y_py": "2", **change})
    assert about(first).digest != about(second).digest


@pytest.mark.parametrize("name", ["tests__t_py", "guest_images__g_py", "lane.so"])
def test_what_machines_do_not_have_or_build_themselves_does_not_count(
    tmp_path: Path, name: str
) -> None:
    first = package(tmp_path / "a", y_py="2")
    second = package(tmp_path / "b", **{"y_py": "2", name: "x"})
    assert about(first) == about(second)


def test_it_is_told_as_json(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    assert main([]) == 0
    told = msgspec.json.decode(capsysbinary.readouterr().out, type=About)
    assert told == about()
    assert told.version == rig.__version__
