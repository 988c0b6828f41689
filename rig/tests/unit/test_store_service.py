"""``rig store`` as who starts it meets it."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from rig.gadget import store_service


def test_a_place_for_control_that_cannot_be_used_is_an_error_and_nothing_is_mounted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def too_late(*_: object, **__: object) -> None:
        raise AssertionError("It is being mounted.")

    # Stations have no FUSE.
    monkeypatch.setitem(sys.modules, "rig.gadget.fusefs", SimpleNamespace(serve=too_late))
    (tmp_path / "file").touch()
    paths = {name: str(tmp_path / name) for name in ("medium", "journal", "mount")}
    argv = [word for name, path in paths.items() for word in (f"--{name}", path)]
    argv += ["--size-bytes", "4096", "--control", str(tmp_path / "file")]
    assert store_service.main(argv) == 2
    assert f"no control socket in '{tmp_path}/file'" in capfd.readouterr().err
