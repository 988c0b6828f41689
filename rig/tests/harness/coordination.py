"""A labgrid coordinator and its exporters on loopback, as processes of their own."""

from __future__ import annotations

import os
import queue
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from labgrid.remote.generated import labgrid_coordinator_pb2 as messages
from labgrid.util.yaml import dump

from rig.campaign.coordinator import coordinator
from rig.campaign.desk import PlaceView
from rig.lab.children import end, spawn
from rig.lab.environment import Role

DEADLINE_S = 60.0
_LISTENING = re.compile(r"listening on \S+:(\d+)")


class Coordination:
    """See `coordination`.

    Args:
        directory: Gets the coordinator's list of places, and logs.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.exporters: dict[str, subprocess.Popen[bytes]] = {}
        self._all: list[subprocess.Popen[bytes]] = []
        began = f"cd {directory} && exec {_program('coordinator')} -l 127.0.0.1:0"
        self.coordinator, said = self._start(["sh", "-c", began], _LISTENING)
        self.address = f"127.0.0.1:{said[1]}"

    def export(self, name: str, groups: Mapping[str, Mapping[str, Any]]) -> None:
        """Start an exporter, and wait until the coordinator knows what it has."""
        file = self.directory / f"{name}.yaml"
        file.write_text(dump({str(key): dict(value) for key, value in groups.items()}))
        argv = [_program("exporter"), "-c", self.address, "-n", name, "--hostname", "127.0.0.1"]
        self.exporters[name], _ = self._start([*argv, str(file)], re.compile("Exporter ready"))

    def place(self, name: str, *matches: str, **tags: str) -> None:
        """Make a place, as ``labgrid-client create``, ``add-match`` and ``set-tags`` do."""
        with coordinator(self.address) as desk:
            desk._ask("AddPlace", messages.AddPlaceRequest(name=name))
            for pattern in matches:
                request = messages.AddPlaceMatchRequest(placename=name, pattern=pattern)
                desk._ask("AddPlaceMatch", request)
            desk.tag(name, tags)

    def lab(self, name: str, **tags: str) -> None:
        """Make a place of two machines that are not there, with an exporter of its own."""
        service = {"address": "127.0.0.1", "port": 1, "username": "root"}
        self.export(name, {role: {"NetworkService": dict(service)} for role in Role})
        self.place(name, f"{name}/back/*", f"{name}/front/*", rig="lab", **tags)

    def views(self) -> dict[str, PlaceView]:
        """Return all places."""
        with coordinator(self.address) as desk:
            return desk.places()

    def kill(self, name: str) -> None:
        """Kill an exporter."""
        os.killpg(self.exporters[name].pid, signal.SIGKILL)
        end(self.exporters[name], DEADLINE_S)

    def close(self) -> None:
        """End all."""
        for child in reversed(self._all):
            if child.poll() is None:
                os.killpg(child.pid, signal.SIGTERM)
                end(child, 2.0)

    def _start(
        self, argv: list[str], ready: re.Pattern[str]
    ) -> tuple[subprocess.Popen[bytes], re.Match[str]]:
        child = spawn(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        self._all.append(child)
        assert child.stdout
        lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=_read, args=(child.stdout, lines), daemon=True).start()
        said = ""
        while not (found := ready.search(said)):
            said += lines.get(timeout=DEADLINE_S)
            assert said[-1:], f"{argv[0]} ended"
        return child, found


def _read(stream: IO[bytes], lines: queue.Queue[str]) -> None:
    """Read until the end: a pipe that is full would stop the writer."""
    with stream:
        for line in stream:
            lines.put(line.decode("utf-8", "replace"))
    lines.put("")


def _program(name: str) -> str:
    return str(Path(sys.executable).with_name(f"labgrid-{name}"))


@contextmanager
def coordination(directory: Path) -> Iterator[Coordination]:
    """Have a coordinator for a while; exporters end with it."""
    made = Coordination(directory)
    try:
        yield made
    finally:
        made.close()
