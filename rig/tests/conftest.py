"""What all tests share: the lab of real guests, and the rule about skips.

A test that cannot run here is skipped, with the reason.  Where everything must run, set
``RIG_NO_SKIP=1``: then a skip is a failure.
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
from collections.abc import Generator, Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from rig.errors import MachineError
from rig.guest_images.image import GuestImage, ensure
from rig.lab.accelerator import accelerator
from rig.lab.basis import Basis
from rig.lab.hosts import Hosts
from rig.lab.lab import Lab
from rig.lab.strategy import LabState
from rig.lab.unit import MACHINE_PLACE

if TYPE_CHECKING:  # pytest wants to be the first to import a plugin
    from rig.campaign.pytest_plugin import RigPlace

# How long an example takes says more of what else this machine does than of the code.
settings.register_profile("rig", deadline=None)
settings.load_profile("rig")

pytest_plugins = ["rig.campaign.pytest_plugin"]

NO_SKIP = os.environ.get("RIG_NO_SKIP") == "1"


class LabKeeper:
    """Keeps one lab for many tests, and replaces it when a test has broken it.

    Args:
        image: What the machines boot; or hosts.
        directory: Each lab gets a directory in it.
    """

    def __init__(self, image: Basis, directory: Path) -> None:
        self._image = image
        self._directory = directory
        self._stack = ExitStack()
        self._lab: Lab | None = None
        self._count = 0

    def booted(self) -> Lab:
        """Return a lab whose machines run, without daemons and media of an earlier test."""
        if self._lab is None or not self._sound(self._lab):
            self.close()
            self._count += 1
            directory = self._directory / f"lab{self._count}"
            self._lab = self._stack.enter_context(self._open(directory))
            self._lab.transition(LabState.BOOTED)
        return self._lab

    def _open(self, directory: Path) -> AbstractContextManager[Lab]:
        if isinstance(self._image, Hosts):
            return Lab.open(self._image, directory)
        return Lab.open(self._image, directory, accelerator=accelerator(self._image))

    def close(self) -> None:
        """Shut the lab down."""
        self._lab = None
        self._stack.close()

    @staticmethod
    def _sound(lab: Lab) -> bool:
        """Bring the lab back to ``booted``; return whether that worked."""
        try:
            lab.transition(LabState.BOOTED)
            for machine in (lab.back, lab.front):
                machine.stop_daemons(10.0)
                machine.check(f"rm -rf {MACHINE_PLACE}/*")
        except MachineError:
            return False
        return True


def pytest_configure() -> None:
    """Take Ctrl-C again: a shell's background job ignores it, and so would all that it starts."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the tests that boot guests: the quick ones fill what two workers have left."""
    items.sort(key=lambda item: item.get_closest_marker("vm") is None)


@pytest.fixture(autouse=True)
def log_of_its_own() -> Iterator[None]:
    """Let no test's log go where a former one's went: that file is closed."""
    root = logging.getLogger()
    before = list(root.handlers)
    yield
    for handler in [h for h in root.handlers if type(h) is logging.StreamHandler]:
        if handler not in before:
            root.removeHandler(handler)


@pytest.fixture(scope="session")
def guest_image() -> GuestImage:
    """The image that guests boot, built if it is not cached."""
    if shutil.which("qemu-system-x86_64") is None:
        pytest.skip("qemu-system-x86_64 is not installed")
    return ensure()


@pytest.fixture(scope="session")
def lab_keeper(
    request: pytest.FixtureRequest,
    rig_place: RigPlace | None,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[LabKeeper]:
    """One lab for all tests of this process (with pytest-xdist: of this worker)."""
    # Not a parameter: on hosts nothing is to be built, and a test that has it boots its own guests.
    basis = Hosts(rig_place.file) if rig_place else request.getfixturevalue("guest_image")
    keeper = LabKeeper(basis, tmp_path_factory.mktemp("labs"))
    yield keeper
    keeper.close()


@pytest.fixture
def booted_lab(lab_keeper: LabKeeper) -> Lab:
    """A lab in the state ``booted``; tests may do to it what they like."""
    return lab_keeper.booted()


def _refuse_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    if NO_SKIP and report.outcome == "skipped" and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"RIG_NO_SKIP is set, but this was skipped: {report.longrepr}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a test's skip into a failure where skips are not allowed."""
    report = yield
    _refuse_skip(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Turn a module's skip into a failure where skips are not allowed."""
    report = yield
    _refuse_skip(report)
    return report
