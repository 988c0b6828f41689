"""File systems x ready plans x kernels: each cell ends as its plan says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from rig.tests.matrix import Cell, Labs, every_cell, run_cells, shown

pytestmark = [pytest.mark.vm, pytest.mark.nightly, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def labs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Labs]:
    with Labs(tmp_path_factory.mktemp("matrix")) as labs:
        yield labs


@pytest.mark.parametrize("cell", list(every_cell()), ids=lambda cell: cell.name)
def test_a_cell_of_the_matrix_ends_as_its_plan_says(cell: Cell, labs: Labs, tmp_path: Path) -> None:
    ((_, row),) = run_cells([cell], tmp_path, labs.run)

    print(shown([(cell, row)]))
    assert not row.difference, (row.difference, row.verdict.reasons)
