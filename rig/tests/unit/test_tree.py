"""The configfs tree as data: what the kernel needs in its order, and the exact reverse."""

from __future__ import annotations

import pytest

from rig.errors import UserError
from rig.gadget.functions import Function, hid_keyboard, mass_storage, ncm
from rig.gadget.kinds import Kind
from rig.gadget.tree import (
    GadgetSpec,
    Link,
    MakeDirectory,
    MaxSpeed,
    RemoveDirectory,
    Unlink,
    WriteAttribute,
    build_steps,
    removal_steps,
    undo_steps,
)

DISK = mass_storage("/m/lun0")
ACM = Function(Kind.ACM)
SPEC = GadgetSpec("rig0", (DISK,))
COMPOSITE = GadgetSpec("rig0", (ACM, ncm("rig0"), DISK))
LUN = "rig0/functions/mass_storage.0/lun.0"


def attributes(spec: GadgetSpec = SPEC) -> dict[str, str | bytes]:
    return {s.path: s.value for s in build_steps(spec) if isinstance(s, WriteAttribute)}


def device_class(*functions: Function) -> tuple[str | bytes, ...]:
    found = attributes(GadgetSpec("g", functions))
    return tuple(found[f"g/bDevice{name}"] for name in ("Class", "SubClass", "Protocol"))


def test_the_device_is_called_as_asked() -> None:
    found = attributes(
        GadgetSpec("rig0", (DISK,), max_speed=MaxSpeed.SUPER, chosen_id=(0x12, 0xABCD))
    )
    assert found["rig0/idVendor"] == "0x0012"
    assert found["rig0/idProduct"] == "0xabcd"
    assert found["rig0/max_speed"] == "super-speed"


def test_a_function_alone_has_its_own_id() -> None:
    assert GadgetSpec("g", (Function(Kind.SOURCE_SINK),)).device_id == (0x0525, 0xA4A0)
    assert SPEC.device_id == (0x1D6B, 0x0104)


def test_functions_together_are_the_linux_foundations_composite_gadget() -> None:
    assert GadgetSpec("g", (ACM, hid_keyboard())).device_id == (0x1D6B, 0x0104)


@pytest.mark.parametrize("other", [(), (DISK,)])
@pytest.mark.parametrize("function", [ACM, ncm("g")])
def test_a_device_with_associated_interfaces_says_so(
    function: Function, other: tuple[Function, ...]
) -> None:
    assert device_class(*other, function) == ("0xef", "0x02", "0x01")


def test_of_a_device_without_associations_the_interfaces_speak() -> None:
    assert device_class(DISK, hid_keyboard()) == ("0x00", "0x00", "0x00")


def test_a_serial_number_is_12_digits_and_another_for_each_name() -> None:
    serials = {GadgetSpec(name, ()).serial for name in ("rig0", "rig1")}
    assert len(serials) == 2
    assert all(len(s) == 12 and set(s) <= set("0123456789ABCDEF") for s in serials)


def test_the_functions_are_linked_last_and_in_order() -> None:
    links = build_steps(COMPOSITE)[-3:]
    assert links == tuple(
        Link(f"rig0/configs/c.1/{name}", f"rig0/functions/{name}")
        for name in ("acm.0", "ncm.0", "mass_storage.0")
    )


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


@pytest.mark.parametrize("spec", [SPEC, COMPOSITE])
def test_every_directory_is_made_after_its_parent_and_removed_before_it(spec: GadgetSpec) -> None:
    made = [s.path for s in build_steps(spec) if isinstance(s, MakeDirectory)]
    removed = [s.path for s in undo_steps(build_steps(spec)) if isinstance(s, RemoveDirectory)]
    assert removed == made[::-1]


def test_what_is_left_over_is_removed_as_if_we_had_made_it() -> None:
    names = [function.directory for function in COMPOSITE.functions]
    assert removal_steps("rig0", names) == undo_steps(build_steps(COMPOSITE))


def test_functions_that_are_not_ours_are_left_alone() -> None:
    ours = removal_steps("rig0", ["acm.0"])
    assert removal_steps("rig0", ["acm.0", "uvc.0", "acm.usb0", "hid."]) == ours


@pytest.mark.parametrize("name", ["", ".", "..", "a/b"])
def test_a_name_that_is_no_directory_name_is_refused(name: str) -> None:
    with pytest.raises(UserError, match="cannot be a gadget's name"):
        build_steps(GadgetSpec(name, (DISK,)))
