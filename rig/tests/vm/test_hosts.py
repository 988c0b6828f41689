"""Labs of hosts: two guests that are reached by SSH, a serial line and a power switch alone."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from rig.cli.exits import Exit
from rig.errors import LaunchFailure, MachineError
from rig.guest_images.image import GuestImage
from rig.lab.accelerator import accelerator
from rig.lab.authority import MACHINE_LIFETIME, Authority, Machine
from rig.lab.doctor import State
from rig.lab.environment import Role
from rig.lab.facts import MachineRow
from rig.lab.hosts import Hosts, examine_hosts
from rig.lab.keeping import LOCK
from rig.lab.lab import Lab
from rig.tests.harness.rack import Rack, rack

pytestmark = pytest.mark.vm

RUN_S = 280.0
BACK, FRONT = Role.BACK, Role.FRONT
STATE = (
    "lsmod | cut -d' ' -f1 | sort; cut -d' ' -f2 /proc/mounts; ls -A /run | grep -v mount;"
    " ls -A /var/lib/rig; ps -o args | grep '[r]ig ' || true"
)
"""What a lab may change on a host, but for what is on its console."""

SOURCE = "/usr/lib/python3/dist-packages/rig/net/__init__.py"
"""A file of the rig on a host."""

UNTIL_MOUNTED = "until grep -q ^/dev/sd /proc/mounts; do sleep 0.2; done"
CRASH = "setsid sh -c 'echo 1 >/proc/sys/kernel/sysrq; echo c >/proc/sysrq-trigger'"
"""Its shell must not wait for it: nothing comes back from there."""


@pytest.fixture(scope="module")
def hosts(guest_image: GuestImage, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rack]:
    directory = tmp_path_factory.mktemp("rack")
    with rack(guest_image, directory, accelerator(guest_image)) as made:
        yield made


@dataclass
class Found:
    """How a ``rig run`` ended."""

    status: int
    verdict: dict[str, Any]
    said: str
    directory: Path


def on(hosts: Rack, role: Role, command: str, timeout_s: float = 60.0) -> str:
    """Run a command on a host, by nothing of the rig's."""
    options = ("-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null")
    way = ("-i", str(hosts.key), "-p", str(hosts.ports[role]), "-o", "LogLevel=ERROR")
    done = subprocess.run(
        ["ssh", "-F", "none", *options, *way, "root@127.0.0.1", command],
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=True,
    )
    return done.stdout


def run_argv(file: Path, out: Path, *more: str) -> list[str]:
    argv = [sys.executable, "-m", "rig", "run", "--lab", "hosts", "--lg-env", str(file)]
    return [*argv, "--fs", "vfat", "--json", "--out", str(out), *more]


def run(file: Path, out: Path, *more: str) -> Found:
    done = subprocess.run(
        run_argv(file, out, *more), capture_output=True, text=True, timeout=RUN_S, check=False
    )
    assert "Traceback" not in done.stderr
    return Found(done.returncode, json.loads(done.stdout or "{}"), done.stderr, out)


def lacking(rows: list[MachineRow]) -> dict[str, str]:
    return {f"{row.machine} {row.what}": row.found for row in rows if row.state is State.LACKING}


def test_a_run_on_hosts_passes_and_leaves_them_as_they_were(hosts: Rack, tmp_path: Path) -> None:
    file = hosts.write(tmp_path / "lab.yaml", hosts.environment())
    before = {role: on(hosts, role, STATE) for role in Role}
    found = run(file, tmp_path / "run")
    assert (found.status, found.verdict.get("verdict")) == (Exit.PASS, "pass"), found
    assert found.verdict["accelerator"] == "hosts"
    assert found.verdict["kernel"] == on(hosts, BACK, "uname -r").strip()
    assert {role: on(hosts, role, STATE) for role in Role} == before
    assert hosts.switched == []
    for role in Role:
        assert "usb" in (tmp_path / "run" / role / "console.log").read_text()


@contextlib.contextmanager
def much_is_wrong(hosts: Rack, directory: Path) -> Iterator[None]:
    """Spoil both hosts for a while."""
    past = datetime.now(UTC) - MACHINE_LIFETIME - timedelta(hours=1)
    papers = Authority.open_or_make(directory / "ca", past).issue(Machine("back"), past)
    pem = (papers / "cert.pem").read_text()
    on(hosts, BACK, f"mkdir -p /tmp/pki && echo '{pem}' >/tmp/pki/cert.pem && : >/tmp/pki/key.pem")
    listen = "import socket, time; s = socket.create_server(('', 7205)); time.sleep(3600)"
    on(hosts, BACK, f'setsid -f python3 -c "{listen}" >/dev/null 2>&1')
    on(hosts, BACK, f"echo '# other' >>{SOURCE}")
    on(hosts, FRONT, "mkdir -p /tmp/small && mount -t tmpfs -o size=1m small /tmp/small")
    on(hosts, FRONT, "date -s @$(($(date +%s) + 3600))")
    on(hosts, FRONT, "rmmod sd_mod; f=$(modinfo -F filename sd_mod); mv $f /tmp/$(basename $f)")
    try:
        yield
    finally:
        on(
            hosts,
            BACK,
            f"pkill -f '[c]reate_server'; sed -i '$d' {SOURCE}",
        )
        on(hosts, FRONT, "date -s @$(($(date +%s) - 3600)); umount /tmp/small")
        on(
            hosts,
            FRONT,
            "mv /tmp/sd_mod* /lib/modules/$(uname -r)/kernel/drivers/scsi/ && modprobe sd_mod",
        )


def test_the_doctor_finds_all_that_is_wrong_and_the_run_says_the_first(
    hosts: Rack, tmp_path: Path
) -> None:
    with much_is_wrong(hosts, tmp_path):
        made = hosts.environment(
            back={"certificates": "/tmp/pki"}, front={"work_directory": "/tmp/small"}
        )
        file = hosts.write(tmp_path / "lab.yaml", made)
        before = {role: on(hosts, role, STATE) for role in Role}
        found = lacking(examine_hosts(file))
        assert set(found) == {
            "back rig",
            "back TCP port 7205",
            "back certificate",
            "back key",
            "front module sd_mod",
            "front /tmp/small",
            "front clock",
        }
        ended = run(file, tmp_path / "run")
        assert ended.status == Exit.INFRASTRUCTURE
        assert ended.verdict["reasons"][0].startswith("Machine 'back': rig: ")
        assert "Install the station's rig there" in ended.verdict["reasons"][0]
        assert {role: on(hosts, role, STATE) for role in Role} == before


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"drivers": {"SSHDriver": {"keyfile": "{other}"}}}, "does not accept the SSH key"),
        ({"port": 1}, "does not answer at 127.0.0.1, port 1"),
        ({"serial": "/nowhere"}, "serial line of machine 'front' cannot be opened"),
    ],
)
def test_a_host_that_cannot_be_reached_is_told_by_name_and_nothing_is_started(
    hosts: Rack, tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    other = tmp_path / "other"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", other], check=True)
    made = hosts.environment()
    front = made["targets"]["front"]
    if "drivers" in change:
        front["drivers"]["SSHDriver"]["keyfile"] = str(other)
    front["resources"]["NetworkService"]["port"] = change.get("port", hosts.ports[FRONT])
    if "serial" in change:
        front["resources"]["RawSerialPort"]["port"] = change["serial"]
    file = hosts.write(tmp_path / "lab.yaml", made)
    with Lab.open(Hosts(file), tmp_path / "lab") as lab:
        with pytest.raises(LaunchFailure, match=f"Machine 'front'.*{said}|{said}") as failed:
            lab.transition("booted")
        assert failed.value.hint
        assert lab.strategy.machines == {}
    assert on(hosts, BACK, f"ls {LOCK} 2>/dev/null || true") == ""


def test_a_host_is_one_labs_at_a_time(hosts: Rack, tmp_path: Path) -> None:
    file = hosts.write(tmp_path / "lab.yaml", hosts.environment())
    with Lab.open(Hosts(file), tmp_path / "one") as first:
        first.transition("booted")
        with (
            Lab.open(Hosts(file), tmp_path / "two") as second,
            pytest.raises(MachineError, match=r"Machine 'back': lab: used by a lab of"),
        ):
            second.transition("booted")
        assert first.back.check("echo still").stdout == "still\n"


@pytest.mark.nightly
@pytest.mark.timeout(600)
def test_the_link_between_hosts_that_have_certificates_is_encrypted(
    hosts: Rack, tmp_path: Path
) -> None:
    now = datetime.now(UTC)
    authority = Authority.open_or_make(tmp_path / "ca", now)
    names = {BACK: "the-back", FRONT: "the-front"}
    for role, name in names.items():
        papers = authority.issue(Machine(name), now)
        on(hosts, role, "mkdir -p -m 700 /tmp/tls")
        for paper in papers.iterdir():
            pem, mode = paper.read_text(), paper.stat().st_mode & 0o777
            there = f"/tmp/tls/{paper.name}"
            on(hosts, role, f"echo '{pem}' >{there}; chmod {mode:o} {there}")
    made = hosts.environment(back={"certificates": "/tmp/tls"}, front={"certificates": "/tmp/tls"})
    file = hosts.write(tmp_path / "lab.yaml", made)
    try:
        found = run(file, tmp_path / "run")
        judged = [row.state for row in examine_hosts(file) if row.what == "certificate"]
    finally:
        for role in Role:
            on(hosts, role, "rm -r /tmp/tls")
    assert judged == [State.OK] * 2
    assert (found.status, found.verdict.get("verdict")) == (Exit.PASS, "pass"), found


@pytest.mark.nightly
def test_a_host_that_crashes_ends_the_run_and_its_kernels_words_are_kept(
    hosts: Rack, tmp_path: Path
) -> None:
    file = hosts.write(tmp_path / "lab.yaml", hosts.environment())
    before = on(hosts, BACK, STATE)
    pipe = subprocess.PIPE
    argv = run_argv(file, tmp_path / "run")
    with subprocess.Popen(argv, stdout=pipe, stderr=pipe, text=True) as station:
        try:
            on(hosts, FRONT, f"timeout 200 sh -c '{UNTIL_MOUNTED}'", 220.0)
            on(hosts, FRONT, f"{CRASH} </dev/null >/dev/null 2>&1 &")
            said, errors = station.communicate(timeout=RUN_S)
        finally:
            station.kill()
            hosts.off(FRONT)
            hosts.on(FRONT)
            hosts.await_ssh(FRONT)
    assert station.returncode == Exit.INFRASTRUCTURE, errors
    assert "Traceback" not in errors
    reason = json.loads(said)["reasons"][0]
    assert "'front'" in reason
    assert "Kernel panic" in reason
    assert "sysrq triggered crash" in (tmp_path / "run" / "front" / "console.log").read_text()
    assert on(hosts, BACK, STATE) == before


@pytest.mark.nightly
def test_a_host_that_loses_its_power_comes_back_and_the_data_with_it(
    hosts: Rack, tmp_path: Path
) -> None:
    file = hosts.write(tmp_path / "lab.yaml", hosts.environment())
    hosts.switched.clear()
    found = run(file, tmp_path / "run", "--plan", "machine-power-cycle")
    # What was written while the disk was away may be told as errors; nothing is lost.
    assert found.status in {Exit.PASS, Exit.INDETERMINATE}, found.said
    assert hosts.switched == ["back off", "back on"]
    assert on(hosts, BACK, "ls -A /run | grep rig || true") == ""


@pytest.mark.nightly
@pytest.mark.parametrize("keeper", [False, True])
def test_what_a_killed_station_left_is_taken_away(
    hosts: Rack, tmp_path: Path, keeper: bool
) -> None:
    file = hosts.write(tmp_path / "lab.yaml", hosts.environment())
    before = {role: on(hosts, role, STATE) for role in Role}
    with subprocess.Popen(run_argv(file, tmp_path / "run"), stdout=subprocess.PIPE) as station:
        try:
            wait_for = "timeout 200 sh -c 'until [ -e /var/lib/rig/gadget ]; do sleep 0.2; done'"
            on(hosts, BACK, wait_for, 220.0)
            if keeper:
                on(hosts, BACK, f"kill -KILL $(sed 's/.* process \\([0-9]*\\)$/\\1/' {LOCK})")
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(station.pid, signal.SIGKILL)
    free = f"timeout 50 sh -c 'while [ -e {LOCK} ]; do sleep 0.2; done'"
    on(hosts, FRONT, free)
    if not keeper:
        on(hosts, BACK, free)
        assert {role: on(hosts, role, STATE) for role in Role} == before
        return
    told: list[str] = []
    hosts_again = Hosts(file)
    with Lab.open(hosts_again, tmp_path / "lab") as lab:
        lab.strategy.powering.units[BACK]._note = told.append  # type: ignore[attr-defined]
        lab.transition("booted")
    assert "On machine 'back', what a lab that was killed had left" in told[0]
    assert {role: on(hosts, role, STATE) for role in Role} == before


STORY = """\
wait live 120
status machines
unplug 2
wait live 120
recipe write-lost
wait fired write-lost 60
verify
"""


@pytest.mark.nightly
def test_a_session_on_hosts_outlasts_what_is_done_to_it_and_is_judged(
    hosts: Rack, tmp_path: Path
) -> None:
    file = hosts.write(tmp_path / "lab.yaml", hosts.environment())
    story = tmp_path / "story.txt"
    story.write_text(STORY)
    argv = [sys.executable, "-m", "rig", "session", str(story), "--strict"]
    argv += [
        "--lab",
        "hosts",
        "--lg-env",
        str(file),
        "--fs",
        "vfat",
        "--out",
        str(tmp_path / "run"),
    ]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=RUN_S, check=False)
    assert done.returncode == Exit.PASS, done
    assert f"machine back: up, kernel {on(hosts, BACK, 'uname -r').strip()}" in done.stdout
    assert "Nothing is wrong." in done.stdout
    verdict = json.loads((tmp_path / "run" / "verdict.json").read_text())
    assert (verdict["verdict"], verdict["accelerator"]) == ("pass", "hosts")
    assert hosts.switched == []
