"""Reads everything back in the middle of a session, and judges it as the run does in the end."""

from __future__ import annotations

from rig.experiments.run.recovered import model_of
from rig.experiments.run.sitting import Scene
from rig.faults.phases import Phase
from rig.faults.shown import many
from rig.integrity.filemap import FileMap
from rig.integrity.inquiry import Observations, inquire
from rig.integrity.judgement import Finding, SectorClass
from rig.session.live.findings import Verified


def verify(scene: Scene) -> Verified:
    """Have the host read all files, the back machine look at its medium, and judge the three views.

    Nothing must be written meanwhile.

    Raises:
        MachineError: A machine or a daemon did not do its part.
        Hung: A call of the workload does not return.
    """
    use = scene.use
    scene.disturbance.set_phase(Phase.READ)
    try:
        looks = [look for name in use.names for look in use.look(name)]
        medium = scene.look_at_medium(use.files)
    finally:
        scene.disturbance.set_phase(Phase.WRITE)
    model = model_of(scene.workload.events, use.unmapped)
    seen = Observations(host=looks, medium=medium.runs, journal=medium.journal)
    found = inquire(model, FileMap(use.files), scene.run_id, seen)
    findings: list[Finding] = [f for view in found.views.values() for f in view.findings]
    good = {view.value: one.counts[SectorClass.OK] for view, one in found.views.items()}
    said = [
        f"The {view} view shows {many(count, 'sector')} as they must be."
        for view, count in good.items()
    ]
    sentences = tuple(finding.sentence for finding in findings)
    return Verified(tuple(said), sentences, sum(good.values()))
