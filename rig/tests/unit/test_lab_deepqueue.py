"""A deep-queue client as a lab sees it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import pytest

from rig.errors import MachineError
from rig.lab.daemons import Daemon, Event
from rig.lab.deepqueue import DeepQueue, deep_queue
from rig.lab.machine import Machine

READY = {"event": "ready", "block": "/dev/nbd0"}
AGAIN = {"event": "ready", "block": "/dev/nbd1"}
GONE = {"event": "gone", "block": "/dev/nbd0"}


class FakeDaemon:
    """Has told some events, and will tell others when they are waited for."""

    def __init__(self, told: Sequence[Event], to_come: Sequence[Event] = ()) -> None:
        self.events = list(told)
        self.to_come = list(to_come)
        self.stopped = False

    def wait_event(self, event: str, deadline_s: float, since: int = 0) -> Event:
        assert deadline_s > 0
        for found in [*self.events, *self.to_come][since:]:
            if found["event"] == event:
                return found
        raise MachineError("It did not come.")

    def stop(self, deadline_s: float) -> None:
        assert deadline_s > 0
        self.stopped = True


@pytest.mark.parametrize(
    ("told", "to_come", "block"),
    [
        ([READY], [], "/dev/nbd0"),
        ([], [READY], "/dev/nbd0"),
        ([READY, GONE], [AGAIN], "/dev/nbd1"),
        ([READY, GONE, AGAIN], [], "/dev/nbd1"),
    ],
)
def test_the_block_device_that_is_there_now_is_returned(
    told: list[Event], to_come: list[Event], block: str
) -> None:
    assert DeepQueue(cast("Daemon", FakeDaemon(told, to_come))).wait_ready() == block


def test_a_block_device_that_has_ended_is_not_returned() -> None:
    with pytest.raises(MachineError):
        DeepQueue(cast("Daemon", FakeDaemon([READY, GONE]))).wait_ready()


class FakeMachine:
    """Notes what runs on it."""

    def __init__(self) -> None:
        self.commands: list[str] = []
        self.daemon = FakeDaemon([READY])

    def check(self, command: str) -> None:
        self.commands.append(command)

    def start_daemon(self, argv: Sequence[str], name: str) -> FakeDaemon:
        self.commands.append(" ".join((name, "=", *argv)))
        return self.daemon


def test_what_was_started_is_stopped_also_behind_an_error() -> None:
    machine = FakeMachine()

    with (
        pytest.raises(KeyboardInterrupt),
        deep_queue(cast("Machine", machine), "dummy_hcd", urbs=4, deadline_s=5, stall_resets=True),
    ):
        raise KeyboardInterrupt

    assert machine.daemon.stopped
    assert machine.commands[-1] == (
        "deepqueue = rig deepqueue --supervised --controller dummy_hcd"
        " --urbs 4 --urb-bytes 16384 --deadline 5 --stall-resets"
    )
    assert "modprobe nbd" in machine.commands[0]
