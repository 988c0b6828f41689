"""The options of a host in an environment file."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from labgrid.protocol import ConsoleProtocol, PowerProtocol

from rig.errors import UserError
from rig.lab.attachment import DUMMY
from rig.lab.host_options import HostOptions, port_of, power_of, serial_of


def read(**options: object) -> HostOptions:
    return HostOptions.read("back", options)


def test_without_options_the_gadget_is_plugged_into_dummy_hcd() -> None:
    made = read()
    assert (made.attachment, made.hub, made.link_port) == (DUMMY, "", 7205)


@pytest.mark.parametrize(
    ("port", "hub", "controller"),
    [
        ("1-2", "usb1", "/usb1/"),
        ("3-1.4", "3-1", "/usb3/"),
        ("3-1.4.2", "3-1.4", "/usb3/"),
        ("0000:00:14.0/3", "", "0000:00:14.0"),
    ],
)
def test_a_port_tells_its_hub_and_its_controller(port: str, hub: str, controller: str) -> None:
    made = read(udc="fe98.usb", port=port)
    assert (made.hub, made.attachment.controller) == (hub, controller)
    assert (made.attachment.udc, made.attachment.port) == ("fe98.usb", port)
    assert read(udc="fe98.usb", port=port, controller="xhci").attachment.controller == "xhci"


@pytest.mark.parametrize("alone", [{"udc": "fe98.usb"}, {"port": "1-1"}])
def test_a_udc_and_its_port_are_named_together(alone: dict[str, str]) -> None:
    with pytest.raises(UserError, match="Give both 'udc' and 'port'"):
        read(**alone)


@pytest.mark.parametrize("bad", [{"udcs": "x"}, {"link_port": "many"}])
def test_what_is_unknown_is_refused_with_what_is_known(bad: dict[str, str]) -> None:
    with pytest.raises(UserError, match=r"Options of target 'back'.*link_address"):
        read(**bad)


class Power(PowerProtocol):  # type: ignore[misc] # labgrid is untyped
    on = off = cycle = None
    name: str | None = None


class PortPower(Power):
    name = "usb-port"


class Serial(ConsoleProtocol):  # type: ignore[misc]
    read = write = None


def target(*drivers: Any) -> SimpleNamespace:
    return SimpleNamespace(name="back", drivers=list(drivers))


def test_a_driver_is_found_by_what_it_does() -> None:
    power, serial = object.__new__(Power), object.__new__(Serial)
    assert power_of(target(serial, power)) is power
    assert serial_of(target(serial, power)) is serial
    assert power_of(target(serial)) is None


def test_the_driver_of_a_port_is_told_by_its_name() -> None:
    power, port = object.__new__(Power), object.__new__(PortPower)
    assert (power_of(target(port, power)), port_of(target(port, power))) == (power, port)
    assert (power_of(target(port)), port_of(target(power))) == (None, None)


def test_two_drivers_for_one_thing_are_refused() -> None:
    with pytest.raises(UserError, match="Power and Power: one of them is enough"):
        power_of(target(object.__new__(Power), object.__new__(Power)))
