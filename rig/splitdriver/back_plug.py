"""What is plugged into a port of the back end, and when the front end is told of it.  Pure.

It is told of one device at a time, and of the next when it has let go of the one before; and of
none while the controller still has **orphans**: URBs that a front end had queued which is gone, or
which has let go of the device.
"""

from __future__ import annotations

from collections.abc import Callable

from rig.errors import ApiViolationError, RemoteProtocolError
from rig.splitdriver.messages import PLUGS, Connect, Disconnect, Message, device_number
from rig.usb.urb import Speed


class Plug:
    """The device in a port, if there is one.

    Args:
        port: The port's place on the link.
        say: Sends to the front end.
    """

    def __init__(self, port: int, say: Callable[[Message], None]) -> None:
        self._port = port
        self._say = say
        self._speed = Speed.UNKNOWN
        self.device: int | None = None
        """Its number."""
        self.plugs = 0
        """The part of the number that counts."""
        self.linked = False
        """Whether there is a front end."""
        self.told = False
        """Whether the front end knows of the device."""
        self.awaits_farewell: int | None = None
        """The device that DISCONNECT has named."""
        self.orphans: set[int] = set()
        """What the controller still has of what nobody waits for."""

    def arrive(self, speed: Speed) -> None:
        """A device is ready behind the port."""
        if self.device is not None:
            raise ApiViolationError("A device was plugged in where there is one already.")
        self._speed = speed
        self.number()
        self.announce()

    def leave(self) -> None:
        """The device is gone, and its orphans with it."""
        if self.told and self.device is not None:
            self._say(Disconnect(self.device))
            self.awaits_farewell = self.device
        self.device = None
        self.told = False
        self.orphans.clear()

    def greet(self) -> None:
        """A front end has come, and knows nothing yet."""
        self.linked = True
        self.awaits_farewell = None
        self.announce()

    def number(self) -> None:
        """Give the device the next number: to the front end it is another one."""
        self.plugs = self.plugs % (PLUGS - 1) + 1
        self.device = device_number(self._port, self.plugs)

    def announce(self) -> None:
        """Tell the front end of the device, unless something must be over before."""
        waits = self.awaits_farewell is not None or self.orphans
        if self.linked and self.device is not None and not waits:
            self._say(Connect(self.device, self._speed))
            self.told = True

    def bury(self, number: int) -> None:
        """Something has ended that nobody waits for."""
        if number in self.orphans:
            self.orphans.discard(number)
            self.announce()

    def is_known(self, device: int) -> bool:
        """Whether the front end may speak of that device."""
        return self.told and device == self.device

    def farewell(self, device: int) -> None:
        """The front end has let go of a device that is gone.

        Raises:
            RemoteProtocolError: It was not told that it is.
        """
        if device != self.awaits_farewell:
            raise RemoteProtocolError(
                f"The front end let go of device {device}, of which it was not told."
            )
        self.awaits_farewell = None
