"""Correct runs on real kernels: what each does is a function of its number."""

from __future__ import annotations

import dataclasses
import random
from pathlib import Path

import msgspec

from rig.experiments.run.client import Client
from rig.experiments.run.options import RunOptions, check_wishes
from rig.integrity.filesystems import MIB, RAW
from rig.integrity.workloads.table import WORKLOADS

KERNEL = "6.12"
FILE_SYSTEMS = (
    *("ext4", "raw", "vfat", "exfat", "ext4", "raw"),
    *("xfs", "vfat", "btrfs", "exfat", "f2fs"),
)
"""In turn: all of them, those oftener that are made in a second or two."""
QUIET_EVERY, DEEP_QUEUE_EVERY = 5, 4
"""Every so manyth run is left in peace, or used by the client with many URBs in flight."""
WHEN = ("before", "middle", "after")
BUS_ERRORS = ("EPROTO", "EILSEQ", "ETIME")
BEFALLS = (
    'layer = "endpoint"\ndirection = "out"\nstage = "data"\nopcode = 0x2A\nphase = "write"\n'
    'nth = {soon}\nwhen = "{when}"\nstatus = "{status}"',
    'layer = "endpoint"\ndirection = "in"\nstage = "status"\nopcode = 0x2A\nphase = "write"\n'
    'nth = {soon}\nwhen = "{when}"\nstatus = "{status}"',
    'layer = "endpoint"\ndirection = "out"\nstage = "command"\nphase = "write"\n'
    'nth = {soon}\nwhen = "before"\nstatus = "{status}"',
    'layer = "endpoint"\ndirection = "in"\nstage = "data"\nopcode = 0x28\nphase = "read"\n'
    'nth = {first}\nwhen = "{when}"\nstatus = "{status}"',
    'layer = "endpoint"\ndirection = "out"\nstage = "data"\nopcode = 0x2A\nphase = "write"\n'
    'nth = {soon}\nwhen = "after"\nstatus = "EPIPE"\nhalt = true',
    'layer = "endpoint"\ndirection = "out"\nstage = "data"\nopcode = 0x2A\nphase = "write"\n'
    "nth = {soon}\nfor_s = 0.5",
    'layer = "medium"\nop = "write"\nphase = "write"\nnth = {late}\nerror = "EIO"',
    'layer = "medium"\nop = "write"\nphase = "write"\nnth = {late}\n'
    'effect = "delay"\ndelay_s = 0.5',
)
"""What a host and a correct split driver survive; each once, where the smallest workload gets."""


class CorrectRun(msgspec.Struct, frozen=True):
    """What one correct run does.

    Attributes:
        number: Of it, and the seed of plan and workload.
        plan: What befalls it, as text.
        file_system: What it writes on.
        workload: What it writes.
        client: Who uses the disk.
    """

    number: int
    plan: str
    file_system: str
    workload: str
    client: Client

    @property
    def name(self) -> str:
        """Of its directory, and of its line."""
        return f"vm/correct/{self.number}-{self.file_system}-{self.workload}"

    def options(self, directory: Path) -> RunOptions:
        """What is run.

        Args:
            directory: Gets the plan.
        """
        file = directory / "wanted.toml"
        file.write_text(self.plan)
        options = check_wishes(
            str(file),
            self.file_system,
            KERNEL,
            self.number,
            client=self.client,
            bytes_each=MIB,
            workloads=self.workload,
        )
        return dataclasses.replace(options, urbs=True)


def correct_run(number: int) -> CorrectRun:
    """Return what the run of this number does; the same at any time."""
    name = FILE_SYSTEMS[number % len(FILE_SYSTEMS)]
    workloads = [kind.name for kind in WORKLOADS.values() if name != RAW.name or kind.on_raw_device]
    deep = number % DEEP_QUEUE_EVERY == DEEP_QUEUE_EVERY - 1
    return CorrectRun(
        number,
        plan_of(number),
        name,
        workloads[number % len(workloads)],
        Client.DEEP_QUEUE if deep else Client.USB_STORAGE,
    )


def plan_of(number: int) -> str:
    """Return what befalls a run: one to three things out of `BEFALLS`, or nothing."""
    chance = random.Random(number)
    chosen = chance.sample(BEFALLS, chance.randint(1, 3)) if number % QUIET_EVERY else []
    rules = (
        rule.format(
            first=chance.randint(1, 3),
            soon=chance.randint(1, 5),
            late=chance.randint(3, 12),
            when=chance.choice(WHEN),
            status=chance.choice(BUS_ERRORS),
        )
        for rule in chosen
    )
    head = f'name = "correct-{number}"\nseed = {number}\n'
    return head + "".join(f"\n[[fault]]\n{rule}\n" for rule in rules)
