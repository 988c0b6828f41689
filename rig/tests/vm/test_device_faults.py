"""A device that misbehaves, and what Linux's usb-storage makes of it through the split driver.

One bulk-only disk for all: each rule of its plan has a phase of its own, in which one READ or WRITE
of 64 KiB meets it.  Every consequence is the front machine's: its log, the errno, how often the
command was sent.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from rig.experiments.run.places import STORE
from rig.lab.daemons import Daemon
from rig.lab.lab import Lab
from rig.lab.strategy import LabState, wait_for_disk
from rig.lab.waits import Awaited
from rig.tests.conftest import LabKeeper
from rig.tests.harness import halt_client
from rig.tests.harness.guests import node_of, split_setup, start_client

pytestmark = [pytest.mark.vm, pytest.mark.timeout(240)]

DEADLINE_S = 60.0
PLAN = "/run/rig-device-plan.toml"
SIZE = "16M"
AT = 4
"""In pieces of 64 KiB."""
PATTERN = "dd if=/dev/urandom of=/run/data bs=64k count=16 status=none"

READ, WRITE = 0x28, 0x2A
RESET = "reset high-speed USB device"
DISCONNECT = "USB disconnect"


@dataclass(frozen=True)
class Case:
    """A rule, and what the host makes of it.

    Attributes:
        keys: Of the rule.
        opcode: Of the command that meets it.
        says: What the kernel's log must say; "" for nothing at all.
        error: What dd says; "" if the command succeeded in the end.
        commands: How many the disk got meanwhile; 0: not asked.
        timeout_s: Of a SCSI command.  Short where it is waited for; where it is not, a busy station
            must not bring it about.
    """

    keys: str
    opcode: int = READ
    says: str = ""
    error: str = ""
    commands: int = 0
    timeout_s: int = 30


CASES: dict[str, Case] = {
    # Answers that BOT does not allow: usb-storage resets the device, and the command is retried.
    "csw-tag": Case('effect = "csw-tag"', says=RESET),
    "csw-signature": Case('effect = "csw-signature"', says=RESET),
    "csw-short": Case('effect = "csw-short"', says=RESET),
    "phase-error": Case('effect = "phase-error"', WRITE, says=RESET),
    "extra": Case('effect = "extra"', says=RESET),
    # No answer: the SCSI layer's time is over, and the device is reset.
    "csw-missing": Case('effect = "csw-missing"', says=RESET, timeout_s=2),
    "csw-empty": Case('effect = "csw-short"\nat_bytes = 0', says=RESET, timeout_s=2),
    "nak-for-ever": Case('effect = "nak"', says=RESET, timeout_s=2),
    # Recovered from without a reset: the halt is cleared; what is missing is asked for again.
    "csw-stall": Case('effect = "csw-stall"', commands=1),
    "stall-in": Case('effect = "stall"', commands=2),
    "stall-out": Case('effect = "stall"', WRITE, commands=2),
    "short": Case('effect = "short"', commands=2),
    "csw-residue": Case('effect = "csw-residue"', commands=2),
    "stall-failed": Case('effect = "stall"\nsense = [11, 0x47, 0]', WRITE, commands=3),
    "nak": Case('effect = "nak"\nfor_s = 0.5', commands=1),
    # Sense data decide whether there is a retry.
    "not-ready": Case('effect = "sense"\nsense = [2, 4, 1]\ntimes = 2', commands=5),
    "medium-error": Case(
        'effect = "sense"\nsense = [3, 0x11, 0]',
        says="critical medium error",
        error="No data available|Input/output error",
        commands=2,
    ),
    "write-protected": Case(
        'effect = "sense"\nsense = [7, 0x27, 0]',
        WRITE,
        says="Add. Sense: Write protected",
        error="Remote I/O error|Input/output error|Read-only",
        commands=2,
    ),
    "eject": Case(
        'effect = "eject"\nfor_s = 0.5', says="Add. Sense: Medium not present", error="error"
    ),
    # In the middle of a transfer.
    "unbind": Case('effect = "unbind"\nfor_s = 0.5', says=DISCONNECT, error="error"),
    "soft-disconnect": Case(
        'effect = "soft-disconnect"\nfor_s = 0.5', says=DISCONNECT, error="error"
    ),
}

READ_ONE = f"dd if=$1 of=/run/got bs=64k count=1 skip={AT} iflag=direct status=none"
WRITE_ONE = f"dd if=/run/data of=$1 bs=64k count=1 skip=$2 seek={AT} oflag=direct status=none"
# What was ejected is in again soon.
AGAIN = f"timeout 30 sh -c 'until {READ_ONE} 2>/dev/null; do sleep 0.1; done' sh $1"
SAME = f"{AGAIN} && cmp -n 65536 -i $(($2 * 65536)):0 /run/data /run/got"
MEET = f"""
echo $4 >/sys/block/${{1#/dev/}}/device/timeout
dmesg -C
if [ $3 = {WRITE} ]; then {WRITE_ONE}; else {READ_ONE}; fi >/run/said 2>&1
echo $? >/run/status
dmesg >/run/log
"""
"""Arguments: disk, piece of the pattern, operation code, SCSI timeout in seconds."""


def plan_text() -> str:
    """The plan with a rule, in its own phase, for each case."""
    cases = {**CASES, "halted": Case('effect = "nak"')}
    rules = (
        f'[[fault]]\nlayer = "device"\nname = "{name}"\nphase = "{name}"\n'
        f"opcode = {case.opcode}\n{case.keys}\nnth = 1\n"
        for name, case in cases.items()
    )
    return 'name = "device"\n' + "\n".join(rules)


class Site:
    """A lab with a disk that misbehaves."""

    def __init__(self, lab: Lab, directory: Path) -> None:
        self.lab = lab
        plan = directory / "plan.toml"
        plan.write_text(plan_text())
        lab.back.put(plan, PLAN)
        gadget = ("--function", "bot-storage", "--directory", STORE, "--size", SIZE)
        lab.setup = split_setup((*gadget, "--plan", PLAN), awaits=Awaited.DISK)
        lab.transition(LabState.ATTACHED)
        self.disk = lab.disk
        lab.front.check(f"{PATTERN} && dd if=/run/data of={self.disk} bs=64k oflag=direct")
        self.piece = AT  # of the pattern, that the disk has at AT

    @property
    def gadget(self) -> Daemon:
        return self.lab.strategy.daemons["gadget"]

    def commands(self) -> int:
        count: int = self.gadget.ask("status")["disk"]["commands"]
        return count

    def meet(self, name: str, case: Case) -> tuple[str, str, int]:
        """Send one command in a phase; return what dd and the kernel said, and how many went."""
        piece = self.piece + 1 if case.opcode == WRITE else self.piece
        self.gadget.ask("phase", name=name)
        before = self.commands()
        arguments = f"{self.disk} {piece} {case.opcode} {case.timeout_s}"
        self.lab.front.check(f"set -- {arguments}; {MEET}", DEADLINE_S)
        sent = self.commands() - before
        self.gadget.ask("phase", name=None)
        told = self.lab.front.check("cat /run/said; echo ----; cat /run/status /run/log").stdout
        said, _, rest = told.partition("----\n")
        status, _, log = rest.partition("\n")
        if case.opcode == WRITE and status == "0":
            self.piece = piece
        return said, log, sent

    def same(self) -> None:
        """The disk holds what was written last."""
        self.lab.front.check(f"set -- {self.disk} {self.piece}; {SAME}", DEADLINE_S)


@pytest.fixture(scope="module")
def site(lab_keeper: LabKeeper, tmp_path_factory: pytest.TempPathFactory) -> Site:
    return Site(lab_keeper.booted(), tmp_path_factory.mktemp("device"))


@pytest.mark.parametrize("name", CASES)
def test_the_host_recovers_or_is_told(site: Site, name: str) -> None:
    case = CASES[name]
    seen = len(site.gadget.events)

    said, log, commands = site.meet(name, case)

    fired = [event for event in site.gadget.events[seen:] if event["event"] == "fault"]
    assert {event["rule"] for event in fired} == {name}
    assert fired[0]["lba"] == AT * 128
    if case.error:
        assert re.search(case.error, said), said
    else:
        assert said == ""
    if case.says:
        assert case.says in log
    else:
        assert log == ""
    if case.commands:
        assert commands == case.commands
    if case.says == DISCONNECT:
        site.disk = wait_for_disk(site.lab.front, DEADLINE_S)
    site.same()


def test_a_host_that_halts_an_endpoint_in_a_transfer_gets_what_had_moved(site: Site) -> None:
    front = site.lab.front
    serial = site.gadget.wait_event("ready", DEADLINE_S)["serial"]
    site.gadget.ask("phase", name="halted")
    client = start_client(front, halt_client, node_of(front, serial))
    client.wait_event("reading", DEADLINE_S)
    until(site.gadget, doing="wait")

    ended = client.ask("halt", DEADLINE_S)

    assert (ended["status"], ended["actual_bytes"]) == (-32, 32768)  # EPIPE
    recovered = client.wait_event("recovered", DEADLINE_S)
    assert (recovered["tag"], recovered["status"]) == (9, 0)
    assert client.stop() == 0


def until(gadget: Daemon, **fields: Any) -> None:
    """Wait until the disk says so."""
    for _ in range(200):
        disk = gadget.ask("status")["disk"]
        if fields.items() <= disk.items():
            return
    raise AssertionError(f"The disk is {disk}, not {fields}.")


def test_the_kernels_own_disk_is_ejected_and_unplugged_too(booted_lab: Lab) -> None:
    lab, front = booted_lab, booted_lab.front
    lab.setup = split_setup(("--directory", STORE, "--size", SIZE), awaits=Awaited.DISK)
    lab.transition(LabState.ATTACHED)
    gadget = lab.strategy.daemons["gadget"]
    read = "dd if={} of=/dev/null bs=64k count=1 iflag=direct status=none"

    gadget.ask("happen", effect="eject")
    failed = front.run(f"dmesg -C; {read.format(lab.disk)} || dmesg", DEADLINE_S)
    assert "Add. Sense: Medium not present" in failed.stdout
    gadget.ask("happen", effect="eject", for_s=0)
    # The first one may be told of the change.
    front.check(f"{read.format(lab.disk)} || {read.format(lab.disk)}", DEADLINE_S)

    for effect in ("soft-disconnect", "unbind"):
        front.check("dmesg -C")
        gadget.ask("happen", effect=effect, for_s=0.5)
        front.check(
            f"timeout 30 sh -c 'until dmesg | grep -q \"{DISCONNECT}\"; do sleep 0.1; done'"
        )
        front.check(read.format(wait_for_disk(front, DEADLINE_S)), DEADLINE_S)


HANGS = """
name = "hangs"
[[fault]]
name = "hung"
layer = "medium"
op = "read"
phase = "hung"
nth = 1
times = -1
effect = "hang"
release_after_s = 120

[[fault]]
name = "hung-for-too-long"
layer = "medium"
op = "read"
phase = "hung-for-too-long"
nth = 1
effect = "hang"
release_after_s = 30
"""
IN_THE_BACKGROUND = "({}) </dev/null >/dev/null 2>&1 &"


def test_what_hangs_in_the_medium_keeps_no_device_from_going_and_no_host_from_its_disk(
    booted_lab: Lab, tmp_path: Path
) -> None:
    lab, front = booted_lab, booted_lab.front
    plan = tmp_path / "hangs.toml"
    plan.write_text(HANGS)
    lab.back.put(plan, PLAN)
    gadget_words = ("--directory", STORE, "--size", SIZE, "--plan", PLAN)
    lab.setup = split_setup(gadget_words, awaits=Awaited.DISK)
    lab.transition(LabState.ATTACHED)
    gadget, disk = lab.strategy.daemons["gadget"], lab.disk
    read = "dd if={} of=/dev/null bs=64k count=1 skip={} iflag=direct status=none"

    # The kernel's function would take no part in either before its medium answers.
    for number, effect in enumerate(("eject", "unbind")):
        seen = len(gadget.events)
        gadget.ask("phase", name="hung")
        front.check(IN_THE_BACKGROUND.format(read.format(disk, number)))
        gadget.wait_event("fault", DEADLINE_S, since=seen, rule="hung")
        gadget.ask("happen", effect=effect, for_s=0.5)
        released = gadget.wait_event("released", DEADLINE_S, since=seen, rule="hung")
        assert released["by"] == "moment"
        gadget.ask("phase", name=None)
        gadget.ask("release")
        if effect == "unbind":
            front.check(
                f"timeout 30 sh -c 'until dmesg | grep -q \"{DISCONNECT}\"; do sleep 0.1; done'"
            )
            disk = wait_for_disk(front, DEADLINE_S)
        front.check(f"timeout 30 sh -c 'until {read.format(disk, 8)}; do sleep 0.1; done'", 40)

    # The host aborts, fails to set the configuration, enumerates, fails again, and is done with it.
    seen = len(gadget.events)
    front.check(f"dmesg -C; echo 3 >/sys/block/{Path(disk).name}/device/timeout")
    gadget.ask("phase", name="hung-for-too-long")
    front.check(IN_THE_BACKGROUND.format(read.format(disk, 16)))
    released = gadget.wait_event("released", DEADLINE_S, since=seen)
    assert released["by"] == "deadline"
    replugged = gadget.wait_event("replugged", DEADLINE_S, since=seen)
    assert (replugged["layer"], replugged["rule"]) == ("medium", "hung-for-too-long")
    front.check(read.format(wait_for_disk(front, DEADLINE_S), 16), DEADLINE_S)
    assert "can't set config #1, error -110" in front.check("dmesg").stdout
