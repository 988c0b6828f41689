"""Functions of a gadget as data: what is written for each, and what each becomes."""

from __future__ import annotations

import pytest

from rig.errors import UserError
from rig.gadget.functions import (
    KEYBOARD_DESCRIPTOR,
    Disk,
    Function,
    hid_keyboard,
    leftover,
    mass_storage,
    ncm,
)
from rig.gadget.kinds import FACTS, Kind


def attributes(function: Function) -> dict[str, str | bytes]:
    return {attribute.path: attribute.value for attribute in function.attributes}


def test_a_disk_is_fixed_and_may_stall() -> None:
    found = attributes(mass_storage("/m/lun0"))
    assert found["lun.0/removable"] == "0"
    assert found["stall"] == "1"


def test_an_inquiry_names_vendor_product_and_revision_in_28_characters() -> None:
    found = attributes(mass_storage("/m/lun0"))
    assert found["lun.0/inquiry_string"] == "Rig     Store           0001"


def test_attributes_that_an_open_file_locks_are_written_before_it() -> None:
    paths = list(attributes(mass_storage("/m/lun0")))
    assert paths[-1] == "lun.0/file"
    assert {"lun.0/removable", "lun.0/ro", "lun.0/cdrom"} < set(paths)


@pytest.mark.parametrize("field", ["vendor", "product", "revision"])
def test_a_scsi_name_that_does_not_fit_is_refused(field: str) -> None:
    with pytest.raises(UserError, match="does not fit"):
        mass_storage("/m/lun0", Disk(**{field: "x" * 17}))  # type: ignore[arg-type]


def test_ethernet_addresses_are_local_unicast_and_differ_everywhere() -> None:
    found = [
        str(value)
        for function in (ncm("rig0"), ncm("rig0", 1), ncm("rig1"))
        for value in attributes(function).values()
    ]
    assert len(set(found)) == 6
    assert all(len(address) == 17 and address.startswith("02:") for address in found)


def test_ethernet_addresses_are_the_same_at_every_start() -> None:
    assert ncm("rig0") == ncm("rig0")


def test_the_keyboards_descriptor_is_that_of_the_specification() -> None:
    assert len(KEYBOARD_DESCRIPTOR) == 63
    collections = KEYBOARD_DESCRIPTOR.count(b"\xa1\x01"), KEYBOARD_DESCRIPTOR[-1]
    assert collections == (1, 0xC0)


def test_a_keyboard_is_a_boot_keyboard_with_reports_of_8_octets() -> None:
    found = attributes(hid_keyboard())
    assert (found["subclass"], found["protocol"], found["report_length"]) == ("1", "1", "8")


@pytest.mark.parametrize("kind", Kind)
def test_each_kind_has_its_directory_and_its_number(kind: Kind) -> None:
    assert Function(kind, 3).directory == f"{FACTS[kind].configfs}.3"


@pytest.mark.parametrize("kind", Kind)
def test_the_directory_tells_the_function(kind: Kind) -> None:
    found = leftover(Function(kind, 12).directory)
    assert found is not None
    assert (found.kind, found.directory) == (kind, Function(kind, 12).directory)


def test_a_serial_port_became_a_node_with_the_ports_number() -> None:
    assert Function(Kind.ACM).became({"port_num": "2"}) == {
        "function": "acm",
        "device": "/dev/ttyGS2",
    }


def test_a_keyboard_became_a_node_with_the_minor_number() -> None:
    assert Function(Kind.HID).became({"dev": "236:1"})["device"] == "/dev/hidg1"


def test_an_ethernet_card_became_an_interface_with_both_ends_addresses() -> None:
    values = {"ifname": "usb0", "dev_addr": "02:00:00:00:00:00", "host_addr": "02:00:00:00:00:01"}
    assert Function(Kind.NCM).became(values) == {
        "function": "ncm",
        "interface": "usb0",
        "address": "02:00:00:00:00:00",
        "host_address": "02:00:00:00:00:01",
    }
