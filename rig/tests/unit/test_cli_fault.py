"""``rig fault``, with processes of this machine and of a lab whose ssh is a stand-in."""

from __future__ import annotations

import io
import json
import select
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rig.cli.main import run
from rig.control import reach
from rig.control.client import ControlClient
from rig.control.commands import FaultCommands
from rig.control.everybody import OWNERS
from rig.control.server import ControlSocket
from rig.control.ways import NAME, Ways, load_ways, remove_ways
from rig.daemon import Command, Events
from rig.errors import MachineError, UserError
from rig.faults.load import load_plan
from rig.faults.plan import NO_FAULTS
from rig.faults.rules.base import Layer
from rig.faults.rules.endpoint import EndpointFault
from rig.faults.rules.link import LinkFault
from rig.faults.rules.medium import MediumAccess, MediumFault, MediumOp
from rig.faults.triggers import Injector

ENDPOINT = ["layer=endpoint", "direction=out", "status=EPROTO", "when=before", "nth=1"]
MEDIUM = ["layer=medium", "op=write", "nth=1"]
FAKE_SSH = """#!/bin/sh
# "The machine" is this one. A socket is brought here by a link to it.
echo "$*" >>"$0.log"
case "$1 $2" in
"-O forward") exec ln -s "${4#*:}" "${4%%:*}" ;;
"-O cancel") exit 0 ;;
esac
for last; do :; done
exec sh -c "$last"
"""


class Site:
    """A machine with a back end and a store, served by a thread."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.store = Injector(NO_FAULTS, MediumFault, lambda: 0.0)
        self.back = Injector(NO_FAULTS, EndpointFault, lambda: 0.0)
        self.released = 0
        events = Events(io.BytesIO())
        self._store = FaultCommands("rig store", self.store, events)
        self.commands: dict[str, Any] = {
            "store": self._obey_store,
            "back": FaultCommands("rig back", self.back, events).obey,
        }
        self.sockets = [ControlSocket(directory, name, do) for name, do in self.commands.items()]
        self._end, self._other = socket.socketpair()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _obey_store(self, command: Command) -> object:
        if command.do == "release":
            return {"released": 2}
        return self._store.obey(command)

    def _serve(self) -> None:
        while True:
            numbers = [*(one.fileno() for one in self.sockets), self._end.fileno()]
            if self._end.fileno() in select.select(numbers, [], [], 10)[0]:
                return
            for control in self.sockets:
                control.pump()

    def close(self) -> None:
        self._other.close()
        self._thread.join(10)
        self._end.close()
        for control in self.sockets:
            control.close()


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    directory = tmp_path / "rig"
    monkeypatch.setattr(reach, "DIRECTORY", directory)
    one = Site(directory)
    yield one
    one.close()


@pytest.fixture
def lab(site: Site, tmp_path: Path) -> Path:
    """A run directory whose machine `back` is the site."""
    ssh = tmp_path / "ssh"
    ssh.write_text(FAKE_SSH)
    ssh.chmod(0o755)
    directory, private = tmp_path / "run", tmp_path / "private"
    directory.mkdir()
    private.mkdir()
    Ways(str(private / "control"), {"back": [str(ssh), "root@back"]}).save(directory)
    return directory


def said(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert run(["fault", *words]) == 0
    return capsys.readouterr().out


def test_a_rule_goes_to_the_process_of_its_layer(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said(capsys, "add", *MEDIUM).endswith("/store: medium-1 added\n")
    assert said(capsys, "add", *ENDPOINT, "name=cut").endswith("/back: cut added\n")
    assert list(site.store.planned) == ["medium-1"]
    assert list(site.back.planned) == ["cut"]


def test_the_list_says_what_each_rule_has_done(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    said(capsys, "add", *MEDIUM, "--disarmed")
    site.store.set_phase("write")
    listed = said(capsys, "list")
    assert "/back (endpoint): no rules\n" in listed
    assert "/store (medium, phase write)\n" in listed
    assert "medium-1" in listed
    assert "fired 0 of 1 at 0 matches" in listed
    assert "disarmed" in listed
    (told,) = json.loads(said(capsys, "list", "--json", "--process", "store"))
    assert told["rules"][0]["rule"] == {**_table(MEDIUM), "name": "medium-1"}


def _table(words: list[str]) -> dict[str, object]:
    split = (word.split("=") for word in words)
    return {key: int(value) if value.isdigit() else value for key, value in split}


def test_rules_are_changed_by_name_wherever_they_are(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    said(capsys, "add", *MEDIUM, "name=m")
    said(capsys, "add", *ENDPOINT, "name=e")
    assert "m disarmed" in said(capsys, "disarm", "m")
    assert "m fires" in said(capsys, "fire", "m")
    assert site.store.ask(MediumAccess(MediumOp.WRITE, 0, 1)) is not None
    assert "e removed" in said(capsys, "remove", "e")
    assert site.back.planned == {}
    assert "m armed" in said(capsys, "arm", "m")
    assert "m removed" in said(capsys, "clear")
    assert site.store.planned == {}


def test_a_plans_rules_go_to_all_processes(
    site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = tmp_path / "plan.toml"
    plan.write_text(
        'name = "p"\n[[fault]]\nlayer = "medium"\nop = "read"\nnth = 1\n'
        '[[fault]]\nlayer = "endpoint"\ndirection = "in"\nstatus = "EPIPE"\n'
        'when = "before"\nnth = 1\n'
    )
    assert said(capsys, "add", "--file", str(plan)).count("added") == 2
    text = '{"layer": "medium", "op": "flush", "nth": 2}'
    assert "medium-2 added" in said(capsys, "add", text)
    assert (len(site.store.rules), len(site.back.rules)) == (2, 1)


def test_what_hangs_is_released(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, "release").endswith("/store: 2 released\n")


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["add"], "no rule to add"),
        (["add", "nonsense"], "not KEY=VALUE"),
        (["add", "layer=medium"], "'op' is missing"),
        (["add", *MEDIUM, "nth=2"], "given twice"),
        (["add", *MEDIUM, "name=kept"], "already"),
        (
            ["add", "layer=link", "effect=cut", "nth=1"],
            "needs a process 'link'.*--plan link-ready'",
        ),
        (["add", *ENDPOINT, "place=cable"], "needs a process 'cable'"),
        (["add", "layer=machine", "effect=pause", "machine=back", "for_s=1", "at_s=1"], "'run'"),
        (["add", "--file", "/nonexistent"], "cannot be read"),
        (["remove", "none"], "no rule 'none'"),
        (["list", "--process", "cable"], "no process 'cable'"),
        (["list", "--machine", "back"], "--machine is of a lab"),
        (["list", "--lab", "/nonexistent"], "No lab runs in '/nonexistent'"),
    ],
)
def test_what_is_bad_is_a_sentence_and_changes_nothing(
    site: Site, capsys: pytest.CaptureFixture[str], words: list[str], complaint: str
) -> None:
    said(capsys, "add", *MEDIUM, "name=kept")
    with pytest.raises(UserError, match=complaint):
        run(["fault", *words])
    assert list(site.store.planned) == ["kept"]
    assert site.back.planned == {}


def test_if_one_process_refuses_nothing_stays_with_the_others(
    site: Site, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(rule: object) -> None:
        raise UserError("Not here.")

    monkeypatch.setattr(site.commands["back"].__self__, "_accept", refuse)
    text = json.dumps([{**_table(MEDIUM)}, {**_table(ENDPOINT)}])
    with pytest.raises(UserError, match="Not here"):
        run(["fault", "add", text])
    assert site.store.planned == site.back.planned == {}


def test_the_same_name_in_two_processes_must_be_told_apart(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    said(capsys, "add", "--process", "store", *MEDIUM, "name=x")
    said(capsys, "add", "--process", "back", *ENDPOINT, "name=x")
    with pytest.raises(UserError, match="Several have a rule 'x'"):
        run(["fault", "remove", "x"])
    said(capsys, "remove", "--process", "back", "x")
    assert (list(site.store.planned), list(site.back.planned)) == (["x"], [])


@pytest.fixture
def dead(site: Site) -> Site:
    """The site, and what a link's relay that was killed has left."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as left:
        left.bind(str(site.directory / "link.sock"))
    return site


DEAD = r"/link' is dead or deaf: .*"


def test_a_dead_process_is_named_and_the_others_are_listed(
    dead: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(MachineError, match=DEAD + "The others did as they were told"):
        run(["fault", "list"])
    listed = capsys.readouterr().out
    assert "/back (endpoint): no rules\n" in listed
    assert "/store (medium): no rules\n" in listed


@pytest.mark.parametrize("words", [["add", *MEDIUM], ["remove", "x"], ["fire", "x"], ["clear"]])
def test_the_living_do_as_they_are_told_although_one_is_dead(dead: Site, words: list[str]) -> None:
    run_all = ["fault", "add", "--process", "store", *MEDIUM, "name=x"]
    assert run(run_all) == 0
    with pytest.raises(MachineError, match=DEAD):
        run(["fault", *words])
    assert list(dead.store.planned) == {"add": ["x", "medium-1"], "fire": ["x"]}.get(words[0], [])


def test_what_hangs_is_released_although_another_process_is_dead(
    dead: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(MachineError, match=DEAD):
        run(["fault", "release"])
    assert capsys.readouterr().out.endswith("/store: 2 released\n")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["add", "layer=link", "effect=cut", "nth=1"], "needs a process 'link'"),
        (["remove", "none"], "no rule 'none'"),
    ],
)
def test_what_the_dead_one_may_have_is_told_with_its_death(
    dead: Site, words: list[str], said: str
) -> None:
    with pytest.raises(MachineError, match=said + ".*" + DEAD):
        run(["fault", *words])


def test_a_process_that_dies_while_it_is_asked_does_not_keep_the_others_from_it(
    site: Site, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    said(capsys, "add", *MEDIUM, "name=m")
    ask = ControlClient.ask

    def die(self: Any, do: str, /, **args: object) -> object:
        if do == "clear" and self._process == "back":
            raise MachineError("Process 'back' has ended.")
        return ask(self, do, **args)

    monkeypatch.setattr(ControlClient, "ask", die)
    with pytest.raises(MachineError, match="Process 'back' has ended"):
        run(["fault", "clear"])
    assert site.store.planned == {}


def test_a_labs_other_machines_are_asked_although_one_cannot_be_reached(
    site: Site, lab: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ways = load_ways(lab)
    Ways(ways.control, {"front": ["false"], **ways.ssh}).save(lab)
    with pytest.raises(MachineError, match="Machine 'front' cannot be reached"):
        run(["fault", "list", "--lab", str(lab)])
    assert "back/store (medium): no rules\n" in capsys.readouterr().out


def test_without_processes_there_is_a_hint(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(reach, "DIRECTORY", tmp_path)
    with pytest.raises(UserError, match="--lab names"):
        run(["fault", "list"])


def test_a_labs_machine_is_reached_through_its_ssh(
    site: Site, lab: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said(capsys, "add", "--lab", str(lab), *MEDIUM) == "back/store: medium-1 added\n"
    assert list(site.store.planned) == ["medium-1"]
    assert "back/back (endpoint)" in said(capsys, "list", "--lab", str(lab), "--machine", "back")
    log = (lab.parent / "ssh.log").read_text()
    assert log.count("-O forward") == log.count("-O cancel") == 4
    assert [*(lab.parent / "private").iterdir()] == []


def test_a_labs_process_on_the_station_needs_no_ssh(
    lab: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UserError, match="No process"):
        run(["fault", "list", "--lab", str(lab), "--machine", "station"])
    other = Site(lab.parent / "private" / "control")
    assert "station/store" in said(capsys, "list", "--lab", str(lab), "--machine", "station")
    other.close()


def test_a_machine_that_cannot_be_reached_is_a_sentence(tmp_path: Path) -> None:
    Ways(str(tmp_path), {"back": ["false"]}).save(tmp_path)
    with pytest.raises(MachineError, match="Machine 'back' cannot be reached"):
        run(["fault", "list", "--lab", str(tmp_path)])
    Ways(str(tmp_path), {"back": [str(tmp_path / "none")]}).save(tmp_path)
    with pytest.raises(MachineError, match="No such file"):
        run(["fault", "list", "--lab", str(tmp_path)])


def test_the_ways_of_a_lab_go_with_it(tmp_path: Path) -> None:
    ways = Ways("/x", {"back": ["ssh", "-p", "1"]})
    ways.save(tmp_path)
    assert load_ways(tmp_path) == ways
    assert [path.name for path in tmp_path.iterdir()] == [NAME]
    remove_ways(tmp_path)
    remove_ways(tmp_path)
    with pytest.raises(UserError):
        load_ways(tmp_path)


def test_every_layer_but_the_runs_own_has_a_process() -> None:
    assert {*OWNERS, "endpoint"} == {*Layer}


def test_the_plan_that_is_named_for_a_relay_has_one() -> None:
    assert load_plan("link-ready").rules(LinkFault)


def test_a_phase_that_a_run_does_not_have_is_refused(site: Site, lab: Path) -> None:
    with pytest.raises(UserError, match="no workload has a phase 'wirte'"):
        run(["fault", "add", "--lab", str(lab), *MEDIUM, "phase=wirte"])
    assert site.store.planned == {}


@pytest.mark.parametrize(
    "words", [[], ["lsit"], ["list", "--lab"], ["remove"], ["list", "--bogus"]], ids=" ".join
)
def test_a_wrong_command_line_is_one_sentence_and_no_usage(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UserError, match="--help' tells more"):
        run(["fault", *words])
    assert capsys.readouterr() == ("", "")
