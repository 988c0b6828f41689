from __future__ import annotations

import errno
import socket

import pytest

from rig.errors import MachineError
from rig.usb import uevent

PLUG = (
    b"add@/devices/platform/dummy_hcd.0/usb3/3-1\0ACTION=add\0SUBSYSTEM=usb\0"
    b"DEVTYPE=usb_device\0PRODUCT=525/a4a5/100\0"
)


def test_a_message_is_read_as_the_kernel_writes_it() -> None:
    assert uevent.parse(PLUG) == {
        "ACTION": "add",
        "SUBSYSTEM": "usb",
        "DEVTYPE": "usb_device",
        "PRODUCT": "525/a4a5/100",
    }


def test_strings_without_a_value_and_foreign_octets_do_no_harm() -> None:
    assert uevent.parse(b"x@y\0junk\0A=b=c\0\xff=\xfe\0") == {"A": "b=c", "\udcff": "\udcfe"}


def test_all_that_has_come_is_returned_and_then_nothing() -> None:
    kernel, listener = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with kernel, listener:
        listener.setblocking(False)
        kernel.send(PLUG)
        kernel.send(PLUG.replace(b"add", b"remove"))
        assert [event["ACTION"] for event in uevent.drain(listener)] == ["add", "remove"]
        assert uevent.drain(listener) == []


class Overrun:
    """A netlink socket that has lost something: ENOBUFS once, then what is left."""

    def __init__(self) -> None:
        self._left: list[bytes | OSError] = [OSError(errno.ENOBUFS, "overrun"), PLUG]

    def recv(self, _: int) -> bytes:
        if not self._left:
            raise BlockingIOError
        first = self._left.pop(0)
        if isinstance(first, OSError):
            raise first
        return first


def test_an_overrun_is_an_event_that_makes_the_receiver_look() -> None:
    events = uevent.drain(Overrun())  # type: ignore[arg-type]
    assert [event["ACTION"] for event in events] == ["overrun", "add"]
    assert all(event["DEVTYPE"] == "usb_device" for event in events)


def test_the_kernels_socket_opens_and_does_not_block() -> None:
    with uevent.open_socket() as listener:
        assert not listener.getblocking()
        assert isinstance(uevent.drain(listener), list)


@pytest.mark.parametrize("call", ["socket", "bind"])
def test_a_kernel_that_lets_nobody_hear_its_news_is_told(
    call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[bool] = []

    class Deaf:
        def __init__(self, *_: int) -> None:
            if call == "socket":
                raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")

        def bind(self, _: object) -> None:
            raise OSError(errno.EPERM, "Operation not permitted")

        def close(self) -> None:
            closed.append(True)

    monkeypatch.setattr(socket, "socket", Deaf)
    with pytest.raises(MachineError, match=r"cannot be heard: \w.* Run this outside"):
        uevent.open_socket()
    assert closed == ([True] if call == "bind" else [])
