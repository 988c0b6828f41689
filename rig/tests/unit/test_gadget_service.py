"""The command line of ``rig gadget``."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from rig.errors import MachineError, UserError
from rig.gadget import kernel, service
from rig.gadget.assembly import Gadget, Options
from rig.gadget.kinds import Kind
from rig.gadget.service import options_of, parse_id, parse_size
from rig.gadget.storage import Medium
from rig.gadget.tree import MaxSpeed
from rig.gadget.wishes import Wish


def options(*argv: str) -> Options:
    return options_of(service.parser().parse_args(argv))


def test_without_a_function_it_is_a_disk() -> None:
    found = options("--directory", "d", "--size", "16M")
    assert found.wishes == (Wish(Kind.MASS_STORAGE),)
    assert found.medium == Medium(Path("d"), 16 << 20)
    assert (found.udc, found.max_speed) == ("dummy_udc.0", MaxSpeed.HIGH)


def test_functions_come_in_the_order_in_which_they_are_named() -> None:
    found = options("--function", "ncm", "-f", "acm", "-f", "loopback,qlen=4")
    assert [wish.kind for wish in found.wishes] == [Kind.NCM, Kind.ACM, Kind.LOOPBACK]
    assert found.wishes[2].settings == {"qlen": "4"}


def test_without_a_disk_no_directory_is_needed() -> None:
    assert options("-f", "hid").medium is None


def test_a_disk_needs_a_directory() -> None:
    with pytest.raises(UserError, match="needs a directory"):
        options("-f", "acm", "-f", "mass-storage")


def test_a_plan_that_cannot_be_read_is_refused_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(UserError):
        options("-f", "acm", "--plan", str(tmp_path / "none.toml"))


def test_an_id_is_written_as_lsusb_does() -> None:
    assert parse_id("0525:A4a0") == (0x0525, 0xA4A0)
    assert options("-f", "acm", "--id", "1234:5678").chosen_id == (0x1234, 0x5678)


@pytest.mark.parametrize("text", ["", "0525", "0525:a4a", "0525:a4a00", "0x525:a4a0", "wxyz:0000"])
def test_what_is_no_id_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="is no device ID"):
        parse_id(text)


@pytest.mark.parametrize(
    ("text", "size_bytes"), [("256M", 256 << 20), ("1G", 1 << 30), ("2048K", 2 << 20)]
)
def test_a_size_is_read_with_its_unit(text: str, size_bytes: int) -> None:
    assert parse_size(text) == size_bytes


@pytest.mark.parametrize("text", ["", "M", "1T", "-1M", "512", "1048577", "1.5G"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="is no size for a medium"):
        parse_size(text)


def test_the_help_names_every_kind_of_function() -> None:
    text = service.parser().format_help()
    assert all(f"'{kind}'" in text for kind in Kind)
    assert "``" not in text


@pytest.mark.parametrize("supervised", [False, True])
def test_what_goes_wrong_is_told_once_and_what_the_machine_lacks_is_no_wrong_wish(
    supervised: bool,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capsysbinary: pytest.CaptureFixture[bytes],
) -> None:
    def lacks(*_: object, **__: object) -> None:
        raise MachineError("This machine's kernel cannot play this USB gadget.")

    monkeypatch.setattr(kernel, "ensure_gadget_support", lacks)
    monkeypatch.setattr(service, "start_logging", lambda: None)
    monkeypatch.setattr(service, "wake_on_signals", lambda: -1)
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(fileno=lambda: 0))
    with caplog.at_level(logging.INFO):
        argv = ["-f", "acm", *(["--supervised"] if supervised else [])]
        assert service.main(argv) == 3
    assert len([m for m in caplog.messages if "cannot play" in m]) == 1
    assert capsysbinary.readouterr().out.count(b"cannot play") == supervised


def test_a_place_for_control_that_cannot_be_used_is_an_error_before_anything_is_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def too_late(_: Gadget) -> None:
        raise AssertionError("The gadget is being built.")

    (tmp_path / "file").touch()
    monkeypatch.setattr(Gadget, "__enter__", too_late)
    monkeypatch.setattr(kernel, "ensure_gadget_support", lambda *_, **__: None)
    monkeypatch.setattr(service, "ensure_dummy_udc", lambda *_: None)
    monkeypatch.setattr(service, "start_logging", lambda: None)
    monkeypatch.setattr(service, "wake_on_signals", lambda: -1)
    assert service.main(["-f", "acm", "--control", str(tmp_path / "file")]) == 2
    assert f"no control socket in '{tmp_path}/file'" in caplog.text
