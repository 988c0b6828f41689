from __future__ import annotations

from pathlib import Path

from rig.lab.private import PREFIX, private_directory


def test_it_is_for_its_owner_alone_and_goes_with_the_lab(tmp_path: Path) -> None:
    with private_directory(tmp_path) as directory:
        assert directory.stat().st_mode & 0o777 == 0o700
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_lab_left_is_removed(tmp_path: Path) -> None:
    abandoned = tmp_path / f"{PREFIX}old"
    abandoned.mkdir()
    (abandoned / "key").touch()
    with private_directory(tmp_path):
        assert not abandoned.exists()


def test_a_living_labs_directory_is_kept(tmp_path: Path) -> None:
    with private_directory(tmp_path) as first, private_directory(tmp_path):
        assert first.exists()


def test_other_directories_are_kept(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    with private_directory(tmp_path):
        assert (tmp_path / "other").exists()
