from __future__ import annotations

import errno
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from rig.errors import MachineError
from rig.splitdriver import order
from rig.splitdriver.front.half import Half
from rig.splitdriver.front.halves import Halves
from rig.tests.harness.fake_vhci import HIDDEN, FakeVhci
from rig.tests.harness.stepped import SteppedReactor


class World:
    """A front end's halves, and what was told of them."""

    def __init__(self, kernel: FakeVhci) -> None:
        self.kernel = kernel
        self.reactor = SteppedReactor()
        self.lost: list[str] = []
        self.halves = Halves(self.reactor)

    def take(self, *, super_speed: bool = False) -> Half:
        return self.halves.take(super_speed=super_speed, lost=self.lost.append)

    def hidden_ports(self) -> list[int]:
        return sorted(p.number for p in self.kernel.attached.values() if p.device == HIDDEN)

    def close(self) -> None:
        self.halves.close()
        self.reactor.close()


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[World]:
    kernel = FakeVhci(monkeypatch, tmp_path / "locks")
    one = World(kernel)
    yield one
    one.close()
    kernel.close()


def test_a_half_is_prepared_before_a_device_comes_and_taken_when_it_does(world: World) -> None:
    world.halves.prepare()
    assert world.hidden_ports() == [8]  # the last controller's last high-speed port
    half = world.take()
    assert (half.super_speed, world.hidden_ports()) == (False, [8])


def test_the_other_speed_needs_another_half(world: World) -> None:
    world.halves.prepare()
    assert world.take(super_speed=True).super_speed
    assert world.hidden_ports() == [8, 11]


def test_every_device_has_a_half_of_its_own(world: World) -> None:
    first = world.take()
    assert world.take() is not first
    assert world.hidden_ports() == [2, 8]


def test_a_half_that_was_given_back_is_taken_again(world: World) -> None:
    first = world.take()
    world.halves.give_back(first)
    assert world.take() is first


def test_no_free_half_is_told_with_the_mend(world: World) -> None:
    world.take()
    world.take()
    with pytest.raises(MachineError, match=r"has a port in use; .* Detach what is not needed"):
        world.take()


def test_a_half_with_a_port_in_use_is_passed_over(world: World) -> None:
    world.kernel.leaving.add(6)
    world.take()
    assert world.hidden_ports() == [2]


def test_another_front_ends_half_is_passed_over(world: World) -> None:
    other = Halves(world.reactor)
    other.prepare()
    # The other one has locked it, and not yet attached its hidden device.
    hidden = world.kernel.attached.pop(8)
    world.halves.prepare()
    assert world.hidden_ports() == [2]
    other.close()
    hidden.socket.close()


def test_an_attach_that_fails_frees_the_lock(world: World) -> None:
    world.kernel.attach_errors = [errno.EINVAL]
    with pytest.raises(OSError, match="told to fail"):
        world.halves.prepare()
    world.halves.prepare()
    assert world.hidden_ports() == [8]


def test_the_loss_of_a_half_that_carries_a_device_is_told(world: World) -> None:
    world.take()
    world.reactor.fire("half")
    assert world.lost == ["The kernel did not enumerate the hidden device of the fence."]
    assert world.kernel.notice_unplug() == [8]
    world.take()
    assert world.hidden_ports() == [8]


def test_the_loss_of_a_half_is_told_to_none_but_the_one_who_has_it(world: World) -> None:
    world.take()
    others: list[str] = []
    world.halves.take(super_speed=False, lost=others.append)
    world.kernel.detach(8)
    world.reactor.turn()
    assert (len(world.lost), others) == (1, [])


def test_the_loss_of_a_half_that_carries_nothing_costs_no_device(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.halves.prepare()
    with caplog.at_level(logging.WARNING):
        world.reactor.fire("half")
    assert (world.lost, len(caplog.records)) == ([], 1)


def test_a_half_whose_numbers_have_come_to_an_end_is_left_for_good(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.take()
    monkeypatch.setattr(order, "LAST_SEQNUM", 1)
    world.kernel.enumerate_hidden()
    world.reactor.turn()
    assert world.lost == ["The numbers of vhci_hcd's controller come to an end."]
    assert world.kernel.notice_unplug() == [8]
    world.take()
    assert world.hidden_ports() == [2]


def test_closing_detaches_every_hidden_device(world: World) -> None:
    world.halves.prepare()
    world.take(super_speed=True)
    world.halves.close()
    assert world.kernel.notice_unplug() == [8, 11]
    assert world.reactor.timers() == set()
