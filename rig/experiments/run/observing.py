"""Asks the workload's daemon, and tells what the host refuses from what the rig fails at.

A fault may make the host give a file system up: an I/O error, a shut-down, a read-only mount, or a
call that never returns.  That is an observation about the file system, and the run goes on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from rig.integrity.filemap import MappedFile
from rig.lab.daemons import Daemon, Event, NoAnswerError

STEP_DEADLINE_S = 300.0
"""For one step of the workload.  A SCSI command that gets no answer is retried for 30 s, five
times; after that the kernel gives the disk up and the step ends with errors."""


class Refused(Exception):  # noqa: N818 - an observation
    """The host would not do what it was asked for.

    Args:
        sentence: What it said.
        known: Where the files lay when it was asked last.
    """

    def __init__(self, sentence: str, known: list[MappedFile]) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.known = known


class Hung(Exception):  # noqa: N818 - likewise
    """A call of the workload does not return, though its daemon and its machine live.

    Args:
        sentence: For how long, and who waits for what.
    """

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence)
        self.sentence = sentence


class _ToldRefusal(msgspec.Struct):
    refused: str
    known: list[MappedFile] = []


def observe(workload: Daemon, command: str, **args: object) -> Any:
    """Have the daemon do something to the disk; return what it told.

    Raises:
        Refused: The host would not.
        Hung: It does not return.
        MachineError: The daemon or its machine failed.
    """
    step = f"{command} {args.get('fs', '')}".strip()
    return _told(lambda: workload.ask(command, STEP_DEADLINE_S, **args), step, workload)


def observe_hearing(
    workload: Daemon,
    command: str,
    hear: Callable[[Event], None],
    fs: str,
    settings: dict[str, object],
) -> Any:
    """Have the daemon do something to a file system, and hear the events that come meanwhile.

    Raises:
        Refused: The host would not.
        Hung: It does not return.
        MachineError: The daemon or its machine failed.
    """

    def ask() -> Any:
        return workload.ask_hearing(command, hear, STEP_DEADLINE_S, fs=fs, **settings)

    return _told(ask, f"{command} {fs}", workload)


def _told(ask: Callable[[], Any], step: str, workload: Daemon) -> Any:
    try:
        told = ask()
    except NoAnswerError as error:
        raise Hung(_hang_words(step, workload.events)) from error
    if isinstance(told, dict) and "refused" in told:
        refusal = msgspec.convert(told, _ToldRefusal)
        raise Refused(refusal.refused, refusal.known)
    return told


def _hang_words(step: str, events: list[dict[str, Any]]) -> str:
    words = f"'{step}' did not return in {STEP_DEADLINE_S:g} s"
    stalls = [event for event in events if event["event"] == "stalled"]
    tasks = stalls[-1]["tasks"] if stalls else []
    if tasks:
        frames = tasks[0]["stack"]
        words += f": task '{tasks[0]['name']}' waits in state D"
        words += f", in {frames[0].partition('+')[0]}" if frames else ""
    return words
