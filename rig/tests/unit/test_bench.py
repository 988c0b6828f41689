"""The benchmark's course, its options and its table, with disks that answer at once."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from rich.console import Console

from rig.cli.bench import latencies, table
from rig.errors import UserError
from rig.experiments.bench import agent as bench_agent
from rig.experiments.bench.bench import check_wishes, measure
from rig.experiments.bench.paths import Disk
from rig.experiments.bench.plan import LONG, MIB, QUICK, Part, rows
from rig.experiments.bench.report import Report
from rig.lab.daemons import Daemon
from rig.lab.paths import PathName
from rig.progress import Silent

MEMORY = memoryview(bytearray(4096))
TAKEN_US = {PathName.DIRECT: 100, PathName.USBIP: 400, PathName.SPLIT: 800}


def disks(asked: list[PathName]) -> dict[PathName, Disk]:
    def agent(path: PathName) -> Daemon:
        def ask(do: str, deadline_s: float, **args: Any) -> dict[str, Any]:
            assert (do, deadline_s > 0, args["node"]) == ("time", True, f"/dev/{path}")
            asked.append(path)
            count = len(args["offsets"])
            return {"taken_us": [TAKEN_US[path]] * count, "commands": 9 * count}

        return cast("Daemon", SimpleNamespace(ask=ask))

    return {path: Disk(f"/dev/{path}", agent(path), 32 * MIB) for path in PathName}


def report() -> Report:
    parts = Part(rows(1, 2), 2), Part(rows(1, 2, delay_ms=20), 1)
    found = [row for part in parts for row in measure(part, disks([]), Silent())]
    return Report("6.12", "tcg", "high", "hold", "tcp", tuple(found))


def test_what_is_not_known_is_refused() -> None:
    for speed, kernel, policy in (
        ("warp", "6.12", None),
        ("high", "2.4", None),
        ("high", "6.12", "hope"),
    ):
        with pytest.raises(UserError):
            check_wishes(speed, kernel, policy, None, quick=True)
    with pytest.raises(UserError, match="tcp, virtio"):
        check_wishes("high", "6.12", None, None, quick=True, link="string")


def test_quick_leaves_the_slow_link_out() -> None:
    assert check_wishes("high", "6.12", None, None, quick=True).parts == QUICK
    assert check_wishes("high", "6.12", "naive", None, quick=False, link="tcp").parts == LONG


def test_a_link_that_is_not_slowed_has_no_rows_with_a_delay() -> None:
    wishes = check_wishes("high", "6.12", None, None, quick=False, link="virtio")
    assert wishes.parts == tuple(part for part in LONG if not part.delay_ms)
    assert not any(part.delay_ms for part in QUICK)


def test_the_number_of_rounds_can_be_chosen() -> None:
    wishes = check_wishes("super", "6.1", None, 3, quick=False, link="tcp")
    assert [part.rounds for part in wishes.parts] == [3, 3]


def test_every_path_warms_up_and_is_measured_in_each_round() -> None:
    asked: list[PathName] = []
    measure(Part(rows(1, 1)[:1], 4), disks(asked), Silent())
    assert {path: asked.count(path) for path in PathName} == dict.fromkeys(PathName, 5)


def test_the_ratios_say_how_much_of_the_other_rate_is_reached() -> None:
    for row in report().rows:
        compared = row.ratio(PathName.USBIP)
        assert compared is not None
        assert compared.median == pytest.approx(0.5)


def test_the_tables_have_a_line_for_each_row(tmp_path: Path) -> None:
    with (tmp_path / "shown").open("w+") as file:
        shown = Console(file=file, width=200)
        shown.print(table(report()))
        shown.print(latencies(report()))
        file.seek(0)
        text = file.read()
    assert text.count("read 4 KiB, random, link +20 ms") == 2
    assert "0.50 (0.50-0.50)" in text
    assert "9 │" in text


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[int]:
    file = tmp_path / "disk"
    file.write_bytes(bytes(8192))
    descriptor = os.open(file, os.O_RDWR)
    yield descriptor
    os.close(descriptor)


def test_the_agent_times_each_request(disk: int) -> None:
    taken = bench_agent.time_requests(
        disk, MEMORY, write=False, request_bytes=4096, offsets=[4096, 0]
    )
    assert len(taken) == 2
    assert all(us >= 0 for us in taken)


def test_the_agent_takes_a_short_request_for_an_error(disk: int) -> None:
    with pytest.raises(OSError, match="instead of 4096"):
        bench_agent.time_requests(disk, MEMORY, write=False, request_bytes=4096, offsets=[8192])


def test_the_agent_writes_where_it_is_told(disk: int) -> None:
    os.pwrite(disk, b"\xff" * 8192, 0)
    bench_agent.time_requests(disk, MEMORY, write=True, request_bytes=4096, offsets=[4096])
    assert os.pread(disk, 8192, 0) == b"\xff" * 4096 + bytes(4096)
