"""Choosing, binding and unbinding a UDC."""

from __future__ import annotations

from pathlib import Path

import pytest

from rig.errors import MachineError, UserError
from rig.gadget.functions import mass_storage
from rig.gadget.tree import GadgetSpec, build_steps
from rig.gadget.udc import Udcs
from rig.tests.harness.configfs import FakeConfigfs


class Bench:
    """Two UDCs and two gadgets."""

    def __init__(self, directory: Path) -> None:
        self.configfs = FakeConfigfs(directory / "usb_gadget")
        for name in ("rig0", "other"):
            self.configfs.apply(build_steps(GadgetSpec(name, (mass_storage("/m/lun0"),))))
        for name in ("dummy_udc.1", "dummy_udc.0"):
            (directory / "udc" / name).mkdir(parents=True)
            (directory / "udc" / name / "state").write_text("configured\n")
            (directory / "udc" / name / "current_speed").write_text("high-speed\n")
        self.udcs = Udcs(self.configfs, directory / "udc")


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_all_udcs_are_named_in_order(bench: Bench) -> None:
    assert bench.udcs.names() == ["dummy_udc.0", "dummy_udc.1"]


def test_a_machine_without_the_class_has_no_udcs(bench: Bench, tmp_path: Path) -> None:
    assert Udcs(bench.configfs, tmp_path / "none").names() == []


def test_binding_is_seen_and_unbinding_takes_it_back(bench: Bench) -> None:
    bench.udcs.bind("rig0", "dummy_udc.0")
    assert bench.configfs.bound_udc("rig0") == "dummy_udc.0"
    assert bench.configfs.owner_of("dummy_udc.0") == "rig0"
    bench.udcs.unbind("rig0")
    assert bench.configfs.bound_udc("rig0") == ""


def test_unbinding_what_is_not_bound_or_not_there_does_nothing(bench: Bench) -> None:
    bench.udcs.unbind("rig0")
    bench.udcs.unbind("none")
    assert bench.configfs.bound_udc("rig0") == ""


def test_a_udc_that_does_not_exist_is_named_with_those_that_do(bench: Bench) -> None:
    with pytest.raises(
        UserError, match=r"UDC 'x' does not exist; present: dummy_udc\.0, dummy_udc\.1\."
    ):
        bench.udcs.bind("rig0", "x")


def test_a_busy_udc_is_refused_and_its_gadget_named(bench: Bench) -> None:
    bench.udcs.bind("other", "dummy_udc.0")
    with pytest.raises(UserError, match=r"'dummy_udc\.0' is busy: gadget 'other' is bound to it"):
        bench.udcs.bind("rig0", "dummy_udc.0")


def test_a_udc_that_the_gadget_holds_already_is_not_busy_for_it(bench: Bench) -> None:
    bench.udcs.bind("rig0", "dummy_udc.0")
    bench.udcs.check("dummy_udc.0", "rig0")


def test_a_refusal_of_the_kernel_names_gadget_and_udc(bench: Bench) -> None:
    with pytest.raises(
        MachineError, match=r"'none' cannot be bound to UDC 'dummy_udc\.0': No such"
    ):
        bench.udcs.bind("none", "dummy_udc.0")


def test_state_and_speed_are_the_kernels_words(bench: Bench) -> None:
    assert bench.udcs.state("dummy_udc.0") == "configured"
    assert bench.udcs.speed("dummy_udc.0") == "high-speed"
    assert bench.udcs.state("gone") == ""
