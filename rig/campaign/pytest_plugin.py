"""pytest's tests on places: each process, with pytest-xdist each worker, has one for its session.

``pytest -n 3 --rig-places pool=arm --rig-env pool.yaml`` -- and in a conftest.py::

    pytest_plugins = ["rig.campaign.pytest_plugin"]

    @pytest.fixture(scope="session")
    def hosts(rig_place):
        return Hosts(rig_place.file)
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from rig.errors import RigError, UserError

TESTS = "guests: asks for guests in QEMU, also where a lab of hosts is reserved"


class RigPlace:
    """A place, for a session of tests; see `rig_place`.

    Args:
        config: pytest's, with the options.

    Attributes:
        name: The place's name.
        file: Its environment file.
    """

    def __init__(self, config: pytest.Config) -> None:
        # labgrid and gRPC are slow to import, and most sessions need neither.
        from rig.campaign.coordinator import coordinator  # noqa: PLC0415
        from rig.campaign.places import kept  # noqa: PLC0415
        from rig.campaign.rendering import Pool  # noqa: PLC0415
        from rig.lab.private import private_directory  # noqa: PLC0415

        if not config.option.rig_env:
            raise UserError("--rig-places needs the labs' environment file.", hint="--rig-env FILE")
        tags = dict(word.partition("=")[::2] for word in config.option.rig_places)
        pool = Pool(Path(config.option.rig_env))
        with ExitStack() as stack:
            desk = stack.enter_context(coordinator(config.option.rig_coordinator))
            private = stack.enter_context(private_directory())
            self._places = stack.enter_context(kept(desk, tags, lambda _: None))
            self._places.check()
            held = self._places.take(lambda: True, config.option.rig_wait)
            if held is None:
                raise UserError("No place is left that could be used.")
            self._held, self.name = held, held.name
            view = desk.places()[held.name]
            self.file = pool.write(private, held.name, view.tags, desk.resources(held.name))
            self._stack = stack.pop_all()

    @property
    def fault(self) -> str:
        """Why it can no longer be used, as a sentence; "" while it can."""
        why = self._held.fault or self._places.gone
        return f"Place '{self.name}' can no longer be used: {why}" if why else ""

    def close(self) -> None:
        """Give it back; one whose exporter is gone is marked as broken."""
        if self._held.fault and self._held.is_ours:
            self._places.mark_broken(self.name, self._held.fault)
        self._stack.close()


_PLACE = pytest.StashKey[RigPlace]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    group = parser.getgroup("rig", "labs at a labgrid coordinator")
    group.addoption(
        "--rig-places", action="append", metavar="KEY=VALUE", help="tag of a place; again for more"
    )
    group.addoption(
        "--rig-coordinator",
        default=os.environ.get("LG_COORDINATOR", "127.0.0.1:20408"),
        metavar="HOST[:PORT]",
        help="labgrid's coordinator (LG_COORDINATOR)",
    )
    group.addoption("--rig-env", metavar="FILE", help="labgrid environment file of all labs")
    group.addoption(
        "--rig-wait", type=float, default=600.0, metavar="S", help="how long to wait for a place"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Tell pytest of the marker."""
    config.addinivalue_line("markers", TESTS)
    # pyserial's, for consoles that exporters carry; a suite may make warnings errors.
    config.addinivalue_line("filterwarnings", "ignore:set(Daemon|Name):DeprecationWarning")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip what cannot run on hosts, and say why."""
    if not config.option.rig_places:
        return
    for item in items:
        asks = getattr(item, "fixturenames", ())
        # What boots machines and has no place's does so by itself, by the rig's commands.
        alone = item.get_closest_marker("vm") is not None and "rig_place" not in asks
        own = "guest_image" in asks or alone
        marked = item.get_closest_marker("guests")
        if own or marked is not None:
            why = "boots guests of its own" if own else (marked and marked.kwargs.get("why"))
            item.add_marker(pytest.mark.skip(reason=f"--rig-places: {why or 'needs guests'}"))


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Blame no test for a place that is gone."""
    place = item.config.stash.get(_PLACE, None)
    if place is not None and place.fault:
        pytest.fail(place.fault, pytrace=False)


@pytest.fixture(scope="session")
def rig_place(request: pytest.FixtureRequest) -> Iterator[RigPlace | None]:
    """The session's place; None without ``--rig-places``."""
    if not request.config.option.rig_places:
        yield None
        return
    try:
        place = RigPlace(request.config)
    except RigError as error:
        pytest.fail(str(error), pytrace=False)
    request.config.stash[_PLACE] = place
    try:
        yield place
    finally:
        del request.config.stash[_PLACE]
        place.close()
