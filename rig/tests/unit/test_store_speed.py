"""The store's speed: every access is made, and the figure decides."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rig.errors import MachineError, UserError
from rig.gadget import store_speed
from rig.gadget.store_speed import ACCESS_BYTES, Speed, main, measure


def test_every_block_is_written_and_read(tmp_path: Path) -> None:
    file = tmp_path / "lun0"
    file.touch()
    speed = measure(file, 4 * ACCESS_BYTES)
    assert speed.accesses == 4
    assert speed.write_mb_s > 0
    assert speed.read_mb_s > 0
    data = file.read_bytes()
    assert data == data[:ACCESS_BYTES] * 4


@pytest.mark.parametrize(("at_least", "status"), [("8", 0), ("8.1", 1)])
def test_the_wanted_speed_decides_the_status(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    at_least: str,
    status: int,
) -> None:
    monkeypatch.setattr(store_speed, "_in_directory", lambda *_: Speed(4, 8.0, 9.0))
    assert main(["--at-least", at_least]) == status
    told = json.loads(capsys.readouterr().out)
    assert told == {"accesses": 4, "write_mb_s": 8.0, "read_mb_s": 9.0}


@pytest.mark.parametrize(
    ("error", "status"), [(UserError("No."), 2), (MachineError("Gone."), 3), (OSError("Bad."), 3)]
)
def test_what_went_wrong_is_told_in_a_sentence(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: Exception,
    status: int,
) -> None:
    def fail(*_: object) -> Speed:
        raise error

    monkeypatch.setattr(store_speed, "_in_directory", fail)
    assert main([]) == status
    assert capsys.readouterr().err == f"rig: {error}\n"


def test_a_directory_that_is_not_there_is_a_sentence_with_its_mend(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("rig.gadget.kernel.FUSE_DEVICE", tmp_path)
    assert main(["--directory", str(tmp_path / "none")]) == 2
    said = capsys.readouterr().err
    assert "No such file" in said
    assert "--directory" in said


@pytest.mark.parametrize(
    "words", [["--mib", "0"], ["--mib=-1"], ["--mib", "9" * 5000], ["--at-least", "nan"], ["--x"]]
)
def test_what_cannot_be_measured_is_refused_before_a_store_is_made(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delattr(store_speed, "_in_directory")
    assert main(words) == 2
    said = capsys.readouterr().err
    assert said.startswith("rig: ")
    assert said.count("\n") == 1


def test_a_plan_that_is_not_there_is_refused_before_a_store_is_made(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delattr(store_speed, "_in_directory")
    assert main(["--plan", "/none.toml"]) == 2
    assert "There is no plan file '/none.toml'" in capsys.readouterr().err
