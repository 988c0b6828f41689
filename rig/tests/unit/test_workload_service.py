"""The workload's daemon: every line gets its one answer, and the end of input undoes all."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import msgspec
import pytest

from rig.daemon import Events
from rig.errors import CommandFailure, MachineError
from rig.integrity import disk, stamping
from rig.integrity.disk import CheckResult, Partition
from rig.integrity.filemap import Extent, MappedFile
from rig.integrity.filesystems import FileSystem
from rig.integrity.readback import read_back
from rig.integrity.requests import OnFileSystem
from rig.integrity.service import Service, serve


class Machine:
    """The daemon on a machine whose disk is only said to be there."""

    def __init__(self, mounts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.mounted: list[str] = []
        self.out = io.BytesIO()
        events = Events(self.out)
        self.service = Service(events, mounts)
        self._events = events
        self._monkeypatch = monkeypatch
        monkeypatch.setattr(disk, "refuse_unless_ours", lambda _: None)
        monkeypatch.setattr(disk, "make_partitions", self._make_partitions)
        monkeypatch.setattr(disk, "make_file_system", lambda _: None)
        monkeypatch.setattr(disk, "mount", self._mount)
        monkeypatch.setattr(disk, "unmount", self._unmount)
        monkeypatch.setattr(disk, "check", lambda _: CheckResult(True, 0, "clean"))
        monkeypatch.setattr(stamping, "drop_caches", lambda: None)
        monkeypatch.setattr(os, "O_DIRECT", 0)

    def _make_partitions(
        self, node: Path, rows: list[FileSystem], size_bytes: int
    ) -> list[Partition]:
        count = size_bytes // 512
        return [
            Partition(row, Path(f"{node}{i + 1}"), 2048 + i * count, count)
            for i, row in enumerate(rows)
        ]

    def _mount(self, partition: Partition, target: Path) -> None:
        target.mkdir(parents=True, exist_ok=True)
        self.mounted.append(target.name)

    def _unmount(self, target: Path) -> None:
        self.mounted.remove(target.name)

    def raw(self) -> None:
        """Let nothing be mounted."""
        self._monkeypatch.setattr(disk, "mount", lambda *_: None)
        self._monkeypatch.setattr(disk, "unmount", lambda _: None)
        self._monkeypatch.setattr(disk, "mend", lambda _: None)

    def say(self, *commands: dict[str, Any]) -> list[Any]:
        """Send commands, end the input, return the replies."""
        lines = b"".join(
            msgspec.json.encode({"id": i, **command}) + b"\n" for i, command in enumerate(commands)
        )
        self.send(lines)
        return [line for line in self.lines() if line["event"] == "reply"]

    def send(self, data: bytes) -> int:
        read_end, write_end = os.pipe()
        try:
            os.write(write_end, data)
            os.close(write_end)
            return serve(self.service, self._events, read_end)
        finally:
            os.close(read_end)

    def lines(self) -> list[Any]:
        return [msgspec.json.decode(line) for line in self.out.getvalue().splitlines()]


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tmp_path, monkeypatch)


PREPARE = {"do": "prepare", "disk": "/dev/sda", "file_systems": ["btrfs", "f2fs"]}
WRITE = {
    "do": "write",
    "fs": "btrfs",
    "run_id": 9,
    "seed": 1,
    "files": 2,
    "bytes_total": 65536,
    "block_bytes": 4096,
}


def test_the_whole_way_from_prepare_to_status(machine: Machine) -> None:
    replies = machine.say(
        PREPARE,
        WRITE,
        {**WRITE, "fs": "f2fs"},
        {"do": "read_back", "fs": "f2fs"},
        {"do": "check", "fs": "btrfs"},
        {"do": "status"},
    )
    assert [reply["ok"] for reply in replies] == [True] * 6
    assert [reply["result"]["files"] for reply in replies[1:3]] == [[1, 2], [3, 4]]
    assert [row["file_id"] for row in replies[3]["result"]] == [3, 4]
    assert replies[4]["result"] == {"clean": True, "status": 0, "output": "clean"}
    assert [(row["fs"], row["files"]) for row in replies[5]["result"]] == [
        ("btrfs", [1, 2]),
        ("f2fs", [3, 4]),
    ]


def test_a_disk_that_came_back_is_mounted_instead_of_the_one_that_is_gone(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk, "wait_for_node", lambda _: 2048)
    mended: list[str] = []
    monkeypatch.setattr(disk, "mend", lambda partition: mended.append(str(partition.node)))
    replies = machine.say(
        PREPARE,
        {"do": "follow", "disk": "/dev/sda"},
        {"do": "follow", "disk": "/dev/sdb"},
        {"do": "status"},
    )
    assert replies[1]["result"] == {"moved": False, "lost": {}}
    assert replies[2]["result"] == {"moved": True, "lost": {}}
    assert [row["node"] for row in replies[3]["result"]] == ["/dev/sdb1", "/dev/sdb2"]
    assert mended == ["/dev/sdb1", "/dev/sdb2"]
    assert sorted(machine.mounted) == ["btrfs", "f2fs"]


def test_what_was_written_can_be_written_again(machine: Machine) -> None:
    again = {"do": "write_again", "fs": "btrfs"}
    replies = machine.say(PREPARE, again, WRITE, again)
    assert [reply["ok"] for reply in replies] == [True, False, True, True]
    assert "was not written yet" in replies[1]["error"]
    assert replies[3]["result"]["files"] == [1, 2]


def test_of_a_file_that_is_not_there_nothing_is_read(machine: Machine, tmp_path: Path) -> None:
    machine.say(PREPARE, WRITE)
    (tmp_path / "btrfs/stamped-1").unlink()
    found = machine.service.stamping.read_back(OnFileSystem("btrfs"))
    assert [bool(row["runs"]) for row in found] == [False, True]


def test_what_is_read_back_is_what_lies_there(machine: Machine, tmp_path: Path) -> None:
    (reply,) = machine.say(PREPARE, WRITE, {"do": "read_back", "fs": "btrfs"})[2:]
    runs = read_back(tmp_path / "btrfs/stamped-1")
    assert reply["result"][0]["runs"] == msgspec.to_builtins(runs)


def test_ledger_events_come_in_pairs_of_starts_and_ends(machine: Machine) -> None:
    machine.say(PREPARE, WRITE)
    batches = [line["entries"] for line in machine.lines() if line["event"] == "ledger"]
    assert {entry[0] for entry in batches[0]} == {"started"}
    assert [entry[0] for entry in batches[1]] == ["returned"] * 8 + ["flushed"]


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ({"do": "dance"}, "'dance' is not known"),
        ({"do": "map", "fs": "btrfs"}, "'btrfs' is not mounted"),
        ({"do": "map"}, "missing required field `fs`"),
        ({"do": "map", "fs": "btrfs", "speed": 1}, "unknown field `speed`"),
        ({"do": "prepare", "disk": "/dev/sda", "file_systems": []}, "is empty"),
        ({**PREPARE, "file_systems": ["ext4", "ext4"]}, "names one twice"),
        ({**PREPARE, "file_systems": ["zfs"]}, "Known are ext4, vfat"),
        ({"do": "write", "seed": 1, "run_id": "x"}, "Expected `int`"),
    ],
)
def test_a_wrong_command_is_answered_with_a_sentence(
    machine: Machine, command: dict[str, Any], words: str
) -> None:
    (reply,) = machine.say(command)
    assert not reply["ok"]
    assert words in reply["error"]


def test_several_workloads_write_files_of_their_own(machine: Machine) -> None:
    more = {**WRITE, "pattern": "replace", "passes": 1}
    replies = machine.say(PREPARE, WRITE, more, {"do": "read_back", "fs": "btrfs"})
    assert [reply["result"]["files"] for reply in replies[1:3]] == [[1, 2], [3, 4]]
    assert [row["file_id"] for row in replies[3]["result"]] == [1, 2, 3, 4]


def test_undo_unmounts_the_last_first(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.say(PREPARE)
    assert machine.mounted == ["btrfs", "f2fs"]
    order: list[str] = []
    monkeypatch.setattr(disk, "unmount", lambda target: order.append(target.name))
    machine.service.mounting.undo()
    assert order == ["f2fs", "btrfs"]


def test_a_file_system_that_was_unmounted_is_forgotten(machine: Machine) -> None:
    machine.say(PREPARE, {"do": "unmount", "fs": "btrfs"})
    assert machine.mounted == ["f2fs"]
    assert machine.say({"do": "map", "fs": "btrfs"})[-1]["ok"] is False


def test_bytes_that_are_no_command_end_the_daemon_with_a_sentence(machine: Machine) -> None:
    assert machine.send(b"not json\n") == 1
    assert "not a JSON object" in machine.lines()[-1]["error"]


def test_a_map_that_the_host_refuses_is_an_answer_with_what_was_known(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.say(PREPARE, WRITE)
    file = MappedFile(1, "/x", 512, True, [Extent(0, 7, 1)])
    (writing,) = machine.service.mounting.mounted["btrfs"].writings
    writing.known = [file]

    def refuse() -> list[MappedFile]:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(writing, "mapped", refuse)
    reply = machine.say({"do": "map", "fs": "btrfs"})[-1]
    assert reply["ok"]
    assert reply["result"]["refused"] == "[Errno 5] Input/output error"
    assert reply["result"]["known"] == msgspec.to_builtins([file])


def test_a_file_system_that_cannot_be_made_is_told_and_the_others_keep_their_partitions(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def make(partition: Partition) -> None:
        if partition.file_system.name == "btrfs":
            raise CommandFailure("'mkfs.btrfs' ended with status 1: no.")

    monkeypatch.setattr(disk, "make_file_system", make)
    monkeypatch.setattr(disk, "wait_for_node", lambda _: 2048)
    monkeypatch.setattr(disk, "mend", lambda _: None)
    replies = machine.say(PREPARE, {"do": "follow", "disk": "/dev/sdb"}, {"do": "status"})
    (made, refused) = replies[0]["result"]
    assert made["fs"] == "f2fs"
    assert refused == {"fs": "btrfs", "refused": "'mkfs.btrfs' ended with status 1: no."}
    assert [row["node"] for row in replies[2]["result"]] == ["/dev/sdb2"]


def test_a_file_system_that_cannot_be_mounted_again_is_told_and_caches_are_lost(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def mend(partition: Partition) -> None:
        if partition.file_system.name == "btrfs":
            raise MachineError("Nothing to mend.")

    monkeypatch.setattr(disk, "wait_for_node", lambda _: 2048)
    monkeypatch.setattr(disk, "mend", mend)
    (reply,) = machine.say(PREPARE, {"do": "follow", "disk": "/dev/sdb"})[1:]
    assert reply["result"] == {"moved": True, "lost": {"btrfs": "Nothing to mend."}}
    assert ["cache_lost"] in [e["entries"][0] for e in machine.lines() if e["event"] == "ledger"]


def test_a_file_system_can_be_mounted_anew_where_it_is(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    mended: list[str] = []
    monkeypatch.setattr(disk, "mend", lambda partition: mended.append(str(partition.node)))
    replies = machine.say(PREPARE, {"do": "revive", "fs": "f2fs"})
    assert replies[1]["ok"]
    assert mended == ["/dev/sda2"]
    assert sorted(machine.mounted) == ["btrfs", "f2fs"]


def test_the_raw_device_is_written_without_a_file_system_and_followed(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("sda1", "sdb1"):
        (tmp_path / name).write_bytes(bytes(1 << 20))
    monkeypatch.setattr(disk, "wait_for_node", lambda _: 2048)
    machine.raw()
    raw = {**WRITE, "fs": "raw", "files": 1}
    prepare = {**PREPARE, "disk": f"{tmp_path}/sda", "file_systems": ["raw"]}
    replies = machine.say(
        prepare,
        {**raw, "bytes_total": 32768},
        {**raw, "bytes_total": 32768, "first_block": 8},
        {"do": "map", "fs": "raw"},
        {"do": "read_back", "fs": "raw"},
        {"do": "follow", "disk": f"{tmp_path}/sdb"},
        {"do": "write_again", "fs": "raw"},
        {"do": "status"},
    )
    assert all(reply["ok"] for reply in replies)
    assert [f["extents"] for f in replies[3]["result"]] == [[[0, 2048, 64]], [[64, 2112, 64]]]
    assert [read["runs"][0][0] for read in replies[4]["result"]] == [0, 64]
    assert (tmp_path / "sdb1").read_bytes()[32768:65536] != bytes(32768)
    assert replies[7]["result"][0]["node"] == f"{tmp_path}/sdb1"
