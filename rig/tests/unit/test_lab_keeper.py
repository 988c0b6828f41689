"""A host is left as it was found, whoever ended the lab and however."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rig.lab import on_host_keeper as keeper

DEADLINE_S = 60.0
START = """
import json, sys
from rig.lab import on_host_keeper as keeper
keeper.RUN, keeper.RECORD, keeper.GADGETS = sys.argv[1:4]
keeper.mounts = list
keeper.command = lambda *words: print(*words, file=sys.stderr) or ""
sys.exit(keeper.main(json.loads(sys.argv[4])))
"""
"""A keeper that mounts and loads nothing, but says what it would."""

Start = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("run", "gadgets", "work"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr(keeper, "RUN", str(tmp_path / "run"))
    monkeypatch.setattr(keeper, "RECORD", str(tmp_path / "run" / "rig-lab.json"))
    monkeypatch.setattr(keeper, "GADGETS", str(tmp_path / "gadgets"))
    return tmp_path


@pytest.fixture
def start(host: Path) -> Iterator[Start]:
    started = []

    def starter(token: str) -> subprocess.Popen[bytes]:
        task = {
            "token": token,
            "owner": f"a lab {token}",
            "work": str(host / "work"),
            "modules": [["vhci_hcd"]],
            "place": str(host / "place"),
            "lock": str(host / "run" / "rig-lab.lock"),
        }
        paths = [str(host / "run"), str(host / "run" / "rig-lab.json"), str(host / "gadgets")]
        pipe = subprocess.PIPE
        argv = [sys.executable, "-c", START, *paths, json.dumps(task)]
        child = subprocess.Popen(argv, stdin=pipe, stdout=pipe, stderr=pipe)
        started.append(child)
        return child

    yield starter
    for child in started:
        child.kill()
        child.communicate()


def told(child: subprocess.Popen[bytes]) -> dict[str, Any]:
    assert child.stdout
    event: dict[str, Any] = json.loads(child.stdout.readline())
    return event


def end(child: subprocess.Popen[bytes]) -> tuple[int, list[dict[str, Any]], str]:
    out, said = child.communicate(timeout=DEADLINE_S)
    return child.returncode, [json.loads(line) for line in out.splitlines()], said.decode()


def names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


def test_a_host_is_kept_until_the_station_is_gone_and_then_as_before(
    host: Path, start: Start
) -> None:
    (host / "run" / "rig-old").touch()
    before = {name: names(host / name) for name in ("run", "gadgets", "work")}
    child = start("one")
    assert told(child) == {"event": "kept", "cleaned": [], "t": pytest.approx(2e9, rel=1)}
    assert (host / "work" / "rig-lab-one" / "files").is_dir()
    (host / "run" / "rig-urbs.bin").touch()
    (host / "run" / "rig").mkdir()
    (host / "gadgets" / "g1").mkdir()
    status, events, said = end(child)
    assert (status, [event["event"] for event in events]) == (0, ["restored"])
    assert f"mount --bind {host}/work/rig-lab-one/files {host}/place" in said
    assert "modprobe vhci_hcd" in said
    assert {name: names(host / name) for name in before} == before
    assert not (host / "place").exists()


def test_a_place_that_was_there_stays(host: Path, start: Start) -> None:
    (host / "place").mkdir()
    child = start("one")
    told(child)
    end(child)
    assert (host / "place").is_dir()


def test_a_second_lab_is_told_who_has_the_host(host: Path, start: Start) -> None:
    first = start("one")
    told(first)
    status, events, _ = end(start("two"))
    assert status == 3
    assert events[0]["error"].startswith("The host is used by a lab one, by process ")
    assert names(host / "work") == {"rig-lab-one"}


def test_the_next_one_cleans_up_after_one_that_was_killed(host: Path, start: Start) -> None:
    killed = start("one")
    told(killed)
    (host / "gadgets" / "g1").mkdir()
    killed.kill()
    killed.wait(DEADLINE_S)
    child = start("two")
    cleaned = told(child)["cleaned"]
    assert cleaned == ["gadget g1", f"files {host}/work/rig-lab-one"]
    assert names(host / "gadgets") == set()
    end(child)
    assert names(host / "work") == set()


def test_processes_of_a_lab_are_waited_for_and_ended_only_if_they_stay(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(keeper, "END_S", 0.2)
    token = f"t{os.getpid()}"
    marked = {**os.environ, keeper.MARK: token}
    with (
        subprocess.Popen(["cat"], env=marked, stdin=subprocess.PIPE) as stays,
        subprocess.Popen(["cat"], stdin=subprocess.PIPE) as other,
    ):
        # The mark shows when the program has been started.
        while not keeper.processes(token):
            assert stays.poll() is None
        assert keeper.end_processes(token) == ["process cat"]
        assert stays.wait(DEADLINE_S) < 0
        assert keeper.end_processes(token) == []
        assert other.poll() is None


def test_new_modules_go_in_the_order_in_which_they_can(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = ["usbcore", "libcomposite", "usb_f_mass_storage", "stuck"]
    users = {"libcomposite": "usb_f_mass_storage", "stuck": "usbcore"}

    def command(program: str, name: str) -> str:
        assert program == "rmmod"
        if users.get(name) in loaded:
            return "in use"
        loaded.remove(name)
        return ""

    monkeypatch.setattr(keeper, "modules", lambda: list(loaded))
    monkeypatch.setattr(keeper, "command", command)
    assert keeper.unload(["usbcore"]) == ["module stuck"]
    assert loaded == ["usbcore", "stuck"]


def test_nothing_is_removed_in_which_something_is_mounted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "rig" / "mnt").mkdir(parents=True)
    monkeypatch.setattr(keeper, "mounts", lambda: [f"{tmp_path}/rig/mnt"])
    keeper.remove(f"{tmp_path}/rig")
    assert (tmp_path / "rig" / "mnt").is_dir()
    monkeypatch.setattr(keeper, "mounts", list)
    keeper.remove(f"{tmp_path}/rig")
    assert not (tmp_path / "rig").exists()
