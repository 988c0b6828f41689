"""The matrix of file systems: which cells there are, and what is written of them."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from rig.errors import UserError
from rig.experiments.run.options import RunOptions
from rig.faults.load import shipped_plans
from rig.guest_images.spec import KERNELS
from rig.integrity.judgement import SectorClass
from rig.report.rundir import RunDirectory
from rig.report.verdict import Outcome, Recovery, Verdict
from rig.tests.matrix import (
    BEGIN,
    END,
    GROUNDS,
    SAMPLE,
    Cell,
    every_cell,
    put_into,
    run_cells,
    shown,
)
from rig.tests.plans import Row
from rig.tests.unit.test_summary import PASS


def test_the_matrix_has_every_file_system_plan_and_kernel() -> None:
    cells = set(every_cell())
    assert {cell.file_system for cell in cells} == set(GROUNDS)
    assert {cell.plan for cell in cells} == set(shipped_plans())
    assert {cell.kernel for cell in cells} == set(KERNELS)
    assert len(cells) == len(GROUNDS) * len(shipped_plans()) * len(KERNELS)


@pytest.mark.parametrize("cell", list(every_cell()), ids=lambda cell: cell.name)
def test_every_cell_can_be_run(cell: Cell) -> None:
    assert cell.options().file_systems == (cell.file_system,)


def test_the_sample_is_part_of_the_matrix_and_touches_every_file_system_and_kernel() -> None:
    assert set(SAMPLE) <= set(every_cell())
    assert {cell.file_system for cell in SAMPLE} == set(GROUNDS)
    assert {cell.kernel for cell in SAMPLE} == set(KERNELS)


def runner(options: RunOptions, path: Path) -> Verdict:
    outcome = Outcome.FAIL if options.file_systems == ("vfat",) else Outcome.PASS
    verdict = msgspec.structs.replace(
        PASS, verdict=outcome, plan=options.plan.name, seed=options.plan.seed
    )
    directory = RunDirectory.create("", path)
    directory.write("plan.toml", options.plan_text)
    directory.conclude(verdict)
    return verdict


def test_a_cell_that_ends_otherwise_is_told_and_one_that_was_run_is_not_run_again(
    tmp_path: Path,
) -> None:
    cells = [Cell("vfat", "calm", "6.1"), Cell("ext4", "calm", "6.12")]
    rows = list(run_cells(cells, tmp_path, runner))
    assert [bool(row.difference) for _, row in rows] == [True, False]
    again = list(run_cells(cells, tmp_path, lambda *_: pytest.fail("was run already")))
    assert again == rows
    text = shown(rows)
    assert text.index("| ext4 | 6.12 | calm") < text.index("| vfat | 6.1 | calm")


def test_a_row_tells_what_was_promised_and_came_back_if_the_disk_had_gone() -> None:
    cell = SAMPLE[0]
    counts = {SectorClass.OK: 96, SectorClass.INDETERMINATE: 32}
    gone = msgspec.structs.replace(
        PASS, recoveries=(Recovery("ext4", counts), Recovery("vfat", {}))
    )
    rows = [(cell, Row(cell.options().plan, verdict, "")) for verdict in (PASS, gone)]
    assert [line.split("|")[-2].strip() for line in shown(rows).splitlines()[2:]] == ["-", "96"]


def test_the_table_goes_between_its_marks_and_nowhere_else(tmp_path: Path) -> None:
    document = tmp_path / "x.md"
    document.write_text(f"Head\n{BEGIN}\nold\n{END}\nTail\n")
    put_into(document, "| new |\n")
    assert document.read_text() == f"Head\n{BEGIN}\n| new |\n{END}\nTail\n"
    document.write_text("No marks.")
    with pytest.raises(UserError, match="has no place for the table"):
        put_into(document, "")
