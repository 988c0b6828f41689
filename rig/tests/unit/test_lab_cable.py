from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from rig.lab import cable, children, daemons, strategy
from rig.lab.attachment import parse_attachment
from rig.lab.lab import Lab
from rig.lab.paths import PathName
from rig.lab.strategy import LabState
from rig.tests.harness.fake_lab import SETUP, make_path, open_lab

FAKE_CABLE = """
import sys
from rig.tests.harness import fake_daemon
with open({told!r}, "a") as told:
    print(*sys.argv[1:], file=told)
sys.argv = ["fake", "listening", "plugged"]
fake_daemon.main()
"""


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file with the command lines of ``rig cable``, which a fake plays."""
    file = tmp_path / "told"
    started = children.spawn

    def spawn(argv: list[str], **streams: int) -> object:
        source = FAKE_CABLE.format(told=str(file))
        return started([sys.executable, "-c", source, *argv[1:]], **streams)

    monkeypatch.setattr(cable, "spawn", spawn)
    return file


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: Path) -> Iterator[Lab]:
    monkeypatch.setenv("PATH", make_path(tmp_path / "bin"))
    monkeypatch.setattr(strategy, "wait_for", lambda *wanted: f"/dev/{wanted[1]}")
    # The event has a port of its own, which the fake does not have.
    wait_event = daemons.Daemon.wait_event
    monkeypatch.setattr(
        daemons.Daemon,
        "wait_event",
        lambda self, event, *rest, **match: {"port": 7, **wait_event(self, event, *rest, **match)},
    )
    monkeypatch.setattr(cable.Cable, "load", lambda *_: None)
    with open_lab(tmp_path) as opened:
        opened.strategy.attachment = parse_attachment("ehci")
        opened.setup = replace(SETUP, cable=("--plan", "some.toml"))
        yield opened


def test_a_cable_comes_and_goes_with_the_gadget(lab: Lab) -> None:
    lab.transition(LabState.ATTACHED)
    assert {"gadget", "cable", "plug"} <= set(lab.strategy.daemons)
    lab.transition(LabState.BOOTED)
    assert not lab.strategy.daemons


def test_the_cable_gets_its_controller_its_plan_and_qemus_socket(lab: Lab, told: Path) -> None:
    lab.transition(LabState.BOUND)
    words = told.read_text()
    assert "--controller ehci" in words
    assert "--plan some.toml" in words
    assert f"--usb-redir {lab.private / 'cable'}" in words


def test_the_secret_is_on_no_command_line_of_the_station(lab: Lab, told: Path) -> None:
    lab.transition(LabState.BOUND)
    secret = (lab.private / "cable-secret").read_text()
    assert len(secret) == 32
    for pid in lab.processes():
        assert secret not in Path(f"/proc/{pid}/cmdline").read_text()
    for name in ("plug", "cable"):
        argv = lab.strategy.daemons[name]._child.args
        assert secret not in str(argv)
    assert secret not in told.read_text()


@pytest.mark.parametrize("path", [PathName.SPLIT, PathName.DIRECT])
def test_nothing_is_plugged_in_before_the_split_driver_has_claimed_the_port(
    lab: Lab, path: PathName, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    setup = replace(SETUP, path=path, cable=())
    route = setup.device_path(parse_attachment("ehci"))
    monkeypatch.setattr(type(route), "wait_served", lambda *_: order.append("served"))
    monkeypatch.setattr(cable.Cable, "plug_in", lambda *_: order.append("plugged in"))
    lab.setup = setup
    lab.transition(LabState.BOUND)
    expected = ["served", "plugged in"] if path is PathName.SPLIT else ["plugged in", "served"]
    assert order == expected


def test_a_lab_without_a_cable_starts_none(lab: Lab, told: Path) -> None:
    lab.strategy.attachment = parse_attachment("dummy")
    lab.transition(LabState.ATTACHED)
    assert "cable" not in lab.strategy.daemons
    assert not told.exists()
