"""Imports point one way, pure modules do nothing but compute, guests import little."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import rig
from rig.cli.machine import MACHINE_COMMANDS

ROOT = Path(rig.__file__).parent

LAYERS = {
    "cli": {
        *("campaign", "session", "experiments", "lab", "report", "guest_images", "sim"),
        *("splitdriver", "control", "faults", "usb"),
    },
    "campaign": {"lab", "report"},
    "session": {
        *("experiments", "lab", "report", "guest_images"),
        *("splitdriver", "integrity", "control", "faults", "usb"),
    },
    "experiments": {
        *("lab", "report", "guest_images"),
        *("splitdriver", "gadget", "cable", "link", "integrity", "control", "faults", "usb"),
        "deepqueue",
    },
    "lab": {"guest_images", "control", "faults"},
    "report": {"faults", "integrity"},
    "guest_images": set(),
    "sim": {"splitdriver", "faults", "usb"},
    "splitdriver": {"control", "faults", "net", "usb"},
    "gadget": {"control", "faults", "usb"},
    "cable": {"control", "faults", "usb"},
    "link": {"control", "faults", "net"},
    "integrity": {"deepqueue", "faults", "usb"},
    "deepqueue": {"faults", "usb"},
    "control": {"faults"},
    "faults": {"usb"},
    "net": set(),
    "usb": set(),
}
"""What each package may import besides itself and the modules at the top."""

COMMON = {
    *("rig", "rig.about", "rig.arguments", "rig.errors", "rig.progress"),
    *("rig.daemon", "rig.reactor", "rig.buffers", "rig.helper_thread"),
}
"""The modules at the top, which every package may import."""

PURE = {
    "rig.errors",
    "rig.progress",
    "rig.buffers",
    "rig.control.rules",
    "rig.lab.clock",
    "rig.usb.urb",
    "rig.usb.setup",
    "rig.usb.descriptors",
    "rig.usb.usbip",
    "rig.usb.urblog",
    "rig.usb.usbmon",
    "rig.usb.bot",
    "rig.usb.bot_stages",
    "rig.faults.plan",
    "rig.faults.triggers",
    "rig.faults.reader",
    "rig.faults.lines",
    "rig.faults.phases",
    "rig.faults.shown",
    "rig.faults.writer",
    "rig.faults.release",
    "rig.faults.wants",
    "rig.faults.schema",
    "rig.faults.explain",
    "rig.faults.rules.base",
    "rig.faults.rules.scsi",
    "rig.faults.rules.endpoint",
    "rig.faults.rules.medium",
    "rig.faults.rules.device",
    "rig.faults.rules.link",
    "rig.faults.rules.machine",
    "rig.splitdriver.policy",
    "rig.splitdriver.order",
    "rig.splitdriver.hidden",
    "rig.splitdriver.messages",
    "rig.splitdriver.wire",
    "rig.splitdriver.endpoint",
    "rig.splitdriver.back_actions",
    "rig.splitdriver.back_plug",
    "rig.splitdriver.back_queues",
    "rig.splitdriver.backend",
    "rig.splitdriver.front_actions",
    "rig.splitdriver.front_queue",
    "rig.splitdriver.frontend",
    "rig.splitdriver.port_reset",
    "rig.splitdriver.session",
    "rig.splitdriver.porthook",
    "rig.sim.calm",
    "rig.sim.client",
    "rig.sim.device",
    "rig.sim.edge",
    "rig.sim.ends",
    "rig.sim.explorer",
    "rig.sim.link",
    "rig.sim.promise",
    "rig.sim.rehearsal",
    "rig.sim.scenario",
    "rig.sim.shrink",
    "rig.sim.story",
    "rig.sim.world",
    "rig.integrity.arrivals",
    "rig.integrity.bulk",
    "rig.integrity.evidence",
    "rig.integrity.filemap",
    "rig.integrity.gpt",
    "rig.integrity.guilt",
    "rig.integrity.inquiry",
    "rig.integrity.judgement",
    "rig.integrity.ledger",
    "rig.integrity.looks",
    "rig.integrity.model",
    "rig.integrity.oracle",
    "rig.integrity.piece",
    "rig.integrity.reread",
    "rig.integrity.scan",
    "rig.integrity.sieve",
    "rig.integrity.stamp",
    "rig.integrity.tasks",
    "rig.integrity.workloads.table",
    "rig.integrity.monitors.back",
    "rig.integrity.monitors.breach",
    "rig.integrity.monitors.capture",
    "rig.integrity.monitors.ends",
    "rig.integrity.monitors.formats",
    "rig.integrity.monitors.front",
    "rig.integrity.monitors.merge",
    "rig.integrity.monitors.online",
    "rig.integrity.monitors.recent",
    "rig.integrity.monitors.run",
    "rig.integrity.monitors.watch",
    "rig.gadget.bot.actions",
    "rig.gadget.bot.exchange",
    "rig.gadget.bot.machine",
    "rig.gadget.bot.scsi",
    "rig.cable.asking",
    "rig.cable.controllers",
    "rig.cable.discipline",
    "rig.cable.enumeration",
    "rig.cable.polling",
    "rig.cable.present",
    "rig.cable.requests",
    "rig.cable.shape",
    "rig.cable.transfers",
    "rig.cable.records",
    "rig.cable.usbredir.vocabulary",
    "rig.cable.usbredir.packets",
    "rig.cable.usbredir.codec",
    "rig.cable.vudc",
    "rig.cable.wire",
    "rig.link.actions",
    "rig.link.circuit",
    "rig.link.intake",
    "rig.link.lane",
    "rig.link.pieces",
    "rig.link.relay",
    "rig.link.weather",
    "rig.deepqueue.counters",
    "rig.deepqueue.decisions",
    "rig.deepqueue.exchange",
    "rig.deepqueue.nbd_wire",
    "rig.lab.timetable",
    "rig.report.markdown",
    "rig.report.reasons",
    "rig.session.talk.awaiting",
    "rig.session.talk.commands",
    "rig.session.talk.completion",
    "rig.session.deeds",
    "rig.session.talk.doings",
    "rig.session.talk.handling",
    "rig.session.talk.interpreter",
    "rig.session.talk.journal",
    "rig.session.talk.kept",
    "rig.session.talk.making",
    "rig.session.talk.recipes",
    "rig.session.talk.saving",
    "rig.session.talk.strikes",
    "rig.session.screen.graph",
    "rig.session.screen.items",
    "rig.session.screen.keys",
    "rig.session.screen.manual",
    "rig.session.screen.offers",
    "rig.session.screen.picks",
    "rig.session.screen.words",
    "rig.session.snapshot",
    "rig.session.live.checks",
    "rig.session.live.findings",
    "rig.session.live.lookout",
    "rig.session.live.pace",
    "rig.session.live.told",
    "rig.session.live.urbs",
    "rig.session.talk.telling",
    "rig.experiments.fidelity.monitor",
    "rig.experiments.run.promise",
    "rig.experiments.run.stalls",
    "rig.gadget.bot.descriptors",
    "rig.gadget.functions",
    "rig.gadget.kinds",
    "rig.gadget.tree",
    "rig.gadget.wishes",
    "rig.gadget.journal",
    "rig.gadget.history",
    "rig.gadget.medium_effects",
    "rig.gadget.answers",
    "rig.gadget.rebuild",
    "rig.gadget.unflushed",
    "rig.gadget.write_cache",
}

HARMLESS = {
    "__future__",
    "array",
    "bisect",
    "binascii",
    "collections",
    "contextlib",
    "dataclasses",
    "difflib",
    "enum",
    "errno",
    "functools",
    "hashlib",
    "heapq",
    "itertools",
    "math",
    "msgspec",
    "numpy",
    "operator",
    "re",
    "shlex",
    "string",
    "struct",
    "textwrap",
    "tomllib",
    "types",
    "typing",
    "zlib",
}
"""Modules that only compute: no I/O, clock, thread, log or chance.  A pure module imports no
other."""

STATION_ONLY = {"cryptography", "typer", "rich", "labgrid", "numpy", "pexpect", "textual", "grpc"}


def modules() -> dict[str, Path]:
    """Every module of the rig but its tests, by name."""
    found = {}
    for path in ROOT.rglob("*.py"):
        parts = path.relative_to(ROOT.parent).with_suffix("").parts
        if "tests" not in parts:
            found[".".join(parts).removesuffix(".__init__")] = path
    return found


MODULES = modules()


@cache
def imports(module: str) -> frozenset[str]:
    """What a module imports anywhere in it: modules, not the names in them."""
    tree = ast.parse(MODULES[module].read_text())
    return frozenset(name for node in ast.walk(tree) for name in _imported(node))


def _imported(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        assert node.level == 0, "imports are absolute"
        origin = node.module or ""
        for alias in node.names:
            inner = f"{origin}.{alias.name}"
            yield inner if inner in MODULES else origin


def package(module: str) -> str:
    """The package of a module, ``rig.usb.urb`` -> ``usb``; empty at the top."""
    parts = module.split(".")
    inside = len(parts) > 2 or MODULES[module].name == "__init__.py"
    return parts[1] if inside and len(parts) > 1 else ""


def top(name: str) -> str:
    """``collections.abc`` -> ``collections``."""
    return name.partition(".")[0]


def reached(module: str) -> set[str]:
    """The modules of the rig that are imported with a module, at whatever depth."""
    seen: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name in seen or name not in MODULES:
            continue
        seen.add(name)
        waiting += imports(name)
        waiting.append(name.rpartition(".")[0])
    return seen


def test_every_package_has_its_place() -> None:
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests"}
    assert packages == set(LAYERS)


def test_every_module_at_the_top_has_its_place() -> None:
    at_top = {name for name in MODULES if not package(name)}
    assert at_top == COMMON | {"rig.__main__"}


def test_the_layers_have_no_circle() -> None:
    done: set[str] = set()
    while len(done) < len(LAYERS):
        free = {name for name, below in LAYERS.items() if name not in done and below <= done}
        assert free, f"a circle among {set(LAYERS) - done}"
        done |= free


@pytest.mark.parametrize("module", sorted(MODULES))
def test_imports_point_one_way(module: str) -> None:
    own = package(module)
    if not own:
        allowed = {"cli"} if module == "rig.__main__" else set()
    else:
        allowed = LAYERS[own] | {own, ""}
    ours = {name for name in imports(module) if top(name) == "rig"}
    wrong = {n for n in ours if n not in COMMON and package(n) not in allowed}
    assert not wrong, f"{module} must not import {wrong}"


def test_the_actors_meet_only_in_experiments() -> None:
    actors = {"splitdriver", "gadget", "cable", "link", "integrity"}
    for actor in actors:
        assert not LAYERS[actor] & actors


def test_the_tests_are_imported_by_nothing() -> None:
    assert not [m for m in MODULES if any(n.startswith("rig.tests") for n in imports(m))]


def test_every_pure_module_is_there() -> None:
    assert set(MODULES) >= PURE


@pytest.mark.parametrize("module", sorted(PURE))
def test_pure_modules_only_compute(module: str) -> None:
    wrong = {name for name in imports(module) if name not in PURE and top(name) not in HARMLESS}
    assert not wrong, f"{module} is pure and must not import {wrong}"


@pytest.mark.parametrize("module", sorted(PURE))
def test_pure_modules_open_and_print_nothing(module: str) -> None:
    tree = ast.parse(MODULES[module].read_text())
    called = {
        node.func.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    assert not called & {"open", "print", "input", "exec", "eval", "__import__"}


@pytest.mark.parametrize("command", sorted(MACHINE_COMMANDS))
def test_a_machines_daemons_import_nothing_of_the_stations(command: str) -> None:
    module = MACHINE_COMMANDS[command]
    assert module in MODULES
    for name in reached(module):
        heavy = {top(imported) for imported in imports(name)} & STATION_ONLY
        assert not heavy, f"{name}, reached from {module}, imports {heavy}"


@pytest.mark.parametrize("command", ["back", "front"])
def test_the_data_paths_daemons_import_no_event_loop_or_http(command: str) -> None:
    """Under emulation each of these costs a noticeable part of the start."""
    code = (
        f"import sys, {MACHINE_COMMANDS[command]}\n"
        "print(*{'asyncio', 'http', 'unittest', 'multiprocessing', 'numpy'} & set(sys.modules))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert run.stdout.strip() == ""
