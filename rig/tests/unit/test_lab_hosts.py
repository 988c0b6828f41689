"""Labs of hosts: their environment file, and what is refused before anything is tried."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from labgrid.util.yaml import dump

from rig.errors import MachineError, UserError
from rig.lab.attachment import DUMMY, parse_attachment
from rig.lab.basis import HARDWARE, basis, using
from rig.lab.environment import LINK_ADDRESS, Places, Role
from rig.lab.hosts import Hosts
from rig.lab.lab import Lab
from rig.lab.timetable import Deed
from rig.progress import Silent


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
        lab.strategy.powering.check_able(Role.BACK, [Deed.CUT_POWER, Deed.BRING_UP], "Fault 'x'")


def test_nothing_of_the_file_is_copied_into_the_labs_directory(tmp_path: Path) -> None:
    hosts = Hosts(write(tmp_path, environment()))
    with Lab.open(hosts, tmp_path / "lab") as lab:
        assert Places(lab.directory, lab.private).yaml.exists() is False
    assert list((tmp_path / "lab").iterdir()) == []
