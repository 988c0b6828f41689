from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rig.errors import CommandFailure, LaunchFailure, LostVMError, MachineError
from rig.guest_images.cache import Cache
from rig.guest_images.image import GuestImage
from rig.lab.accelerator import accelerator
from rig.lab.environment import GuestOptions, Role
from rig.lab.lab import Lab
from rig.lab.states import Kept, States
from rig.lab.strategy import LabState, wait_for_disk

pytestmark = pytest.mark.vm


def test_the_machines_reach_each_other_over_the_link(booted_lab: Lab) -> None:
    booted_lab.front.check("ping -c 1 -W 5 10.77.0.1")
    booted_lab.back.check("ping -c 1 -W 5 10.77.0.2")


def test_a_command_has_output_and_status(booted_lab: Lab) -> None:
    done = booted_lab.back.run("hostname; echo 'two  blanks' >&2; exit 7")
    assert (done.stdout, done.stderr, done.status) == ("back\n", "two  blanks\n", 7)


def test_a_command_that_takes_too_long_is_left(booted_lab: Lab) -> None:
    with pytest.raises(CommandFailure, match=r"'sleep 60' did not end in 0\.5 s"):
        booted_lab.front.run("sleep 60", timeout_s=0.5)


def test_a_file_comes_back_as_it_went(booted_lab: Lab, tmp_path: Path) -> None:
    sent = os.urandom(1 << 20)
    (tmp_path / "sent").write_bytes(sent)
    booted_lab.back.put(tmp_path / "sent", "/tmp/file")
    booted_lab.back.get("/tmp/file", tmp_path / "got")
    assert (tmp_path / "got").read_bytes() == sent


def test_the_console_shows_the_kernels_log(booted_lab: Lab) -> None:
    console = booted_lab.front.console
    assert console
    position = console.position
    booted_lab.front.check("echo '<3>a word from the test' > /dev/kmsg")
    console.wait_for("a word from the test", 10.0, since=position)


def test_a_daemon_ends_with_its_standard_input(booted_lab: Lab) -> None:
    daemon = booted_lab.back.start_daemon(["cat"], "cat")
    pid = daemon.pid()
    booted_lab.back.check(f"test -d /proc/{pid}")
    assert daemon.stop() == 0
    assert booted_lab.back.run(f"test -d /proc/{pid}").status == 1


def test_a_killed_daemon_ends_every_wait(booted_lab: Lab) -> None:
    speak = """echo last words >&2; echo '{"event": "spoken"}'; exec cat"""
    daemon = booted_lab.back.start_daemon(["sh", "-c", speak], "cat")
    daemon.wait_event("spoken", 10.0)
    booted_lab.back.check(f"kill -9 {daemon.pid()}")
    with pytest.raises(MachineError, match="ended with status") as caught:
        daemon.wait_event("never", 10.0)
    assert "last words" in caught.value.hint


def test_the_wait_for_a_disk_that_does_not_come_ends(booted_lab: Lab) -> None:
    with pytest.raises(MachineError, match="did not show the disk behind vhci_hcd"):
        wait_for_disk(booted_lab.front, 0.5)


@pytest.mark.guests(why="a host that panics stays away until somebody resets it")
def test_a_panic_is_told_with_the_kernels_words(booted_lab: Lab) -> None:
    start = time.monotonic()
    with pytest.raises(LostVMError, match="sysrq triggered crash"):
        booted_lab.front.run("echo c > /proc/sysrq-trigger")
    assert time.monotonic() - start < 10
    with pytest.raises(LostVMError, match="sysrq triggered crash"):
        booted_lab.front.run("true")
    booted_lab.back.check("true")


@pytest.mark.guests(why="kills a guest's QEMU")
def test_a_lab_that_lost_a_machine_can_be_powered_off_and_on(booted_lab: Lab) -> None:
    booted_lab.strategy.driver(Role.FRONT).kill()
    assert booted_lab.front.health.wait_for_loss(10.0)
    booted_lab.transition(LabState.OFF)
    booted_lab.transition(LabState.BOOTED)
    booted_lab.front.check("ping -c 1 -W 5 10.77.0.1")


def test_a_qemu_that_cannot_start_says_so_at_once(guest_image: GuestImage, tmp_path: Path) -> None:
    start = time.monotonic()
    with (
        Lab.open(guest_image, tmp_path, extra_args=("-device", "no-such-device")) as lab,
        pytest.raises(LaunchFailure, match="no-such-device"),
    ):
        lab.transition(LabState.BOOTED)
    assert time.monotonic() - start < 10


STATION = """
import sys
from pathlib import Path
from rig.guest_images.image import ensure
from rig.lab.environment import Role
from rig.lab.lab import Lab

with Lab.open(ensure(), Path(sys.argv[1])) as lab:
    lab.transition("booted")
    print(*lab.processes(), flush=True)
    sys.stdin.read()
"""


def test_no_guest_outlives_a_killed_station(guest_image: GuestImage, tmp_path: Path) -> None:
    pipe = subprocess.PIPE
    argv = [sys.executable, "-c", STATION, str(tmp_path)]
    with subprocess.Popen(argv, stdin=pipe, stdout=pipe) as station:
        assert station.stdout
        pids = [int(pid) for pid in station.stdout.readline().split()]
        ends = [os.pidfd_open(pid) for pid in pids]
        station.send_signal(signal.SIGKILL)
        station.wait(10.0)
    assert len(pids) == 4
    for ended in ends:
        # Readable once the process has ended (pidfd_open(2)).
        assert select.select([ended], [], [], 10.0)[0]
        os.close(ended)


HOST_KEY = "cat /etc/ssh/ssh_host_ed25519_key.pub"
"""New at every boot."""


def test_a_lab_resumes_where_another_has_booted_and_boots_behind_a_loss_of_power(
    booted_lab: Lab, guest_image: GuestImage, tmp_path: Path
) -> None:
    with Lab.open(guest_image, tmp_path, accelerator=accelerator(guest_image)) as lab:
        lab.transition(LabState.BOOTED)
        machines = (lab.back, lab.front)
        kept = [machine.check(HOST_KEY).stdout for machine in machines]
        for machine in machines:
            before_s = time.time()
            there_s = float(machine.check("date +%s.%N").stdout)
            assert before_s - 1 < there_s < time.time() + 1
        lab.front.check("ping -c 1 -W 5 10.77.0.1")
        lab.back.check("echo mine > /var/lib/rig/of-this-lab")
        powering = lab.strategy.powering
        powering.cut_power(Role.BACK)
        powering.power_up(Role.BACK)
        assert lab.back.check(HOST_KEY).stdout != kept[0]
    with Lab.open(guest_image, tmp_path, accelerator=accelerator(guest_image)) as lab:
        lab.transition(LabState.BOOTED)
        assert [one.check(HOST_KEY).stdout for one in (lab.back, lab.front)] == kept
        assert lab.back.run("test -e /var/lib/rig/of-this-lab").status == 1


def test_a_state_that_nothing_can_resume_from_is_told_and_the_machine_boots(
    booted_lab: Lab, guest_image: GuestImage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = accelerator(guest_image)
    kept = States(guest_image, GuestOptions(chosen), Cache()).find()
    assert kept is not None
    broken = Kept(tmp_path / "state")
    shutil.copytree(kept.directory, broken.directory)
    with broken.memory(Role.BACK).open("r+b") as memory:
        memory.truncate(1 << 20)
    forgotten: list[States] = []

    def discard(states: States) -> None:
        forgotten.append(states)

    monkeypatch.setattr(States, "find", lambda _: broken)
    monkeypatch.setattr(States, "discard", discard)
    with Lab.open(guest_image, tmp_path / "lab", accelerator=chosen) as lab:
        lab.transition(LabState.BOOTED)
        lab.front.check("ping -c 1 -W 5 10.77.0.1")
        assert len(forgotten) == 1
