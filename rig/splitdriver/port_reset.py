"""What a port reset looks like where ``vhci_hcd`` never tells of it.  Pure."""

from __future__ import annotations

from rig.usb.setup import Request, RequestType, SetupPacket, announces_port_reset
from rig.usb.urb import Speed


class ResetWatch:
    """Recognises the reset of a device's port by what follows it on endpoint 0.

    Args:
        speed: The device's.
    """

    def __init__(self, speed: Speed) -> None:
        self._speed = speed
        self._configured = False

    def sees(self, setup: SetupPacket, flags: int) -> bool:
        """Take the next control request; return whether it tells that the port was reset.

        The first requests to a new device do not.

        Args:
            setup: The request.
            flags: Of its URB, as ``vhci_hcd`` tells them.
        """
        if (setup.request_type, setup.request) == (
            RequestType.TO_DEVICE,
            Request.SET_CONFIGURATION,
        ):
            self._configured = True
            return False
        return self._configured and announces_port_reset(setup, flags, self._speed)
