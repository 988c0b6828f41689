"""The bulk-only disk: from one reset to the next, command after command.

USB Mass Storage Class, Bulk-Only Transport 1.0 (BOT).  A session is a generator: it yields what is
to be done, one action at a time, and is sent how that ended; whoever drives it closes it when the
host resets or unplugs the device, whatever it was waiting for.  Pure.
"""

from __future__ import annotations

from collections.abc import Callable

from rig.errors import RemoteProtocolError
from rig.faults.rules.device import DeviceEffect, DeviceKind, DeviceRequest
from rig.gadget.bot import scsi
from rig.gadget.bot.actions import Halt, Receive, Session, Stage
from rig.gadget.bot.exchange import Exchange
from rig.gadget.bot.scsi import Refuse, Task, Unit
from rig.usb.bot import Cbw, SenseData, parse_cbw
from rig.usb.urb import Direction

Decide = Callable[[DeviceRequest], DeviceEffect | None]
"""Says what the disk is to do wrong with a command."""


def _honest(request: DeviceRequest) -> DeviceEffect | None:
    del request
    return None


class Disk:
    """A disk with one logical unit.

    Args:
        unit: The logical unit.
        decide: Asked about every command.

    Attributes:
        unit: The logical unit.
        commands: So many have come.
    """

    def __init__(self, unit: Unit, decide: Decide = _honest) -> None:
        self.unit = unit
        self.commands = 0
        self._decide = decide
        self._stage = Stage.OFF
        self._exchange: Exchange | None = None

    @property
    def stage(self) -> Stage:
        """Where the disk is."""
        return self._exchange.stage if self._exchange else self._stage

    def session(self, packet_bytes: int) -> Session:
        """Serve the host from a SET_CONFIGURATION or a Bulk-Only Reset on.

        Args:
            packet_bytes: Of the bulk endpoints (wMaxPacketSize).
        """
        self._exchange = None
        try:
            while True:
                self._stage = Stage.COMMAND
                # A whole packet: a request that is smaller than what comes is an overflow.
                came = yield Receive(packet_bytes)
                try:
                    cbw = parse_cbw(came.octets)
                except RemoteProtocolError:
                    break
                self.commands += 1
                self._exchange = self._begin(cbw, packet_bytes)
                yield from self._exchange.run()
                self._exchange = None
            self._stage = Stage.INVALID
            yield from self._refuse_all(packet_bytes)
        finally:
            self._exchange, self._stage = None, Stage.OFF

    def _begin(self, cbw: Cbw, packet_bytes: int) -> Exchange:
        effect = self._decide(_request(cbw))
        return Exchange(cbw, self._task(cbw, effect), self.unit, effect, packet_bytes)

    def _task(self, cbw: Cbw, effect: DeviceEffect | None) -> Task:
        if effect is not None and effect.kind is DeviceKind.SENSE and effect.sense is not None:
            return Refuse(SenseData(*effect.sense))
        return self.unit.task(cbw.lun, cbw.command)

    @staticmethod
    def _refuse_all(packet_bytes: int) -> Session:
        """Answer nothing until Reset Recovery (BOT §6.6.1).

        User space cannot wedge an endpoint: the host's CLEAR_HALT ends the halt.  So the halt is
        set again with whatever comes next.
        """
        while True:
            yield Halt(Direction.IN)
            yield Receive(packet_bytes)


def _request(cbw: Cbw) -> DeviceRequest:
    lba, blocks = scsi.extent(cbw.command) or (None, 0)
    direction = cbw.direction if cbw.length_bytes else None
    return DeviceRequest(cbw.command[0], cbw.length_bytes, direction, lba, blocks)
