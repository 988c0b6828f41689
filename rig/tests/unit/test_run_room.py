from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rig.errors import UserError
from rig.experiments.run.options import check_wishes
from rig.experiments.run.room import check_room, most_mib
from rig.integrity.filesystems import MIB
from rig.integrity.workloads.table import WORKLOADS, workload
from rig.lab.environment import SCRATCH_BYTES

USUAL = (workload("usual"),)


def test_what_does_not_fit_is_told_with_what_would() -> None:
    most = most_mib(2, USUAL)
    check_room(most, 2, USUAL)
    with pytest.raises(UserError, match=f"do not fit: .* Give --mib {most} at most"):
        check_room(most + 1, 2, USUAL)


def test_a_run_is_refused_before_anything_is_started() -> None:
    with pytest.raises(UserError, match="5000 MiB on the file system do not fit"):
        check_wishes("calm", "ext4", "6.12", None, bytes_each=5000 * MIB)


def test_a_size_that_fits_is_taken() -> None:
    options = check_wishes("calm", "ext4", "6.12", None, bytes_each=100 * MIB)
    assert options.bytes_each == 100 * MIB


@given(st.integers(1, 6), st.sampled_from(list(WORKLOADS)))
def test_more_file_systems_or_workloads_leave_less_for_each(count: int, name: str) -> None:
    kinds = (workload(name),)
    assert most_mib(count, kinds) >= most_mib(count + 1, kinds) >= 1
    assert most_mib(count, kinds) >= most_mib(count, (*kinds, *USUAL))


@pytest.mark.parametrize("name", WORKLOADS)
def test_medium_and_journal_have_room_for_the_most(name: str) -> None:
    kind = workload(name)
    most = most_mib(1, (kind,)) * MIB
    stored = kind.sizes(most)["bytes_total"]
    arrived = stored * (1 + (kind.passes - 1) / kind.again)
    assert stored + arrived < SCRATCH_BYTES
