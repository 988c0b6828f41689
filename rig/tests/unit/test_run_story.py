"""The story of a run, told by machines and daemons that answer at once, and fail where told to."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from rig.errors import CommandFailure, LaunchFailure, LostVMError, MachineError, UserError
from rig.experiments.run import disturbance, exercise
from rig.experiments.run import run as story
from rig.experiments.run.client import UsbStorage
from rig.experiments.run.options import RunOptions, check_recovery, check_wishes
from rig.experiments.run.recovered import model_of
from rig.experiments.run.scan_service import Access, JournalDamage, Line
from rig.experiments.run.trace import fired, read_trace
from rig.experiments.run.use import READINGS
from rig.faults.phases import PHASES
from rig.guest_images.image import GuestImage
from rig.integrity.filemap import Extent, FileMap, MappedFile
from rig.integrity.judgement import Guilty, Reread, SectorClass
from rig.integrity.ledger import Event, Flushed, WriteReturned, WriteStarted
from rig.integrity.looks import FileLook, SecondLook, Wish
from rig.integrity.model import Model
from rig.integrity.scan import Run, scan
from rig.integrity.stamp import SECTOR_BYTES, SectorKind, Stamp, encode_run
from rig.lab.console import Console
from rig.lab.daemons import NoAnswerError
from rig.lab.environment import Role
from rig.lab.guest import Guest
from rig.lab.health import Health
from rig.lab.machine import CompletedCommand
from rig.lab.paths import PathName
from rig.lab.strategy import Setup
from rig.progress import Silent
from rig.report.rundir import RunDirectory
from rig.report.verdict import Outcome, Verdict, Watched
from rig.tests.harness.fake_lab import make_image
from rig.usb.urblog import HEADER, Kind, Place, UrbEvent, read_events

PLAN = """
name = "mine"
seed = 5
[[fault]]
name = "cut"
layer = "endpoint"
direction = "out"
nth = 3
when = "middle"
status = "EPROTO"
[[fault]]
name = "refuses"
layer = "medium"
op = "write"
nth = 3
error = "EIO"
"""
COUNT = 8
LBAS = {"ext4": 1000, "vfat": 2000}
JOURNAL = "rig scan journal /var/lib/rig/gadget/journal.bin"
MEDIUM = "rig scan medium /var/lib/rig/gadget/medium.img --ranges /run/rig-ranges.json"

REREAD = "rig reread < /run/rig-reread.json"

STORY = [
    "transition booted",
    "front start workload",
    "back put /var/lib/rig/plan.toml",
    "transition attached",
    "workload prepare",
    "gadget phase write",
    "back phase write",
    "workload write ext4",
    "gadget phase write/promised",
    "back phase write/promised",
    "workload map ext4",
    "workload write vfat",
    "workload map vfat",
    "gadget phase None",
    "back phase None",
    "workload check ext4",
    "workload check vfat",
    "gadget phase read",
    "back phase read",
    "workload read_back ext4",
    "workload read_back vfat",
    "gadget phase None",
    "back phase None",
    "workload unmount ext4",
    "workload unmount vfat",
    "workload stop",
    "back faults",
    "gadget faults",
    "back put /run/rig-ranges.json",
    f"back check {MEDIUM}",
    f"back check {JOURNAL}",
]
"""Every step of a run on two file systems, in order."""

URBS = {role: [f"{role} urbs", f"{role} get /run/rig-urbs.bin"] for role in ("back", "front")}
ENDING = ["back run dmesg", *URBS["back"], "front run dmesg", *URBS["front"], "close"]


class World:
    """What happens on the machines, and the log of it.

    Attributes:
        log: Every step so far.
        disk: What lies on the medium, by LBA.
        journal: What its journal holds.
        fails: Called with each step's number and name; raises to let it fail.
        checks: What a file system's checker says, if it is not clean.
        outcome: How the workload ends.
        fired: How often each rule fired.
    """

    def __init__(self) -> None:
        self.log: list[str] = []
        self.disk: dict[int, bytes] = {}
        self.journal: list[Line] = []
        self.told: dict[str, str] = {}
        self.fails: Callable[[int, str], None] = lambda number, step: None
        self.checks: dict[str, dict[str, object]] = {}
        self.outcome: dict[str, object] = {"stopped": "", "given_up_blocks": 0}
        self.planned = {"back": {"cut": 1}, "gadget": {"refuses": 1}}
        self.fired = {"cut": 1, "refuses": 1}
        self.answers: dict[str, str] = {}
        self.files: dict[str, MappedFile] = {}
        self.daemon_events: list[dict[str, object]] = []
        self.events: dict[str, list[dict[str, object]]] = {}
        self.refuses = False  # the host refuses the next step
        self.prepared: list[dict[str, object]] = []
        self.urbs: dict[str, list[UrbEvent]] = {"back": [], "front": []}
        self.lost = 0  # events of usbmon
        self.followed: dict[str, list[UrbEvent]] = {}  # what of it is told while it grows
        self.moves = 0  # the disk goes away so often
        self.dead: set[str] = set()  # daemons

    def step(self, name: str) -> None:
        self.log.append(name)
        self.fails(len(self.log) - 1, name)

    def write(self, fs: str, run_id: int) -> None:
        """Write one file of `COUNT` sectors, confirmed."""
        number, lba = len(self.files) + 1, LBAS[fs]
        stamp = Stamp(run_id, number, 0, lba, 1, 0, number)
        data = encode_run(stamp, COUNT)
        for sector in range(COUNT):
            self.disk[lba + sector] = data[sector * SECTOR_BYTES :][:SECTOR_BYTES]
        brought = [Run(lba, COUNT, SectorKind.STAMP, stamp)]
        self.journal.append(Access(len(self.journal), 1, "write", lba, COUNT, 0, brought))
        path, size = f"/{fs}/file", COUNT * SECTOR_BYTES
        self.files[fs] = MappedFile(number, path, size, True, [Extent(0, lba, COUNT)])
        entries: list[Event] = [
            WriteStarted(number, 0, COUNT, 1, number),
            WriteReturned(number, number),
            Flushed(number),
        ]
        self.daemon_events += [
            {"event": "progress", "fs": fs},
            {"event": "ledger", "fs": fs, "entries": as_json(entries)},
        ]

    def read(self, lba: int, first: int) -> list[Run]:
        """What lies from an LBA on, counted from ``first``."""
        return scan(b"".join(self.disk[lba + n] for n in range(COUNT)), first)

    def reread(self) -> str:
        """What a second look shows: the same."""
        wish = msgspec.json.decode(self.told["/run/rig-reread.json"], type=Wish)
        assert wish.disk == "/dev/sda"
        lbas = {file.file_id: LBAS[fs] for fs, file in self.files.items()}
        wanted = {one.file_id for one in wish.wanted}
        files = [FileLook(n, self.read(lba, 0)) for n, lba in lbas.items() if n in wanted]
        disk = [run for n, lba in lbas.items() if n in wanted for run in self.read(lba, lba)]
        return msgspec.json.encode(SecondLook(files, disk)).decode()


def as_json(what: object) -> Any:
    """What JSON carries of it."""
    return msgspec.json.decode(msgspec.json.encode(what))


class FakeDaemon:
    def __init__(self, world: World, name: str) -> None:
        self._world = world
        self._name = self.name = name
        self.machine = "front" if name in {"front", "workload"} else "back"

    @property
    def events(self) -> list[dict[str, object]]:
        return self._world.events.get(self._name, self._world.daemon_events)

    def ask(self, do: str, deadline_s: float = 30.0, **args: Any) -> Any:
        if do == "clock":
            return {"t_ns": time.time_ns()}
        subject = args["name"] if do == "phase" else args.get("fs", "")
        self._world.step(f"{self._name} {do} {subject}".rstrip())
        if self._world.refuses:
            self._world.refuses = False
            return REFUSED
        return as_json(getattr(self, f"_{do}")(**args))

    def ask_hearing(
        self, do: str, hear: Callable[[dict[str, object]], None], deadline_s: float, **args: Any
    ) -> Any:
        before = len(self._world.daemon_events)
        told = self.ask(do, deadline_s, **args)
        for event in self._world.daemon_events[before:]:
            hear(event)
        return told

    def check(self) -> None:
        if self._name in self._world.dead:
            raise MachineError(f"Daemon {self._name!r} has ended.")

    def stop(self, deadline_s: float = 15.0) -> int:
        self._world.step(f"{self._name} stop")
        return 0

    def _urbs(self) -> object:
        """Have it on the disk."""
        return {"lost": self._world.lost} if self._name == "usbmon" else None

    def wait_event(self, event: str, deadline_s: float) -> None:
        self._world.step(f"{self._name} is {event}")

    def _phase(self, name: str | None) -> None:
        assert name in {*PHASES, None}

    def _faults(self) -> object:
        planned = self._world.planned[self._name]
        fired = {rule: self._world.fired[rule] for rule in planned}
        return {"planned": planned, "fired": fired, "layers": dict.fromkeys(planned, "medium")}

    def _prepare(self, disk: str, file_systems: list[str], bytes_each: int) -> object:
        assert (disk, file_systems, bytes_each) == ("/dev/sda", ["ext4", "vfat"], 4096)
        return self._world.prepared

    def _write(self, fs: str, run_id: int, seed: int, bytes_total: int, **_: int) -> object:
        assert (seed, bytes_total) == (5, 4096)
        self._world.write(fs, run_id)
        return self._world.outcome

    def _write_again(self, fs: str) -> object:
        return {"stopped": "", "given_up_blocks": 0}

    def _revive(self, fs: str) -> None:
        assert fs in self._world.files

    def _map(self, fs: str) -> object:
        return [self._world.files[fs]]

    def _check(self, fs: str) -> object:
        return self._world.checks.get(fs, {"clean": True, "status": 0, "output": "clean"})

    def _read_back(self, fs: str) -> object:
        file = self._world.files[fs]
        runs = self._world.read(LBAS[fs], 0)
        return [{"file_id": file.file_id, "path": file.path, "runs": runs}]

    def _unmount(self, fs: str) -> None:
        assert fs in self._world.files

    def _follow(self, disk: str) -> object:
        assert disk == "/dev/sdb"
        self._world.moves -= 1
        return {"moved": self._world.moves >= 0, "lost": {}}


class FakeMachine:
    def __init__(self, world: World, name: str) -> None:
        self._world = world
        self._name = self.name = name
        self.health = Health(name)
        self.console: Console | None = None

    def put(self, local: Path, remote: str) -> None:
        self._world.step(f"{self._name} put {remote}")
        self._world.told[remote] = local.read_text()

    def get(self, remote: str, local: Path) -> None:
        self._world.step(f"{self._name} get {remote}")
        local.write_bytes(HEADER + b"".join(one.pack() for one in self._world.urbs[self._name]))

    def listen(self, command: str) -> subprocess.Popen[bytes]:
        assert "/run/rig-urbs.bin" in command
        octets = HEADER + b"".join(one.pack() for one in self._world.followed.get(self._name, ()))
        child = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert child.stdin is not None
        child.stdin.write(octets)
        child.stdin.flush()
        return child

    def start_daemon(self, argv: Sequence[str], name: str) -> FakeDaemon:
        self._world.step(f"{self._name} start {name}")
        return FakeDaemon(self._world, name)

    def run(self, command: str, timeout_s: float = 30.0) -> CompletedCommand:
        if "on a machine" in command:
            return CompletedCommand(command, "/dev/sdb\n", "", 0)
        self._world.step(f"{self._name} run {command}")
        if command == REREAD:
            answer = self._world.answers.get(command)
            return CompletedCommand(command, answer or self._world.reread(), "", answer == "gone")
        return CompletedCommand(command, f"kernel log of {self._name}\n", "", 0)

    def check(self, command: str, timeout_s: float) -> CompletedCommand:
        self._world.step(f"{self._name} check {command}")
        answer = self._world.answers.get(command)
        if answer is None and command == MEDIUM:
            ranges = json.loads(self._world.told["/run/rig-ranges.json"])
            found = [run for lba, _ in ranges for run in self._world.read(lba, lba)]
            answer = msgspec.json.encode(found).decode()
        elif answer is None:
            answer = "".join(msgspec.json.encode(x).decode() + "\n" for x in self._world.journal)
        return CompletedCommand(command, answer, "", 0)


class FakeLab:
    """A lab whose machines are a `World`."""

    def __init__(self, world: World, directory: Path) -> None:
        self._world = world
        self._directory = directory
        self.private = directory.parent / "private"
        self.disk = ""
        self.boot_retries = 0
        self.setup: Setup | None = None
        self.back, self.front = FakeMachine(world, "back"), FakeMachine(world, "front")
        self.client = self.front
        self.strategy = SimpleNamespace(
            machines={},
            daemons={},
            crew=SimpleNamespace(former=[]),
            powering=SimpleNamespace(check_able=lambda *_: None, unit=lambda _: Guest),
            controller="vhci_hcd",
            client=Role.FRONT,
        )

    def transition(self, state: str) -> None:
        self.boot_retries = 1
        self._world.step(f"transition {state}")
        for role, machine in ((Role.BACK, self.back), (Role.FRONT, self.front)):
            (self._directory / role).mkdir(exist_ok=True)
            self.strategy.machines[role] = machine
        if state == "attached":
            assert self.setup is not None
            self.disk = "/dev/sda"
            names = ("gadget", "back", "front", *(("link",) if self.setup.link else ()))
            self.strategy.daemons = {n: FakeDaemon(self._world, n) for n in names}


class Stage:
    """One run in a `World`."""

    def __init__(self, world: World, image: GuestImage, out: Path) -> None:
        self.world = world
        self.image = image
        self.out = out
        self.labs: list[FakeLab] = []
        self.killed: list[str] = []
        self.closing: Callable[[], None] = lambda: None

    @contextmanager
    def open(self, image: GuestImage, directory: Path, **_: object) -> Iterator[FakeLab]:
        """Stands for `Lab.open`."""
        assert (image, directory) == (self.image, self.out)
        self.labs.append(FakeLab(self.world, directory))
        former = [FakeDaemon(self.world, name) for name in self.killed]
        self.labs[-1].strategy.crew.former += former
        try:
            yield self.labs[-1]
        finally:
            self.closing()
            self.world.log.append("close")

    def run(self, plan: str = PLAN, **more: Any) -> Verdict:
        self.out.parent.joinpath("plan.toml").write_text(plan)
        wished = check_wishes(str(self.out.parent / "plan.toml"), "ext4,vfat", "6.12", None)
        options = RunOptions(
            wished.plan, wished.plan_text, wished.file_systems, "6.12", bytes_each=4096, **more
        )
        directory, verdict = story.run(options, self.out, Silent())
        assert directory.path == self.out
        return verdict

    def kept(self) -> Verdict:
        """The verdict as the run directory has it."""
        return msgspec.json.decode((self.out / "verdict.json").read_bytes(), type=Verdict)


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    stage = Stage(World(), make_image(tmp_path), tmp_path / "out")
    monkeypatch.setattr(story, "Lab", stage)
    monkeypatch.setattr(story, "basis", lambda kernel, progress: (stage.image, "tcg"))
    return stage


def failing(number: int, error: BaseException) -> Callable[[int, str], None]:
    def fail(at: int, step: str) -> None:
        if at == number:
            raise error

    return fail


def test_a_run_goes_step_by_step_and_passes(stage: Stage) -> None:
    verdict = stage.run()
    assert stage.world.log == STORY + ENDING
    assert (verdict.verdict, verdict.reasons) == (Outcome.PASS, ())
    for view in ("host", "medium", "arrival"):
        assert {c: n for c, n in verdict.views[view].items() if n} == {"ok": 2 * COUNT}


CUT = """
[[fault]]
name = "snap"
layer = "link"
effect = "cut"
nth = 9
"""
PROBE = "front run dd if=/dev/sdb of=/dev/null bs=4096 count=1 iflag=direct"


def test_a_link_that_may_break_has_a_relay_and_its_disk_is_followed(stage: Stage) -> None:
    world = stage.world
    world.planned["link"] = {"snap": 1}
    world.fired["snap"] = 1
    verdict = stage.run(PLAN + CUT)

    setup = stage.labs[0].setup
    assert setup is not None
    assert setup.link[:4] == ("rig", "link", "--listen", "10.77.0.1:7205")
    behind = setup.link[setup.link.index("--connect") + 1]
    assert setup.back[setup.back.index("--listen") + 1] == behind == "127.0.0.1:7206"
    log = [step for step in world.log if not step.startswith("link")]
    assert (
        log
        == [
            after
            for step in STORY
            for after in (
                [PROBE, "workload follow", step]
                if step in ("workload map ext4", "workload map vfat", "workload check ext4")
                else [step, PROBE, "workload follow"]
                if "read_back" in step
                else [step]
            )
        ]
        + ENDING
    )
    assert verdict.verdict is Outcome.PASS, verdict.reasons
    assert verdict.faults.fired == 3


def test_the_disk_is_followed_too_where_a_fault_that_takes_it_away_was_added_by_hand(
    stage: Stage,
) -> None:
    added = {"event": "control", "t": time.time(), "do": "add", "layer": "device", "rules": ["x"]}
    stage.world.events["gadget"] = [added]
    assert stage.run().verdict is Outcome.PASS
    assert "workload follow" in stage.world.log


HANG = {
    "event": "fault",
    "t": time.time(),
    "layer": "medium",
    "rule": "refuses",
    "match": 1,
    "effect": "hang",
    "sequence": 4,
    "process": "store",
}


def test_the_disk_is_followed_too_where_the_medium_hung(stage: Stage) -> None:
    stage.world.events["gadget"] = [HANG]
    assert stage.run().verdict is Outcome.PASS
    assert "workload follow" in stage.world.log


def test_a_gadget_that_died_is_named_at_once_and_not_the_disk_that_is_missing(
    stage: Stage,
) -> None:
    world = stage.world
    world.events["gadget"] = [HANG]

    def die(number: int, step: str) -> None:
        if step == "workload write ext4":
            world.dead.add("gadget")

    world.fails = die
    verdict = stage.run()
    assert verdict.verdict is Outcome.INFRASTRUCTURE
    assert verdict.reasons == ("Daemon 'gadget' has ended.",)
    assert not [step for step in world.log if "on a machine" in step or "map" in step]


def test_a_daemon_that_dies_while_the_disk_is_looked_for_is_named(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = stage.world
    world.events["gadget"] = [HANG]
    monkeypatch.setattr(disturbance, "LOOK_S", 0.0)

    def find(self: object, deadline_s: float) -> str:
        world.dead.add("gadget")
        raise MachineError("Machine 'front' did not show the disk.")

    monkeypatch.setattr(UsbStorage, "find", find)
    assert stage.run().reasons == ("Daemon 'gadget' has ended.",)


def test_a_reason_that_is_not_the_missing_disk_is_told_at_once(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.world.events["gadget"] = [HANG]

    def find(self: object, deadline_s: float) -> str:
        raise MachineError("Machine 'front' is lost.")

    monkeypatch.setattr(UsbStorage, "find", find)
    assert stage.run().reasons == ("Machine 'front' is lost.",)


def test_what_a_disk_that_went_away_left_open_is_written_again(stage: Stage) -> None:
    world = stage.world
    world.planned["link"] = {"snap": 1}
    world.fired["snap"] = 1
    world.moves = 1
    world.outcome = {"stopped": "The device is gone.", "given_up_blocks": 3}
    verdict = stage.run(PLAN + CUT)
    assert world.log.count("workload write_again ext4") == 1
    assert world.log.count("workload write_again vfat") == 0
    # What was not lost with the disk is not written again.
    assert len([r for r in verdict.reasons if "did not write all" in r]) == 1
    assert "vfat" in verdict.reasons[0]


def test_what_was_read_while_the_disk_went_away_is_read_again(stage: Stage) -> None:
    world = stage.world
    world.planned["link"] = {"snap": 1}
    world.fired["snap"] = 1
    world.moves = 4  # in both writes, before the check, and in the first reading
    world.outcome = {"stopped": "", "given_up_blocks": 0}

    def lose(number: int, step: str) -> None:
        if step == "workload read_back ext4" and world.moves == 1:
            raise CommandFailure("No such device.")

    world.fails = lose
    stage.run(PLAN + CUT)
    assert world.log.count("workload read_back ext4") == 2
    assert world.log.count("workload read_back vfat") == 1


def test_a_file_system_that_can_never_be_read_is_told(stage: Stage) -> None:
    world = stage.world
    world.planned["link"] = {"snap": 1}
    world.moves = 99

    def lose(number: int, step: str) -> None:
        if "read_back" in step:
            raise CommandFailure("No such device.")

    world.fails = lose
    verdict = stage.run(PLAN + CUT)
    assert verdict.verdict is Outcome.INFRASTRUCTURE
    assert world.log.count("workload read_back ext4") == READINGS


def test_a_run_leaves_a_complete_directory(stage: Stage) -> None:
    verdict = stage.run()
    assert stage.kept() == verdict
    files = {str(path.relative_to(stage.out)) for path in stage.out.rglob("*") if path.is_file()}
    assert files == {
        *("plan.toml", "seed", "verdict.json", "summary.txt", "journal.jsonl", "ranges.json"),
        *(
            "back/kernel.log",
            "back/urbs.bin",
            "front/kernel.log",
            "front/urbs.bin",
            "trace.jsonl",
            "files.json",
        ),
        "station/machine-faults.events.jsonl",
    }
    assert (stage.out / "plan.toml").read_text() == PLAN
    assert (stage.out / "seed").read_text() == "5\n"
    assert (stage.out / "front" / "kernel.log").read_text() == "kernel log of front\n"


def test_the_verdict_tells_what_was_run(stage: Stage) -> None:
    verdict = stage.run()
    assert (verdict.plan, verdict.seed, verdict.policy) == ("mine", 5, "hold")
    assert (verdict.kernel, verdict.accelerator) == (stage.image.kernel_version, "tcg")
    assert (verdict.attachment, verdict.link) == ("dummy", "tcp")
    assert (verdict.file_systems, verdict.boot_retries) == (("ext4", "vfat"), 1)
    told = [(r.rule, r.layer, r.planned, r.fired) for r in verdict.faults.rules]
    assert told == [("cut", "endpoint", 1, 1), ("refuses", "medium", 1, 1)]


def test_each_part_has_its_time_and_the_total_covers_them(stage: Stage) -> None:
    times = dict(stage.run().durations_s)
    total = times.pop("total")
    assert set(times) == {
        *("boot", "attach", "make file systems", "write ext4", "write vfat"),
        *("check and remount", "read back ext4", "read back vfat", "unmount"),
        *("look at the medium", "judge"),
    }
    assert total >= sum(times.values()) - 0.01 * len(times)  # each is rounded


def test_the_machines_get_the_plan_and_its_seed(stage: Stage) -> None:
    stage.run()
    setup = stage.labs[0].setup
    assert setup is not None
    assert stage.world.told["/var/lib/rig/plan.toml"] == PLAN
    for command in (setup.gadget, setup.back):
        assert " ".join(command).endswith("--plan /var/lib/rig/plan.toml --seed 5 --supervised")


def test_both_ends_get_the_policy_and_the_verdict_names_it(stage: Stage) -> None:
    verdict = stage.run(recovery=check_recovery("aca", "EAGAIN", 1))

    setup = stage.labs[0].setup
    assert setup is not None
    assert "--policy aca --aca-status EAGAIN" in " ".join(setup.back)
    assert "--policy aca" in " ".join(setup.front)
    assert verdict.policy == "aca (EAGAIN)"
    assert "policy aca (EAGAIN)" in (stage.out / "summary.txt").read_text()


def test_a_daemon_that_is_away_when_something_is_promised_is_no_failure(stage: Stage) -> None:
    number = STORY.index("back phase write/promised")
    stage.world.fails = failing(number, MachineError("Daemon 'back' ended."))

    verdict = stage.run()

    assert verdict.verdict is Outcome.PASS
    assert stage.world.log[: len(STORY)] == STORY


def test_a_trace_tells_the_first_promise_if_a_rule_waits_for_it(stage: Stage) -> None:
    stage.run(PLAN.replace('op = "write"', 'op = "write"\nphase = "write/promised"'))

    notes = [line.what for line in read_trace(stage.out / "trace.jsonl") if line.event == "note"]
    assert notes == [{"text": "An fsync has returned: phase 'write/promised' begins."}]


@pytest.mark.parametrize("number", range(len(STORY)), ids=STORY)
def test_a_machine_that_fails_in_any_step_is_an_infrastructure_verdict(
    stage: Stage, number: int
) -> None:
    error = CommandFailure("The machine coughed.", hint="Give it tea.")
    stage.world.fails = failing(number, error)

    verdict = stage.run()

    assert verdict.verdict is Outcome.INFRASTRUCTURE
    assert verdict.reasons == ("The machine coughed. Give it tea.",)
    assert (verdict.views, verdict.findings, sum(verdict.sectors.values())) == ({}, (), 0)
    assert verdict.boot_retries == 1
    # Nothing further was done, but to keep the logs of machines that are up.
    assert stage.world.log[: number + 1] == STORY[: number + 1]
    attached = number > STORY.index("transition attached")
    ending = [step for step in ENDING if attached or "urbs" not in step]
    assert stage.world.log[number + 1 :] == (ending if number else ["close"])
    assert stage.kept() == verdict
    for name in ("plan.toml", "seed", "summary.txt"):
        assert (stage.out / name).stat().st_size > 0
    assert "The machine coughed." in (stage.out / "summary.txt").read_text()


def test_a_failed_part_has_its_time_too(stage: Stage) -> None:
    stage.world.fails = failing(STORY.index("workload write vfat"), MachineError("Gone."))
    assert {"write vfat", "total"} <= set(stage.run().durations_s)


def test_a_lost_machine_is_not_asked_for_its_log(stage: Stage) -> None:
    def lose(number: int, step: str) -> None:
        if step == "workload write ext4":
            loss = LostVMError("Machine 'front' panicked.")
            stage.labs[0].front.health.lose(loss)
            raise loss

    stage.world.fails = lose
    assert stage.run().verdict is Outcome.INFRASTRUCTURE
    assert stage.world.log[-2:] == [URBS["back"][-1], "close"]
    assert not (stage.out / "front" / "kernel.log").exists()


def test_a_kernel_log_that_cannot_be_read_changes_no_verdict(stage: Stage) -> None:
    stage.world.fails = failing(len(STORY), MachineError("No answer."))
    assert stage.run().verdict is Outcome.PASS
    log = (stage.out / "back" / "kernel.log").read_text()
    assert log == "could not be read: No answer.\n"
    assert (stage.out / "front" / "kernel.log").read_text() == "kernel log of front\n"


@pytest.mark.parametrize("number", [0, 7, len(STORY) - 1])
def test_an_interruption_closes_the_lab_and_goes_on(stage: Stage, number: int) -> None:
    stage.world.fails = failing(number, KeyboardInterrupt())
    stage.world.events["gadget"] = [HANG]
    with pytest.raises(KeyboardInterrupt):
        stage.run()
    assert stage.world.log[-1] == "close"
    assert not (stage.out / "verdict.json").exists()
    # What had fired by then is told, and no machine was asked for it.
    told = [line.rule for line in read_trace(stage.out / "trace.jsonl") if line.event == "fault"]
    assert told == (["refuses"] if number > STORY.index("transition attached") else [])


@pytest.mark.parametrize("error", [None, MachineError("The machine coughed.")])
def test_what_daemons_tell_when_they_end_is_in_the_trace_however_the_run_ended(
    stage: Stage, error: MachineError | None
) -> None:
    world = stage.world
    world.events["gadget"] = [HANG]
    released = {
        "event": "released",
        "t": time.time(),
        "layer": "medium",
        "rule": "refuses",
        "sequence": 4,
        "waited_s": 1.5,
        "by": "end",
        "process": "store",
    }
    stage.closing = lambda: world.events["gadget"].append(released)
    if error is not None:
        world.fails = failing(STORY.index("workload map vfat"), error)
    stage.run()
    told = [line.event for line in read_trace(stage.out / "trace.jsonl") if line.rule == "refuses"]
    assert told == ["fault", "released"]


def test_a_rule_that_did_not_fire_leaves_the_verdict_open(stage: Stage) -> None:
    stage.world.fired["refuses"] = 0
    verdict = stage.run()
    assert verdict.verdict is Outcome.INDETERMINATE
    (reason,) = verdict.reasons
    assert reason.startswith("Fault 'refuses' fired 0 times of 1: it waits for match 3")
    assert (verdict.faults.planned, verdict.faults.fired) == (2, 1)


@pytest.mark.parametrize(
    ("outcome", "why"),
    [
        ({"stopped": "The disk is gone.", "given_up_blocks": 3}, "The disk is gone"),
        ({"stopped": "", "given_up_blocks": 3}, "some blocks could not be confirmed"),
    ],
)
def test_a_workload_that_did_not_write_all_leaves_the_verdict_open(
    stage: Stage, outcome: dict[str, object], why: str
) -> None:
    stage.world.outcome = outcome
    verdict = stage.run()
    assert verdict.verdict is Outcome.INDETERMINATE
    assert len(verdict.reasons) == 2
    assert verdict.reasons[0].startswith(f"The workload on ext4 did not write all: {why}")
    # What was written is judged all the same.
    assert verdict.views["host"][SectorClass.OK] == 2 * COUNT


def test_a_damaged_file_system_fails_the_run(stage: Stage) -> None:
    stage.world.checks["vfat"] = {"clean": False, "status": 1, "output": "FATs differ."}
    verdict = stage.run()
    assert (verdict.verdict, verdict.reasons) == (
        Outcome.FAIL,
        ("vfat is damaged: FATs differ.",),
    )
    assert [(check.fs, check.clean) for check in verdict.checks] == [
        ("ext4", True),
        ("vfat", False),
    ]
    # It may not even be mounted; the others are read.
    assert "workload read_back vfat" not in stage.world.log
    assert "workload read_back ext4" in stage.world.log


def test_sectors_swapped_before_reading_back_fail_and_both_are_named(stage: Stage) -> None:
    def swap(lab: object, files: FileMap) -> None:
        assert stage.world.log[-1] == "workload check vfat"
        assert files.ranges == [(1000, COUNT), (2000, COUNT)]
        disk = stage.world.disk
        disk[1001], disk[2005] = disk[2005], disk[1001]

    verdict = stage.run(interfere=swap)

    assert verdict.verdict is Outcome.FAIL
    found = {(f.view, f.lba, f.belongs_lba) for f in verdict.findings}
    assert found == {(v, *p) for v in ("host", "medium") for p in ((1001, 2005), (2005, 1001))}
    assert verdict.sectors[SectorClass.MISDIRECTED] == 4
    assert {f.guilty for f in verdict.findings} == {Guilty.MEDIUM}
    assert {reason.partition(",")[0] for reason in verdict.reasons} == {"Host and medium views"}
    again = {f.view: f.reread for f in verdict.findings}
    assert again == {"host": Reread.MEDIUM_TOO, "medium": None}


def unreadable_once(stage: Stage) -> None:
    """Let the host's first reading of ext4's file end in an error; the second shows all."""
    read, seen = stage.world.read, []

    def fails_first(lba: int, first: int) -> list[Run]:
        seen.append(lba)
        return [Run(0, COUNT, SectorKind.UNREADABLE)] if len(seen) == 1 else read(lba, first)

    stage.world.read = fails_first  # type: ignore[method-assign]


def test_what_could_not_be_read_and_is_right_again_is_no_finding(stage: Stage) -> None:
    unreadable_once(stage)
    verdict = stage.run()
    assert f"front run {REREAD}" in stage.world.log
    assert verdict.verdict is Outcome.PASS


def test_the_model_is_made_once_for_both_looks(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Model] = []

    def counted(*args: Any) -> Model:
        made.append(model_of(*args))
        return made[-1]

    monkeypatch.setattr(exercise, "model_of", counted)
    unreadable_once(stage)
    assert stage.run().verdict is Outcome.PASS
    assert len(made) == 1


def test_without_a_second_look_the_first_counts(stage: Stage) -> None:
    unreadable_once(stage)
    stage.world.answers[REREAD] = "gone"
    verdict = stage.run()
    assert verdict.verdict is Outcome.FAIL
    assert [(f.sector_class, f.reread) for f in verdict.findings] == [("unreadable", None)]


def test_a_write_that_arrives_elsewhere_fails_although_it_was_repaired(stage: Stage) -> None:
    def misdirect(number: int, step: str) -> None:
        if step == "workload write vfat":
            good = stage.world.journal[0]
            assert isinstance(good, Access)
            moved = [Run(2000, COUNT, good.runs[0].kind, good.runs[0].stamp)]
            stage.world.journal.append(Access(1, 1, "write", 2000, COUNT, 0, moved))

    stage.world.fails = misdirect
    verdict = stage.run()
    assert verdict.verdict is Outcome.FAIL
    assert {f.view for f in verdict.findings} == {"arrival"}
    assert verdict.views["medium"][SectorClass.OK] == 2 * COUNT


def test_reads_and_flushes_of_the_journal_are_no_arrivals(stage: Stage) -> None:
    def access(number: int, step: str) -> None:
        if step == "workload check vfat":
            # As a write, this would be zeros that arrive over confirmed data.
            zeros = [Run(1000, COUNT, SectorKind.ZERO)]
            stage.world.journal.append(Access(2, 1, "read", 1000, COUNT, 0, zeros))
            stage.world.journal.append(Access(3, 1, "flush", 0, 0))

    stage.world.fails = access
    verdict = stage.run()
    assert (verdict.verdict, verdict.reasons) == (Outcome.PASS, ())
    assert sum(verdict.views["arrival"].values()) == 2 * COUNT


@pytest.mark.parametrize("torn", [False, True])
def test_a_damaged_journal_proves_nothing_about_data(stage: Stage, torn: bool) -> None:
    stage.world.journal = [JournalDamage("A record's magic is missing.", 77, 9, torn)]
    verdict = stage.run()
    assert verdict.verdict is Outcome.INFRASTRUCTURE
    assert verdict.reasons == (
        "The store's journal is damaged at octet 77: A record's magic is missing.",
    )
    assert '"position":77' in (stage.out / "journal.jsonl").read_text()


@pytest.mark.parametrize("command", [MEDIUM, JOURNAL], ids=["medium", "journal"])
@pytest.mark.parametrize("answer", ["Segmentation fault\n", "{}\n", '[["a"]]\n'])
def test_an_answer_without_sense_is_an_infrastructure_verdict(
    stage: Stage, command: str, answer: str
) -> None:
    stage.world.answers[command] = answer
    verdict = stage.run()
    assert verdict.verdict is Outcome.INFRASTRUCTURE
    assert verdict.reasons[0].startswith("A machine's answer is not what it must be: ")
    assert stage.kept() == verdict


def test_a_ledger_that_contradicts_itself_is_an_infrastructure_verdict(stage: Stage) -> None:
    entries = as_json([WriteReturned(1, 99)])
    stage.world.daemon_events.append({"event": "ledger", "fs": "ext4", "entries": entries})
    verdict = stage.run()
    assert verdict.verdict is Outcome.INFRASTRUCTURE
    assert verdict.reasons == ("Write 99 of file 1 ends, but is not in flight.",)


def test_an_image_that_cannot_be_built_leaves_no_run_directory(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(kernel: str, progress: object) -> GuestImage:
        raise LaunchFailure("There is no mirror.")

    monkeypatch.setattr(story, "basis", fail)
    with pytest.raises(LaunchFailure, match="no mirror"):
        stage.run()
    assert not stage.out.exists()
    assert stage.world.log == []


def test_a_used_run_directory_is_refused_before_an_image_is_built(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = []
    monkeypatch.setattr(story, "basis", lambda kernel, progress: built.append(kernel))
    RunDirectory.create("mine", stage.out).write("mine", "")
    with pytest.raises(UserError, match="is not empty"):
        stage.run()
    assert built == []


def test_views_that_show_less_than_was_promised_prove_nothing(stage: Stage) -> None:
    stage.world.answers[JOURNAL] = ""
    verdict = stage.run()
    assert (verdict.verdict, verdict.reasons) == (
        Outcome.INDETERMINATE,
        (f"The arrival view shows 0 of {2 * COUNT} stamped sectors.",),
    )


def test_a_journal_that_lacks_a_record_is_not_believed(stage: Stage) -> None:
    def lose(number: int, step: str) -> None:
        if step == "workload check vfat":
            del stage.world.journal[0]

    stage.world.fails = lose
    verdict = stage.run()
    assert (verdict.verdict, verdict.reasons) == (
        Outcome.INFRASTRUCTURE,
        ("The store's journal has no record 0.",),
    )


def test_daemons_that_do_not_know_the_plans_faults_prove_nothing(stage: Stage) -> None:
    stage.world.planned["gadget"] = {}
    verdict = stage.run()
    assert (verdict.verdict, verdict.reasons) == (
        Outcome.INFRASTRUCTURE,
        ("The daemons do not know the faults of the plan.",),
    )


def test_a_rule_that_was_added_by_hand_is_told_and_nothing_was_planned_of_it(stage: Stage) -> None:
    stage.world.planned["gadget"]["by-hand"] = 3
    stage.world.fired["by-hand"] = 1
    verdict = stage.run()
    assert verdict.verdict is Outcome.PASS
    told = {rule.rule: (rule.layer, rule.planned, rule.fired) for rule in verdict.faults.rules}
    assert told["by-hand"] == ("medium", 1, 1)
    assert told["cut"][0] == "endpoint"


def test_all_that_fired_is_in_the_trace_also_of_a_run_that_fails(stage: Stage) -> None:
    told = {"event": "fault", "t": time.time(), "layer": "medium", "rule": "refuses", "match": 3}
    stage.world.events["gadget"] = [{**told, "process": "store", "errno": 5}]

    def lose(number: int, step: str) -> None:
        if step == "workload unmount ext4":
            raise MachineError("It is gone.")

    stage.world.fails = lose
    assert stage.run().verdict is Outcome.INFRASTRUCTURE
    lines = read_trace(stage.out / "trace.jsonl")
    assert fired(lines) == {"back/store": [("refuses", 3)]}
    assert {line.machine for line in lines if line.event == "clock"} == {"back", "front"}


def test_a_crash_that_is_still_being_told_is_the_reason(stage: Stage, tmp_path: Path) -> None:
    def miss(number: int, step: str) -> None:
        if step == "workload unmount ext4":
            front = stage.labs[0].front
            front.console = Console("front", tmp_path / "console.log", front.health)
            front.console.feed(b"Kernel panic - not syncing: Fatal\n")
            threading.Timer(0.05, front.console.end, ["It was reset."]).start()
            raise MachineError("Daemon 'workload' on 'front' ended.")

    stage.world.fails = miss
    verdict = stage.run()
    assert verdict.verdict is Outcome.INFRASTRUCTURE
    assert "crashed: Kernel panic - not syncing: Fatal" in verdict.reasons[0]


def test_a_machine_that_dies_when_all_is_done_is_noticed(stage: Stage) -> None:
    def lose(number: int, step: str) -> None:
        if step == "workload stop":
            stage.labs[0].front.health.lose(LostVMError("Machine 'front' panicked."))

    stage.world.fails = lose
    verdict = stage.run()
    assert (verdict.verdict, verdict.reasons) == (
        Outcome.INFRASTRUCTURE,
        ("Machine 'front' panicked.",),
    )


def test_a_lab_that_stays_is_given_back_with_nothing_attached(stage: Stage, tmp_path: Path) -> None:
    (tmp_path / "plan.toml").write_text(PLAN)
    wished = check_wishes(str(tmp_path / "plan.toml"), "ext4,vfat", "6.12", None)
    options = dataclasses.replace(wished, bytes_each=4096)
    stage.out.mkdir()
    lab = FakeLab(stage.world, stage.out)
    told = story.Story(options, RunDirectory(stage.out), Silent())
    verdict = told.tell(stage.image, "tcg", lab)  # type: ignore[arg-type]
    assert verdict.verdict is Outcome.PASS
    forget = "back check rm -rf /var/lib/rig/gadget"
    clear = ["back check dmesg --clear", "front check dmesg --clear"]
    assert stage.world.log == [forget, *clear, *STORY, *ENDING[:-1], "transition booted", forget]


REFUSED = {"refused": "[Errno 5] Input/output error: '/run/rig/mnt/ext4'", "known": []}


def refusing(world: World, *steps: str) -> None:
    """Have the host refuse steps, as often as they are named."""
    left = list(steps)

    def refuse(number: int, step: str) -> None:
        if step in left:
            left.remove(step)
            world.refuses = True

    world.fails = refuse


def test_a_file_system_that_was_given_up_is_mounted_anew_and_judged(stage: Stage) -> None:
    refusing(stage.world, "workload map ext4")
    verdict = stage.run()
    assert verdict.verdict is Outcome.PASS, verdict.reasons
    at = stage.world.log.index("workload map ext4")
    steps = [PROBE, "workload follow", "workload revive ext4", "workload map ext4"]
    assert stage.world.log[at + 1 : at + 5] == steps


def test_one_whose_disk_had_gone_unseen_is_followed(stage: Stage) -> None:
    stage.world.moves = 1
    refusing(stage.world, "workload map ext4")
    assert stage.run().verdict is Outcome.PASS
    assert "workload follow" in stage.world.log
    assert "workload revive ext4" not in stage.world.log


@pytest.mark.parametrize(
    "steps",
    [
        ("workload map ext4", "workload revive ext4"),
        ("workload map ext4", "workload map ext4"),
        ("workload check ext4", "workload check ext4"),
        ("workload check ext4", "workload revive ext4"),
    ],
)
def test_one_that_cannot_be_mounted_anew_is_indeterminate_and_the_others_are_judged(
    stage: Stage, steps: tuple[str, ...]
) -> None:
    refusing(stage.world, *steps)
    verdict = stage.run()
    assert verdict.verdict is Outcome.INDETERMINATE
    assert "ext4 was given up by the host: [Errno 5]" in verdict.reasons[0]
    assert len(verdict.reasons) == 1
    assert [check.fs for check in verdict.checks] == ["vfat"]
    assert "workload read_back ext4" not in stage.world.log
    assert verdict.views["host"][SectorClass.OK] == COUNT


def test_a_file_system_that_cannot_be_made_is_told_and_the_other_one_is_used(stage: Stage) -> None:
    stage.world.prepared = [{"fs": "ext4", "refused": "'mkfs.ext4' ended with status 1: no."}]
    verdict = stage.run()
    assert verdict.verdict is Outcome.INDETERMINATE
    assert verdict.reasons == (
        "ext4 was given up by the host: it could not be made: 'mkfs.ext4' ended with status 1: no.",
    )
    assert "workload write ext4" not in stage.world.log


def test_a_call_that_never_returns_is_no_failure_of_the_rig(stage: Stage) -> None:
    stage.world.fails = failing(
        STORY.index("workload write vfat"), NoAnswerError("No reply in 300 s.")
    )
    verdict = stage.run()
    assert verdict.verdict is Outcome.INDETERMINATE, verdict.reasons
    assert "'write vfat' did not return in 300 s" in verdict.reasons[0]
    # The medium was looked at all the same.
    assert verdict.views["medium"][SectorClass.OK] == COUNT


def test_what_was_promised_is_read_before_it_is_written_again(stage: Stage) -> None:
    world = stage.world
    world.planned["link"] = {"snap": 1}
    world.fired["snap"] = 1
    world.moves = 1
    world.outcome = {"stopped": "The device is gone.", "given_up_blocks": 3}
    verdict = stage.run(PLAN + CUT)
    again = world.log.index("workload write_again ext4")
    assert "workload read_back ext4" in world.log[:again]
    (recovery,) = verdict.recoveries
    assert (recovery.fs, recovery.sectors) == ("ext4", {SectorClass.OK: COUNT})
    assert "After the disk had come back, ext4 had: ok 8" in (stage.out / "summary.txt").read_text()


def test_a_promise_that_was_broken_fails_the_run_also_if_it_is_overwritten_later(
    stage: Stage,
) -> None:
    world = stage.world
    world.planned["link"] = {"snap": 1}
    world.fired["snap"] = 1
    world.moves = 1
    world.outcome = {"stopped": "The device is gone.", "given_up_blocks": 3}
    right = dict(world.disk)

    def lose(number: int, step: str) -> None:
        if step == "workload write_again ext4":
            world.disk.update(right)
        elif step == "workload read_back ext4" and "workload write_again ext4" not in world.log:
            right.update(world.disk)
            world.disk[LBAS["ext4"]] = bytes(SECTOR_BYTES)

    world.fails = lose
    verdict = stage.run(PLAN + CUT)
    assert verdict.verdict is Outcome.FAIL
    assert verdict.reasons[0].startswith("After the disk had come back: ")
    assert verdict.recoveries[0].sectors[SectorClass.ZEROED] == 1


def test_a_stall_is_a_note_and_its_longest_wait_a_number(stage: Stage) -> None:
    task = {"pid": 9, "name": "jbd2", "for_s": 12.5, "stack": ["io_schedule+0x1/0x2"]}
    stage.world.daemon_events.append(
        {"event": "stalled", "t": time.time(), "step": "write ext4", "quiet_s": 15, "tasks": [task]}
    )
    verdict = stage.run()
    assert verdict.verdict is Outcome.PASS
    assert verdict.host.longest_d_state_s == 12.5
    assert "jbd2 (io_schedule)" in verdict.notes[0]
    assert verdict.notes[0] in (stage.out / "summary.txt").read_text()
    lines = read_trace(stage.out / "trace.jsonl")
    assert "stalled" in [line.event for line in lines]


def test_urbs_of_which_no_rule_was_broken_are_counted(stage: Stage) -> None:
    verdict = stage.run()
    assert verdict.watched == Watched(0)


def test_a_broken_rule_of_urbs_fails_a_run_whose_data_are_right(stage: Stage) -> None:
    up = UrbEvent(Kind.UP, Place.FRONT, 1)
    given = UrbEvent(Kind.GIVEBACK, Place.FRONT, 1, 7, 0x81)
    stage.world.urbs["front"] = [up, given]
    verdict = stage.run()
    assert verdict.verdict is Outcome.FAIL
    assert verdict.reasons[0].startswith("URBs, rule one-completion is broken: ")
    assert verdict.sectors[SectorClass.OK] == sum(verdict.sectors.values())


LONE = [UrbEvent(Kind.UP, Place.FRONT, 1), UrbEvent(Kind.GIVEBACK, Place.FRONT, 1, 7, 0x81)]
BROKEN = [
    UrbEvent(Kind.UP, Place.BACK, 1),
    UrbEvent(Kind.GIVEBACK, Place.BACK, 1, 7, 0x81, t_ns=1_700_000_000_000_000_000),
]


class Told(Silent):
    """Keeps notes."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.came = threading.Event()

    def note(self, text: str) -> None:
        self.notes.append(text)
        self.came.set()


def test_a_rule_that_is_broken_is_told_while_the_run_goes_on(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = Told()
    monkeypatch.setitem(globals(), "Silent", lambda: told)
    world = stage.world
    world.urbs["back"] = world.followed["back"] = BROKEN
    noted: list[str] = []

    def wait(_: int, step: str) -> None:
        if step == "workload prepare":
            assert told.came.wait(10)
            noted.extend(told.notes)

    world.fails = wait
    verdict = stage.run()
    (note,) = noted
    assert note.startswith("URBs, rule one-completion is broken at 22:13:20 UTC, back end: URB 7")
    assert told.notes == noted, "and not again when the whole logs are there"
    assert verdict.watched is not None
    assert [breach.urb for breach in verdict.watched.breaches] == [7]
    (line,) = [x for x in read_trace(stage.out / "trace.jsonl") if x.event == "broken"]
    assert (line.machine, line.what["broken"], line.what["urb"]) == ("back", "one-completion", 7)


def test_what_was_broken_before_a_daemon_was_killed_counts(stage: Stage) -> None:
    stage.world.followed["back"] = BROKEN
    stage.killed = ["back"]
    verdict = stage.run()
    assert verdict.verdict is Outcome.FAIL
    assert verdict.watched is not None
    assert len(verdict.watched.breaches) == 1


def test_what_has_come_of_a_log_stays_when_the_rest_does_not(stage: Stage) -> None:
    stage.world.followed["front"] = LONE

    def lose(_: int, step: str) -> None:
        if " get /run/rig-urbs.bin" in step:
            raise CommandFailure("The copy failed.")

    stage.world.fails = lose
    assert stage.run().watched is None
    assert len(list(read_events((stage.out / "front/urbs.bin").read_bytes()))) == len(LONE)


def test_a_damaged_log_is_no_verdict_on_the_data(stage: Stage) -> None:
    stage.world.followed["back"] = [UrbEvent(0, Place.BACK, 1)]  # type: ignore[arg-type]
    verdict = stage.run()
    assert verdict.verdict is Outcome.INFRASTRUCTURE
    assert "no meaning" in verdict.reasons[0]


REFUSES = PLAN[: PLAN.index("[[fault]]")] + PLAN[PLAN.rindex("[[fault]]") :]


def test_without_a_split_driver_of_ours_usbmon_keeps_a_log_if_asked_to(stage: Stage) -> None:
    stage.world.lost = 3
    verdict = stage.run(REFUSES, driver=PathName.USBIP, urbs=True)
    log = stage.world.log
    assert log.index("usbmon is ready") < log.index("transition attached")
    assert "usbmon urbs" in log
    assert (stage.out / "back/urbs.bin").exists()
    assert not (stage.out / "front/urbs.bin").exists()
    assert verdict.watched is None
    assert verdict.notes == ("usbmon has lost 3 events: chains may lack URBs.",)


def test_usbmon_is_left_alone_if_nobody_asks_for_it(stage: Stage) -> None:
    stage.run(REFUSES, driver=PathName.USBIP)
    assert not [step for step in stage.world.log if "urbs" in step or "usbmon" in step]


def test_logs_that_a_killed_daemon_began_are_not_judged(stage: Stage) -> None:
    stage.world.urbs["front"] = [UrbEvent(Kind.GIVEBACK, Place.FRONT, 1, 7, 0x81)]
    stage.killed = ["front"]
    verdict = stage.run()
    assert (verdict.verdict, verdict.watched) == (Outcome.PASS, None)


def test_what_fired_by_hand_in_a_daemon_that_is_no_more_is_counted(stage: Stage) -> None:
    stage.killed = ["back"]
    hand = {"event": "fault", "t": time.time(), "layer": "endpoint", "rule": "hand", "match": 1}
    stage.world.events["back"] = [hand, hand]
    told = {r.rule: (r.layer, r.planned, r.fired) for r in stage.run().faults.rules}
    assert told["hand"] == ("endpoint", 2, 2)
