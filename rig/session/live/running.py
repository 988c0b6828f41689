"""A run on a thread of its own, whose writing lasts until somebody leaves, and what is seen of it.

What a run leaves behind, this one leaves, too: trace, logs, journal, verdict, summary.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self

from rig.errors import RigError, UserError
from rig.experiments.run.options import RunOptions
from rig.experiments.run.run import Story
from rig.experiments.run.sitting import Scene
from rig.lab.basis import Basis, basis
from rig.lab.hosts import Hosts
from rig.progress import Progress
from rig.report.rundir import RunDirectory
from rig.report.verdict import Verdict
from rig.session.live.hands import undo_moments
from rig.session.live.sitting import Sitting
from rig.session.live.view import View
from rig.session.live.watch import Watch
from rig.session.snapshot import Mode, Snapshot

POLL_S = 1.0
END_S = 900.0
"""For all that comes after the last pass: checks, reading back, judging, two machines' end."""


class LiveRun:
    """See `LiveRun.open`.

    Args:
        options: What to run.
        directory: Where everything that is left goes.
        image: What the machines boot.
        chosen: ``kvm`` or ``tcg``.
        progress: Is told of the steps.
        began_s: When the session began, by the monotonic clock.

    Attributes:
        directory: See above.
        verdict: What the run came to; None while it lasts.
        live_after_s: From the beginning to the first pass; None before that.
        failure: What went wrong with the rig itself; None as it should be.
        abandoned: Whether the end is not to be waited for, and its report given up.
    """

    def __init__(
        self,
        options: RunOptions,
        directory: RunDirectory,
        image: Basis,
        chosen: str,
        progress: Progress,
        *,
        began_s: float,
    ) -> None:
        self.directory = directory
        self.verdict: Verdict | None = None
        self.live_after_s: float | None = None
        self.failure: BaseException | None = None
        self.abandoned = False
        self._options = options
        self._image = image
        self._chosen = chosen
        self._began_s = began_s
        self._changes = threading.Event()
        self._done = threading.Event()
        self._composing = threading.Lock()
        self._sitting = Sitting(
            options.workloads[0],
            room=self._room,
            changed=self._compose,
            opened=self._begin,
            closed=self._end,
        )
        self._view = View(options, directory, self._sitting)
        self._snapshot = Snapshot()
        self._compose()
        story = Story(options, directory, Steps(progress, self._on_step), self._sitting)
        self._view.watching = story.watching
        self._story = threading.Thread(target=self._tell, args=(story,), name="story", daemon=True)
        self._poller = threading.Thread(target=self._poll, name="watch", daemon=True)

    @classmethod
    @contextmanager
    def open(cls, options: RunOptions, out: Path | None, progress: Progress) -> Iterator[Self]:
        """Begin a session; at the end of the block leave it, and wait until all of it is over.

        Args:
            options: What to run: `rig.session.live.start.session_options` makes them.
            out: The run directory; None for a new one below ``runs/``.
            progress: Is told of the steps, from another thread.

        Raises:
            UserError: The run directory cannot be made.
            MachineError: The machines' image could not be built.
        """
        began_s = time.monotonic()
        directory = RunDirectory.create("session", out)
        try:
            image, chosen = basis(options.kernel, progress)
        except BaseException:
            directory.discard()
            raise
        live = cls(options, directory, image, chosen, progress, began_s=began_s)
        try:
            live._story.start()
            live._poller.start()
            yield live
        finally:
            live.leave()
            if live._story.is_alive() and not live.abandoned:
                live.wait(END_S)
        if live.failure is not None:
            raise live.failure

    def leave(self) -> None:
        """Have the session end in order; `wait` says when it has.  Safe to call again."""
        self._sitting.leave()
        threading.Thread(target=self._let_go, name="leave", daemon=True).start()

    def wait(self, deadline_s: float) -> bool:
        """Wait until the run is over, and its directory complete; return whether it is."""
        return self._done.wait(deadline_s)

    @property
    def over(self) -> bool:
        """Whether the run is over."""
        return self._done.is_set()

    @property
    def began_s(self) -> float | None:
        """When the writing began, in seconds since the session did; None: not yet."""
        began_s = self._sitting.began_s
        return None if began_s is None else began_s - self._began_s

    @property
    def lab_words(self) -> tuple[str, ...]:
        """The options by which another command works in the same lab; none for guests."""
        image = self._image
        return ("--lab", "hosts", "--lg-env", str(image.file)) if isinstance(image, Hosts) else ()

    def snapshot(self) -> Snapshot:
        """See `rig.session.deeds.Deeds.snapshot`."""
        return self._snapshot

    # On the run's own thread.

    def _tell(self, story: Story) -> None:
        try:
            self.verdict = self._view.verdict = story.tell(self._image, self._chosen)
            self._sitting.set_mode(Mode.ENDED, "The session is over.")
        except BaseException as error:  # told to whoever opened the session
            self.failure = error
            self._sitting.set_mode(Mode.ENDED, f"The session has ended: {error!r}.")
        finally:
            self._done.set()
            self._changes.set()

    def _begin(self, scene: Scene) -> None:
        self._view.watch = Watch(scene, self.directory, self._image.kernel_version, self._now_s)
        self.live_after_s = self._now_s()
        self._changes.set()

    def _end(self) -> None:
        if self._view.watch is not None:
            self._view.watch.end()

    # On other threads.

    def _poll(self) -> None:
        while not self._done.is_set():
            watch = self._view.watch
            if watch is not None:
                returns = watch.returns
                try:
                    watch.poll()
                    if watch.returns != returns:
                        self._sitting.look_again()
                except Exception as error:
                    # Whatever it was, a session that cannot be watched any more would be worse.
                    watch.told.append(f"{self._now_s():.1f} s  The watch has met {error!r}.")
            self._compose()
            self._changes.wait(POLL_S)
            self._changes.clear()
        self._compose()

    def _let_go(self) -> None:
        """End what hangs or is away, so that the run can come to its end."""
        watch, scene = self._view.watch, self._sitting.scene
        if watch is not None and scene is not None:
            with suppress(RigError):
                self._release(watch, scene)

    def _compose(self) -> None:
        with self._composing:
            self._snapshot = self._view.snapshot(self._now_s())

    def _on_step(self, name: str) -> None:
        self._view.step = name
        self._compose()

    def _now_s(self) -> float:
        return time.monotonic() - self._began_s

    def _room(self) -> int | None:
        return None if self._view.watch is None else self._view.watch.room_bytes

    def _release(self, watch: Watch, scene: Scene) -> int:
        effects, watch.moments.effects = watch.moments.effects, []
        return watch.rules.release() + undo_moments(scene.lab, effects)

    def _scene(self) -> Scene:
        """Return what is in use; rules can be changed, too, when nothing can be written any more.

        Raises:
            UserError: The session has not begun.
            MachineError: It ends.
        """
        if self._sitting.mode is not Mode.BROKEN:
            self._sitting.check()
        if self._sitting.scene is None:
            raise UserError("The session has not begun yet.", hint="Wait until it is live.")
        return self._sitting.scene

    def _live(self) -> Watch:
        self._scene()
        if self._view.watch is None:
            raise UserError("The session has not begun yet.", hint="Wait until it is live.")
        return self._view.watch


class Steps:
    """Progress that is told to somebody else, too.

    Args:
        progress: Who shows it.
        tell: Told of each step's name, and "" at its end.
    """

    def __init__(self, progress: Progress, tell: Callable[[str], None]) -> None:
        self._progress = progress
        self._tell = tell

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """See `rig.progress.Progress.step`."""
        self._tell(name)
        with self._progress.step(name):
            yield
        self._tell("")

    def note(self, text: str) -> None:
        """See `rig.progress.Progress.note`."""
        self._progress.note(text)
