"""One place's environment file, from that of all."""

from __future__ import annotations

import stat
from pathlib import Path

import msgspec
import pytest

from rig.campaign.desk import Exported
from rig.campaign.rendering import Pool
from rig.errors import MachineError, UserError
from rig.lab.environment import Role
from rig.lab.hosts import Hosts
from rig.tests.harness.fake_desk import service

TARGET = """
    resources: {RemotePlace: {name: !template $LG_PLACE}}
    drivers: {SSHDriver: {keyfile: keys/rig}}
    options: {work_directory: /data}
"""
POOL = f"targets:\n  back:{TARGET}  front:{TARGET}"
BOTH = [service("back"), service("front")]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "pool.yaml"
    file.write_text(POOL)
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "rig").write_text("")
    return file


def test_a_place_becomes_an_environment_that_a_lab_of_hosts_takes(
    file: Path, tmp_path: Path
) -> None:
    tags = {"back_udc": "fe980000.usb", "back_port": "1-1.2", "back_link_port": "7300"}
    made = Pool(file).write(tmp_path, "lab1", {**tags, "front_board": "pi4"}, BOTH)
    hosts = Hosts(made)
    assert hosts.addresses == {Role.BACK: "back.lab", Role.FRONT: "front.lab"}
    back, front = hosts.options[Role.BACK], hosts.options[Role.FRONT]
    assert (back.udc, back.port, back.link_port) == ("fe980000.usb", "1-1.2", 7300)
    assert front.work_directory == "/data"
    assert stat.S_IMODE(made.stat().st_mode) == 0o600


def test_files_are_found_where_the_pools_own_is(file: Path, tmp_path: Path) -> None:
    made = Pool(file).rendered("lab1", {}, BOTH)
    driver = made["targets"]["back"]["drivers"][0]["SSHDriver"]
    assert driver == {"keyfile": str(tmp_path / "keys" / "rig")}


def test_the_places_name_is_filled_in_wherever_the_file_has_it(file: Path) -> None:
    text = POOL.replace("keyfile: keys/rig", "keyfile: !template $BASE/$LG_PLACE/key")
    file.write_text(text)
    made = Pool(file).rendered("lab7", {}, BOTH)
    keyfile = made["targets"]["front"]["drivers"][0]["SSHDriver"]["keyfile"]
    assert keyfile == str(file.parent / "lab7" / "key")


@pytest.mark.parametrize(
    ("back", "front"), [("back", "front"), ("lab1-back", "lab1-front"), ("x-back", "front")]
)
def test_an_exporters_group_tells_the_machine(file: Path, back: str, front: str) -> None:
    made = Pool(file).rendered("lab1", {}, [service("front", front), service("back", back)])
    resource = made["targets"]["back"]["resources"][0]["NetworkService"]
    assert resource["address"] == "back.lab"


def test_a_named_match_tells_it_before_the_group(file: Path) -> None:
    named = msgspec.structs.replace(service("back", "shelf-front"), name="back", named=True)
    made = Pool(file).rendered("lab1", {}, [named, service("front")])
    assert made["targets"]["back"]["resources"][0]["NetworkService"]["address"] == "back.lab"


def test_an_exporters_own_name_stays_so_that_drivers_bind_by_it(file: Path) -> None:
    port = Exported("pi", "back", "usb-port", "NetworkUSBPowerPort", {"host": "pi", "index": 2})
    made = Pool(file).rendered("lab1", {}, [*BOTH, port])
    resource = made["targets"]["back"]["resources"][1]["NetworkUSBPowerPort"]
    assert resource == {"name": "usb-port", "host": "pi", "index": 2}


@pytest.mark.parametrize(
    ("resources", "said"),
    [
        ([service("back")], "has no NetworkService for machine 'front'"),
        ([*BOTH, service("side")], "Nobody knows which machine of place 'lab1' has the resource"),
        ([msgspec.structs.replace(service("back"), proxied=True)], "is isolated"),
    ],
)
def test_a_place_that_is_no_lab_is_told(file: Path, resources: list[Exported], said: str) -> None:
    with pytest.raises(MachineError, match=said) as failed:
        Pool(file).rendered("lab1", {}, resources)
    assert failed.value.hint


def test_a_place_without_what_a_driver_needs_is_at_fault_itself(file: Path, tmp_path: Path) -> None:
    file.write_text(
        POOL.replace("{SSHDriver: {keyfile: keys/rig}}", "{SSHDriver: {}, SerialDriver: {}}")
    )
    with pytest.raises(MachineError, match=r"Place 'lab1' lacks .*SerialDriver") as failed:
        Pool(file).write(tmp_path, "lab1", {}, BOTH)
    assert "labgrid-client -p lab1 show" in failed.value.hint
    assert not (tmp_path / "lab1.yaml").exists()


def test_a_tag_that_is_no_number_is_told(file: Path) -> None:
    with pytest.raises(MachineError, match="Tag back_link_port=x of place 'lab1' is no number"):
        Pool(file).rendered("lab1", {"back_link_port": "x"}, BOTH)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (POOL.replace("!template $LG_PLACE", "lab1"), "does not take its resources from a place"),
        (POOL.replace("  front:", "  side:"), "Target 'front' in .* does not take"),
        (POOL.replace("$LG_PLACE", "$LG_NOTHING"), "LG_NOTHING"),
        ("targets: [", "cannot be used"),
        ("[]", "has no targets"),
    ],
)
def test_a_file_that_is_for_no_pool_is_refused(file: Path, text: str, said: str) -> None:
    file.write_text(text)
    with pytest.raises(UserError, match=said):
        Pool(file)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        Pool(tmp_path / "none.yaml")
