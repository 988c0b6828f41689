"""Random unlinks at the moment of completion, through the split driver (`unlink_client`)."""

from __future__ import annotations

import time

from rig.errors import MachineError
from rig.lab.daemons import Daemon, Event
from rig.lab.lab import Lab
from rig.lab.strategy import LabState
from rig.lab.waits import Awaited
from rig.tests.harness import unlink_client
from rig.tests.harness.guests import node_of, silent_kernels, split_setup, start_client

READY_DEADLINE_S = 60.0
SILENCE_DEADLINE_S = 240.0
"""Between two of the client's words; it speaks every `unlink_client.PROGRESS_EVERY` unlinks."""

# Two functions: two bulk endpoints in, two out.
GADGET = tuple(word for _ in range(2) for word in ("--function", "source-sink,pattern=1"))


def try_unlinks(lab: Lab, unlinks: int, *, window: int = 1, seed: int = 1) -> Event:
    """Attach a device, unlink many of its URBs, and look for what went wrong.

    Args:
        lab: In the state ``booted``, where it is again afterwards.
        unlinks: How many.
        window: The back end's.
        seed: For what is random.

    Returns:
        The client's figures (`unlink_client.Figures`), and the back end's ``violations``.

    Raises:
        AssertionError: An URB came back as it must not, a kernel complained, or the device was
            lost meanwhile.
    """
    with silent_kernels(lab):
        lab.setup = split_setup(GADGET, window=window, awaits=Awaited.NOTHING)
        lab.transition(LabState.ATTACHED)
        ready = lab.strategy.daemons["gadget"].wait_event("ready", READY_DEADLINE_S)
        node = node_of(lab.front, ready["serial"])
        client = start_client(lab.front, unlink_client, node, *map(str, (unlinks, seed, window)))
        figures = wait_until_done(client)
        for name in ("back", "front"):
            daemon = lab.strategy.daemons[name]
            told = {event["event"] for event in daemon.events}
            assert not daemon.ended
            assert not told & {"detached", "unplugged", "back-lost", "front-lost"}, told
        (port,) = lab.strategy.daemons["back"].ask("status")["ports"]
        client.stop()
        lab.transition(LabState.BOOTED)
    return {**figures, "violations": port["violations"]}


def wait_until_done(client: Daemon) -> Event:
    """Wait as long as the client gets on."""
    seen, until_s = 0, time.monotonic() + SILENCE_DEADLINE_S
    while True:
        try:
            return client.wait_event("done", 2.0)
        except MachineError:
            events = client.events
            failed = [event["reason"] for event in events if event["event"] == "failed"]
            assert not failed, failed
            if client.ended or time.monotonic() > until_s:
                raise
            if len(events) > seen:
                seen, until_s = len(events), time.monotonic() + SILENCE_DEADLINE_S
