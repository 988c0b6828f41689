"""Numbers of ``vhci_hcd`` that come to an end, as the whole front end lives through it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from rig.splitdriver import order
from rig.splitdriver.messages import Connect, Refused
from rig.tests.harness.fake_vhci import FakeVhci
from rig.tests.unit.test_front_service import FIRST, GREETING, World
from rig.usb.urb import Speed

LAST = 20
"""Instead of nearly 2^31: more than a half needs to become ready."""
END = "The numbers of vhci_hcd's controller come to an end."
PORTS = 3


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeVhci]:
    monkeypatch.setattr(order, "LAST_SEQNUM", LAST)
    one = FakeVhci(monkeypatch, tmp_path / "locks")
    yield one
    one.close()


@pytest.fixture
def world(kernel: FakeVhci) -> Iterator[World]:
    one = World(kernel)
    yield one
    one.close()


def controller_of_device(world: World) -> int:
    """Have a back end show a device; return where it is."""
    world.served(Connect(FIRST, Speed.HIGH))
    if FIRST not in {port.device for port in world.kernel.attached.values()}:
        world.kernel.enumerate_hidden()
        world.reactor.turn()
    return world.kernel.port_of(FIRST).number // PORTS


def exhaust(world: World) -> None:
    """Use the device until its controller's numbers have come to an end."""
    port = world.kernel.port_of(FIRST)
    world.send(port, *(port.submit() for _ in range(LAST)))
    world.kernel.notice_unplug()


def test_the_device_moves_to_another_controller_at_the_cost_of_one_link(world: World) -> None:
    first = controller_of_device(world)

    exhaust(world)
    world.reactor.fire("call")
    second = controller_of_device(world)

    assert second != first
    assert world.events() == ["back", "attached", "detached", "back-lost", "back", "attached"]
    port = world.kernel.port_of(FIRST)
    world.send(port, port.submit())
    assert world.events()[-1] == "attached"


def test_the_back_end_is_told_why(world: World) -> None:
    back = world.served(Connect(FIRST, Speed.HIGH))
    port = world.kernel.port_of(FIRST)
    world.send(port, *(port.submit() for _ in range(LAST)))

    while Refused(END) not in world.hear(back):
        pass  # what was sent before; `hear` fails when no more comes


def test_a_front_end_that_is_started_anew_finds_out_before_it_has_a_device(world: World) -> None:
    first = controller_of_device(world)
    exhaust(world)
    world.close()
    world.kernel.notice_unplug()

    again = World(world.kernel)  # it tries the same controller first, whose numbers go on
    second = controller_of_device(again)

    assert second != first
    assert again.events() == ["back", "attached"]
    again.close()


def test_when_all_have_come_to_an_end_it_says_what_mends_that(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(2):  # so many controllers there are
        controller_of_device(world)
        exhaust(world)
        world.reactor.fire("call")

    with caplog.at_level(logging.INFO):
        world.back(GREETING, Connect(FIRST, Speed.HIGH))

    assert "modprobe -r vhci_hcd" in caplog.text
    # The link stays, for other devices; it tries again, but in its own time.
    assert world.reactor.timers() == {"heartbeat", "plug"}
