"""The table of file systems."""

from __future__ import annotations

import pytest

from rig.errors import UserError
from rig.integrity.filesystems import FILE_SYSTEMS, FileSystem, file_system


def test_a_known_name_gives_its_row() -> None:
    assert file_system("vfat").mkfs[0] == "mkfs.vfat"


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    with pytest.raises(UserError, match="'zfs'") as caught:
        file_system("zfs")
    assert all(name in caught.value.hint for name in FILE_SYSTEMS)


@pytest.mark.parametrize("row", FILE_SYSTEMS.values(), ids=FILE_SYSTEMS)
def test_a_check_that_writes_nothing_and_says_yes_or_no(row: FileSystem) -> None:
    assert {"-n", "--readonly", "--dry-run"} & set(row.fsck)
    assert row.clean_statuses
    assert row.broken_statuses
    assert not row.clean_statuses & row.broken_statuses


@pytest.mark.parametrize("row", FILE_SYSTEMS.values(), ids=FILE_SYSTEMS)
def test_places_are_settled_early_only_where_they_stay(row: FileSystem) -> None:
    assert row.in_place or not row.preallocates
