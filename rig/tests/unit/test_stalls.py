from __future__ import annotations

from typing import Any

import pytest

from rig.errors import CommandFailure, MachineError
from rig.experiments.run.observing import Hung, Refused, observe
from rig.experiments.run.stalls import longest_d_state_s, stall_notes
from rig.integrity.filemap import Extent, MappedFile
from rig.lab.daemons import NoAnswerError

TASK = {
    "pid": 9,
    "name": "jbd2/sda1",
    "for_s": 12.5,
    "stack": ["io_schedule+0x1/0x2", "blk_wait+0x3/0x4"],
}
STALLED = {"event": "stalled", "t": 100.0, "step": "write ext4", "quiet_s": 15.2, "tasks": [TASK]}
WENT_ON = {"event": "went_on", "t": 120.0, "step": "write ext4"}


def test_a_stall_that_ended_is_a_sentence_with_its_whole_time() -> None:
    (note,) = stall_notes([{"event": "progress"}, STALLED, WENT_ON])
    assert note == (
        "'write ext4' made no progress for 35 s, and then went on; in state D: jbd2/sda1"
        " (io_schedule < blk_wait)."
    )


def test_one_that_did_not_end_says_so() -> None:
    (note,) = stall_notes([{**STALLED, "tasks": []}])
    assert note.endswith("for 15 s, and did not go on; no task was in state D.")


def test_the_longest_wait_is_of_stalls_and_of_ends_of_steps() -> None:
    assert longest_d_state_s([]) == 0.0
    assert longest_d_state_s([STALLED]) == 12.5
    assert longest_d_state_s([STALLED, {"event": "blocked", "for_s": 31.0}]) == 31.0


class Daemon:
    """Answers with what it is given."""

    def __init__(self, answer: object, events: list[dict[str, Any]] | None = None) -> None:
        self.answer = answer
        self.events = events or []

    def ask(self, do: str, deadline_s: float, **args: object) -> object:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def ask(answer: object, *events: dict[str, Any]) -> object:
    daemon: Any = Daemon(answer, list(events))
    return observe(daemon, "map", fs="ext4")


def test_an_answer_is_passed_on() -> None:
    assert ask([1]) == [1]


def test_what_the_host_refuses_is_an_observation_with_what_is_known() -> None:
    file = {"file_id": 1, "path": "/x", "size_bytes": 512, "in_place": True}
    with pytest.raises(Refused) as caught:
        ask({"refused": "Input/output error", "known": [{**file, "extents": [[0, 7, 1]]}]})
    assert caught.value.sentence == "Input/output error"
    assert caught.value.known == [MappedFile(1, "/x", 512, True, [Extent(0, 7, 1)])]


def test_a_call_that_does_not_return_names_who_waits_where() -> None:
    with pytest.raises(Hung, match="task 'jbd2/sda1' waits in state D, in io_schedule"):
        ask(NoAnswerError("Silence."), STALLED)


@pytest.mark.parametrize("error", [CommandFailure("Wrong arguments."), MachineError("Gone.")])
def test_what_the_rig_or_a_machine_fails_at_stays_that(error: Exception) -> None:
    with pytest.raises(MachineError, match=str(error)):
        ask(error)
