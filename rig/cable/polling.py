"""Interrupt endpoints, which usbredir has polled on the device's side.  Pure."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from rig.cable.discipline import Transfer
from rig.cable.present import Present
from rig.cable.requests import Outcome
from rig.cable.transfers import Transfers
from rig.cable.usbredir import packets as redir
from rig.cable.usbredir.packets import Packet
from rig.cable.usbredir.vocabulary import Status


class Polling:
    """Keeps one transfer in each endpoint that is polled.

    Args:
        present: The endpoints that there are.
        transfers: Where they are carried out.
        send: Sends a packet to QEMU.
    """

    def __init__(
        self, present: Present, transfers: Transfers, send: Callable[[Packet], None]
    ) -> None:
        self._present = present
        self._transfers = transfers
        self._send = send
        self._polled: set[int] = set()

    def forget(self) -> None:
        """Poll no endpoint that is no more."""
        self._polled &= self._present.queues.keys()

    def start(self, address: int) -> None:
        """Poll an endpoint, and say so."""
        known = address in self._present.queues
        status = Status.SUCCESS if known else Status.INVALID
        self._send(redir.InterruptReceivingStatus(0, status, address))
        if known and address not in self._polled:
            self._polled.add(address)
            self._poll(address)

    def stop(self, address: int) -> None:
        """Poll it no more, and say so."""
        self._send(redir.InterruptReceivingStatus(0, Status.SUCCESS, address))
        if address not in self._polled:
            return
        self._polled.discard(address)
        queue = self._present.queues[address]
        queue.clear()
        if queue.running is not None:
            self._transfers.unlink(queue.running)

    def _poll(self, address: int) -> None:
        length_bytes = self._present.endpoints[address].max_packet_bytes
        finish = partial(self._polled_once, address)
        self._transfers.arrive(Transfer(None, address, length_bytes, request=finish))

    def _polled_once(self, address: int, outcome: Outcome) -> None:
        if address not in self._polled:
            return
        if outcome.status is Status.SUCCESS:
            came = (Status.SUCCESS, outcome.actual_bytes, outcome.data)
            self._send(redir.InterruptPacket(0, address, *came))
            self._poll(address)
        else:
            self._polled.discard(address)
            self._send(redir.InterruptReceivingStatus(0, Status.STALL, address))
