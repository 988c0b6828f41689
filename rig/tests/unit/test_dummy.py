"""When dummy_hcd has to be loaded, or loaded anew, for a UDC that is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from rig.errors import UserError
from rig.gadget import dummy
from rig.gadget.dummy import ensure_dummy_udc
from rig.gadget.functions import Function
from rig.gadget.kinds import Kind
from rig.gadget.tree import GadgetSpec, MaxSpeed, build_steps
from rig.tests.harness.configfs import FakeConfigfs


class Bench:
    """A kernel with or without dummy_hcd; `commands` are what was run."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.configfs = FakeConfigfs(directory / "usb_gadget")
        self.module = directory / "dummy_hcd"
        self.commands: list[str] = []

        def record(argv: Sequence[str]) -> None:
            self.commands.append(" ".join(argv))

        monkeypatch.setattr(dummy, "run_command", record)

    def loaded(self, *, num: int = 4, super_speed: bool = False) -> None:
        parameters = self.module / "parameters"
        parameters.mkdir(parents=True)
        (parameters / "num").write_text(f"{num}\n")
        (parameters / "is_super_speed").write_text("Y\n" if super_speed else "N\n")

    def bound(self, udc: str) -> None:
        self.configfs.apply(build_steps(GadgetSpec("other", (Function(Kind.ACM),))))
        (self.configfs.root / "other" / "UDC").write_text(f"{udc}\n")

    def ensure(self, udc: str, max_speed: MaxSpeed = MaxSpeed.HIGH) -> list[str]:
        ensure_dummy_udc(udc, max_speed, self.configfs, self.module)
        return self.commands


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(tmp_path, monkeypatch)


def test_it_is_loaded_with_several_udcs(bench: Bench) -> None:
    assert bench.ensure("dummy_udc.1") == ["modprobe dummy_hcd num=4 is_super_speed=0"]


def test_it_is_loaded_with_super_speed_for_a_gadget_that_offers_it(bench: Bench) -> None:
    assert bench.ensure("dummy_udc.0", MaxSpeed.SUPER) == [
        "modprobe dummy_hcd num=4 is_super_speed=1"
    ]


def test_a_udc_that_is_there_is_taken_as_it_is(bench: Bench) -> None:
    bench.loaded()
    assert bench.ensure("dummy_udc.3") == []


@pytest.mark.parametrize("max_speed", MaxSpeed)
def test_a_super_speed_udc_serves_every_speed(bench: Bench, max_speed: MaxSpeed) -> None:
    bench.loaded(super_speed=True)
    assert bench.ensure("dummy_udc.0", max_speed) == []


def test_it_is_loaded_anew_for_super_speed(bench: Bench) -> None:
    bench.loaded(num=2)
    assert bench.ensure("dummy_udc.0", MaxSpeed.SUPER) == [
        "modprobe --remove dummy_hcd",
        "modprobe dummy_hcd num=2 is_super_speed=1",
    ]


def test_it_is_loaded_anew_for_a_udc_beyond_and_stays_as_fast_as_it_was(bench: Bench) -> None:
    bench.loaded(super_speed=True)
    assert bench.ensure("dummy_udc.6")[-1] == "modprobe dummy_hcd num=7 is_super_speed=1"


def test_it_is_not_loaded_anew_under_another_gadget(bench: Bench) -> None:
    bench.loaded()
    bench.bound("dummy_udc.2")
    with pytest.raises(UserError, match="gadget 'other' is bound"):
        bench.ensure("dummy_udc.0", MaxSpeed.SUPER)
    assert bench.commands == []


def test_a_gadget_on_another_kind_of_udc_is_not_in_the_way(bench: Bench) -> None:
    bench.loaded()
    bench.bound("usbip-vudc.0")
    assert bench.ensure("dummy_udc.0", MaxSpeed.SUPER) != []


@pytest.mark.parametrize("udc", ["usbip-vudc.0", "fe980000.usb", "dummy_udc", "dummy_udc.x"])
def test_another_udc_is_no_business_of_it(bench: Bench, udc: str) -> None:
    assert bench.ensure(udc, MaxSpeed.SUPER) == []


def test_a_udc_that_it_cannot_make_is_refused(bench: Bench) -> None:
    with pytest.raises(UserError, match="at most 32 UDCs"):
        bench.ensure("dummy_udc.32")
