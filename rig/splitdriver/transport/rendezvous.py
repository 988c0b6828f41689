"""How two ends find each other on a channel that is always there.  No I/O, no clock.

A port of virtio-serial that is joined with another machine's knows no connections: what one end has
written, the other one reads, whoever opened it when.  So each end that looks for the other sends
**beacons**, until it has heard one that answers its own::

     0               8                               24                              40
    +---------------+-------------------------------+-------------------------------+
    | magic         | nonce of the sender           | nonce last heard, or zeroes   |
    +---------------+-------------------------------+-------------------------------+

A nonce stands for one connection.  Who hears a beacon that bears his own nonce has met the other
end; all that follows in that direction, but for the same beacon again, is the connection's stream.
What came before is what a former connection has left.

An end that has met somebody reads frames only.  A beacon among them begins with a length that no
frame has (`rig.splitdriver.wire`), so an end that was started anew is noticed at once; or, if the
former one fell silent within a frame, by the seal that its last frame lacks, or by the heartbeat.
"""

from __future__ import annotations

MAGIC = b"RIGMEET\0"
NONCE_BYTES = 16
SEAL_BYTES = 8
BEACON_BYTES = len(MAGIC) + 2 * NONCE_BYTES
_NOBODY = bytes(NONCE_BYTES)


class Rendezvous:
    """One attempt to meet the other end.

    Send `beacon()` now and then, and whenever `received` asks for it, until `met`.

    Args:
        nonce: `NONCE_BYTES` that nobody else uses or has used.
    """

    def __init__(self, nonce: bytes) -> None:
        self._nonce = nonce
        self._heard = _NOBODY
        self._octets = b""
        self.met = False
        self.begun = False
        """Whether the stream has begun: no beacon comes any more."""

    @property
    def seals(self) -> tuple[bytes, bytes]:
        """What stands behind each frame of this end, and of the other; once it has `met`.

        An end may die within a frame.  The beacons of its successor would then fill what is missing
        of it, and it would pass for whole: but they do not bear the seal.
        """
        return self._nonce[:SEAL_BYTES], self._heard[:SEAL_BYTES]

    def beacon(self) -> bytes:
        """Return the beacon that is to be sent now."""
        return MAGIC + self._nonce + self._heard

    def received(self, octets: bytes) -> bool:
        """Take octets of the channel.

        Returns:
            Whether a beacon must be sent now: somebody was heard who does not know yet that he was.
        """
        self._octets += octets
        told = self._heard
        while not self.met and (beacon := self._next_beacon()) is not None:
            self._heard, answered = beacon
            self.met = answered == self._nonce
        return self._heard != told

    def stream(self, octets: bytes = b"") -> bytes:
        """Return what of the octets that have come is the stream's; once it has `met`.

        Args:
            octets: What has come since.
        """
        self._octets += octets
        again = MAGIC + self._heard + self._nonce
        while self._octets.startswith(again):
            self._octets = self._octets[BEACON_BYTES:]
        if again.startswith(self._octets):
            return b""
        self.begun = True
        begun, self._octets = self._octets, b""
        return begun

    def _next_beacon(self) -> tuple[bytes, bytes] | None:
        """Drop what stands before the next beacon; take it, if it is whole."""
        place = self._octets.find(MAGIC)
        if place < 0:
            self._octets = self._octets[-(len(MAGIC) - 1) :]
            return None
        self._octets = self._octets[place:]
        if len(self._octets) < BEACON_BYTES:
            return None
        beacon, self._octets = self._octets[:BEACON_BYTES], self._octets[BEACON_BYTES:]
        return beacon[len(MAGIC) : -NONCE_BYTES], beacon[-NONCE_BYTES:]
