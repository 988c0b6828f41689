"""Waiting for the kernel with a deadline, and reading its list of mounts."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

import pytest

from rig.errors import MachineError, UserError
from rig.gadget.kernel import bounded, is_mounted, lock, mount_points, run_command

LINE = "31 1 0:27 / {} rw,relatime shared:1 - fuse rig-store rw,user_id=0,group_id=0"


def test_bounded_returns_what_was_returned() -> None:
    assert bounded("work", 5, lambda: 42) == 42


def test_bounded_raises_what_was_raised() -> None:
    with pytest.raises(ZeroDivisionError):
        bounded("work", 5, lambda: 1 // 0)


def test_bounded_tells_what_did_not_end() -> None:
    release = threading.Event()
    with pytest.raises(MachineError, match=r"Unbinding did not end within 0\.01 s"):
        bounded("Unbinding", 0.01, release.wait)
    release.set()


def test_mount_points_are_unescaped() -> None:
    text = "\n".join([LINE.format("/var/lib/rig"), LINE.format("/a\\040b\\134c"), "short"])
    assert mount_points(text) == {"/var/lib/rig", "/a b\\c"}


def test_the_root_is_mounted_and_a_new_directory_is_not(tmp_path: Path) -> None:
    assert is_mounted(Path("/proc"))
    assert not is_mounted(tmp_path)


def test_a_failing_command_is_told_with_its_last_words() -> None:
    program = "import sys; sys.exit('it hurts.')"
    with pytest.raises(MachineError, match=r"ended with 1: it hurts\.$"):
        run_command([sys.executable, "-c", program])


def test_a_missing_program_is_named(tmp_path: Path) -> None:
    with pytest.raises(MachineError, match=r"Program '.*none' is missing"):
        run_command([os.fspath(tmp_path / "none")])


def test_a_lock_is_had_by_one_until_it_is_given_back(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with (
        lock(path, "It is taken.", "Wait."),
        pytest.raises(UserError, match="It is taken") as caught,
    ):
        lock(path, "It is taken.", "Wait.")
    assert caught.value.hint == "Wait."
    lock(path, "It is taken.", "Wait.").close()
