"""The rig sees on real kernels, too; and what is correct raises no alarm there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from rig.progress import Silent
from rig.tests.mutants.__main__ import VM_CORRECT_RUNS
from rig.tests.mutants.vm import VM_MUTANTS, VmMutant, score_correct, score_vm
from rig.tests.mutants.vm_bench import Bench, opened

pytestmark = [pytest.mark.vm, pytest.mark.nightly, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    directory: Path = tmp_path_factory.mktemp("mutants")
    with opened(directory, Silent()) as opened_bench:
        yield opened_bench


@pytest.mark.parametrize("mutant", VM_MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_on_real_kernels_is_killed_by_the_right_one(
    bench: Bench, mutant: VmMutant
) -> None:
    scored = score_vm(bench, mutant)
    assert scored.killed, scored.alarms


@pytest.mark.parametrize("number", range(VM_CORRECT_RUNS))
def test_nothing_correct_raises_an_alarm_on_real_kernels(bench: Bench, number: int) -> None:
    assert not score_correct(bench, number).alarms
