"""The configfs tree as data: what the kernel needs in its order, and the exact reverse."""

from __future__ import annotations

import pytest

from rig.errors import UserError
from rig.gadget.tree import (
    GadgetSpec,
    Link,
    MakeDirectory,
    MaxSpeed,
    RemoveDirectory,
    Unlink,
    WriteAttribute,
    build_steps,
    undo_steps,
)

SPEC = GadgetSpec("rig0", "/m/lun0")
LUN = "rig0/functions/mass_storage.0/lun.0"


def attributes(spec: GadgetSpec = SPEC) -> dict[str, str]:
    return {s.path: s.value for s in build_steps(spec) if isinstance(s, WriteAttribute)}


def test_the_disk_is_fixed_and_may_stall() -> None:
    assert attributes()[f"{LUN}/removable"] == "0"
    assert attributes()["rig0/functions/mass_storage.0/stall"] == "1"


def test_the_device_is_called_as_asked() -> None:
    found = attributes(
        GadgetSpec("rig0", "/m/lun0", max_speed=MaxSpeed.SUPER, vendor_id=0x12, product_id=0xABCD)
    )
    assert found["rig0/idVendor"] == "0x0012"
    assert found["rig0/idProduct"] == "0xabcd"
    assert found["rig0/max_speed"] == "super-speed"


def test_an_inquiry_names_vendor_product_and_revision_in_28_characters() -> None:
    assert attributes()[f"{LUN}/inquiry_string"] == "Rig     Store           0001"


def test_attributes_that_an_open_file_locks_are_written_before_it() -> None:
    paths = list(attributes())
    assert paths.index(f"{LUN}/file") > max(
        paths.index(f"{LUN}/{name}") for name in ("removable", "ro", "cdrom")
    )


def test_the_function_is_linked_last() -> None:
    link = build_steps(SPEC)[-1]
    assert link == Link("rig0/configs/c.1/mass_storage.0", "rig0/functions/mass_storage.0")


def test_undo_is_the_exact_reverse() -> None:
    assert undo_steps(build_steps(SPEC)) == (
        Unlink("rig0/configs/c.1/mass_storage.0"),
        WriteAttribute(f"{LUN}/forced_eject", "1"),
        RemoveDirectory("rig0/functions/mass_storage.0"),
        RemoveDirectory("rig0/configs/c.1/strings/0x409"),
        RemoveDirectory("rig0/configs/c.1"),
        RemoveDirectory("rig0/strings/0x409"),
        RemoveDirectory("rig0"),
    )


def test_every_directory_is_made_after_its_parent_and_removed_before_it() -> None:
    made = [s.path for s in build_steps(SPEC) if isinstance(s, MakeDirectory)]
    removed = [s.path for s in undo_steps(build_steps(SPEC)) if isinstance(s, RemoveDirectory)]
    assert removed == made[::-1]


@pytest.mark.parametrize("name", ["", ".", "..", "a/b"])
def test_a_name_that_is_no_directory_name_is_refused(name: str) -> None:
    with pytest.raises(UserError, match="cannot be a gadget's name"):
        build_steps(GadgetSpec(name, "/m/lun0"))


@pytest.mark.parametrize("field", ["vendor", "product", "revision"])
def test_a_scsi_name_that_does_not_fit_is_refused(field: str) -> None:
    with pytest.raises(UserError, match="does not fit"):
        build_steps(GadgetSpec("rig0", "/m/lun0", **{field: "x" * 17}))  # type: ignore[arg-type]
