"""Which endpoints a device has, by configuration and alternate settings, and what is claimed."""

from __future__ import annotations

import errno
import logging

import pytest

from rig.splitdriver.back.interfaces import Interfaces
from rig.tests.harness.fake_usbfs import Node
from rig.usb import descriptors
from rig.usb.urb import TransferType

OUT, IN = 0x01, 0x81
NETWORK = bytes.fromhex(
    "12 01 0002 00 00 00 40 2505 a5a4 0001 01 02 03 01"
    "09 02 3900 02 01 00 80 fa"  # configuration 1: two interfaces
    "09 04 00 00 01 02 0d 00 00  07 05 82 03 1000 09"  # interface 0: interrupt in
    "09 04 01 00 00 0a 00 01 00"  # interface 1: nothing at first
    "09 04 01 01 02 0a 00 01 00  07 05 81 02 0002 00  07 05 01 02 0002 00"  # bulk
    "09 04 01 02 01 0a 00 01 00  07 05 81 03 4000 01"  # the same address, interrupt
)
FIRST = {0x82: TransferType.INTERRUPT}
SECOND = {**FIRST, IN: TransferType.BULK, OUT: TransferType.BULK}
THIRD = {**FIRST, IN: TransferType.INTERRUPT}


def configured(node: Node) -> Interfaces:
    interfaces = Interfaces(node, descriptors.parse(NETWORK))  # type: ignore[arg-type]
    interfaces.configure(1)
    node.take()
    return interfaces


@pytest.fixture
def node() -> Node:
    return Node()


def test_a_device_that_is_not_configured_has_no_endpoints(node: Node) -> None:
    assert Interfaces(node, descriptors.parse(NETWORK)).kinds == {}  # type: ignore[arg-type]


def test_endpoints_are_those_of_the_settings_that_are_chosen(node: Node) -> None:
    interfaces = configured(node)
    assert interfaces.kinds == FIRST
    interfaces.choose(1, 1)
    assert (interfaces.kinds, interfaces.packet_bytes[IN]) == (SECOND, 512)
    interfaces.choose(1, 2)
    assert (interfaces.kinds, interfaces.packet_bytes[IN]) == (THIRD, 64)
    assert interfaces.endpoints_of(1) == {IN}


def test_a_setting_that_cannot_be_chosen_changes_nothing(node: Node) -> None:
    interfaces = configured(node)
    node.errors = {"set_interface": errno.EINVAL}
    with pytest.raises(OSError, match="told to fail"):
        interfaces.choose(1, 1)
    assert interfaces.kinds == FIRST


@pytest.mark.parametrize("again", ["reset", "configure"])
def test_interfaces_that_were_released_have_their_first_setting(node: Node, again: str) -> None:
    interfaces = configured(node)
    interfaces.choose(1, 1)
    interfaces.reset() if again == "reset" else interfaces.configure(1)
    assert interfaces.kinds == FIRST


def test_an_interface_that_cannot_be_claimed_leaves_the_others_claimed_and_the_account_true(
    node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    interfaces = configured(node)
    node.errors = {"claim_interface": errno.EBUSY}
    with caplog.at_level(logging.WARNING), pytest.raises(OSError, match="told to fail"):
        interfaces.configure(1)
    assert [call for call in node.take() if call[0] == "claim_interface"] == [
        ("claim_interface", 0),
        ("claim_interface", 1),
    ]
    assert "interface 0 is not ours: told to fail" in caplog.text
    assert interfaces.kinds == FIRST  # the device is configured all the same
    node.errors = {}
    interfaces.reset()
    assert node.take() == [("reset",), ("claim_interface", 0), ("claim_interface", 1)]


def test_a_request_that_fails_is_told_before_a_claim_that_does(node: Node) -> None:
    interfaces = configured(node)
    node.errors = {"set_configuration": errno.EIO, "claim_interface": errno.EBUSY}
    with pytest.raises(OSError) as raised:  # noqa: PT011 - which one is the question
        interfaces.configure(1)
    assert raised.value.errno == errno.EIO


def test_an_interface_that_is_not_released_does_not_leave_the_others_unclaimed(node: Node) -> None:
    interfaces = configured(node)
    node.errors = {"release_interface": errno.EIO}
    with pytest.raises(OSError, match="told to fail"):
        interfaces.reset()
    assert node.take()[1:] == [("claim_interface", 0), ("claim_interface", 1)]
