"""What the playbooks must hold to, looked at without any host."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from rig.gadget.kinds import FACTS
from rig.gadget.service import parser as gadget_parser
from rig.splitdriver.back.options import parser as back_parser
from rig.splitdriver.front.service import parser as front_parser
from rig.tests.ansible.provisioned import ANSIBLE, BIN, play, write_inventory

ROLES = sorted(path.name for path in (ANSIBLE / "roles").iterdir())


def load(path: Path) -> dict[str, object]:
    loaded = yaml.safe_load(path.read_text())
    assert isinstance(loaded, dict)
    return loaded


@pytest.mark.nightly  # half a minute for nothing but yaml
def test_ansible_lint_finds_nothing_by_its_production_profile() -> None:
    done = subprocess.run(
        [BIN / "ansible-lint", "--nocolor"],
        cwd=ANSIBLE,
        env={**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", "GIT_DIR": os.devnull},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Profile 'production' was required, and it passed" in done.stdout + done.stderr


@pytest.mark.parametrize("role", ROLES)
def test_every_default_of_a_role_is_in_its_argument_specs(role: str) -> None:
    specs = load(ANSIBLE / "roles" / role / "meta" / "argument_specs.yml")["argument_specs"]
    assert isinstance(specs, dict)
    told = {name for entry in specs.values() for name in entry.get("options", {})}
    assert set(load(ANSIBLE / "roles" / role / "defaults" / "main.yml")) <= told


@pytest.mark.parametrize("role", ROLES)
def test_every_role_can_be_taken_away(role: str) -> None:
    assert (ANSIBLE / "roles" / role / "tasks" / "teardown.yml").is_file()
    assert f"name: {role}\n" in (ANSIBLE / "teardown.yml").read_text()


def test_the_gadgets_modules_are_those_of_all_that_it_can_play() -> None:
    listed = load(ANSIBLE / "roles" / "gadget" / "vars" / "main.yml")["gadget_function_modules"]
    assert isinstance(listed, list)
    assert set(listed) == {facts.module for facts in FACTS.values()}


@pytest.mark.parametrize(
    ("role", "parser"),
    [("back", back_parser), ("front", front_parser), ("gadget", gadget_parser)],
)
def test_the_units_give_options_that_there_are(role: str, parser) -> None:  # type: ignore[no-untyped-def]
    told = (ANSIBLE / "roles" / role / "vars" / "main.yml").read_text()
    options = set(re.findall(r"'(--[a-z-]+)'", told))
    assert options
    assert options <= set(parser()._option_string_actions)


@pytest.mark.parametrize(
    ("variable", "value", "told"),
    [
        ("back_policy", "hope", "must be one of: hold, aca, naive, got: hope"),
        ("back_peers", None, "missing required arguments: back_peers"),
    ],
)
def test_a_wrong_variable_is_told_before_anything_is_done(
    variable: str, value: str | None, told: str, tmp_path: Path
) -> None:
    variables: dict[str, object] = {"back_ports": ["3-1"], "back_peers": ["front"], variable: value}
    host = {k: v for k, v in variables.items() if v is not None}
    inventory = write_inventory(
        tmp_path / "hosts.json", {"here": {"ansible_connection": "local", **host}}, back=["here"]
    )
    # The check of the arguments has the tag 'always'; of the tasks, none has this one.
    options = ("--check", "--tags", "none-of-them", "-e", "ansible_become=false")
    done = play("site.yml", inventory, *options)
    assert done.status != 0
    assert told in done.said


@pytest.mark.parametrize("book", ["site.yml", "teardown.yml"])
def test_the_example_inventory_is_understood(book: str) -> None:
    done = play(book, ANSIBLE / "inventories" / "example", "--list-hosts")
    assert done.status == 0, done.said
    hosts = set(re.findall(r"^      (\S+)$", done.said, re.MULTILINE))
    assert hosts == {"station", "front", "back", "pi"}


def test_no_secret_is_in_an_inventory() -> None:
    for path in (ANSIBLE / "inventories").rglob("*.yml"):
        assert not re.search(r"PRIVATE KEY|pass(word)?:|secret", path.read_text()), path
