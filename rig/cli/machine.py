"""Commands for a machine: what a lab starts there, and what a person starts by hand.

They are started without the station's libraries: under emulation the import of a command-line
framework costs more than the rest of a daemon's start.
"""

from __future__ import annotations

import importlib

from rig.errors import UserError

MACHINE_COMMANDS = {
    "about": "rig.about",
    "back": "rig.splitdriver.back.service",
    "front": "rig.splitdriver.front.service",
    "gadget": "rig.gadget.service",
    "cable": "rig.cable.service",
    "link": "rig.link.service",
    "store": "rig.gadget.store_service",
    "journal": "rig.gadget.journal_command",
    "fault": "rig.cli.fault",
    "workload": "rig.integrity.service",
    "reread": "rig.integrity.second_look",
    "scan": "rig.experiments.run.scan_service",
    "usbmon": "rig.usb.usbmon_service",
    "usbtest": "rig.usb.usbtest",
    "continuation": "rig.integrity.continuation",
    "deepqueue": "rig.deepqueue.service",
    "flow": "rig.integrity.flow",
}
"""Each module has ``main(argv) -> int`` and imports little."""

HELP = {
    "about": "Say which rig this machine has (asked by a lab before it starts anything).",
    "back": "Map a USB port of this machine and serve it to a front end.",
    "front": "Show the port that a back end serves as a USB port of this machine.",
    "gadget": "Play a USB device: disk, serial port, Ethernet, keyboard, or several at once.",
    "cable": "Be the wire between a gadget and an emulated controller (started by a lab).",
    "link": "Relay between a front end and a back end, and let their link fail by a plan.",
    "store": "Serve a gadget's medium over FUSE (started by 'rig gadget').",
    "journal": "Say what was done to a medium, and by which fault; or make the medium anew.",
    "fault": "List, add, remove and fire faults while a run is under way (also on the station).",
    "workload": "Make file systems and write stamped files (started by a lab).",
    "reread": "Read again, by two paths, what a host had read wrong.",
    "scan": "Say what lies on a medium, or what its journal holds.",
    "usbmon": "Keep a log of this machine's bulk URBs, as usbmon tells them.",
    "usbtest": "Run the kernel's own test cases on a device that usbtest has bound.",
    "continuation": "Write with several URBs in flight, which the kernel unlinks when one fails.",
    "deepqueue": "Serve a disk, with several URBs in flight, as a block device to be mounted.",
    "flow": "Send numbered records through a device, and see what comes.",
}


def run_machine_command(name: str, argv: list[str]) -> int:
    """Run one of `MACHINE_COMMANDS`.

    Returns:
        Its exit status.

    Raises:
        UserError: This machine lacks a library that it needs.
    """
    try:
        # Some commands import what not every machine has when they have read their arguments.
        return int(importlib.import_module(MACHINE_COMMANDS[name]).main(argv))
    except ModuleNotFoundError as error:
        raise UserError(
            f"This machine lacks {error.name}, which 'rig {name}' needs.",
            hint="The machines of a lab have it.",
        ) from error
