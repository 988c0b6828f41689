"""A disk with several URBs in flight, mounted on a real kernel: in peace, and behind an error.

One pair of guests; dummy_hcd below the back end, which makes the errors.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from rig.experiments.run.scan_service import Access, JournalDamage, decode_lines
from rig.integrity.filesystems import file_system
from rig.integrity.stamp import SectorKind
from rig.lab.daemons import Event
from rig.lab.deepqueue import deep_queue
from rig.lab.environment import Link
from rig.lab.lab import Lab
from rig.lab.machine import Machine
from rig.lab.paths import PathName
from rig.lab.strategy import LabState, Setup
from rig.lab.waits import Awaited
from rig.splitdriver.policy import Policy
from rig.tests.conftest import LabKeeper
from rig.tests.harness import on_mount

pytestmark = [pytest.mark.vm, pytest.mark.timeout(300)]

DEADLINE_S = 100.0
FILE_BYTES = 1 << 20
STORE = "/var/lib/rig/deepqueue"
PLAN_ON_MACHINE = "/run/rig-deepqueue.toml"
ON_MOUNT = "/run/on_mount.py"
MOUNT = "/run/deepqueue"
MKFS = " ".join(file_system("ext4").mkfs)
PLAN = """
name = "deep-queue"
seed = 0
[[fault]]
name = "third-of-a-stage"
layer = "endpoint"
phase = "write"
direction = "out"
min_bytes = 16384
nth = 12
when = "before"
place = "port"
status = "EPROTO"
"""
"""The twelfth URB is the third of a data stage of eight, give or take what ext4 writes before."""


class Story(NamedTuple):
    """What became of a file that was written and read under one policy.

    Attributes:
        written: Its SHA-256, as it was written.
        read: The same as it was read, past the cache.
        wrong: Sectors that reached the medium at another LBA than they name.
        failures: Attempts of the client that failed.
        counters: Its counters.
        checked: The exit status of fsck.
    """

    written: str
    read: str
    wrong: int
    failures: list[Event]
    counters: dict[str, int]
    checked: int


def attach(lab: Lab, policy: Policy, path: PathName = PathName.SPLIT) -> None:
    """Bring the lab to where the disk is attached, and no driver waits for it."""
    lab.back.check(f"rm -rf {STORE}; cat >{PLAN_ON_MACHINE} <<'END'\n{PLAN}END")
    words = (*Link.TCP.options, "--supervised", "--policy", policy)
    plan = ("--plan", PLAN_ON_MACHINE)
    lab.setup = Setup(
        gadget=("rig", "gadget", "--directory", STORE, "--size", "32M", "--supervised"),
        back=("rig", "back", "--port", "dummy_hcd.0/1", "--listen", *words, *plan),
        front=("rig", "front", "--connect", *words),
        path=path,
        awaits=Awaited.NOTHING,
    )
    lab.transition(LabState.ATTACHED)
    lab.client.put(Path(on_mount.__file__), ON_MOUNT)


@contextmanager
def mounted(machine: Machine, block: str) -> Iterator[None]:
    machine.check(f"mkdir -p {MOUNT} && mount -o noatime {block} {MOUNT}", DEADLINE_S)
    try:
        yield
    finally:
        machine.check(f"umount {MOUNT}", DEADLINE_S)


def write(machine: Machine, run_id: int) -> str:
    """Write a stamped file; return its SHA-256."""
    command = f"python3 {ON_MOUNT} write {MOUNT}/file {FILE_BYTES} {run_id}"
    return machine.check(command, DEADLINE_S).stdout.split()[0]


def read(machine: Machine) -> str:
    """Read the file past the cache; return its SHA-256."""
    return machine.check(f"python3 {ON_MOUNT} read {MOUNT}/file", DEADLINE_S).stdout.split()[0]


def gone_astray(lab: Lab, run_id: int) -> int:
    """Count the sectors that arrived at another LBA than they name."""
    journal = lab.back.check(f"rig scan journal {STORE}/journal.bin", DEADLINE_S).stdout
    wrong = 0
    for line in decode_lines(journal):
        assert not isinstance(line, JournalDamage)
        if not isinstance(line, Access) or line.op != "write":
            continue
        for run in line.runs:
            stamp = run.stamp if run.kind is SectorKind.STAMP else None
            if stamp is not None and stamp.run_id == run_id and stamp.lba != run.sector:
                wrong += run.count
    return wrong


def tell(lab: Lab, policy: Policy) -> Story:
    """Write a file on ext4 while the third URB of a data stage fails, and read it."""
    run_id = 1000 + list(Policy).index(policy)
    attach(lab, policy)
    back = lab.strategy.daemons["back"]
    with deep_queue(lab.front) as client:
        block = client.wait_ready()
        lab.front.check(f"{MKFS} {block}", DEADLINE_S)
        with mounted(lab.front, block):
            back.ask("phase", name="write")
            written = write(lab.front, run_id)
            back.ask("phase", name=None)
            read_back = read(lab.front)
        checked = lab.front.run(f"e2fsck -f -n {block}", DEADLINE_S).status
        assert back.ask("faults")["fired"] == {"third-of-a-stage": 1}
        counters, failures = client.counters(), client.failed_attempts()
    lab.transition(LabState.BOOTED)
    return Story(written, read_back, gone_astray(lab, run_id), failures, counters, checked)


@pytest.fixture(scope="module")
def stories(lab_keeper: LabKeeper) -> dict[Policy, Story]:
    lab = lab_keeper.booted()
    return {policy: tell(lab, policy) for policy in (Policy.NAIVE, Policy.HOLD)}


@pytest.mark.parametrize("policy", [Policy.NAIVE, Policy.HOLD])
def test_a_retry_mends_what_a_failed_urb_did_to_a_file(
    stories: dict[Policy, Story], policy: Policy
) -> None:
    story = stories[policy]

    assert story.read == story.written
    assert story.checked == 0
    assert (story.counters["retries"], story.counters["failures"]) == (1, 0)
    (failure,) = story.failures
    assert failure["statuses"].count("-EPROTO") == 1
    assert failure["then"] == "recover"


def test_without_a_policy_pages_of_a_file_arrive_at_the_lbas_of_others(
    stories: dict[Policy, Story],
) -> None:
    story = stories[Policy.NAIVE]

    assert story.wrong >= 32  # an URB's, at least
    assert story.counters["ran_behind"] * 32 == story.wrong


def test_held_urbs_never_arrive_at_a_wrong_lba(stories: dict[Policy, Story]) -> None:
    story = stories[Policy.HOLD]

    assert (story.wrong, story.counters["ran_behind"]) == (0, 0)


@pytest.mark.nightly
def test_the_kernels_own_usb_ip_serves_it_too(booted_lab: Lab) -> None:
    attach(booted_lab, Policy.HOLD, PathName.USBIP)
    front = booted_lab.front
    with deep_queue(front, urbs=4, urb_bytes=32768) as client:
        block = client.wait_ready()
        front.check(f"{MKFS} {block}", DEADLINE_S)
        with mounted(front, block):
            assert write(front, 1) == read(front)


def test_a_disk_that_is_unplugged_ends_and_is_served_again_when_it_is_back(
    booted_lab: Lab,
) -> None:
    attach(booted_lab, Policy.HOLD)
    front, gadget = booted_lab.front, booted_lab.strategy.daemons["gadget"]
    with deep_queue(front) as client:
        block = client.wait_ready()
        front.check(f"{MKFS} {block}", DEADLINE_S)
        with mounted(front, block):
            written = write(front, 1)
            seen = len(client.daemon.events)
            gadget.ask("happen", effect="soft-disconnect", for_s=3.0)
            client.daemon.wait_event("gone", DEADLINE_S, seen, block=block)
            # Not cached, and not waited for: it fails.
            assert front.run(f"python3 {ON_MOUNT} read {MOUNT}/file", DEADLINE_S).status != 0
            again = client.wait_ready(DEADLINE_S)
            assert again != block  # like a disk's: who has the former one open keeps its name
        with mounted(front, again):
            assert read(front) == written


@pytest.mark.nightly
def test_a_client_that_is_killed_leaves_no_dead_block_device(booted_lab: Lab) -> None:
    attach(booted_lab, Policy.HOLD)
    front = booted_lab.front
    with deep_queue(front) as client:
        block = client.wait_ready()
        front.check(f"{MKFS} {block}", DEADLINE_S)
        with mounted(front, block):
            front.check(f"kill -9 {client.daemon.pid()}")
            assert front.run(f"echo x >{MOUNT}/x && sync {MOUNT}/x", DEADLINE_S).status != 0
    with deep_queue(front) as client:
        assert client.wait_ready() == block
