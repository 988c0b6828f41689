"""The gadget put together: what is made is taken back, in every case."""

from __future__ import annotations

import io
import json
import os
import sys
import threading
from pathlib import Path
from typing import Any

import msgspec
import pytest

from rig.daemon import Command, Events
from rig.errors import MachineError, RemoteProtocolError, UserError
from rig.faults.reader import parse_plan
from rig.gadget import storage
from rig.gadget.assembly import Gadget, Options
from rig.gadget.functions import Function, mass_storage
from rig.gadget.kinds import Kind
from rig.gadget.service import run
from rig.gadget.storage import Medium
from rig.gadget.tree import GadgetSpec, build_steps
from rig.gadget.udc import Udcs
from rig.gadget.wishes import Wish
from rig.tests.harness.configfs import FakeConfigfs

FAKE = Path(__file__).parents[1] / "harness" / "fake_store.py"


class FakeMedium(Medium, frozen=True):
    """Starts the fake store."""

    mode: str = "good"

    def store_argv(self) -> list[str]:
        return [sys.executable, str(FAKE), str(self.mount), self.mode]


class Bench:
    """A machine with one UDC, and a gadget that is not built yet."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory / "d"
        self.run_directory = directory
        self.configfs = FakeConfigfs(directory / "usb_gadget")
        (directory / "udc" / "dummy_udc.0").mkdir(parents=True)
        (directory / "udc" / "dummy_udc.0" / "state").write_text("not attached\n")
        self.udcs = Udcs(self.configfs, directory / "udc")
        self.out = io.BytesIO()

    def play(self, *kinds: Kind, medium: Medium | None = None, **fields: Any) -> Gadget:
        """A gadget with functions of these kinds."""
        wishes = tuple(Wish(kind) for kind in kinds)
        options = Options("rig0", "dummy_udc.0", wishes, medium, run_directory=self.run_directory)
        options = msgspec.structs.replace(options, **fields)
        return Gadget(options, Events(self.out), self.configfs, self.udcs)

    def gadget(self, mode: str = "good", **fields: Any) -> Gadget:
        """A disk."""
        medium = FakeMedium(self.directory, 1 << 20, mode=mode)
        return self.play(Kind.MASS_STORAGE, medium=medium, **fields)

    def nothing_is_left(self) -> bool:
        return not self.configfs.exists("rig0") and list((self.directory / "mnt").iterdir()) == []


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_an_entered_gadget_is_bound_and_a_left_one_is_gone(bench: Bench) -> None:
    with bench.gadget():
        assert bench.configfs.bound_udc("rig0") == "dummy_udc.0"
        file = bench.configfs.root / "rig0/functions/mass_storage.0/lun.0/file"
        assert file.read_text().strip() == str(bench.directory / "mnt" / "lun0")
    assert bench.nothing_is_left()


def test_an_exception_inside_takes_everything_back(bench: Bench) -> None:
    with pytest.raises(RuntimeError, match="inside"), bench.gadget():
        raise RuntimeError("inside")
    assert bench.nothing_is_left()


def test_leftovers_of_a_killed_gadget_go_before_a_new_one_begins(bench: Bench) -> None:
    former = (Function(Kind.ACM), mass_storage("/elsewhere/lun0"))
    bench.configfs.apply(build_steps(GadgetSpec("rig0", former)))
    bench.udcs.bind("rig0", "dummy_udc.0")
    with bench.gadget() as gadget:
        assert gadget.ready_fields()["udc"] == "dummy_udc.0"
    assert bench.nothing_is_left()


@pytest.mark.parametrize(
    "refused", ["functions/mass_storage.0", "lun.0/file", "c.1/mass_storage.0"]
)
def test_a_gadget_that_cannot_be_built_is_taken_back(bench: Bench, refused: str) -> None:
    bench.configfs.refuse = refused
    with pytest.raises(MachineError, match="Invalid argument"):
        bench.gadget().__enter__()
    bench.configfs.refuse = ""
    with bench.gadget():
        pass
    assert bench.nothing_is_left()


def test_a_udc_that_does_not_exist_starts_nothing(bench: Bench) -> None:
    with pytest.raises(UserError, match="UDC 'none' does not exist"):
        bench.gadget(udc="none").__enter__()
    assert bench.nothing_is_left()


def test_a_store_that_does_not_mount_is_told_with_its_sentence(bench: Bench) -> None:
    with pytest.raises(MachineError, match="The medium is in use"):
        bench.gadget("dead").__enter__()
    assert bench.nothing_is_left()


def test_a_store_that_hangs_is_killed_at_the_end(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "SILENCE_DEADLINE_S", 0.05)
    with bench.gadget("mute"):
        pass
    assert not bench.configfs.exists("rig0")


def test_a_second_gadget_in_the_same_directory_is_refused(bench: Bench) -> None:
    with bench.gadget():
        with pytest.raises(UserError, match="in use by another gadget"):
            bench.gadget(name="rig1").__enter__()
        assert bench.configfs.bound_udc("rig0") == "dummy_udc.0"


def test_commands_reach_the_store_and_its_faults_come_out_as_events(bench: Bench) -> None:
    with bench.gadget() as gadget:
        faults = gadget.do(Command(1, "faults", {}))
        assert faults == {"planned": {}, "fired": {}, "layers": {}}
        assert gadget.do(Command(2, "phase", {"name": "write"})) == {"did": "phase"}
        assert gadget.do(Command(3, "status", {})) == {
            "udc": "dummy_udc.0",
            "state": "not attached",
            "speed": "",
            "store": {"did": "status"},
        }
    fault, _ = (json.loads(line) for line in bench.out.getvalue().splitlines())
    assert (fault["event"], fault["layer"], fault["rule"]) == ("fault", "medium", "r")


def test_an_unknown_command_is_refused(bench: Bench) -> None:
    with bench.gadget() as gadget, pytest.raises(UserError, match="no command 'dance'"):
        gadget.do(Command(1, "dance", {}))


def test_a_second_gadget_of_the_same_name_is_refused(bench: Bench) -> None:
    with bench.play(Kind.ACM):
        with pytest.raises(UserError, match="'rig0' is being played already"):
            bench.play(Kind.HID).__enter__()
        assert bench.configfs.functions("rig0") == ["acm.0"]


def test_a_gadget_without_a_disk_has_no_store(bench: Bench) -> None:
    with bench.play(Kind.ACM, Kind.NCM) as gadget:
        assert gadget.store is None
        assert not bench.directory.exists()
        assert gadget.do(Command(1, "phase", {"name": "write"})) is None
        nothing: dict[str, object] = {"planned": {}, "fired": {}, "layers": {}}
        assert gadget.do(Command(2, "faults", {})) == nothing
        assert gadget.do(Command(3, "status", {}))["store"] is None  # type: ignore[index]
    assert not bench.configfs.exists("rig0")


def test_the_ready_event_says_what_each_function_became(bench: Bench) -> None:
    with bench.play(Kind.ACM, Kind.NCM, Kind.HID, Kind.LOOPBACK) as gadget:
        became: Any = gadget.ready_fields()["functions"]
    acm, ncm, hid, loopback = became
    assert acm == {"function": "acm", "device": "/dev/ttyGS0"}
    assert (ncm["interface"], len(ncm["address"]), len(ncm["host_address"])) == ("usb0", 17, 17)
    assert hid == {"function": "hid", "device": "/dev/hidg0"}
    assert loopback == {"function": "loopback"}


def test_the_ready_event_tells_the_medium_of_a_disk(bench: Bench) -> None:
    with bench.gadget() as gadget:
        fields = gadget.ready_fields()
    assert fields["medium"] == str(bench.directory / "medium.img")
    assert fields["size_bytes"] == 1 << 20


def test_a_chosen_id_is_the_devices(bench: Bench) -> None:
    with bench.play(Kind.ACM, chosen_id=(0x1234, 0x5678)) as gadget:
        fields = gadget.ready_fields()
    assert (fields["vendor_id"], fields["product_id"]) == (0x1234, 0x5678)


@pytest.mark.parametrize("do", ["release", "power_cut"])
def test_what_is_for_the_medium_goes_to_the_store(bench: Bench, do: str) -> None:
    with bench.gadget() as gadget:
        assert gadget.do(Command(1, do, {})) == {"did": do}


def test_a_gadget_without_a_disk_cannot_release_one(bench: Bench) -> None:
    with (
        bench.play(Kind.ACM) as gadget,
        pytest.raises(UserError, match="no disk: it cannot obey 'release'"),
    ):
        gadget.do(Command(1, "release", {}))


def happen(gadget: Gadget, effect: str, for_s: float | None = None) -> None:
    """What the daemon does when it is told so."""
    gadget.do(Command(1, "happen", {"effect": effect, "for_s": for_s}))
    gadget.moments.run()


def test_a_medium_is_ejected_and_put_in_again(bench: Bench) -> None:
    with bench.gadget() as gadget:
        lun = bench.configfs.root / "rig0/functions/mass_storage.0/lun.0"
        happen(gadget, "eject")
        assert (lun / "forced_eject").read_text().strip() == "1"
        assert (lun / "file").read_text() == ""
        happen(gadget, "eject", 0.0)
        assert (lun / "file").read_text().strip() == str(bench.directory / "mnt" / "lun0")


def test_what_hangs_in_the_medium_is_let_go_before_a_moment_and_may_hang_again_behind_it(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    soft_connect = bench.run_directory / "udc" / "dummy_udc.0" / "soft_connect"
    soft_connect.touch()
    with bench.gadget() as gadget:
        store = gadget.store
        assert store is not None
        asked: list[tuple[str, dict[str, object]]] = []
        ask = store.ask

        def note(do: str, deadline_s: float, /, **args: object) -> object:
            asked.append((do, args))
            return ask(do, deadline_s, **args)

        monkeypatch.setattr(store, "ask", note)
        for effect in ("eject", "soft-disconnect", "unbind"):
            asked.clear()
            happen(gadget, effect)
            assert asked == [("release", {"close": "moment"}), ("open", {})], effect
    told = [json.loads(line) for line in bench.out.getvalue().splitlines()]
    assert [event["by"] for event in told] == ["moment"] * 3 + ["end"]


def test_a_gadget_is_unbound_and_bound_again(bench: Bench) -> None:
    with bench.play(Kind.ACM) as gadget:
        happen(gadget, "unbind")
        assert bench.configfs.bound_udc("rig0") == ""
        happen(gadget, "unbind", 0.0)
        assert bench.configfs.bound_udc("rig0") == "dummy_udc.0"


def test_a_gadget_is_unplugged_and_plugged_in_again(bench: Bench) -> None:
    soft_connect = bench.run_directory / "udc" / "dummy_udc.0" / "soft_connect"
    soft_connect.touch()
    with bench.play(Kind.ACM) as gadget:
        happen(gadget, "soft-disconnect", 0.0)
        assert soft_connect.read_text() == "disconnect\n"
        assert bench.configfs.bound_udc("rig0") == "dummy_udc.0"


def test_what_is_unbound_is_not_unplugged(bench: Bench) -> None:
    with bench.play(Kind.ACM) as gadget:
        happen(gadget, "unbind")
        happen(gadget, "soft-disconnect", 0.0)  # there is no pull-up to switch
        assert bench.configfs.bound_udc("rig0") == ""


@pytest.mark.parametrize(
    ("effect", "said"), [("dance", "not understood"), ("csw-tag", "does not happen by itself")]
)
def test_what_cannot_happen_is_refused(bench: Bench, effect: str, said: str) -> None:
    with bench.play(Kind.ACM) as gadget, pytest.raises(RemoteProtocolError, match=said):
        happen(gadget, effect)


def test_a_fault_by_the_clock_happens_and_is_over_while_the_daemon_runs(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    rule = 'layer = "device"\neffect = "unbind"\nphase = "write"\nat_s = 0.01\nfor_s = 0.01'
    plan = parse_plan(f'name = "p"\n[[fault]]\n{rule}', "p")
    input_end, command_end = os.pipe()
    signal_end, _ = os.pipe()
    with bench.play(Kind.ACM, plan=plan) as gadget:
        events = Events(bench.out)
        bind, bound_again = bench.udcs.bind, threading.Event()

        def note(name: str, udc: str) -> None:
            bind(name, udc)
            bound_again.set()

        monkeypatch.setattr(bench.udcs, "bind", note)
        daemon = threading.Thread(target=run, args=(gadget, events, input_end, signal_end))
        daemon.start()
        os.write(command_end, b'{"id": 1, "do": "phase", "name": "write"}\n')
        assert bound_again.wait(10.0)
        os.close(command_end)
        daemon.join(10.0)
        assert not daemon.is_alive()
        assert bench.configfs.bound_udc("rig0") == "dummy_udc.0"
    told = [json.loads(line) for line in bench.out.getvalue().splitlines()]
    assert [(event["event"], event.get("effect")) for event in told] == [
        ("reply", None),
        ("fault", "unbind"),
    ]


def test_a_rule_that_the_gadget_cannot_bring_about_is_refused_while_it_runs(bench: Bench) -> None:
    eject = {"layer": "device", "effect": "eject", "at_s": 1}
    with bench.gadget() as gadget:
        with pytest.raises(UserError, match="about the commands of a disk"):
            gadget.do(Command(1, "add", {"rules": [{**eject, "at_s": None, "nth": 1}]}))
        assert gadget.do(Command(2, "add", {"rules": [eject]})) == ["device-1"]
        assert gadget.do(Command(3, "store", {"ask": "list"})) == {"did": "list"}
    with (
        bench.play(Kind.ACM) as gadget,
        pytest.raises(UserError, match="the gadget has no disk"),
    ):
        gadget.do(Command(1, "add", {"rules": [eject]}))
