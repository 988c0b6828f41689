"""Every fault plan that comes with the rig ends as it says: the table of docs/faults.md, asserted.

One of them in every test run, the others nightly.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from rig.experiments.run.options import RunOptions
from rig.faults.load import shipped_plans
from rig.guest_images.image import GuestImage
from rig.report.verdict import Verdict
from rig.tests import plans
from rig.tests.conftest import LabKeeper
from rig.tests.matrix import run_in

pytestmark = [pytest.mark.vm, pytest.mark.timeout(900)]

ALWAYS = {"medium-torn"}


def marked(name: str) -> object:
    return pytest.param(name, marks=() if name in ALWAYS else pytest.mark.nightly)


@pytest.mark.parametrize("name", [marked(name) for name in shipped_plans()])
def test_a_plan_that_comes_with_the_rig_ends_as_it_says(
    name: str, lab_keeper: LabKeeper, guest_image: GuestImage, tmp_path: Path
) -> None:
    def runner(options: RunOptions, directory: Path) -> Verdict:
        return run_in(lab_keeper, guest_image, options, directory)

    ((_, row),) = plans.run_all([name], tmp_path, None, runner)

    print(plans.table([row]))
    assert not row.difference, (row.difference, row.verdict.reasons)
