"""Rules about blocks that a disk does not have are refused wherever its size is known."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from rig.cli.main import run
from rig.daemon import Command, Events
from rig.errors import UserError
from rig.experiments.run.options import check_wishes
from rig.faults.plan import NO_FAULTS
from rig.faults.reader import parse_plan
from rig.faults.rules.base import MOST_DISK_BYTES, check_disk
from rig.faults.rules.medium import MediumFault
from rig.faults.triggers import Injector
from rig.gadget import service
from rig.gadget.holds import Holds
from rig.gadget.service import options_of
from rig.gadget.store import Store
from rig.gadget.store_service import StoreCommands

RULE = '[[fault]]\nlayer = "LAYER"\nKEY\nlba = [2048, 4095]\nnth = 1\n'
MEDIUM = RULE.replace("LAYER", "medium").replace("KEY", 'op = "write"')
DEVICE = RULE.replace("LAYER", "device").replace("KEY", 'effect = "csw-tag"')
MIB = 1 << 20
REFUSED = "would never fire: its 'lba' begins at "


@pytest.fixture
def store(tmp_path: Path) -> Store:
    injector = Injector(NO_FAULTS, MediumFault, lambda: 0.0)
    return Store(tmp_path / "medium", tmp_path / "journal", MIB, injector)


@pytest.mark.parametrize("rule", [MEDIUM, DEVICE])
def test_a_disk_that_ends_before_a_rules_blocks_is_no_place_for_it(rule: str) -> None:
    faults = parse_plan('name = "x"\n' + rule, "x").faults
    check_disk(faults, 2049 * 512)  # the first of them is there
    with pytest.raises(UserError, match=REFUSED + "2048, and the disk ends at 2047"):
        check_disk(faults, 2048 * 512)


@pytest.mark.parametrize("rule", [MEDIUM, DEVICE])
def test_a_gadget_refuses_such_a_plan(tmp_path: Path, rule: str) -> None:
    plan = tmp_path / "plan.toml"
    plan.write_text('name = "x"\n' + rule)
    words = ["--function", "bot-storage", "--directory", "d", "--size", "1M", "--plan", str(plan)]
    with pytest.raises(UserError, match=REFUSED):
        options_of(service.parser().parse_args(words))


def test_a_run_refuses_such_a_plan(tmp_path: Path) -> None:
    plan = tmp_path / "plan.toml"
    plan.write_text('name = "x"\n' + MEDIUM.replace("2048, 4095", "4000000000, 4000000001"))
    with pytest.raises(UserError, match=REFUSED + "4000000000"):
        check_wishes(str(plan), "ext4", "6.12", None)


def test_a_store_that_runs_takes_no_such_rule(store: Store) -> None:
    commands = StoreCommands(store, Holds(lambda _: None), Events(io.BytesIO()))
    rule = {"layer": "medium", "op": "write", "nth": 1, "lba": [2048, 2048]}
    with pytest.raises(UserError, match=REFUSED + "2048"):
        commands.obey(Command(1, "add", {"rules": [rule]}))
    assert store.injector.rules == ()
    store.close()


def test_no_gadget_has_a_medium_whose_end_no_command_reaches() -> None:
    assert service.parse_size("2048G") == MOST_DISK_BYTES
    for size in ("2049G", "9" * 5000, "²M"):
        with pytest.raises(UserError, match="is no size for a medium") as caught:
            service.parse_size(size)
        assert len(str(caught.value)) < 400


def test_a_stores_size_is_looked_at_before_anything_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["--medium", "m", "--journal", "j", "--mount", "d", "--size-bytes", "x"]
    with pytest.raises(UserError, match="--size-bytes"):
        run(["store", *words])
    assert list(tmp_path.iterdir()) == []
