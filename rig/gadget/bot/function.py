"""The bulk-only disk as a part of a gadget: FunctionFS mounted, served, and gone again."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from rig.errors import MachineError
from rig.faults.rules.device import DeviceEffect
from rig.gadget import kernel
from rig.gadget.bot.functionfs import FunctionFiles
from rig.gadget.bot.machine import Decide, Disk
from rig.gadget.bot.player import Medium, Player
from rig.gadget.bot.scsi import BLOCK_BYTES, Unit
from rig.gadget.functions import Disk as Names

log = logging.getLogger("rig.gadget.bot")

STOP_DEADLINE_S = 5.0


class BotFunction:
    """One bulk-only disk of a gadget, between its tree in configfs and its binding.

    Args:
        gadget: The gadget's name: FunctionFS knows the function by it.
        mount: Where FunctionFS is to be mounted; made, and removed.
        backing_file: The LUN's file.
        size_bytes: Of the medium.
    """

    def __init__(self, gadget: str, mount: Path, backing_file: Path, size_bytes: int) -> None:
        self._gadget = gadget
        self._mount = mount
        self._backing_file = backing_file
        self.unit = Unit(size_bytes // BLOCK_BYTES, Names().inquiry)
        self._player: Player | None = None

    def clean(self) -> None:
        """Remove what a killed one left behind.

        Raises:
            MachineError: Its mount cannot be taken away.
        """
        kernel.unmount(self._mount)
        if self._mount.is_dir():
            self._mount.rmdir()

    def start(
        self,
        undo: ExitStack,
        decide: Decide,
        happen: Callable[[DeviceEffect], None],
        released: Callable[[float, str], None],
    ) -> None:
        """Mount FunctionFS and begin to serve; the gadget may then be bound.

        Args:
            undo: Is told how to end; the gadget is to be unbound first.
            decide: Asked about every command, in another thread.
            happen: Takes what is to happen to the whole gadget, in another thread.
            released: See `Player`.

        Raises:
            MachineError: The kernel refuses.
            OSError: The LUN's file cannot be opened.
        """
        self._mount.mkdir(parents=True, exist_ok=True)
        undo.callback(self.clean)
        kernel.run_command(["mount", "-t", "functionfs", self._gadget, str(self._mount)])
        medium = Medium(self._backing_file)
        try:
            files = FunctionFiles(self._mount, "Bulk-only disk")
        except MachineError:
            medium.close()
            raise
        player = self._player = Player(files, Disk(self.unit, decide), medium, happen, released)
        undo.callback(self._stop, player)
        player.start()

    def status(self) -> dict[str, object]:
        """See `Player.status`; nothing before it was started."""
        return self._player.status() if self._player else {}

    @staticmethod
    def _stop(player: Player) -> None:
        if not player.stop(STOP_DEADLINE_S):
            log.warning("the disk waits for its medium still; its thread is left behind")
