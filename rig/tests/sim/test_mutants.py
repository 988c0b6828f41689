"""The explorer sees: each broken core is found within so many schedules."""

from __future__ import annotations

import pytest

from rig.sim.explorer import Rules, explore
from rig.splitdriver.policy import Policy
from rig.tests.sim.mutants import MUTANTS, Mutant


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_broken_core_is_found(mutant: Mutant, monkeypatch: pytest.MonkeyPatch) -> None:
    mutant.breaks(monkeypatch)
    rules = Rules(Policy.HOLD, mutant.window)
    assert explore(rules, 1, range(mutant.within), played=lambda _: None).findings
