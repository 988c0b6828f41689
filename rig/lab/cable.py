"""The cable of a lab: ``rig cable`` on the station, between the back machine and its QEMU."""

from __future__ import annotations

import inspect
import secrets
import subprocess
import sys
from collections.abc import Sequence

from rig.lab import on_gadget
from rig.lab.attachment import Attachment
from rig.lab.children import spawn
from rig.lab.crew import Crew
from rig.lab.daemons import Daemon
from rig.lab.environment import Places, Role
from rig.lab.health import Health

STATION = "10.0.2.2"
"""The station in QEMU's user network; connections to it come out at the station's loopback."""

STATION_NAME = "station"
NAME = "cable"
PLUG = "plug"
"""Of the daemon on the station, and of that on the gadget's machine."""

COMMAND_DEADLINE_S = 30.0
ON_MACHINE = "/run/rig-cable-secret"
"""Where the gadget's machine finds the secret."""


class Cable:
    """What plugs a gadget on usbip-vudc into an emulated host controller of the same machine.

    Args:
        attachment: Which controller.
        words: More options of ``rig cable``: a plan and its seed.
        places: Where the lab's files are; the log and the events of ``rig cable`` go to
            ``station/``.
        ready_deadline_s: How long each step may take.
    """

    def __init__(
        self,
        attachment: Attachment,
        words: Sequence[str],
        places: Places,
        ready_deadline_s: float,
    ) -> None:
        self._attachment = attachment
        self._words = words
        self._places = places
        self._secret = places.private / "cable-secret"
        self._deadline_s = ready_deadline_s

    def load(self, crew: Crew) -> None:
        """Have the emulated controller's driver on the back machine, so that it has its ports.

        Raises:
            MachineError: It is missing.
        """
        loads = " && ".join(" ".join(("modprobe", *words)) for words in self._attachment.modules)
        crew.machines[Role.BACK].check(loads, COMMAND_DEADLINE_S)

    def begin(self, crew: Crew) -> None:
        """Start ``rig cable``; do not wait."""
        self._secret.write_text(secrets.token_hex(16))
        argv = [sys.executable, "-m", "rig", "cable", "--supervised"]
        argv += ["--usb-redir", str(self._places.cable), "--secret", str(self._secret)]
        argv += ["--control", str(self._places.control)]
        argv += ["--controller", self._attachment.name, *self._words]
        pipe = subprocess.PIPE
        child = spawn(argv, stdin=pipe, stdout=pipe, stderr=pipe)
        logs = self._places.directory / STATION_NAME
        logs.mkdir(parents=True, exist_ok=True)
        crew.daemons[NAME] = Daemon(STATION_NAME, NAME, child, Health(STATION_NAME), logs)

    def plug_in(self, crew: Crew) -> None:
        """Connect the gadget, which is bound, and wait until QEMU knows of it.

        Raises:
            MachineError: It did not come to that in time.
        """
        cable = crew.daemons[NAME]
        port = cable.wait_event("listening", self._deadline_s)["port"]
        # As a file: on a command line every user of the station could read it.
        crew.machines[Role.BACK].put(self._secret, ON_MACHINE)
        # Sent as text: it then needs nothing of the rig on the machine.
        source = inspect.getsource(on_gadget)
        argv = ["python3", "-I", "-S", "-c", source, STATION, str(port), ON_MACHINE]
        crew.start(Role.BACK, PLUG, argv)
        cable.wait_event("plugged", self._deadline_s)

    def unplug(self, crew: Crew) -> None:
        """End both.

        Raises:
            MachineError: One did not end in time.
        """
        crew.stop(PLUG)
        crew.stop(NAME)
