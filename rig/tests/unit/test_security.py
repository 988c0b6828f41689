"""The daemons' options about security, and the files that they name."""

from __future__ import annotations

import argparse
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from rig.errors import RemoteProtocolError, UserError
from rig.lab.authority import Authority, Machine
from rig.splitdriver.messages import Role
from rig.splitdriver.transport import credentials as credentials_module
from rig.splitdriver.transport.credentials import Credentials, load
from rig.splitdriver.transport.security import ANYBODY, Security, add_options, from_options
from rig.tests.harness.certificates import certificates

AWAY = "10.77.0.1"


def asked(role: Role, host: str, *argv: str) -> Security:
    parser = argparse.ArgumentParser()
    add_options(parser, role)
    return from_options(parser.parse_args(argv), role, host)


@pytest.fixture
def back(tmp_path: Path) -> Path:
    """A copy of the back machine's files, to be spoilt."""
    return Path(shutil.copytree(certificates() / "back", tmp_path / "back"))


# Options.


@pytest.mark.parametrize("role", Role)
def test_within_the_machine_a_plain_link_is_the_default(role: Role) -> None:
    assert asked(role, "127.0.0.1") == Security(role)


@pytest.mark.parametrize("role", Role)
def test_beyond_the_machine_certificates_or_a_word_are_needed(role: Role) -> None:
    with pytest.raises(UserError, match=r"neither encrypted.*rig certs.*--insecure"):
        asked(role, AWAY)
    assert asked(role, AWAY, "--insecure") == Security(role)


def test_a_back_end_with_certificates_must_be_told_whom_to_serve(back: Path) -> None:
    for host in ("127.0.0.1", AWAY):
        with pytest.raises(UserError, match=r"would serve nobody\..*--peer NAME"):
            asked(Role.BACK, host, "--certs", str(back))
    security = asked(Role.BACK, AWAY, "--certs", str(back), "--peer", "Front", "--peer", "10.0.0.2")
    assert security.wanted == ("front", "10.0.0.2")
    assert security.admit(("x", "10.0.0.2")) == "10.0.0.2"


def test_a_front_end_wants_the_host_that_it_connects_to_or_the_name_it_is_given() -> None:
    front = str(certificates() / "front")
    assert asked(Role.FRONT, AWAY, "--certs", front).wanted == (AWAY,)
    assert asked(Role.FRONT, AWAY, "--certs", front, "--back-name", "Back").wanted == ("back",)


@pytest.mark.parametrize(
    ("role", "argv", "complaint"),
    [
        (Role.BACK, ["--peer", "front"], "--peer is of no use without --certs"),
        (Role.FRONT, ["--back-name", "back"], "--back-name is of no use without --certs"),
        (Role.FRONT, ["--certs", "x", "--insecure"], "contradict each other"),
        (Role.BACK, ["--certs", "x", "--insecure", "--peer", "y"], "contradict each other"),
        (Role.FRONT, ["--certs", "x", "--back-name", "*"], "any machine"),
        (Role.BACK, ["--certs", "/nowhere", "--peer", "y"], "There is no /nowhere/cert.pem"),
    ],
)
def test_options_that_make_no_sense_are_refused(
    role: Role, argv: list[str], complaint: str
) -> None:
    with pytest.raises(UserError, match=complaint):
        asked(role, "127.0.0.1", *argv)


def test_a_certificate_that_names_nobody_is_not_served_even_where_anybody_is() -> None:
    with pytest.raises(RemoteProtocolError, match="does not serve nobody"):
        Security(Role.BACK, None, (ANYBODY,)).admit(())


# Files.


@pytest.mark.parametrize("name", ["cert.pem", "key.pem", "ca.pem"])
def test_a_file_that_is_missing_is_named(back: Path, name: str) -> None:
    (back / name).unlink()
    with pytest.raises(UserError, match=f"There is no {back / name}.*rig certs"):
        load(str(back), Role.BACK)


def test_a_file_that_is_no_file_is_named(back: Path) -> None:
    (back / "ca.pem").unlink()
    (back / "ca.pem").mkdir()
    with pytest.raises(UserError, match=r"ca\.pem cannot be read: Is a directory"):
        load(str(back), Role.BACK)


def test_a_key_that_others_can_read_is_refused(back: Path) -> None:
    (back / "key.pem").chmod(0o640)
    with pytest.raises(UserError, match=r"key\.pem can be used by others.*chmod 600"):
        load(str(back), Role.BACK)


@pytest.mark.parametrize("name", ["cert.pem", "key.pem", "ca.pem"])
def test_a_file_that_is_something_else_is_refused(back: Path, name: str) -> None:
    (back / name).write_text("hello\n")
    with pytest.raises(UserError, match="are no certificate with its key and its CA"):
        load(str(back), Role.BACK)


def test_a_key_of_another_certificate_is_refused(back: Path) -> None:
    shutil.copy(certificates() / "front" / "key.pem", back)
    with pytest.raises(UserError, match="are no certificate with its key and its CA"):
        load(str(back), Role.BACK)


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize(
    ("name", "complaint"), [("expired", "has expired. Renew"), ("early", "is not valid yet")]
)
def test_a_certificate_out_of_its_time_is_refused_at_the_start(
    role: Role, name: str, complaint: str
) -> None:
    with pytest.raises(UserError, match=f"The certificate .*{name}/cert.pem {complaint}"):
        load(str(certificates() / name), role)


def test_a_certificate_of_another_ca_is_refused_at_the_start(back: Path) -> None:
    shutil.copy(certificates() / "other" / "ca.pem", back)
    with pytest.raises(UserError, match=r"is of another CA than this end's ca\.pem"):
        load(str(back), Role.BACK)


def test_two_cas_are_believed_while_one_takes_the_others_place(back: Path) -> None:
    both = (certificates() / "other" / "ca.pem").read_text() + (back / "ca.pem").read_text()
    (back / "ca.pem").write_text(both)
    assert load(str(back), Role.BACK).names == ("back", "127.0.0.1")


def test_a_certificate_that_ends_soon_is_told_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    then = datetime.now(UTC) - timedelta(days=710)
    Authority.open_or_make(tmp_path, then).issue(Machine("old"), then)
    assert load(str(tmp_path / "old"), Role.BACK).expires_soon
    assert "expires within 30 days" in caplog.text
    caplog.clear()
    assert not Credentials(certificates() / "back", Role.BACK).expires_soon
    load(str(certificates() / "back"), Role.BACK)
    assert not caplog.text


def test_the_files_are_those_that_the_station_makes() -> None:
    made = {path.name for path in (certificates() / "back").iterdir()}
    names = (credentials_module.CERTIFICATE, credentials_module.KEY, credentials_module.CA)
    assert made == set(names)
