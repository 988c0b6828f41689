"""Control requests that the kernel carries out itself, and what it kills for them."""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable, Iterable

from rig.splitdriver.back.interfaces import Interfaces
from rig.usb.setup import ClearHalt, Operation, SetConfiguration, SetInterface
from rig.usb.urb import CONTROL_ENDPOINT, DIRECTION_IN
from rig.usb.usbfs import UsbfsDevice

_log = logging.getLogger("rig.device")

Kills = Callable[[int], bool]
"""Whether the kernel kills what runs on the endpoint of that address, to carry out a request."""


def all_but_control(address: int) -> bool:
    """A port reset or a new configuration kills all that runs, but on endpoint 0."""
    return address & ~DIRECTION_IN != CONTROL_ENDPOINT


def none(_: int) -> bool:
    """CLEAR_FEATURE(ENDPOINT_HALT) kills nothing."""
    return False


def kills(operation: Operation, interfaces: Interfaces) -> Kills:
    """Return what is killed for a request."""
    match operation:
        case SetInterface(interface, _):
            return interfaces.endpoints_of(interface).__contains__
        case ClearHalt():
            return none
    return all_but_control


def perform(operation: Operation, usbfs: UsbfsDevice, interfaces: Interfaces) -> int:
    """Carry out a request; return 0 or a negative errno.  Blocks."""

    def do() -> None:
        match operation:
            case SetConfiguration(value):
                interfaces.configure(value)
            case SetInterface(interface, alternate):
                interfaces.choose(interface, alternate)
            case ClearHalt(endpoint_address):
                usbfs.clear_halt(endpoint_address)

    return _attempt(do, usbfs)


def reset(usbfs: UsbfsDevice, interfaces: Interfaces) -> int:
    """Reset the port; return 0 or a negative errno.  Blocks."""
    return _attempt(interfaces.reset, usbfs)


def halt(address: int, usbfs: UsbfsDevice) -> None:
    """Have the device halt an endpoint.  Blocks."""
    try:
        usbfs.set_halt(address)
    except OSError as error:
        # The host is told of a STALL all the same: to it the endpoint is halted.
        reason = error.strerror
        _log.warning("%s: endpoint %#04x is not halted: %s", usbfs.path, address, reason)


def discard(urb_ids: Iterable[int], usbfs: UsbfsDevice) -> None:
    """Have the controller let URBs go, in this order.  Blocks."""
    for urb_id in urb_ids:
        try:
            usbfs.discard(urb_id)
        except OSError as error:
            _log.warning("%s: URB %d is not let go: %s", usbfs.path, urb_id, error.strerror)


def _attempt(do: Callable[[], None], usbfs: UsbfsDevice) -> int:
    try:
        do()
    except OSError as error:
        _log.info("%s: %s", usbfs.path, error)
        # What the kernel does not know the device would have answered with a STALL.
        known = error.errno not in (errno.EINVAL, errno.ENOENT)
        return -(error.errno or errno.EIO) if known else -errno.EPIPE
    return 0
