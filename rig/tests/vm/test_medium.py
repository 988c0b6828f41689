"""Every effect on the medium, and what the front machine's kernel and programs make of it.

One machine pair and one disk over the split driver for all.  The plan has a phase for each effect,
so each test lets its own rule fire, at blocks of its own: no other test's traces are there.
Accesses are 16 KiB with O_DIRECT: one SCSI command, and one access of the medium.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import pytest

from rig.errors import CommandFailure
from rig.experiments.run.places import STORE
from rig.lab.daemons import Daemon
from rig.lab.lab import Lab
from rig.lab.machine import CompletedCommand
from rig.lab.strategy import LabState
from rig.lab.waits import Awaited
from rig.tests.conftest import LabKeeper
from rig.tests.harness.guests import split_setup

pytestmark = [pytest.mark.vm, pytest.mark.timeout(240)]

SIZE = 16384
BLOCKS = SIZE // 512
DEADLINE_S = 60.0
PLAN = "/run/rig-medium.toml"
RETRIES = 5
"""The SCSI layer sends a command again so often (SD_MAX_RETRIES)."""
TORN_BYTES = 5000

RULES = {
    "write-refused": 'op = "write"\ntimes = -1',
    "write-refused-twice": 'op = "write"\ntimes = 2',
    "read-refused": 'op = "read"\ntimes = -1',
    "flush-refused": 'op = "flush"\ntimes = -1',
    "late": 'op = "write"\neffect = "delay"\ndelay_s = 2',
    "hung": 'op = "read"\neffect = "hang"\nrelease_after_s = 60',
    "hung-for-a-while": 'op = "write"\neffect = "hang"\nrelease_after_s = 5',
    "torn": f'op = "write"\neffect = "torn"\ntorn_bytes = {TORN_BYTES}',
    "torn-and-told": f'op = "write"\neffect = "torn"\ntorn_bytes = {TORN_BYTES}\nerror = "EIO"',
    "lost": 'op = "write"\neffect = "lost"',
    "lost-again": 'op = "write"\neffect = "lost"',
    "misdirected-write": 'op = "write"\neffect = "misdirected"\nshift_blocks = 32',
    "misdirected-read": 'op = "read"\neffect = "misdirected"\nshift_blocks = 32',
    "flipped-write": 'op = "write"\neffect = "flip"\nbit = 4099',
    "flipped-read": 'op = "read"\neffect = "flip"',
    "stale": 'op = "read"\neffect = "stale"',
    "lie": 'op = "flush"\neffect = "lie"\ntimes = -1',
    "power-cut": 'op = "write"\neffect = "power-cut"',
}


def plan_text() -> str:
    rules = (
        f'[[fault]]\nlayer = "medium"\nname = "{name}"\nphase = "{name}"\nnth = 1\n{rule}\n'
        for name, rule in RULES.items()
    )
    return 'name = "medium"\nseed = 1\n' + "\n".join(rules)


@dataclass
class Site:
    """A disk under the plan."""

    lab: Lab
    _places: Iterator[int] = field(default_factory=lambda: count(0, 4))

    def prepare(self, directory: Path) -> None:
        plan = directory / "plan.toml"
        plan.write_text(plan_text())
        self.lab.back.put(plan, PLAN)
        gadget = ("--directory", STORE, "--size", "16M", "--plan", PLAN)
        self.lab.setup = split_setup(gadget, awaits=Awaited.DISK)
        self.lab.transition(LabState.ATTACHED)
        letters = "for x in a b; do head -c 16384 /dev/zero | tr '\\0' $x >/run/$x; done"
        self.lab.front.check(f"{letters}; dmesg -C")

    def place(self) -> int:
        """Blocks of 16 KiB that no other test uses: this one and the three behind it."""
        return next(self._places)

    @property
    def gadget(self) -> Daemon:
        return self.lab.strategy.daemons["gadget"]

    def phase(self, name: str | None) -> None:
        self.gadget.ask("phase", name=name)

    def fired(self, name: str) -> int:
        return int(self.gadget.ask("faults")["fired"][name])

    def write(self, letter: str, place: int, *, safe: bool = False) -> CompletedCommand:
        """Write one letter, and have it flushed if it is to be safe."""
        return self.lab.front.run(self._dd(letter, place, safe=safe), DEADLINE_S)

    def put(self, letter: str, place: int, *, safe: bool = False) -> None:
        """Write, and be told of no error."""
        assert self.write(letter, place, safe=safe).status == 0

    def _dd(self, letter: str, place: int, *, safe: bool = False) -> str:
        conv = "notrunc,fsync" if safe else "notrunc"
        return (
            f"dd if=/run/{letter} of={self.lab.disk} bs={SIZE} seek={place} count=1"
            f" oflag=direct conv={conv} status=none"
        )

    def begin_to_write(self, letter: str, place: int) -> None:
        """Write in the background; see `end`."""
        self._begin(self._dd(letter, place))

    def begin_to_read(self, place: int) -> None:
        """Read in the background; see `end`."""
        self._begin(f"dd if={self.lab.disk} bs={SIZE} skip={place} count=1 iflag=direct")

    def _begin(self, command: str) -> None:
        whole = f"rm -f /run/ended; ({command}; echo $? >/run/ended)"
        self.lab.front.check(f"({whole}) </dev/null >/dev/null 2>&1 &")

    def end(self) -> int:
        """Wait for what is done in the background; return its exit status."""
        wait = "while ! test -s /run/ended; do sleep 0.1; done; cat /run/ended"
        return int(self.lab.front.check(f"timeout {DEADLINE_S:g} sh -c '{wait}'", 90).stdout)

    def read(self, place: int) -> bytes:
        """Read, and be told of no error."""
        done = self.lab.front.check(
            f"dd if={self.lab.disk} bs={SIZE} skip={place} count=1 iflag=direct status=none"
            " | base64 -w0",
            DEADLINE_S,
        )
        return base64.b64decode(done.stdout)

    def kernel_log(self) -> str:
        """What the front machine's kernel has said since this was asked last."""
        return self.lab.front.check("dmesg -c").stdout

    def journal(self, *filters: str) -> list[dict[str, object]]:
        """Records of the journal."""
        told = self.lab.back.check(
            f"rig journal {STORE}/journal.bin --json {' '.join(filters)}", DEADLINE_S
        )
        return [json.loads(line) for line in told.stdout.splitlines()]


@pytest.fixture(scope="module")
def site(lab_keeper: LabKeeper, tmp_path_factory: pytest.TempPathFactory) -> Site:
    site = Site(lab_keeper.booted())
    site.prepare(tmp_path_factory.mktemp("medium"))
    return site


@pytest.fixture(autouse=True)
def no_phase_is_left(site: Site) -> Iterator[None]:
    site.kernel_log()
    yield
    if not site.gadget.ended:
        site.phase(None)


A, B = b"a" * SIZE, b"b" * SIZE


def test_a_write_that_is_always_refused_is_tried_again_and_then_eio(site: Site) -> None:
    place = site.place()
    site.phase("write-refused")
    done = site.write("a", place)
    assert done.status == 1
    assert "Input/output error" in done.stderr
    log = site.kernel_log()
    assert "Sense Key : Medium Error" in log
    assert "Add. Sense: Write error" in log
    assert site.fired("write-refused") == 1 + RETRIES
    assert site.read(place) == bytes(SIZE)


def test_a_write_that_is_refused_twice_is_done(site: Site) -> None:
    place = site.place()
    site.phase("write-refused-twice")
    site.put("a", place)
    assert site.fired("write-refused-twice") == 2
    assert "Medium Error" not in site.kernel_log()
    assert site.read(place) == A


def test_a_read_that_is_refused_is_an_error_at_once(site: Site) -> None:
    site.phase("read-refused")
    # ENODATA is what the block layer makes of a medium error (BLK_STS_MEDIUM); of a file: EIO.
    with pytest.raises(CommandFailure, match="No data available"):
        site.lab.front.check(
            f"dd if={site.lab.disk} of=/dev/null bs={SIZE} skip={site.place()} count=1 iflag=direct"
        )
    log = site.kernel_log()
    assert "Sense Key : Medium Error" in log
    assert "Add. Sense: Unrecovered read error" in log
    assert site.fired("read-refused") == 1


def test_a_flush_that_is_refused_fails_the_fsync(site: Site) -> None:
    site.phase("flush-refused")
    done = site.write("a", site.place(), safe=True)
    assert done.status == 1
    assert "fsync failed" in done.stderr
    assert "Sense Key : Medium Error" in site.kernel_log()
    assert site.fired("flush-refused") == 1 + RETRIES


def test_a_delayed_write_is_done_late(site: Site) -> None:
    place = site.place()
    site.phase("late")
    began_s = time.monotonic()
    site.put("a", place)
    assert 2.0 <= time.monotonic() - began_s < 30.0
    assert site.kernel_log() == ""
    assert site.read(place) == A


def test_a_hang_holds_up_its_access_alone_and_is_released_by_command(site: Site) -> None:
    place, seen = site.place(), len(site.gadget.events)
    site.put("a", place)
    site.phase("hung")
    site.begin_to_read(place)
    site.gadget.wait_event("fault", DEADLINE_S, since=seen, rule="hung")
    # The store obeys, and serves its file, while the gadget waits for its answer.
    assert site.gadget.ask("status")["store"]["waiting"] == 1
    peek = f"dd if={STORE}/mnt/lun0 bs={SIZE} skip={place} count=1 status=none | head -c 3"
    assert site.lab.back.check(peek).stdout == "aaa"
    assert site.gadget.ask("release") == {"released": 1}
    assert site.end() == 0
    told = site.gadget.wait_event("released", DEADLINE_S, since=seen)
    assert (told["rule"], told["by"]) == ("hung", "command")


def test_a_hang_beyond_the_scsi_timeout_ends_by_itself_and_the_host_resets(site: Site) -> None:
    place, seen = site.place(), len(site.gadget.events)
    timeout = f"/sys/block/{Path(site.lab.disk).name}/device/timeout"
    site.lab.front.check(f"echo 3 >{timeout}")
    site.phase("hung-for-a-while")
    site.begin_to_write("a", place)
    told = site.gadget.wait_event("released", DEADLINE_S, since=seen)
    assert (told["rule"], told["by"]) == ("hung-for-a-while", "deadline")
    assert 5.0 <= told["waited_s"] < 10.0
    assert site.end() == 0
    site.lab.front.check(f"echo 30 >{timeout}")
    assert "reset high-speed USB device" in site.kernel_log()
    assert site.read(place) == A


def test_of_a_torn_write_the_beginning_is_there(site: Site) -> None:
    place = site.place()
    site.put("a", place)
    site.phase("torn")
    site.put("b", place)
    assert site.read(place) == B[:TORN_BYTES] + A[TORN_BYTES:]


def test_a_torn_write_that_is_told_is_done_again(site: Site) -> None:
    place = site.place()
    site.put("a", place)
    site.phase("torn-and-told")
    site.put("b", place)
    assert site.fired("torn-and-told") == 1
    assert site.read(place) == B


def test_a_lost_write_is_acknowledged_and_not_there(site: Site) -> None:
    place = site.place()
    site.put("a", place)
    site.phase("lost")
    site.put("b", place)
    assert site.kernel_log() == ""
    assert site.read(place) == A


def test_a_misdirected_write_is_found_elsewhere(site: Site) -> None:
    place = site.place()
    site.put("a", place)
    site.phase("misdirected-write")
    site.put("b", place)
    assert (site.read(place), site.read(place + 1)) == (A, B)


def test_a_misdirected_read_brings_what_lies_elsewhere(site: Site) -> None:
    place = site.place()
    site.put("a", place)
    site.put("b", place + 1)
    site.phase("misdirected-read")
    assert (site.read(place), site.read(place)) == (B, A)


def test_a_flipped_bit_is_stored(site: Site) -> None:
    place = site.place()
    site.phase("flipped-write")
    site.put("a", place)
    wrong = bytearray(A)
    wrong[4099 // 8] ^= 1 << 4099 % 8
    assert site.read(place) == site.read(place) == wrong


def test_a_bit_flipped_in_a_read_is_right_at_the_next(site: Site) -> None:
    place = site.place()
    site.put("a", place)
    site.phase("flipped-read")
    first, second = site.read(place), site.read(place)
    assert sum((x ^ y).bit_count() for x, y in zip(first, A, strict=True)) == 1
    assert second == A


def test_a_stale_read_brings_what_was_overwritten(site: Site) -> None:
    place = site.place()
    site.put("a", place)
    site.put("b", place)
    site.phase("stale")
    assert (site.read(place), site.read(place)) == (A, B)


def test_a_flush_that_was_a_lie_shows_at_the_power_cut_and_an_honest_one_holds(site: Site) -> None:
    honest, lied = site.place(), site.place()
    site.put("a", honest, safe=True)
    site.put("a", lied, safe=True)  # and with it all that other tests wrote
    site.phase("lie")
    site.put("b", lied, safe=True)
    assert site.read(lied) == B
    assert site.gadget.ask("power_cut") == {"lost_bytes": SIZE}
    assert (site.read(honest), site.read(lied)) == (A, A)


def test_a_power_cut_takes_what_was_not_flushed_and_nothing_is_said(site: Site) -> None:
    flushed, waiting, interrupted = (site.place() for _ in range(3))
    site.put("a", flushed, safe=True)
    site.put("a", waiting)
    site.phase("power-cut")
    site.put("b", interrupted, safe=True)  # the SCSI layer sends it again
    assert site.kernel_log() == ""
    assert site.read(flushed) == A
    assert site.read(waiting) == bytes(SIZE)
    assert site.read(interrupted) == B


def test_the_journal_outlives_its_killed_store_and_tells_the_medium(site: Site) -> None:
    back, place = site.lab.back, site.place()
    site.put("a", place, safe=True)
    site.phase("lost-again")
    site.put("b", place, safe=True)
    site.put("b", site.place())  # waits in the cache
    back.check("kill -9 $(pgrep -f '[r]ig store --supervised')")
    site.gadget.wait_event("error", DEADLINE_S)
    lines = site.journal()
    assert [line.get("sequence") for line in lines] == list(range(len(lines)))
    lba = place * BLOCKS
    (befallen,) = site.journal("--faulted", "--lba", str(lba))
    assert (befallen["injected"], befallen["offset_bytes"]) == ("lost", place * SIZE)
    rebuild = f"rig journal {STORE}/journal.bin --size-bytes {16 << 20} --rebuild"
    back.check(f"rm -f /run/stored; {rebuild} /run/stored --as-stored", DEADLINE_S)
    back.check(f"cmp /run/stored {STORE}/medium.img")
    back.check(f"rm -f /run/pristine; {rebuild} /run/pristine", DEADLINE_S)
    peek = f"dd if=/run/pristine bs={SIZE} skip={place} count=1 status=none | head -c 3"
    assert back.check(peek).stdout == "bbb"
