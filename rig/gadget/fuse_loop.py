"""The little of trio that pyfuse3 needs, on poll(2): its session tasks, and pauses in them.

pyfuse3 runs on whatever its attribute ``trio`` is; its own asyncio mode is a stand-in of this kind
(``pyfuse3_asyncio.py``).  A LUN has one access in flight, so all that a general event loop offers
lies idle, but its work for every access does not: under emulation it took more time than the access
itself.

Every task of pyfuse3's runs the same loop: wait for the one descriptor, take a request, answer it.
So only one task runs as long as it answers at once.  Only when it pauses in the middle of an
answer (a `Pause`: an injected delay or hang) is another one woken, or begun, to take the next
request.
"""

from __future__ import annotations

import math
import select
import time
import types
from collections.abc import Callable, Coroutine, Generator, Mapping


class _Lock:
    """A lock that all may hold: the loop never wakes two tasks for one request."""

    async def __aenter__(self) -> None:
        """Nobody need wait for it."""

    async def __aexit__(self, *_: object) -> None:
        """Nobody waits for it."""


class Pause:
    """Where a task waits in the middle of an answer.

    Args:
        until_s: When it goes on by itself, on the clock of `drive`.
    """

    def __init__(self, until_s: float) -> None:
        self.until_s = until_s

    def release(self) -> None:
        """Let the task go on as soon as the loop is back."""
        self.until_s = -math.inf


_Task = Coroutine["int | Pause | _Nursery", None, object]


class _Nursery:
    """Tasks that one block starts; the block's end waits for all of them."""

    def __init__(self) -> None:
        self.fresh: list[_Task] = []

    async def __aenter__(self) -> _Nursery:
        return self

    async def __aexit__(self, *_: object) -> None:
        await _yield(self)

    def start_soon(
        self, task: Callable[..., _Task], *arguments: object, name: object = None
    ) -> None:
        """Take a task; `name` is for people and has no reader here."""
        del name
        self.fresh.append(task(*arguments))


@types.coroutine
def _yield(
    what: int | Pause | _Nursery,
) -> Generator[int | Pause | _Nursery, None, None]:
    yield what


async def wait_for(pause: Pause) -> None:
    """Wait in a task until a pause is over; other requests are answered meanwhile."""
    await _yield(pause)


class _ClosedResourceError(Exception):
    """What trio raises when a descriptor is closed under a waiting task; never raised here."""


_TASK = types.SimpleNamespace(name="session")
STAND_IN = types.ModuleType("trio", "What pyfuse3 uses of trio.")
"""To be set as ``pyfuse3.trio`` before ``pyfuse3.init``."""
vars(STAND_IN).update(
    ClosedResourceError=_ClosedResourceError,
    Lock=_Lock,
    open_nursery=_Nursery,
    lowlevel=types.SimpleNamespace(
        wait_readable=_yield,
        current_trio_token=lambda: "rig",
        current_task=lambda: _TASK,
    ),
)


class _Loop:
    """Runs the tasks of one nursery."""

    def __init__(self, main: _Task, clock: Callable[[], float]) -> None:
        self._main = main
        self._clock = clock
        self._nursery = _Nursery()
        self._idle: list[_Task] = []  # each waits for a request
        self._paused: list[tuple[Pause, _Task]] = []
        self._fd: int | None = None
        self._ended = False  # a task has returned: there will be no more requests

    def begin(self) -> None:
        """Run the main task up to its nursery's end, and a first task up to its wait.

        Raises:
            StopIteration: The main task has ended.
        """
        waits = self._main.send(None)
        if isinstance(waits, _Nursery):
            self._nursery = waits
            self._wake_one()
        else:  # it waits for requests itself
            self._rest(self._main, waits)

    def take_request(self) -> None:
        """There is a request: give it to a task that is idle."""
        task = self._idle.pop()
        try:
            waits = task.send(None)
        except StopIteration:
            self._end(task)
            return
        if type(waits) is int:  # it has answered, as nearly always
            self._idle.append(task)
        else:
            self._rest(task, waits)
            self._wake_one()

    def go_on(self) -> bool:
        """Wake the tasks whose pause is over, those that began to pause first, first.

        Returns:
            Whether there may be more to do.
        """
        if self._paused:
            now = self._clock()
            over = [entry for entry in self._paused if self._ended or entry[0].until_s <= now]
            self._paused = [entry for entry in self._paused if entry not in over]
            for _, task in over:
                self._step(task)
        return not self._ended or bool(self._idle or self._paused)

    def release_all(self) -> None:
        """Let every paused task answer now."""
        while self._paused:
            paused, self._paused = self._paused, []
            for _, task in paused:
                self._step(task)

    @property
    def fd(self) -> int | None:
        """The descriptor that an idle task waits for; None if all tasks are busy."""
        return self._fd if self._idle else None

    def timeout_ms(self, wake_s: float) -> int | None:
        """How long to wait for requests at most; None for any time.

        Args:
            wake_s: Not longer than until this, whatever pauses.
        """
        if not self._paused and wake_s == math.inf:
            return None
        first_s = min((pause.until_s for pause, _ in self._paused), default=math.inf)
        left_s = min(first_s, wake_s) - self._clock()
        return math.ceil(left_s * 1000) if left_s > 0 else 0  # it may be minus infinity

    def close(self) -> None:
        """End all tasks where they are."""
        waiting = [*self._idle, *(task for _, task in self._paused), *self._nursery.fresh]
        for task in waiting:
            task.close()
        self._main.close()

    def _step(self, task: _Task) -> None:
        """Let a task go on until it waits again."""
        try:
            waits = task.send(None)
        except StopIteration:
            self._end(task)
        else:
            self._rest(task, waits)

    def _rest(self, task: _Task, waits: int | Pause | _Nursery) -> None:
        if isinstance(waits, Pause):
            self._paused.append((waits, task))
        else:
            assert isinstance(waits, int)
            self._fd = waits
            self._idle.append(task)

    def _end(self, task: _Task) -> None:
        if task is self._main:
            raise StopIteration
        self._ended = True

    def _wake_one(self) -> None:
        """See to it that some task waits for a request, if there is one left that can."""
        while not self._idle and self._nursery.fresh and not self._ended:
            self._step(self._nursery.fresh.pop())


def _nothing_by_the_clock() -> float:
    return math.inf


def drive(
    main: _Task,
    others: Mapping[int, Callable[[], bool]],
    alive: Callable[[], bool],
    pass_time: Callable[[], float] = _nothing_by_the_clock,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Run a coroutine that waits by `STAND_IN` until it ends or is told to.

    Requests whose answers are paused when it is told to are answered before it ends.

    Args:
        main: What to run; closed when it is told to stop.
        others: Descriptors to watch meanwhile, and what to call when one is readable; that
            returns False to stop.
        alive: Asked before each wait; False stops.
        pass_time: Does what is to be done by the clock, and returns when it is to be called again;
            it also is whenever one of `others` was.
        clock: Seconds, for pauses.
    """
    loop = _Loop(main, clock)
    poller = select.poll()
    for fd in others:
        poller.register(fd, select.POLLIN)
    watched: int | None = None
    try:
        loop.begin()
        wake_s = -math.inf
        while loop.go_on() and alive():
            if wake_s != math.inf and clock() >= wake_s:
                wake_s = pass_time()
            if loop.fd != watched:
                watched = _watch_instead(poller, watched, loop.fd)
            for fd, _ in poller.poll(loop.timeout_ms(wake_s)):
                if fd == watched:
                    loop.take_request()
                    continue
                if not others[fd]():
                    loop.release_all()
                    return
                wake_s = -math.inf  # a command may have changed it
    except StopIteration:
        return
    finally:
        loop.close()


def _watch_instead(poller: select.poll, before: int | None, now: int | None) -> int | None:
    if before is not None:
        poller.unregister(before)
    if now is not None:
        poller.register(now, select.POLLIN)
    return now
