"""The little of trio that pyfuse3 needs, on poll(2): one task, no timers, no cancellation.

pyfuse3 runs on whatever its attribute ``trio`` is; its own asyncio mode is a stand-in of this kind
(``pyfuse3_asyncio.py``).  A LUN has one access in flight, so all that a general event loop offers
lies idle, but its work for every access does not: under emulation it took more time than the access
itself.
"""

from __future__ import annotations

import select
import types
from collections.abc import Awaitable, Callable, Coroutine, Generator, Mapping


class _Lock:
    """A lock among one task."""

    async def __aenter__(self) -> None:
        """Nobody else can hold it."""

    async def __aexit__(self, *_: object) -> None:
        """Nobody waits for it."""


class _Nursery:
    """Runs what was started when its block ends: pyfuse3's block starts one task and ends."""

    def __init__(self) -> None:
        self._tasks: list[tuple[Callable[..., Awaitable[object]], tuple[object, ...]]] = []

    async def __aenter__(self) -> _Nursery:
        return self

    async def __aexit__(self, *_: object) -> None:
        for task, arguments in self._tasks:
            await task(*arguments)

    def start_soon(
        self, task: Callable[..., Awaitable[object]], *arguments: object, name: object = None
    ) -> None:
        """Remember a task; `name` is for people and has no reader here."""
        del name
        self._tasks.append((task, arguments))


@types.coroutine
def _wait_readable(fd: int) -> Generator[int, None, None]:
    yield fd


class _ClosedResourceError(Exception):
    """What trio raises when a descriptor is closed under a waiting task; never raised here."""


_TASK = types.SimpleNamespace(name="session")
STAND_IN = types.ModuleType("trio", "What pyfuse3 uses of trio, for one task.")
"""To be set as ``pyfuse3.trio`` before ``pyfuse3.init``."""
vars(STAND_IN).update(
    ClosedResourceError=_ClosedResourceError,
    Lock=_Lock,
    open_nursery=_Nursery,
    lowlevel=types.SimpleNamespace(
        wait_readable=_wait_readable,
        current_trio_token=lambda: "rig",
        current_task=lambda: _TASK,
    ),
)


def drive(
    main: Coroutine[int, None, object],
    others: Mapping[int, Callable[[], bool]],
    alive: Callable[[], bool],
) -> None:
    """Run a coroutine that waits by `STAND_IN` until it ends or is told to.

    Args:
        main: What to run; closed when it is told to stop.
        others: Descriptors to watch meanwhile, and what to call when one is readable; that
            returns False to stop.
        alive: Asked after each step of `main`; False stops.
    """
    poller = select.poll()
    for fd in others:
        poller.register(fd, select.POLLIN)
    try:
        waits_for = main.send(None)
        poller.register(waits_for, select.POLLIN)
        while True:
            for fd, _ in poller.poll():
                if fd == waits_for:
                    main.send(None)  # its only descriptor never changes
                    if not alive():
                        return
                elif not others[fd]():
                    return
    except StopIteration:
        return
    finally:
        main.close()
