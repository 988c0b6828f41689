"""Asks of each bulk transfer on the cable whether it is to fail.  Pure."""

from __future__ import annotations

import msgspec

from rig.cable.controllers import Cut, cut
from rig.cable.discipline import Transfer
from rig.faults.rules.endpoint import EndpointEffect, EndpointTransfer
from rig.faults.triggers import EndpointInjector, Fired
from rig.usb.bot_stages import StageTracker
from rig.usb.descriptors import Endpoint
from rig.usb.urb import Direction, TransferType


class FaultHappened(msgspec.Struct, frozen=True):
    """A fault has fired: which, on what, and what comes of it."""

    fired: Fired[EndpointEffect]
    transfer: Transfer
    cut: Cut


class Asker:
    """Knows the stages of Bulk-Only commands, which rules may name.

    Args:
        injector: Decides; None: nothing fails.
    """

    def __init__(self, injector: EndpointInjector | None) -> None:
        self._injector = injector
        self._stages = StageTracker()

    def forget(self) -> None:
        """Another device is there, or the same one after a reset."""
        self._stages = StageTracker()

    def ask(self, transfer: Transfer, endpoint: Endpoint | None) -> FaultHappened | None:
        """Ask about a transfer that is about to start; None: let it be.

        Args:
            transfer: Which.
            endpoint: Its endpoint; None for the default control pipe, which never fails here.
        """
        if self._injector is None or endpoint is None:
            return None
        if endpoint.transfer_type is not TransferType.BULK:
            return None
        address, length_bytes = transfer.endpoint_address, transfer.length_bytes
        direction = Direction.of(address)
        stage = self._stages.see(direction, length_bytes, transfer.data)
        event = EndpointTransfer(direction, address, length_bytes, stage.opcode, stage.stage)
        fired = self._injector.ask(event)
        if fired is None:
            return None
        cut_to = cut(fired.effect, length_bytes, endpoint.max_packet_bytes)
        return FaultHappened(fired, transfer, cut_to)
