"""The disks of a benchmark: one gadget for each path, all attached at the same time.

dummy_hcd makes several UDCs, each with a port of its own.  Three gadgets that are alike in all but
their names are plugged in; the first goes to the front machine by the split driver, the second by
USB/IP, the third is used where it is.  So the next sample can be taken over another path at once,
without a plug in between; a disk that nobody uses costs nothing.

The medium is a file on tmpfs, behind f_mass_storage: the store (`rig.gadget`) with its journal is
left out, for it would be most of what is measured.  The file is written in full beforehand, because
tmpfs finds memory for a page when it is first touched.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rig.experiments.bench import agent as bench_agent
from rig.lab.daemons import Daemon
from rig.lab.environment import Link, Role
from rig.lab.lab import Lab
from rig.lab.paths import COMMAND_DEADLINE_S, USBIPD, PathName
from rig.lab.waits import LEEWAY_S, Awaited, wait_command, wait_for
from rig.progress import Progress

DISK_MIB = 32
DEADLINE_S = 60.0
"""For each thing that gets ready."""

UDC_NUMBERS = {PathName.SPLIT: 0, PathName.USBIP: 1, PathName.DIRECT: 2}

SPEEDS = {"high": ("high-speed", 0), "super": ("super-speed", 1)}
"""By our names: the gadget's max_speed, and dummy_hcd's is_super_speed."""

VHCI_PORTS = 30
"""Of a controller: two root hubs, each with as many as CONFIG_USBIP_VHCI_HC_PORTS says (Debian)."""

GADGETS = r"""
set -e
speed=$1 super=$2 mib=$3 numbers=$4
gadgets=/sys/kernel/config/usb_gadget
media=/run/rig-bench
modprobe -r dummy_hcd
modprobe dummy_hcd num=4 is_super_speed=$super
modprobe -a libcomposite usb_f_mass_storage
mkdir -p $media
mount -t tmpfs -o size=100% tmpfs $media
for number in $numbers; do
    dd if=/dev/zero of=$media/$number bs=1M count=$mib 2>/dev/null
    mkdir -p $gadgets/bench$number
    cd $gadgets/bench$number
    echo 0x1d6b >idVendor
    echo 0x0104 >idProduct
    echo $speed >max_speed
    mkdir -p strings/0x409 configs/c.1 functions/mass_storage.0
    echo bench$number >strings/0x409/serialnumber
    echo 0 >functions/mass_storage.0/lun.0/removable
    echo $media/$number >functions/mass_storage.0/lun.0/file
    ln -s functions/mass_storage.0 configs/c.1/
    echo dummy_udc.$number >UDC
done
echo '{"event":"ready"}'
cat >/dev/null
for number in $numbers; do
    cd $gadgets/bench$number
    echo >UDC
    rm configs/c.1/mass_storage.0
    rmdir configs/c.1 functions/mass_storage.0 strings/0x409
    cd /
    rmdir $gadgets/bench$number
done
umount $media
"""
"""Plays the gadgets, in the manner of the rig's daemons (`rig.daemon`)."""


@dataclass(frozen=True, slots=True)
class Disk:
    """A disk, and who measures it.

    Attributes:
        node: On its machine.
        agent: Speaks `rig.experiments.bench.agent`.
        size_bytes: Of the disk.
    """

    node: str
    agent: Daemon
    size_bytes: int


class Bench:
    """Two machines with a disk for each path.

    Args:
        lab: In the state ``booted``; it stops what is started here when it is shut down.
        speed: A key of `SPEEDS`.
        link: What joins the two ends of the split driver.
        options: Further options of both ends of the split driver.
        progress: Is told of the steps.

    All methods raise `MachineError` if a machine or a program on it did not do its part.
    """

    def __init__(
        self, lab: Lab, speed: str, link: Link, options: Sequence[str], progress: Progress
    ) -> None:
        self._lab = lab
        self._crew = lab.strategy.crew
        self._speed = speed
        self._options = (*link.options, "--supervised", *options)
        self._progress = progress

    def attach(self) -> dict[PathName, Disk]:
        """Plug in the gadgets, and attach each by its path."""
        with self._progress.step("bind three gadgets, start the back ends"):
            bus_id = self._serve()
        with self._progress.step("attach one by USB/IP, one by the split driver"):
            nodes = self._attach(bus_id)
        with self._progress.step("open the disks"):
            agents = {role: self._agent(role) for role in Role}
            return {path: _opened(agents[role], node) for path, (role, node) in nodes.items()}

    def _serve(self) -> str:
        """Return the bus ID of the device that is exported by USB/IP."""
        max_speed, super_speed = SPEEDS[self._speed]
        numbers = " ".join(map(str, UDC_NUMBERS.values()))
        values = (max_speed, str(super_speed), str(DISK_MIB), numbers)
        gadgets = self._crew.start(Role.BACK, "gadget", ("sh", "-c", GADGETS, "sh", *values))
        usbipd = self._crew.start(Role.BACK, "usbipd", ("sh", "-c", USBIPD))
        gadgets.wait_event("ready", DEADLINE_S)
        port = f"dummy_hcd.{UDC_NUMBERS[PathName.SPLIT]}/1"
        back = self._crew.start(
            Role.BACK, "back", ("rig", "back", "--port", port, "--listen", *self._options)
        )
        usbipd.wait_event("listening", DEADLINE_S)
        controller = f"dummy_hcd.{UDC_NUMBERS[PathName.USBIP]}/"
        bus_id = self._lab.back.check(
            wait_command(Awaited.DEVICE, controller, DEADLINE_S), DEADLINE_S + LEEWAY_S
        ).stdout.strip()
        self._lab.back.check(f"usbip bind -b {bus_id}", COMMAND_DEADLINE_S)
        back.wait_event("listening", DEADLINE_S)
        return bus_id

    def _attach(self, bus_id: str) -> dict[PathName, tuple[Role, str]]:
        """Return on which machine the disk of each path is, and its node."""
        lab = self._lab
        front = self._crew.start(Role.FRONT, "front", ("rig", "front", "--connect", *self._options))
        remote = self._crew.addresses[Role.BACK]
        lab.front.check(f"usbip attach -r {remote} -b {bus_id}", COMMAND_DEADLINE_S)
        # usbip(8) takes the first controller of vhci_hcd; the front end has one of its own.
        usbip = wait_for(lab.front, Awaited.DISK, "vhci_hcd.0/", DEADLINE_S)
        # Whoever maps a port, or exports a device, has it by now: the driver gets the third alone.
        controller = f"dummy_hcd.{UDC_NUMBERS[PathName.DIRECT]}/"
        direct = wait_for(lab.back, Awaited.DISK, controller, DEADLINE_S)
        port = int(front.wait_event("attached", DEADLINE_S)["port"])
        controller = f"vhci_hcd.{port // VHCI_PORTS}/"
        split = wait_for(lab.front, Awaited.DISK, controller, DEADLINE_S)
        return {
            PathName.DIRECT: (Role.BACK, direct),
            PathName.USBIP: (Role.FRONT, usbip),
            PathName.SPLIT: (Role.FRONT, split),
        }

    def _agent(self, role: Role) -> Daemon:
        source = Path(bench_agent.__file__).read_text("utf-8")
        agent = self._crew.start(role, f"agent-{role.value}", ("python3", "-I", "-S", "-c", source))
        agent.wait_event("ready", DEADLINE_S)
        return agent


def _opened(agent: Daemon, node: str) -> Disk:
    return Disk(node, agent, agent.ask("open", COMMAND_DEADLINE_S, node=node))
