"""The writing phase of a session: pass after pass of a workload, and deeds between two passes.

It runs on the run's own thread.  What must not fall into a pass (reading everything back, another
policy) is done here, as a *job*, between two of them.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, NamedTuple, TypeVar

from rig.errors import MachineError, RigError, UserError
from rig.experiments.run.disturbance import BACK_DEADLINE_S
from rig.experiments.run.observing import Hung
from rig.experiments.run.passes import Place
from rig.experiments.run.sitting import Scene
from rig.integrity.workloads.table import Kind
from rig.lab.machine_faults import NotBackError
from rig.session.live.pace import rest_s
from rig.session.snapshot import Mode

PATIENCE_S = 5.0
"""After so long a disk that is away is told, and it is seen whether somebody wants to leave."""
LEAVE_PATIENCE_S = 60.0
"""For what was away when the session was ended, and was released then."""
STRANDED = "Another policy, or plugging the device in anew, may bring it back."
AWAY_HINT = "Plug it in, or release what took it away."
T = TypeVar("T")


class _Job(NamedTuple):
    """What is to be done between two passes, and who waits for it."""

    do: Callable[[], Any]
    future: Future[Any]
    without_disk: bool


class Sitting:
    """Implements `rig.experiments.run.sitting.Sitting`.

    All but `write` and `wait_for` may be called from any thread.

    Args:
        kind: The first workload.
        room: Says how much room is left for the medium's journal, in octets; None: not known.
        changed: Called when something of the state below has changed.
        opened: Called with the scene before the first pass, on the run's thread.
        closed: Called behind the last one.

    Attributes:
        mode: What is done.
        words: The same in a sentence.
        kind: The workload.
        scene: What is written to, from when the disk is there.
        file_system: Where is written now.
        passes: How many of the workload were run to their end.
        places: Where the file systems are.
        policies: See the protocol.
        workloads: See the protocol.
        notes: See the protocol.
        waiting: Whether what is done is done while the disk is away, and looked for by others.
    """

    def __init__(
        self,
        kind: Kind,
        *,
        room: Callable[[], int | None],
        changed: Callable[[], None],
        opened: Callable[[Scene], None],
        closed: Callable[[], None],
    ) -> None:
        self.mode = Mode.STARTING
        self.words = "The machines are being started."
        self.kind = kind
        self.scene: Scene | None = None
        self.file_system = ""
        self.passes = 0
        self.places: list[Place] = []
        self._moves = -1
        self.policies: tuple[str, ...] = ()
        self.workloads: tuple[str, ...] = ()
        self.notes: tuple[str, ...] = ()
        self.began_s: float | None = None
        self._again = self.waiting = False
        self._room = room
        self._changed = changed
        self._opened = opened
        self._closed = closed
        self._wake = threading.Condition()
        self._jobs: deque[_Job] = deque()
        self._paused = False
        self._leaving = False
        self._leave_by_s = 0.0
        self._patient_until_s: float | None = None
        self._away = False

    # What others ask for.

    def leave(self) -> None:
        """Have the writing end behind the pass that is under way."""
        with self._wake:
            if not self._leaving:
                self._leaving, self._leave_by_s = True, time.monotonic() + LEAVE_PATIENCE_S
            self._wake.notify_all()

    def pause(self) -> bool:
        """Write no more behind the pass that is under way, and wait for its end.

        Returns:
            Whether it was live.

        Raises:
            MachineError: The session is broken, or over.
        """
        self.check()
        with self._wake:
            was_live, self._paused = not self._paused, True
            self._wake.notify_all()
            self._wake.wait_for(lambda: self.mode is Mode.PAUSED or self._away or self._is_over)
        self.check()
        return was_live

    def go(self) -> bool:
        """Write on; return whether it was paused.

        Raises:
            MachineError: The session is broken, or over.
        """
        self.check()
        with self._wake:
            was_paused, self._paused = self._paused, False
            self._wake.notify_all()
        if was_paused:
            self.set_mode(Mode.LIVE, "The workload goes on.")
        return was_paused

    def use(self, kind: Kind) -> str:
        """Write another workload from the next pass on; return the name of the one before."""
        with self._wake:
            before, self.kind = self.kind.name, kind
            self.passes = 0 if before != kind.name else self.passes
            self._wake.notify_all()
        return before

    def do(self, job: Callable[[Scene], T], *, without_disk: bool = False) -> T:
        """Have something done between two passes, and wait for it.

        Args:
            job: Called with what is written to.
            without_disk: It can be done, too, while the disk is away.

        Raises:
            RigError: It could not be done, or the session is broken or over.
        """
        self.check()
        future: Future[T] = Future()
        with self._wake:
            if self._is_over or self.scene is None:
                raise self._over()
            if self._away and not without_disk:
                raise MachineError(self.words, hint=AWAY_HINT)
            scene = self.scene
            self._jobs.append(_Job(lambda: job(scene), future, without_disk))
            self._wake.notify_all()
        return future.result()

    def check(self) -> None:
        """Return if the session can do something.

        Raises:
            UserError: It has not begun.
            MachineError: It is broken, or over.
        """
        if self.mode is Mode.STARTING:
            raise UserError("The session has not begun yet.", hint="Wait until it is live.")
        if self._is_over:
            raise self._over()

    def look_again(self) -> None:
        """Look for the disk behind this pass, or in this rest: something may have befallen it."""
        with self._wake:
            self._again = self.scene is not None
            self._wake.notify_all()

    @property
    def away(self) -> bool:
        """Whether the disk, or a file system that is of use, is being waited for."""
        return self._away

    @property
    def _is_over(self) -> bool:
        return self.mode in (Mode.BROKEN, Mode.ENDING, Mode.ENDED)

    def _over(self) -> MachineError:
        return MachineError(self.words or "The session is over.", hint="Only leaving is left.")

    # The run's own thread.

    def write(self, scene: Scene) -> None:
        """See the protocol."""
        self.scene = scene
        scene.use.patience = self
        scene.disturbance.patience_s = PATIENCE_S
        self.began_s = time.monotonic()
        failure: Exception | None = None
        try:
            self._opened(scene)
            self._sit()
        except (Hung, MachineError) as error:
            failure = error
            self._break(error)
        finally:
            self._end()
        self._closed()
        scene.disturbance.patience_s = BACK_DEADLINE_S
        if failure is not None:
            raise failure

    def wait_for(self, away: NotBackError) -> None:
        """See `rig.experiments.run.passes.Patience`."""
        with self._wake:
            now_s, until_s = time.monotonic(), self._patient_until_s
            if self._leaving and now_s > self._leave_by_s:
                raise away
            self._away = True
        if until_s is not None and now_s > until_s:
            raise away
        self._refuse_jobs(MachineError(away.message, hint=AWAY_HINT), away=True)
        self.waiting = True
        try:
            while self._jobs:
                self._do_next()
        finally:
            self.waiting = False
        self.set_mode(self.mode, f"The disk is away: {away.message}")

    def set_mode(self, mode: Mode, words: str) -> None:
        """Say what is done now."""
        with self._wake:
            self.mode, self.words = mode, words
            self._wake.notify_all()
        self._changed()

    def _sit(self) -> None:
        while not self._leaving:
            self._look_for_places()
            if self._jobs:
                self._do_next()
            elif self._again:
                self.take_up()
            elif self._paused:
                self._rest(Mode.PAUSED, "The workload is paused.", None)
            elif self._names:
                self._pass()
            elif self.scene is not None and self.scene.use.can_be_taken_up:
                self._strand()
            else:
                self._break(None)
                return

    def take_up(self, for_s: float | None = None) -> None:
        """Find the disk, and mount again what the host had given up; on the run's own thread.

        Args:
            for_s: So long the disk is waited for; None: until somebody leaves.

        Raises:
            NotBackError: The disk does not come back in time.
            MachineError: A machine or a daemon did not do its part.
            Hung: A call of the workload does not return.
        """
        assert self.scene is not None
        self._again = False
        self._patient_until_s = None if for_s is None else time.monotonic() + for_s
        try:
            said = self.scene.use.take_up()
        finally:
            self._patient_until_s = None
        self._away = not self._names
        for sentence in said:
            self.notes += (sentence,)
            self.scene.disturbance.note(sentence)

    def _strand(self) -> None:
        """No file system is of use: say so, and wait for what may change that."""
        assert self.scene is not None
        self._away = True
        why = " ".join(self.scene.use.given_up_words())
        self.set_mode(Mode.LIVE, f"{why} {STRANDED}")
        with self._wake:
            self._wake.wait_for(
                lambda: self._leaving or self._paused or self._again or bool(self._jobs)
            )

    def _look_for_places(self) -> None:
        assert self.scene is not None
        use = self.scene.use
        if use.names and use.moves != self._moves:
            self.places, self._moves = use.places(), use.moves

    @property
    def _names(self) -> list[str]:
        return self.scene.use.names if self.scene is not None else []

    def _pass(self) -> None:
        assert self.scene is not None
        use, kind = self.scene.use, self.kind
        names = self._names
        following = names.index(self.file_system) + 1 if self.file_system in names else 0
        name = self.file_system = names[following % len(names)]
        self._away = False
        if kind.name not in self.workloads:
            self.workloads += (kind.name,)
        self.set_mode(Mode.LIVE, f"{kind.name} writes on {name}.")
        began_s = time.monotonic()
        why = use.write_pass(name, kind)
        took_s = time.monotonic() - began_s
        if kind is self.kind:
            self.passes += not why
        self._away = False
        words = f"{kind.name} on {name} did not write all: {why}" if why else self.words
        self._rest(Mode.LIVE, words, rest_s(took_s, self._room()))

    def _rest(self, mode: Mode, words: str, for_s: float | None) -> None:
        """Wait until there is something to do, or a time is over; None: however long."""
        if for_s is not None and for_s == float("inf"):
            words = "The back machine's disk is nearly full: the workload rests."
        if for_s != 0:
            self.set_mode(mode, words)
        with self._wake:
            paused, kind = mode is Mode.PAUSED, self.kind
            self._wake.wait_for(
                lambda: (
                    self._leaving
                    or self._again
                    or bool(self._jobs)
                    or self._paused is not paused
                    or self.kind is not kind
                ),
                None if for_s is None or for_s == float("inf") else for_s,
            )

    def _do_next(self) -> None:
        do, future, _ = self._jobs.popleft()
        try:
            future.set_result(do())
        except Hung as hang:
            future.set_exception(MachineError(f"{hang.sentence}."))
            raise
        except RigError as error:
            future.set_exception(error)
        except Exception as error:  # of the rig itself: whoever asked is told, and it goes on
            future.set_exception(error)

    def _break(self, error: Exception | None) -> None:
        """Nothing can be written any more: say so, and wait until somebody leaves."""
        if error is None:
            use = self.scene.use if self.scene is not None else None
            why = " ".join(use.given_up_words()) if use is not None else ""
        else:
            why = error.sentence if isinstance(error, Hung) else str(error)
        self.set_mode(Mode.BROKEN, why or "There is no file system left.")
        self._refuse_jobs(self._over())
        with self._wake:
            self._wake.wait_for(lambda: self._leaving)

    def _end(self) -> None:
        self.set_mode(Mode.ENDING, "The session ends: everything is checked and read back.")
        self._refuse_jobs(self._over())

    def _refuse_jobs(self, why: MachineError, *, away: bool = False) -> None:
        """Refuse what is to be done; while the disk is away, only what needs it."""
        with self._wake:
            kept = [job for job in self._jobs if away and job.without_disk]
            refused = [job for job in self._jobs if job not in kept]
            self._jobs = deque(kept)
        for job in refused:
            job.future.set_exception(why)
