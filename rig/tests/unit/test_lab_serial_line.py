"""A serial line on a pty, opened by labgrid's own driver."""

from __future__ import annotations

import os
import queue
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from labgrid import Target
from labgrid.driver import SerialDriver
from labgrid.resource import RawSerialPort

from rig.errors import LaunchFailure, LostVMError
from rig.lab.console import QUIET_S
from rig.lab.health import Health
from rig.lab.serial_line import SerialLine

DEADLINE_S = 20.0


@pytest.fixture
def far_end(tmp_path: Path) -> Iterator[int]:
    """The machine's end of the line, which is ``tmp_path/line`` here."""
    far, near = os.openpty()
    (tmp_path / "line").symlink_to(os.ttyname(near))
    yield far
    for end in (far, near):
        os.close(end)


def line(directory: Path, notes: queue.Queue[str] | None = None) -> SerialLine:
    target: Any = Target("back")
    RawSerialPort(target, name=None, port=str(directory / "line"), speed=115200)
    return SerialLine(
        "back",
        SerialDriver(target, name=None),
        directory / "console.log",
        (notes or queue.Queue()).put,
    )


def test_what_the_machine_prints_is_found_and_kept(far_end: int, tmp_path: Path) -> None:
    serial = line(tmp_path)
    console = serial.open(Health("back"))
    os.write(far_end, b"booting\r\nlogin: ")
    assert console.wait_for("login", DEADLINE_S) == "login: "
    serial.close("It was left.")
    kept = (tmp_path / "console.log").read_text().splitlines()
    assert [text.partition(" ")[2] for text in kept] == ["booting", "login: "]


def test_a_panic_is_the_machines_loss_at_once(far_end: int, tmp_path: Path) -> None:
    serial, health = line(tmp_path), Health("back")
    serial.open(health)
    os.write(far_end, b"Kernel panic - not syncing: Fatal\r\n---[ end Kernel panic ]---\r\n")
    assert health.wait_for_loss(DEADLINE_S)
    serial.close("It was left.")
    with pytest.raises(LostVMError, match="The kernel of machine 'back' crashed: Kernel panic"):
        health.check()


def test_it_can_be_opened_again_for_the_next_boot(far_end: int, tmp_path: Path) -> None:
    serial, health = line(tmp_path), Health("back")
    serial.open(health)
    serial.close("It was powered off.")
    with pytest.raises(LostVMError, match="powered off"):
        health.check()
    console = serial.open(Health("back"))
    os.write(far_end, b"again\n")
    assert console.wait_for("again", DEADLINE_S) == "again"
    serial.close("It was left.")
    serial.close("It was left.")


def test_a_line_that_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(LaunchFailure, match="serial line of machine 'back' cannot be opened"):
        line(tmp_path).open(Health("back"))


def test_a_line_that_breaks_is_told_once_and_its_machine_lives_on(tmp_path: Path) -> None:
    far, near = os.openpty()
    (tmp_path / "line").symlink_to(os.ttyname(near))
    notes: queue.Queue[str] = queue.Queue()
    serial, health = line(tmp_path, notes), Health("back")
    serial.open(health)
    os.close(near)
    os.close(far)
    told = notes.get(timeout=DEADLINE_S)
    assert told.startswith("The serial line of machine 'back' broke (")
    assert not health.wait_for_loss(2 * QUIET_S)
    serial.close("It was left.")
    assert notes.empty()


def test_a_machine_that_takes_its_line_along_while_it_panics_has_crashed(tmp_path: Path) -> None:
    far, near = os.openpty()
    (tmp_path / "line").symlink_to(os.ttyname(near))
    serial, health = line(tmp_path), Health("back")
    console = serial.open(health)
    os.write(far, b"Kernel panic - not syncing: Fatal\r\nCall Trace:\r\n")
    console.wait_for("Call Trace", DEADLINE_S)
    os.close(near)
    os.close(far)
    assert health.wait_for_loss(DEADLINE_S)
    with pytest.raises(LostVMError, match="Kernel panic - not syncing: Fatal"):
        console.check_crash(0.0)
    serial.close("It was left.")
