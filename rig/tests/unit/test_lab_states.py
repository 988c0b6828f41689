"""States of booted guests: for whom they are good, and what is left when they are not."""

from __future__ import annotations

import dataclasses
import os
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rig.errors import LostVMError, MachineError
from rig.guest_images.cache import Cache
from rig.guest_images.image import GuestImage, Layer
from rig.lab import states
from rig.lab.environment import SCRATCH_BYTES, GuestOptions, Places, Role, write
from rig.lab.health import Health
from rig.lab.states import MOST, NEVER, Kept, States
from rig.progress import Silent

IMAGE = GuestImage(
    Path("/kernel"), Path("/initrd"), (Layer("rig-base", Path("/base")),), "quiet", "6.12.1"
)
TCG = GuestOptions()


@pytest.fixture(autouse=True)
def no_qemu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Stand in for QEMU by a program that says a version."""
    program = tmp_path / "qemu"
    program.write_text("#!/bin/sh\necho 7.2\n")
    program.chmod(0o755)
    monkeypatch.setattr(states, "QEMU", str(program))
    monkeypatch.delenv(NEVER, raising=False)


class Told(Silent):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


class FakeGuest:
    """A guest whose state is its name."""

    def __init__(self, role: Role, *, breaks: bool = False) -> None:
        self.role = role
        self.health = Health(role.value)
        self.stands = 0
        self._breaks = breaks

    @contextmanager
    def standing_still(self) -> Any:
        self.stands += 1
        try:
            yield self
        finally:
            self.stands -= 1

    def save(self, memory: Path) -> None:
        if self._breaks:
            raise LostVMError("QEMU could not write its state.")
        assert self.stands
        memory.write_text(self.role)


MACHINE = SimpleNamespace(run=lambda command, timeout_s: None)
MACHINES: Any = dict.fromkeys(Role, MACHINE)


def lab(directory: Path) -> Places:
    """The files of a lab that has booted."""
    places = Places(directory / "lab", directory / "private")
    places.private.mkdir(parents=True)
    write(IMAGE, places, TCG)
    for role in Role:
        places.console(role).write_text(f"{role.value} booted\n")
        with places.scratch(role).open("r+b") as scratch:
            scratch.write(role.encode())
    return places


def keep(
    cache: Cache, places: Places, *, breaks: bool = False, options: GuestOptions = TCG
) -> list[str]:
    told = Told()
    guests: Any = {role: FakeGuest(role, breaks=breaks) for role in Role}
    States(IMAGE, options, cache).keep(guests, MACHINES, places, told)
    assert not any(guest.stands for guest in guests.values())
    return told.notes


def found(cache: Cache, options: GuestOptions = TCG, image: GuestImage = IMAGE) -> Kept:
    kept = States(image, options, cache).find()
    assert kept is not None
    return kept


def test_the_next_lab_gets_all_that_belongs_to_the_state(tmp_path: Path) -> None:
    cache, places = Cache(tmp_path / "cache"), lab(tmp_path / "1")
    assert States(IMAGE, TCG, cache).find() is None
    assert keep(cache, places) == []

    kept = found(cache)
    other = Places(tmp_path / "2", tmp_path / "2-private")
    other.private.mkdir()
    assert kept.lay_out(other)
    write(IMAGE, other, TCG)

    assert other.key.read_bytes() == places.key.read_bytes()
    assert other.key.stat().st_mode & 0o777 == 0o600
    assert kept.directory.stat().st_mode & 0o777 == 0o700
    for role in Role:
        assert kept.memory(role).read_text() == role
        assert other.console(role).read_text() == f"{role.value} booted\n"
        with other.scratch(role).open("rb") as scratch:
            assert scratch.read(8) == role.encode().ljust(8, b"\0")
        assert other.scratch(role).stat().st_size == SCRATCH_BYTES
        assert other.scratch(role).stat().st_blocks < 64


@pytest.mark.parametrize(
    "change",
    [
        {"memory_mib": 1024},
        {"processors": 2},
    ],
)
def test_a_state_is_for_guests_of_the_same_kind_alone(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    cache = Cache(tmp_path / "cache")
    keep(cache, lab(tmp_path / "1"))
    assert States(IMAGE, dataclasses.replace(TCG, **change), cache).find() is None
    newer = dataclasses.replace(IMAGE, layers=(Layer("rig-base", Path("/newer")),))
    assert States(newer, TCG, cache).find() is None


def test_how_the_counters_speed_was_measured_makes_no_other_kind(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    keep(cache, lab(tmp_path / "1"))
    again = dataclasses.replace(IMAGE, boot_args="quiet tsc_early_khz=2596140")
    assert found(cache, image=again)


@pytest.mark.parametrize(
    "options",
    [GuestOptions(accelerator="kvm"), GuestOptions(extra_args=("-device", "edu"))],
)
def test_where_booting_is_quick_or_the_guests_are_special_none_is_kept(
    tmp_path: Path, options: GuestOptions
) -> None:
    cache = Cache(tmp_path / "cache")
    keep(cache, lab(tmp_path / "1"), options=options)
    assert list(cache.entries()) == []
    assert States(IMAGE, options, cache).find() is None


def test_whoever_wants_every_guest_to_boot_can_have_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = Cache(tmp_path / "cache")
    keep(cache, lab(tmp_path / "1"))
    monkeypatch.setenv(NEVER, "1")
    assert States(IMAGE, TCG, cache).find() is None


def test_what_cannot_be_kept_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    (note,) = keep(cache, lab(tmp_path / "1"), breaks=True)
    assert note == "The booted machines are not kept: QEMU could not write its state."
    assert list(cache.entries()) == []


def test_a_machine_that_is_lost_meanwhile_is_no_matter_of_the_cache(tmp_path: Path) -> None:
    guests: Any = {role: FakeGuest(role, breaks=True) for role in Role}
    guests[Role.BACK].health.lose(LostVMError("Machine 'back' crashed."))
    with pytest.raises(LostVMError, match="crashed"):
        States(IMAGE, TCG, Cache(tmp_path / "cache")).keep(
            guests, MACHINES, lab(tmp_path / "1"), Told()
        )


def test_the_states_that_were_used_last_are_kept(tmp_path: Path) -> None:
    cache, places = Cache(tmp_path / "cache"), lab(tmp_path / "1")
    kinds = [GuestOptions(memory_mib=512 + number) for number in range(MOST + 1)]
    for age, kind in enumerate(kinds[:-1]):
        keep(cache, places, options=kind)
        os.utime(found(cache, kind).directory, (age + 1, age + 1))
    found(cache, kinds[0])
    keep(cache, places, options=kinds[-1])
    assert States(IMAGE, kinds[1], cache).find() is None
    assert all(States(IMAGE, kind, cache).find() for kind in (kinds[0], *kinds[2:]))


def test_a_state_that_is_forgotten_meanwhile_leaves_a_lab_that_boots(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    keep(cache, lab(tmp_path / "1"))
    kept = found(cache)
    kept.scratch(Role.FRONT).unlink()
    other = Places(tmp_path / "2", tmp_path / "2-private")
    other.private.mkdir()
    assert not kept.lay_out(other)
    write(IMAGE, other, TCG)
    assert other.key.read_bytes() != kept.key_pair[0].read_bytes()
    with other.scratch(Role.BACK).open("rb") as scratch:
        assert scratch.read(8) == bytes(8)


def test_one_that_nothing_can_resume_from_is_forgotten(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    keep(cache, lab(tmp_path / "1"))
    which = States(IMAGE, TCG, cache)
    which.discard()
    assert which.find() is None
    which.discard()


def test_a_copy_that_fails_is_told(tmp_path: Path) -> None:
    with pytest.raises(MachineError, match="could not be copied"):
        states.copy(tmp_path / "none", tmp_path / "copy")
