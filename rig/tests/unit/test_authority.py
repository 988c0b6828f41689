"""The private CA on the station, and ``rig certs`` that makes it."""

from __future__ import annotations

import stat
import sys
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.verification import PolicyBuilder, Store

from rig.cli import main as cli
from rig.errors import UserError
from rig.lab.authority import (
    CA_LIFETIME,
    CLOCK_TOLERANCE,
    MACHINE_LIFETIME,
    Authority,
    Machine,
    check,
)

NOW = datetime(2026, 5, 17, tzinfo=UTC)


def certificate(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def rig(monkeypatch: pytest.MonkeyPatch, *argv: str) -> int:
    monkeypatch.setattr(sys, "argv", ["rig", *argv])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert isinstance(end.value.code, int)
    return int(end.value.code)


def test_a_machine_gets_three_files_and_the_keys_are_for_their_owner(tmp_path: Path) -> None:
    place = Authority.open_or_make(tmp_path / "pki", NOW).issue(Machine("back"), NOW)
    assert place == tmp_path / "pki" / "back"
    assert {p.name: mode(p) for p in place.iterdir()} == {
        "cert.pem": 0o644,
        "key.pem": 0o600,
        "ca.pem": 0o644,
    }
    assert mode(tmp_path / "pki" / "ca.key") == 0o600
    assert mode(tmp_path / "pki") == mode(place) == 0o700
    assert (place / "ca.pem").read_bytes() == (tmp_path / "pki" / "ca.pem").read_bytes()


def test_a_certificate_stands_the_rules_of_the_web(tmp_path: Path) -> None:
    """RFC 5280 as a strict verifier reads it, which is stricter than OpenSSL."""
    authority = Authority.open_or_make(tmp_path, NOW)
    machine = certificate(authority.issue(Machine("back.example"), NOW) / "cert.pem")
    store = Store([certificate(tmp_path / "ca.pem")])
    builder = PolicyBuilder().store(store).time(NOW.replace(tzinfo=None))
    subject = x509.DNSName("back.example")
    assert len(builder.build_server_verifier(subject).verify(machine, [])) == 2
    builder.build_client_verifier().verify(machine, [])


def test_keys_are_of_p_256_and_lifetimes_are_kept(tmp_path: Path) -> None:
    authority = Authority.open_or_make(tmp_path, NOW)
    machine = certificate(authority.issue(Machine("back"), NOW) / "cert.pem")
    for one, lifetime in (
        (certificate(tmp_path / "ca.pem"), CA_LIFETIME),
        (machine, MACHINE_LIFETIME),
    ):
        key = one.public_key()
        assert isinstance(key, ec.EllipticCurvePublicKey)
        assert key.curve.name == "secp256r1"
        assert one.not_valid_before_utc == NOW - CLOCK_TOLERANCE
        assert one.not_valid_after_utc == NOW + lifetime


def test_a_certificate_does_not_outlive_its_ca(tmp_path: Path) -> None:
    Authority.open_or_make(tmp_path, NOW)
    later = NOW + CA_LIFETIME - timedelta(days=10)
    place = Authority.open_or_make(tmp_path, later).issue(Machine("back"), later)
    assert certificate(place / "cert.pem").not_valid_after_utc == NOW + CA_LIFETIME


def test_names_and_addresses_are_in_the_certificate(tmp_path: Path) -> None:
    authority = Authority.open_or_make(tmp_path, NOW)
    place = authority.issue(Machine.parse("back=back.example,10.77.0.1,fd00::1"), NOW)
    names = (
        certificate(place / "cert.pem")
        .extensions.get_extension_for_class(x509.SubjectAlternativeName)
        .value
    )
    assert names.get_values_for_type(x509.DNSName) == ["back", "back.example"]
    addresses = [ip_address("10.77.0.1"), ip_address("fd00::1")]
    assert names.get_values_for_type(x509.IPAddress) == addresses


def test_a_machine_that_comes_later_is_of_the_same_ca(tmp_path: Path) -> None:
    first = Authority.open_or_make(tmp_path, NOW)
    ca = (tmp_path / "ca.pem").read_bytes()
    second = Authority.open_or_make(tmp_path, NOW)
    place = second.issue(Machine("late"), NOW)
    assert (first.is_new, second.is_new) == (True, False)
    assert (place / "ca.pem").read_bytes() == ca


def test_renewal_gives_another_key_and_leaves_nothing_behind(tmp_path: Path) -> None:
    authority = Authority.open_or_make(tmp_path, NOW)
    key = (authority.issue(Machine("back"), NOW) / "key.pem").read_bytes()
    (tmp_path / ".back.new").mkdir()  # of a run that was interrupted
    assert (authority.issue(Machine("back"), NOW) / "key.pem").read_bytes() != key
    assert {p.name for p in tmp_path.iterdir()} == {"ca.pem", "ca.key", "back"}


def test_renewal_keeps_the_names_that_the_machine_had(tmp_path: Path) -> None:
    authority = Authority.open_or_make(tmp_path, NOW)
    authority.issue(Machine("back", ("10.77.0.1", "old.lab")), NOW)
    place = authority.issue(Machine("back", ("new.lab", "old.lab")), NOW)
    names = certificate(place / "cert.pem").extensions.get_extension_for_class(
        x509.SubjectAlternativeName
    )
    assert names.value.get_values_for_type(x509.DNSName) == ["back", "new.lab", "old.lab"]
    assert names.value.get_values_for_type(x509.IPAddress) == [ip_address("10.77.0.1")]


def test_a_certificate_that_cannot_be_read_has_no_names(tmp_path: Path) -> None:
    authority = Authority.open_or_make(tmp_path, NOW)
    place = authority.issue(Machine("back"), NOW)
    (place / "cert.pem").write_text("what is this?")
    assert certificate(authority.issue(Machine("back"), NOW) / "cert.pem")


def test_nothing_is_overwritten_unasked(tmp_path: Path) -> None:
    Authority.open_or_make(tmp_path, NOW).issue(Machine("back"), NOW)
    with pytest.raises(UserError, match=r"back is there already\. Give --renew"):
        check(tmp_path, [Machine("new"), Machine("back")], renew=False)
    check(tmp_path, [Machine("new"), Machine("back")], renew=True)


def test_what_is_no_machines_directory_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "thesis.tex").write_text("months of work")
    with pytest.raises(UserError, match="is no directory of a machine's certificate"):
        check(tmp_path, [Machine("docs")], renew=True)


def test_a_file_or_a_link_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path)
    for name in ("file", "link"):
        with pytest.raises(UserError, match="is no directory of a machine's certificate"):
            check(tmp_path, [Machine(name)], renew=True)


@pytest.mark.parametrize("directory", ["file", "file/pki"])
def test_a_directory_that_cannot_be_is_a_wrong_wish(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    directory: str,
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.chdir(tmp_path)
    assert rig(monkeypatch, "certs", directory, "--machine", "back") == 2
    assert f"The CA's directory '{directory}' cannot be used: " in capfd.readouterr().err


@pytest.mark.parametrize(
    "text",
    ["", ".", "..", "../x", "a/b", "-a", "*", "a b", "a=", "ca.pem", "ca.key", "x" * 65, "a=b,",
     "a=*.b", ".back.new", "fe80::1%eth0", "käse"],
)  # fmt: skip
def test_a_name_that_cannot_be_a_machines_is_refused(text: str) -> None:
    if text == "a=":
        assert Machine.parse(text) == Machine("a")
        return
    with pytest.raises(UserError, match="is no name for a machine"):
        Machine.parse(text)


def test_half_a_ca_is_not_made_whole_by_another(tmp_path: Path) -> None:
    Authority.open_or_make(tmp_path, NOW)
    for name in ("ca.key", "ca.pem"):
        path = tmp_path / name
        content = path.read_bytes()
        path.unlink()
        with pytest.raises(UserError, match=rf"There is no {path}, but the other half"):
            Authority.open_or_make(tmp_path, NOW)
        path.write_bytes(content)


def test_a_ca_with_anothers_key_is_refused(tmp_path: Path) -> None:
    for name in ("one", "two"):
        Authority.open_or_make(tmp_path / name, NOW)
    (tmp_path / "one" / "ca.key").write_bytes((tmp_path / "two" / "ca.key").read_bytes())
    with pytest.raises(UserError, match=r"ca\.key is not the key of"):
        Authority.open_or_make(tmp_path / "one", NOW)


def test_what_is_no_ca_is_refused(tmp_path: Path) -> None:
    Authority.open_or_make(tmp_path, NOW)
    (tmp_path / "ca.key").write_text("hello\n")
    with pytest.raises(UserError, match="are no certificate and key"):
        Authority.open_or_make(tmp_path, NOW)


def test_a_ca_that_has_expired_signs_no_more(tmp_path: Path) -> None:
    Authority.open_or_make(tmp_path, NOW)
    with pytest.raises(UserError, match=r"expired on 2036-05-14\. Make a new one"):
        Authority.open_or_make(tmp_path, NOW + CA_LIFETIME)


def test_the_command_says_what_to_do_with_the_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    pki = tmp_path / "pki"
    assert rig(monkeypatch, "certs", str(pki), "--machine", "back", "--machine", "front") == 0
    said = capfd.readouterr().out
    assert f"{pki / 'ca.key'} stays on this machine" in said
    assert f"Copy {pki / 'front'} with its three files to the machine front." in said
    assert "rig back --certs COPY --peer FRONT" in said
    assert "rig front --certs COPY --back-name BACK" in said


def test_the_command_makes_nothing_if_a_wish_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    pki = tmp_path / "pki"
    for wrong in (
        ["--machine", "a", "--machine", "../b"],
        ["--machine", "a", "--machine", "a"],
        [],
    ):
        assert rig(monkeypatch, "certs", str(pki), *wrong) == 2
        assert capfd.readouterr().err.startswith("rig: ")
    assert not pki.exists()


def test_the_command_adds_and_renews(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    call = ("certs", str(tmp_path), "--machine", "back")
    assert rig(monkeypatch, *call) == 0
    assert rig(monkeypatch, *call) == 2
    assert "--renew" in capfd.readouterr().err
    assert rig(monkeypatch, *call, "--renew") == 0
    assert "Made a CA" not in capfd.readouterr().out
