"""The link is slow for a while, in both directions, and then as before."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import pytest

from rig.errors import CommandFailure
from rig.lab.crew import Crew
from rig.lab.environment import Role
from rig.lab.lab import Lab
from rig.lab.netem import delayed, set_delay


class Machine:
    def __init__(self, log: list[str], fails_at: str = "never") -> None:
        self._log = log
        self._fails_at = fails_at

    def check(self, command: str, deadline_s: float) -> None:
        assert deadline_s > 0
        self._log.append(command)
        if self._fails_at in command:
            raise CommandFailure("it did not")


def lab_of(log: list[str], fails_at: str = "never") -> Lab:
    machines = {role: Machine(log, fails_at) for role in Role}
    return cast("Lab", SimpleNamespace(strategy=SimpleNamespace(machines=machines, crew=Crew())))


def test_the_link_is_slowed_in_both_directions() -> None:
    log: list[str] = []
    set_delay(lab_of(log), 20)
    assert all("delay 20ms" in line for line in log)
    assert ["10.77.0.1" in log[0], "10.77.0.2" in log[1], len(log)] == [True, True, 2]


def test_it_is_as_before_in_the_end_also_if_it_could_not_be_slowed_wholly() -> None:
    log: list[str] = []
    with pytest.raises(CommandFailure), delayed(lab_of(log, "[ 20 = 0 ]"), 20):
        raise AssertionError("unreachable")
    assert ["[ 20 = 0 ]" in log[0], *("[ 0 = 0 ]" in line for line in log[1:])] == [True] * 3
