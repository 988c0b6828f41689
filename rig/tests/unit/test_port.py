"""A mapped port over a model of usbfs and sysfs: what is claimed, and what is found in it."""

from __future__ import annotations

import errno
import logging
from collections.abc import Iterator

import pytest

from rig.errors import UserError
from rig.splitdriver.back import port as port_module
from rig.splitdriver.back.port import Plugged, Port
from rig.tests.harness.fake_usbfs import DESCRIPTORS, DEVICE, HUB, TWIN_HUB, Nodes
from rig.usb import sysfs
from rig.usb.sysfs import PortLocation
from rig.usb.urb import Speed

OTHER_DEVICE, TWIN_DEVICE = "/dev/bus/usb/003/003", "/dev/bus/usb/004/002"
HERE, TWIN = PortLocation("usb3", 1, "3-1"), PortLocation("usb4", 2, "4-2")


@pytest.fixture
def nodes(monkeypatch: pytest.MonkeyPatch) -> Iterator[Nodes]:
    """A machine on which the port has no twin."""
    one = Nodes()
    monkeypatch.setattr(port_module, "UsbfsDevice", one.open)
    monkeypatch.setattr(sysfs, "locate", lambda _: HERE)
    monkeypatch.setattr(sysfs, "twin", lambda _: None)
    monkeypatch.setattr(sysfs, "node", one.present.get)
    monkeypatch.setattr(sysfs, "controller_driver", lambda hub: f"driver of {hub}")
    yield one
    one.close()


@pytest.fixture
def twins(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> Nodes:
    """A machine on which the connector is of USB 3."""
    nodes.present["usb4"] = TWIN_HUB
    monkeypatch.setattr(sysfs, "twin", {HERE: TWIN}.get)
    return nodes


def mapped(nodes: Nodes) -> Port:
    return Port("dummy_hcd.0/1")


def look(port: Port) -> Plugged:
    """Look into the port; close what is found there, which is the caller's."""
    plugged = port.look()
    assert plugged is not None
    plugged.usbfs.close()
    return plugged


def test_mapping_a_port_claims_it_on_its_hub(nodes: Nodes) -> None:
    port = mapped(nodes)
    assert nodes.node(HUB).calls == [("claim_port", 1)]
    assert port.driver == "driver of usb3"


@pytest.mark.parametrize(
    ("error", "complaint"),
    [
        (errno.EBUSY, r"claimed by another program already\. Stop"),
        (errno.EINVAL, "cannot be claimed: told to fail"),
    ],
)
def test_a_port_that_cannot_be_claimed_is_told(nodes: Nodes, error: int, complaint: str) -> None:
    nodes.node(HUB).errors = {"claim_port": error}
    with pytest.raises(UserError, match=complaint):
        mapped(nodes)
    assert nodes.nodes[HUB].closed.is_set()


def test_a_hub_that_cannot_be_opened_is_told(nodes: Nodes) -> None:
    nodes.errors = {HUB: errno.EACCES}
    with pytest.raises(UserError, match=rf"{HUB} cannot be opened: told to fail\. .*as root"):
        mapped(nodes)


def test_a_hub_that_is_gone_is_told(nodes: Nodes) -> None:
    nodes.present.clear()
    with pytest.raises(UserError, match="its hub usb3 is not there"):
        mapped(nodes)


def test_a_hub_that_was_away_is_claimed_again_before_one_looks(nodes: Nodes) -> None:
    port = mapped(nodes)
    del nodes.present["usb3"]
    assert port.look() is None
    hub = nodes.add("usb3", "/dev/bus/usb/003/009")
    nodes.add("3-1", DEVICE)
    look(port)
    assert (hub.calls, nodes.nodes[HUB].closed.is_set()) == ([("claim_port", 1)], True)
    port.look()
    assert len(hub.calls) == 1
    port.close()
    assert hub.closed.is_set()


def test_a_hub_that_was_away_and_cannot_be_claimed_is_told_once(
    nodes: Nodes, caplog: pytest.LogCaptureFixture
) -> None:
    port = mapped(nodes)
    path = "/dev/bus/usb/003/009"
    nodes.add("usb3", path).errors = {"claim_port": errno.EINVAL}
    assert "cannot be claimed: told to fail" in refused(port, nodes, caplog)
    nodes.node(path)  # the one that failed was closed
    assert port.look() is None
    assert nodes.nodes[path].calls == [("claim_port", 1)]


def test_closing_gives_the_port_back(nodes: Nodes) -> None:
    mapped(nodes).close()
    assert nodes.nodes[HUB].closed.is_set()


def test_an_empty_port_has_no_device(nodes: Nodes) -> None:
    port = mapped(nodes)
    assert (port.look(), port.present) == (None, False)


def test_a_device_is_found_once_and_missed_when_it_leaves(nodes: Nodes) -> None:
    port = mapped(nodes)
    nodes.add("3-1", DEVICE)
    plugged = look(port)
    assert (plugged.name, plugged.speed) == ("3-1", Speed.HIGH)
    assert plugged.layout.configuration(1) is not None
    assert (port.look(), port.present) == (None, True)
    del nodes.present["3-1"]
    assert (port.present, port.look()) == (False, None)


def test_what_was_bound_before_the_port_was_claimed_is_unbound(nodes: Nodes) -> None:
    port = mapped(nodes)
    node = nodes.add("3-1", DEVICE)
    look(port)
    assert node.take()[2:-1] == [("claim_interface", 0), ("release_interface", 0)]


def test_an_interface_of_another_configuration_is_not_released(nodes: Nodes) -> None:
    port = mapped(nodes)
    node = nodes.add("3-1", DEVICE)
    node.errors = {"claim_interface": errno.ENOENT}
    look(port)
    assert node.take()[2:-1] == [("claim_interface", 0)]


def test_another_device_in_the_port_is_not_the_one_that_was_found(nodes: Nodes) -> None:
    port = mapped(nodes)
    nodes.add("3-1", DEVICE)
    look(port)
    nodes.add("3-1", OTHER_DEVICE)
    assert not port.present
    port.forget()
    assert look(port).usbfs.path == OTHER_DEVICE


def test_a_device_that_was_forgotten_is_found_again(nodes: Nodes) -> None:
    port = mapped(nodes)
    nodes.add("3-1", DEVICE)
    look(port)
    port.forget()
    assert not port.present
    look(port)


def refused(port: Port, nodes: Nodes, caplog: pytest.LogCaptureFixture) -> str:
    """What is said of a device that is not served: once, however often one looks."""
    with caplog.at_level(logging.WARNING):
        assert [port.look(), port.look()] == [None, None]
    (record,) = caplog.records
    return record.getMessage()


def test_a_device_that_cannot_be_opened_is_told_once(
    nodes: Nodes, caplog: pytest.LogCaptureFixture
) -> None:
    port = mapped(nodes)
    nodes.add("3-1", DEVICE)
    nodes.errors = {DEVICE: errno.EACCES}
    assert "told to fail" in refused(port, nodes, caplog)


@pytest.mark.parametrize("error", [errno.ENOENT, errno.ENODEV])
def test_a_device_whose_node_is_not_made_yet_is_looked_for_again(
    nodes: Nodes, caplog: pytest.LogCaptureFixture, error: int
) -> None:
    port = mapped(nodes)
    nodes.add("3-1", DEVICE)
    nodes.errors = {DEVICE: error}
    assert (port.look(), port.present) == (None, False)
    nodes.errors = {}
    look(port)
    assert caplog.records == []


def test_a_device_that_leaves_while_it_is_read_is_closed(
    nodes: Nodes, caplog: pytest.LogCaptureFixture
) -> None:
    port = mapped(nodes)
    nodes.add("3-1", DEVICE).errors = {"speed": errno.ENODEV}
    assert "told to fail" in refused(port, nodes, caplog)
    assert nodes.nodes[DEVICE].closed.is_set()


@pytest.mark.parametrize(
    ("octets", "complaint"),
    [
        (DESCRIPTORS[:10], "has 18 octets, here are 10"),
        (DESCRIPTORS[:4] + b"\x09" + DESCRIPTORS[5:], "it is a hub; plug the device in without"),
    ],
    ids=["malformed", "hub"],
)
def test_a_device_that_cannot_be_served_is_told_once_and_left_alone(
    nodes: Nodes, caplog: pytest.LogCaptureFixture, octets: bytes, complaint: str
) -> None:
    port = mapped(nodes)
    nodes.add("3-1", DEVICE).octets = octets
    assert complaint in refused(port, nodes, caplog)
    assert nodes.nodes[DEVICE].closed.is_set()
    nodes.add("3-1", OTHER_DEVICE)
    look(port)


# A connector of USB 3.


def test_both_ports_of_a_connector_are_claimed(twins: Nodes) -> None:
    port = mapped(twins)
    assert [node.calls for node in twins.nodes.values()] == [
        [("claim_port", 1)],
        [("claim_port", 2)],
    ]
    port.close()
    assert all(node.closed.is_set() for node in twins.nodes.values())


def test_a_super_speed_device_is_found_on_the_twin(twins: Nodes) -> None:
    port = mapped(twins)
    twins.add("4-2", TWIN_DEVICE)
    assert look(port).name == "4-2"
    assert (port.look(), port.present) == (None, True)
    del twins.present["4-2"]
    assert not port.present


def test_a_device_that_changes_to_the_twin_is_another(twins: Nodes) -> None:
    port = mapped(twins)
    twins.add("3-1", DEVICE)
    look(port)
    del twins.present["3-1"]
    twins.add("4-2", TWIN_DEVICE)
    assert not port.present
    port.forget()
    assert look(port).name == "4-2"


def test_a_twin_that_cannot_be_claimed_gives_the_first_back(twins: Nodes) -> None:
    twins.node(TWIN_HUB).errors = {"claim_port": errno.EBUSY}
    with pytest.raises(UserError, match="claimed by another program"):
        mapped(twins)
    assert all(node.closed.is_set() for node in twins.nodes.values())
