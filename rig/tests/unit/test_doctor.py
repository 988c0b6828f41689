"""The doctor's rows, and the memory of whether KVM boots a guest."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest

from rig.cli.image import age
from rig.guest_images.image import GuestImage
from rig.lab import accelerator as module
from rig.lab import doctor
from rig.lab.accelerator import Finding, _wait_for, accelerator, remembered
from rig.lab.doctor import Row, State, can_run, examine

IMAGE = GuestImage(Path("kernel"), Path("initrd"), (), "", "6.12")


@pytest.fixture
def device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "kvm"
    path.write_text("")
    monkeypatch.setattr(module, "DEVICE", path)
    return path


def test_a_lack_means_that_the_rig_cannot_run() -> None:
    assert not can_run([Row("a", State.OK, ""), Row("b", State.LACKING, "")])


def test_a_note_does_not_keep_the_rig_from_running() -> None:
    assert can_run([Row("a", State.OK, ""), Row("b", State.NOTE, "")])


def test_every_row_that_is_not_in_order_tells_the_mend(tmp_path: Path, device: Path) -> None:
    rows = examine(tmp_path / "cache")
    assert all(row.mend for row in rows if row.state is not State.OK)


def test_an_image_that_is_not_built_is_a_note(tmp_path: Path, device: Path) -> None:
    rows = {row.what: row for row in examine(tmp_path / "cache")}
    assert rows["guest image"].state is State.NOTE
    assert rows["kvm"].state is State.NOTE


def test_a_missing_program_is_a_lack(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "search_path", lambda: "/nowhere")
    assert doctor._program("mmdebstrap").state is State.LACKING
    assert doctor._qemu().state is State.LACKING


def test_without_a_compiled_lane_the_rig_runs_and_is_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    assert doctor._lane().state is State.NOTE


def test_memory_is_read_in_bytes() -> None:
    assert dict(doctor._meminfo("MemAvailable:  1024 kB\nHugePages: 3\n")) == {
        "MemAvailable": 1 << 20
    }


def test_without_the_device_guests_are_emulated(tmp_path: Path, device: Path) -> None:
    device.unlink()
    assert accelerator(IMAGE, tmp_path) == "tcg"


def test_a_probe_is_remembered_until_the_machine_restarts(
    tmp_path: Path, device: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = iter([True])
    monkeypatch.setattr(module, "_says_its_line", lambda image: next(said))
    assert [accelerator(IMAGE, tmp_path) for _ in range(3)] == ["kvm"] * 3
    memo = tmp_path / "accelerator.json"
    memo.write_bytes(msgspec.json.encode(Finding("kvm", "", "another boot")))
    assert remembered(tmp_path) is None


def test_a_silent_guest_means_emulation(
    tmp_path: Path, device: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_says_its_line", lambda image: False)
    assert accelerator(IMAGE, tmp_path) == "tcg"


def test_a_spoilt_memory_is_forgotten(tmp_path: Path, device: Path) -> None:
    (tmp_path / "accelerator.json").write_text("{")
    assert remembered(tmp_path) is None


@pytest.mark.parametrize(
    ("program", "patience_s", "expected"),
    [
        ("import signal; print('the line', flush=True); signal.pause()", 30.0, True),
        ("print('another')", 30.0, False),
        ("import signal; signal.pause()", 0.2, False),
    ],
)
def test_a_line_is_waited_for_until_the_deadline(
    program: str, patience_s: float, expected: bool
) -> None:
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    try:
        assert _wait_for(process, b"the line", time.monotonic() + patience_s) is expected
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(
    ("seconds", "said"), [(3.0, "3 s"), (120.0, "2 min"), (7200.0, "2 h"), (3 * 86400.0, "3 d")]
)
def test_an_age_is_told_in_its_largest_unit(seconds: float, said: str) -> None:
    assert age(seconds) == said


def test_the_device_must_be_open_to_us(tmp_path: Path, device: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    found = remembered(tmp_path)
    assert found is not None
    assert found.accelerator == "tcg"
