"""Numbers of ``vhci_hcd`` that come to an end, as the whole front end lives through it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from rig.splitdriver import order
from rig.splitdriver.messages import Connect, Disconnected
from rig.splitdriver.transport.link import Link
from rig.tests.harness.fake_vhci import FakeVhci
from rig.tests.unit.test_front_service import FIRST, World
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


def shown(world: World, device: int = FIRST) -> int:
    """Let the kernel show a device; return the number of its controller's half."""
    world.reactor.fire("leaving")
    world.reactor.fire("plug")
    if device not in {port.device for port in world.kernel.attached.values()}:
        world.kernel.enumerate_hidden()
        world.reactor.turn()
    return world.kernel.port_of(device).number // PORTS


def exhaust(world: World, back: Link, device: int = FIRST) -> None:
    """Use the device until its controller's numbers come to an end, and it is let go of."""
    port = world.kernel.port_of(device)
    world.send(port, *(port.submit() for _ in range(LAST)))
    while Disconnected(device) not in world.hear(back):
        pass  # what was sent before; `hear` fails when no more comes
    world.kernel.notice_unplug()


def test_the_device_moves_to_another_controller_at_no_cost_of_the_link(world: World) -> None:
    back = world.served(Connect(FIRST, Speed.HIGH))
    first = shown(world)

    exhaust(world, back)
    world.say(back, Connect(FIRST + 1, Speed.HIGH))
    second = shown(world, FIRST + 1)

    assert second != first
    assert world.events() == ["back", "attached", "port-broke", "detached", "attached"]
    port = world.kernel.port_of(FIRST + 1)
    world.send(port, port.submit())
    assert world.events()[-1] == "attached"


def test_it_is_told_why(world: World, caplog: pytest.LogCaptureFixture) -> None:
    back = world.served(Connect(FIRST, Speed.HIGH))
    exhaust(world, back)
    assert END in caplog.messages


def test_a_front_end_that_is_started_anew_finds_out_before_it_has_a_device(world: World) -> None:
    back = world.served(Connect(FIRST, Speed.HIGH))
    first = shown(world)
    exhaust(world, back)
    world.close()
    world.kernel.notice_unplug()

    again = World(world.kernel)  # it tries the same controller first, whose numbers go on
    again.served(Connect(FIRST, Speed.HIGH))
    second = shown(again)

    assert second != first
    assert again.events() == ["back", "attached"]
    again.close()


def test_when_all_have_come_to_an_end_it_says_what_mends_that(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    back = world.served()
    for device in (FIRST, FIRST + 1):  # so many controllers there are
        world.say(back, Connect(device, Speed.HIGH))
        shown(world, device)
        exhaust(world, back, device)

    with caplog.at_level(logging.INFO):
        world.say(back, Connect(FIRST + 2, Speed.HIGH))
        world.reactor.fire("plug")

    assert "modprobe -r vhci_hcd" in caplog.text
    # The link stays, for other devices; it tries again, but in its own time.
    assert world.reactor.timers() == {"heartbeat", "plug"}
