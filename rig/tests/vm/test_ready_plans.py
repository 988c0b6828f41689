"""Every fault plan that comes with the rig ends as it says: the table of docs/faults.md, asserted.

Two of them in every test run, one that a correct stack survives and one that corrupts.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from rig.experiments.run.options import RunOptions
from rig.experiments.run.run import Story, run
from rig.faults.load import shipped_plans
from rig.faults.plan import layer_of
from rig.faults.rules.base import Layer
from rig.guest_images.image import GuestImage
from rig.lab.accelerator import accelerator
from rig.lab.attachment import DUMMY
from rig.progress import Silent
from rig.report.rundir import RunDirectory
from rig.report.verdict import Verdict
from rig.tests import plans
from rig.tests.conftest import LabKeeper

pytestmark = [pytest.mark.vm, pytest.mark.timeout(900)]

ALWAYS = {"medium-torn"}
_RESTLESS = {Layer.LINK, Layer.MACHINE}
"""Layers that leave machines as no other run should find them."""


def marked(name: str) -> object:
    return pytest.param(name, marks=() if name in ALWAYS else pytest.mark.nightly)


@pytest.mark.parametrize("name", [marked(name) for name in shipped_plans()])
def test_a_plan_that_comes_with_the_rig_ends_as_it_says(
    name: str, lab_keeper: LabKeeper, guest_image: GuestImage, tmp_path: Path
) -> None:
    def runner(options: RunOptions, directory: Path) -> Verdict:
        layers = {layer_of(fault) for fault in options.plan.faults}
        if options.attachment != DUMMY or layers & _RESTLESS:
            return run(options, directory, Silent())[1]
        made = RunDirectory.create(options.plan.name, directory)
        lab = lab_keeper.booted()
        return Story(options, made, Silent()).tell(guest_image, accelerator(guest_image), lab)

    ((_, row),) = plans.run_all([name], tmp_path, None, runner)

    print(plans.table([row]))
    assert not row.difference, (row.difference, row.verdict.reasons)
