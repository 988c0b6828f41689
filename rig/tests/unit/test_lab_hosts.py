"""Labs of hosts: their environment file, and what is refused before anything is tried."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from labgrid.util.yaml import dump

from rig.errors import MachineError, UserError
from rig.lab.attachment import DUMMY, parse_attachment
from rig.lab.basis import HARDWARE, basis, using
from rig.lab.doctor import State
from rig.lab.environment import LINK_ADDRESS, Places, Role
from rig.lab.hosts import Hosts, examine_hosts
from rig.lab.lab import Lab
from rig.lab.timetable import Deed
from rig.progress import Silent
from rig.tests.harness.fake_lab import make_path


def target(address: str, **more: Any) -> dict[str, Any]:
    drivers = {"SSHDriver": {"keyfile": "key"}, **more.pop("drivers", {})}
    return {
        "resources": {"NetworkService": {"address": address, "username": "root"}},
        "drivers": drivers,
        **more,
    }


def environment(**changes: Any) -> dict[str, Any]:
    return {"targets": {"back": target("h1"), "front": target("h2"), **changes}}


def write(directory: Path, content: object) -> Path:
    file = directory / "lab.yaml"
    file.write_text(content if isinstance(content, str) else dump(content))
    return file


def test_each_target_is_a_machine_with_its_address(tmp_path: Path) -> None:
    options = {"link_address": "10.0.0.1", "link_port": 7300}
    hosts = Hosts(write(tmp_path, environment(back=target("h1", options=options))))
    assert hosts.addresses == {Role.BACK: "10.0.0.1", Role.FRONT: "h2"}
    assert hosts._words(Role.FRONT)[LINK_ADDRESS] == ("10.0.0.1:7300",)
    assert hosts.kernel_version == "not asked"


def test_drivers_may_be_a_list_as_labgrid_allows(tmp_path: Path) -> None:
    listed = target("h1")
    listed["drivers"] = [{"SSHDriver": {"keyfile": "key"}}]
    assert Hosts(write(tmp_path, environment(back=listed))).addresses[Role.BACK] == "h1"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"targets": {"back": target("h1")}}, "has no target 'front'"),
        (environment(front={"resources": {}}), "Target 'front' .* one NetworkService and one"),
        (environment(back=target("h1", options={"udc": "x"})), "without the port"),
        (environment(back=target("h1", options={"speed": 1})), "unknown field `speed`"),
        (environment(back=target("h1", drivers={"NoDriver": {}})), "cannot be used: .*NoDriver"),
        (
            environment(front=target("h1", drivers={"SSHDriver": {"password": "hush"}})),
            "Target 'front' .* has a password",
        ),
        ("targets: [", "cannot be used"),
        ("x: 1", "cannot be used"),
    ],
)
def test_a_file_that_is_not_what_it_must_be_is_refused(
    tmp_path: Path, content: object, said: str
) -> None:
    with pytest.raises(UserError, match=said) as refused:
        Hosts(write(tmp_path, content))
    assert "hush" not in str(refused.value)


def test_a_file_that_is_missing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be used"):
        Hosts(tmp_path / "none.yaml")


def test_a_host_has_no_emulated_controller(tmp_path: Path) -> None:
    hosts = Hosts(write(tmp_path, environment()))
    with pytest.raises(UserError, match="'xhci' is for guests"):
        hosts.attachment(parse_attachment("xhci"))
    assert hosts.attachment(DUMMY) == DUMMY


def test_the_attachment_is_the_environments(tmp_path: Path) -> None:
    options = {"udc": "fe98.usb", "port": "1-1.2"}
    hosts = Hosts(write(tmp_path, environment(back=target("h1", options=options))))
    made = hosts.attachment(DUMMY)
    assert (made.udc, made.port) == ("fe98.usb", "1-1.2")
    words = hosts._words(Role.BACK)
    assert (words[DUMMY.udc], words[DUMMY.port]) == (("fe98.usb",), ("1-1.2",))


def test_labs_are_made_of_hosts_only_while_they_are_chosen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rig.lab.basis.ensure", lambda kernel, progress: f"image {kernel}")
    monkeypatch.setattr("rig.lab.basis.accelerator", lambda image: "tcg")
    with using(write(tmp_path, environment())):
        made, runs = basis("6.12", Silent())
        assert isinstance(made, Hosts)
        assert runs == HARDWARE
    made, runs = basis("6.12", Silent())
    assert (str(made), runs) == ("image 6.12", "tcg")


def test_what_a_host_cannot_do_is_refused_before_anything_starts(tmp_path: Path) -> None:
    hosts = Hosts(write(tmp_path, environment()))
    with Lab.open(hosts, tmp_path / "lab") as lab:
        powering = lab.strategy.powering
        with pytest.raises(MachineError, match="'x' cannot be done to machine 'back': nothing can"):
            powering.check_able(Role.BACK, [Deed.PAUSE, Deed.RESUME], "Fault 'x'")
        with pytest.raises(MachineError, match=r"target 'front' .* no driver for its power"):
            powering.check_able(Role.FRONT, [Deed.CUT_POWER], "Fault 'x'")
        powering.check_able(Role.BACK, [Deed.KILL_DAEMON], "Fault 'x'")
        assert lab.processes() == []


def test_a_host_with_a_power_driver_can_lose_its_power(tmp_path: Path) -> None:
    power = {"ExternalPowerDriver": {"cmd_on": "true", "cmd_off": "true"}}
    hosts = Hosts(write(tmp_path, environment(back=target("h1", drivers=power))))
    with Lab.open(hosts, tmp_path / "lab") as lab:
        powering = lab.strategy.powering
        powering.check_able(Role.BACK, [Deed.CUT_POWER, Deed.BRING_UP], "Fault 'x'")
        with pytest.raises(MachineError, match=r"power of a USB port.*with the name usb-port"):
            powering.check_able(Role.BACK, [Deed.CUT_PORT], "Fault 'x'")


def test_the_power_of_a_port_is_switched_by_the_driver_of_that_name_and_left_on(
    tmp_path: Path,
) -> None:
    log = tmp_path / "log"
    drivers = {
        name: {"cmd_on": f"sh -c 'echo on >>{log}'", "cmd_off": f"sh -c 'echo off >>{log}'"}
        for name in ("ExternalPowerDriver",)
    }
    drivers["ExternalPowerDriver"]["name"] = "usb-port"
    hosts = Hosts(write(tmp_path, environment(back=target("h1", drivers=drivers))))
    with Lab.open(hosts, tmp_path / "lab") as lab:
        unit = lab.strategy.powering.unit(Role.BACK)
        unit.switch_port(on=False)
        assert log.read_text() == "off\n"
        unit.leave()
        assert log.read_text() == "off\non\n"
        unit.leave()
    assert log.read_text() == "off\non\n"


def test_nothing_of_the_file_is_copied_into_the_labs_directory(tmp_path: Path) -> None:
    hosts = Hosts(write(tmp_path, environment()))
    with Lab.open(hosts, tmp_path / "lab") as lab:
        assert Places(lab.directory, lab.private).yaml.exists() is False
    assert list((tmp_path / "lab").iterdir()) == []


def test_the_doctor_looks_at_both_machines_and_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", make_path(tmp_path / "bin"))  # the station stands for both
    options = {"work_directory": str(tmp_path), "link_port": 1}
    file = write(tmp_path, environment(back=target("h1", options=options)))
    rows = {(row.machine, row.what): row for row in examine_hosts(file)}
    assert {machine for machine, _ in rows} == {"back", "front"}
    assert rows["back", "reached"].state is State.OK
    assert rows["back", "kernel"].found == os.uname().release
    assert rows["front", "clock"].state is State.OK
    assert rows["back", "power"].state is State.NOTE
    assert rows["back", "TCP port 1"].state is State.OK
    assert not any(row.what.startswith("UDC") for row in rows.values() if row.machine == "front")


def test_a_host_that_does_not_answer_is_a_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = environment()
    service = made["targets"]["back"]["resources"]["NetworkService"]
    service.update({"address": "127.0.0.1", "port": 1})
    made["targets"]["front"]["resources"]["NetworkService"].update(service)
    for name in ("back", "front"):
        made["targets"][name]["drivers"]["SSHDriver"]["connection_timeout"] = 1.0
    rows = examine_hosts(write(tmp_path, made))
    assert [(row.machine, row.what, row.state) for row in rows] == [
        ("back", "reached", State.LACKING),
        ("front", "reached", State.LACKING),
    ]
    assert "does not answer at 127.0.0.1, port 1" in rows[0].found
    assert "see that sshd runs" in rows[0].mend
