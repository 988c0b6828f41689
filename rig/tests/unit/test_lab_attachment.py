from __future__ import annotations

from pathlib import Path

import pytest

from rig.cable.controllers import Controller
from rig.errors import UserError
from rig.lab.attachment import ATTACHMENTS, DUMMY, parse_attachment


def test_dummy_hcd_needs_nothing_of_qemu() -> None:
    assert not DUMMY.has_cable
    assert DUMMY.qemu_args(Path("/x")) == []
    assert DUMMY.gadget_words() == ("--udc", "dummy_udc.0")


def test_each_controller_of_the_cable_is_an_attachment() -> None:
    assert {name for name, each in ATTACHMENTS.items() if each.has_cable} == set(Controller)


def test_a_cables_port_is_named_by_the_controllers_place() -> None:
    ehci = parse_attachment("ehci")
    assert ehci.port == f"{ehci.controller}/1"
    assert f"usb-ehci,id=cablehc,addr={ehci.controller[-4:]}" in ehci.qemu_args(Path("/x"))


def test_a_comma_in_the_sockets_path_is_doubled() -> None:
    args = " ".join(parse_attachment("xhci").qemu_args(Path("/a,b")))
    assert "path=/a,,b,server=on" in args


def test_ohci_has_a_gadget_of_full_speed() -> None:
    assert parse_attachment("ohci").gadget_words()[2:] == ("--max-speed", "full-speed")


def test_xhci_raw_sets_its_quirk_before_the_controller_is_found() -> None:
    modules = parse_attachment("xhci-raw").modules
    assert modules.index(("xhci_hcd", "quirks=0x10000000000")) < modules.index(("xhci_pci",))


def test_another_udc_of_dummy_hcd_is_in_the_port_of_its_number() -> None:
    other = parse_attachment("udc:dummy_udc.2")
    assert (other.udc, other.port) == ("dummy_udc.2", "dummy_hcd.2/1")


@pytest.mark.parametrize("text", ["uhci", "udc:", "", "udc"])
def test_an_unknown_attachment_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="Known are: dummy, xhci"):
        parse_attachment(text)


def test_a_udc_whose_port_is_not_known_is_refused() -> None:
    with pytest.raises(UserError, match="it is not known into which port"):
        parse_attachment("udc:fe980000.usb")
