"""Building and removing a gadget's tree, also one that a killed process left half made."""

from __future__ import annotations

from pathlib import Path

import pytest

from rig.errors import MachineError
from rig.gadget.tree import GadgetSpec, build_steps, undo_steps
from rig.tests.harness.configfs import FakeConfigfs

STEPS = build_steps(GadgetSpec("rig0", "/m/lun0"))
UNDO = undo_steps(STEPS)


@pytest.fixture
def configfs(tmp_path: Path) -> FakeConfigfs:
    return FakeConfigfs(tmp_path / "usb_gadget")


def test_a_built_gadget_has_its_attributes_and_its_function_linked(configfs: FakeConfigfs) -> None:
    configfs.apply(STEPS)
    top = configfs.root / "rig0"
    assert (top / "idVendor").read_text() == "0x1d6b\n"
    assert (top / "functions/mass_storage.0/lun.0/file").read_text() == "/m/lun0\n"
    link = top / "configs/c.1/mass_storage.0"
    assert link.resolve() == (top / "functions/mass_storage.0").resolve()


def test_undo_leaves_nothing(configfs: FakeConfigfs) -> None:
    configfs.apply(STEPS)
    configfs.undo(UNDO)
    assert list(configfs.root.iterdir()) == []


def test_undo_ejects_before_it_removes(configfs: FakeConfigfs) -> None:
    configfs.apply(STEPS)
    configfs.log.clear()
    configfs.undo(UNDO)
    assert tuple(configfs.log) == UNDO


def test_undo_of_nothing_is_no_error(configfs: FakeConfigfs) -> None:
    configfs.undo(UNDO)
    assert not configfs.exists("rig0")


@pytest.mark.parametrize("made", range(len(STEPS) + 1))
def test_a_tree_that_was_left_half_made_is_removed(configfs: FakeConfigfs, made: int) -> None:
    configfs.apply(STEPS[:made])
    configfs.undo(UNDO)
    assert list(configfs.root.iterdir()) == []


@pytest.mark.parametrize("undone", range(len(UNDO) + 1))
def test_a_removal_that_was_cut_short_is_finished(configfs: FakeConfigfs, undone: int) -> None:
    configfs.apply(STEPS)
    configfs.undo(UNDO[:undone])
    configfs.undo(UNDO)
    assert list(configfs.root.iterdir()) == []


def test_a_refused_step_is_named_and_ends_the_building(configfs: FakeConfigfs) -> None:
    configfs.refuse = "max_speed"
    with pytest.raises(
        MachineError, match=r"write 'high-speed' to rig0/max_speed failed: Invalid argument\."
    ):
        configfs.apply(STEPS)
    assert not (configfs.root / "rig0/strings/0x409").exists()


def test_undo_tries_the_rest_and_names_what_cannot_be_undone(configfs: FakeConfigfs) -> None:
    configfs.apply(STEPS)
    configfs.refuse = "configs/c.1"
    with pytest.raises(MachineError, match=r"rmdir rig0/configs/c\.1 failed: Invalid argument"):
        configfs.undo(UNDO)
    assert not (configfs.root / "rig0/functions/mass_storage.0").exists()
