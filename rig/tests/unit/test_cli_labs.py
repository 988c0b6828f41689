"""The two options of every command that opens a lab."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from rig.cli.app import app
from rig.cli.labs import in_lab
from rig.errors import UserError
from rig.lab.basis import HARDWARE, basis
from rig.progress import Silent

LABS = ("run", "session", "conformance", "compare", "hazard", "drivers", "fidelity", "bench")
ENVIRONMENT = """
targets:
  back: &host
    resources: {NetworkService: {address: h, username: root}}
    drivers: {SSHDriver: {keyfile: key}}
  front: *host
"""


def command(number: Annotated[int, typer.Option()] = 1) -> None:
    """Do something in a lab."""
    print(number, basis("6.12", Silent())[1])


def call(*argv: str) -> tuple[BaseException | None, str]:
    made = typer.Typer()
    made.command()(in_lab(command))
    result = CliRunner().invoke(made, argv)
    return result.exception, result.output


@pytest.mark.parametrize("name", LABS)
def test_every_command_that_opens_a_lab_has_them(name: str) -> None:
    shown = CliRunner().invoke(app, [name, "--help"], env={"COLUMNS": "200"}).output
    assert "--lab" in shown
    assert "--lg-env" in shown


def test_a_command_of_hosts_finds_them_and_keeps_its_own_options(tmp_path: Path) -> None:
    file = tmp_path / "lab.yaml"
    file.write_text(ENVIRONMENT)
    said = call("--number", "7", "--lab", "hosts", "--lg-env", str(file))
    assert said == (None, f"7 {HARDWARE}\n")


def test_guests_are_the_usual(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rig.lab.basis.ensure", lambda kernel, progress: kernel)
    monkeypatch.setattr("rig.lab.basis.accelerator", lambda image: "tcg")
    assert call() == (None, "1 tcg\n")


@pytest.mark.parametrize(
    "argv", [("--lab", "hosts"), ("--lg-env", "x"), ("--lab", "qemu", "--lg-env", "x")]
)
def test_a_lab_of_hosts_and_its_file_go_together(argv: tuple[str, ...]) -> None:
    error, _ = call(*argv)
    assert isinstance(error, UserError)
    assert error.hint
