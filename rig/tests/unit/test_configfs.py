"""Building and removing a gadget's tree, also one that a killed process left half made."""

from __future__ import annotations

from pathlib import Path

import pytest

from rig.errors import MachineError
from rig.gadget.functions import KEYBOARD_DESCRIPTOR, hid_keyboard, mass_storage
from rig.gadget.tree import GadgetSpec, build_steps, removal_steps, undo_steps
from rig.tests.harness.configfs import FakeConfigfs

STEPS = build_steps(GadgetSpec("rig0", (mass_storage("/m/lun0"),)))
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


def test_octets_are_written_as_they_are(configfs: FakeConfigfs) -> None:
    configfs.apply(build_steps(GadgetSpec("rig0", (hid_keyboard(),))))
    directory = configfs.root / "rig0/functions/hid.0"
    assert (directory / "report_desc").read_bytes() == KEYBOARD_DESCRIPTOR
    assert (directory / "report_length").read_bytes() == b"8\n"


def test_refused_octets_are_counted_not_shown(configfs: FakeConfigfs) -> None:
    configfs.refuse = "report_desc"
    with pytest.raises(MachineError, match=r"write 63 octets to rig0/functions/hid\.0/report_desc"):
        configfs.apply(build_steps(GadgetSpec("rig0", (hid_keyboard(),))))


def test_a_gadget_of_unknown_making_is_removed_by_its_functions_directories(
    configfs: FakeConfigfs,
) -> None:
    functions = (hid_keyboard(), mass_storage("/m/lun0"), hid_keyboard(number=1))
    configfs.apply(build_steps(GadgetSpec("rig0", functions)))
    found = configfs.functions("rig0")
    assert found == ["hid.0", "hid.1", "mass_storage.0"]
    configfs.undo(removal_steps("rig0", found))
    assert list(configfs.root.iterdir()) == []


def test_a_gadget_that_is_not_there_has_no_functions(configfs: FakeConfigfs) -> None:
    assert configfs.functions("none") == []


def test_what_the_kernel_tells_is_read_without_its_padding(configfs: FakeConfigfs) -> None:
    configfs.apply(build_steps(GadgetSpec("rig0", (hid_keyboard(),))))
    (configfs.root / "rig0/functions/hid.0/dev").write_bytes(b"236:0\0\n")
    assert configfs.read("rig0", "hid.0", "dev") == "236:0"


def test_an_attribute_that_is_not_there_is_named(configfs: FakeConfigfs) -> None:
    with pytest.raises(MachineError, match=r"Attribute dev of function hid\.0 cannot be read"):
        configfs.read("rig0", "hid.0", "dev")
