"""Behind a strike a session is live only when it fired, and the disk was seen again after that."""

from __future__ import annotations

import pytest

from rig.session.snapshot import DaemonRow, MachineRow
from rig.tests.harness.fake_deeds import Seat

UP = tuple(MachineRow(name, "up", "", (DaemonRow(name, True),)) for name in ("back", "front"))


@pytest.fixture
def seat() -> Seat:
    seat = Seat()
    seat.deeds.change(machines=UP, looked_s=19.0)
    return seat


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("unplug", "unplug"),
        ("unplug 2", "unplug"),
        ("power-cycle", "power-cycle"),
        ("kill back 2", "kill-back"),
        ("arm layer=device effect=eject at_s=0 name=off", "off"),
    ],
)
def test_a_strike_is_waited_for_until_the_disk_was_seen_behind_it(
    seat: Seat, line: str, name: str
) -> None:
    seat.ask(line)
    said = f"The session is not live after 3 s. {name} has not fired yet."
    assert seat.refused("wait live 3") == said
    seat.deeds.fired(name)
    seat.deeds.change(at_s=21.0)
    said = (
        f"The session is not live after 3 s. The disk has not been seen again since {name} fired."
    )
    assert seat.refused("wait live 3") == said
    seat.deeds.change(at_s=25.0, looked_s=20.9)  # that look had begun before
    assert seat.refused("wait live 3") == said
    seat.deeds.change(looked_s=21.1)
    assert seat.ask("wait live 3") == ["The session is live."]
    assert seat.ask("wait live 3") == ["The session is live."]


def test_a_machine_that_is_away_is_named_with_its_time(seat: Seat) -> None:
    seat.ask("power-cycle")
    seat.deeds.change(machines=(MachineRow("back", "without power", since_s=16.0), UP[1]))
    assert seat.refused("wait live 3").endswith("Machine back is without power, for 4 s now.")


def test_a_strike_whose_process_is_no_more_ends_when_all_are_back(seat: Seat) -> None:
    seat.ask("unplug 2")
    seat.deeds.change(faults=(), machines=(MachineRow("back", "down"), UP[1]))
    seat.refused("wait live 3")
    seat.deeds.change(machines=UP, at_s=30.0)
    assert "since unplug fired" in seat.refused("wait live 3")
    seat.deeds.change(looked_s=31.0)
    seat.ask("wait live 3")


def test_a_rule_that_is_fired_by_hand_strikes(seat: Seat) -> None:
    seat.ask("arm layer=device effect=eject at_s=900 name=off")
    assert seat.ask("wait live 3") == ["The session is live."]
    seat.ask("fire off")
    assert "since off fired" in seat.refused("wait live 3")
    seat.deeds.change(looked_s=21.0)
    seat.ask("wait live 3")


def test_what_was_not_fired_is_not_waited_for(seat: Seat) -> None:
    seat.ask("arm layer=device effect=eject at_s=900 name=off")
    seat.deeds.refuse["fire"] = "It is deaf."
    seat.refused("fire off")
    assert seat.ask("wait live 3") == ["The session is live."]


@pytest.mark.parametrize("line", ["undo", "remove off"])
def test_what_was_taken_back_before_it_fired_is_not_waited_for(seat: Seat, line: str) -> None:
    seat.ask("arm layer=link effect=cut at_s=0 name=off")
    seat.ask(line)
    assert seat.ask("wait live 3") == ["The session is live."]


def test_what_leaves_the_disk_where_it_is_is_not_waited_for(seat: Seat) -> None:
    seat.ask("arm layer=endpoint direction=out status=EPROTO when=before at_s=0 name=lost")
    assert seat.ask("wait live 3") == ["The session is live."]


def test_undoing_an_unplugging_is_waited_for_too(seat: Seat) -> None:
    seat.ask("unplug")
    seat.deeds.fired("unplug")
    seat.refused("wait live 3")
    seat.deeds.change(looked_s=21.0)
    seat.ask("undo")
    assert "plug has not fired yet" in seat.refused("wait live 3")
