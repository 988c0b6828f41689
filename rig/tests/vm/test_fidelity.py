"""A few cells of the table: an error reaches usb-storage as the back's controller told it."""

from __future__ import annotations

from pathlib import Path

import pytest

from rig.experiments.fidelity.fidelity import run
from rig.experiments.fidelity.report import Data, Fidelity
from rig.experiments.fidelity.wishes import read_wishes
from rig.lab.paths import PathName
from rig.progress import Silent

pytestmark = [pytest.mark.vm, pytest.mark.timeout(240)]

RESET = "reset high-speed USB device"


def test_an_error_in_mid_data_reaches_the_clients_driver_as_it_was(tmp_path: Path) -> None:
    paths = list(PathName)
    wishes = read_wishes(
        attachments=["xhci-raw"], statuses=["EPROTO"], moments=["middle"], paths=paths
    )
    report = run(wishes, "rig fidelity", tmp_path, Silent())

    seen = {(one.path, one.injection.direction): one for one in report.observations}
    assert len(seen) == 2 * len(paths)
    for one in seen.values():
        assert (str(one.below), one.fidelity) == ("-EPROTO, 2048", Fidelity.SAME), one
        assert (one.errno, one.data, one.sent > 1) == ("", Data.RIGHT, True), one
        assert RESET in one.lines, one
    assert not report.incomplete
    assert not report.unfaithful
