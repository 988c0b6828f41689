"""Messages and their octets: one golden vector of each kind, and strategies for all of them.

The same vectors stand in ``docs/protocol.md``, and a test reads them out of it.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable

from hypothesis import strategies as st

from rig.splitdriver.messages import (
    ALL_CAPABILITIES,
    Capability,
    Complete,
    Connect,
    Disconnect,
    Disconnected,
    Hello,
    Message,
    Ping,
    Pong,
    Refused,
    Reset,
    ResetDone,
    Resume,
    Role,
    Submit,
    Unlink,
    device_number,
)
from rig.splitdriver.policy import Policy
from rig.splitdriver.wire import FrameReader, encode
from rig.usb.urb import DIRECTION_IN, Speed, TransferFlags

DEVICE = device_number(2, 3)
"""The third that was plugged into port 2."""

GOLDEN: dict[str, tuple[Message, str]] = {
    "HELLO": (
        Hello(Role.FRONT, Policy.HOLD, "front", 2, 2, ALL_CAPABILITIES),
        "00000013 01 000000  52494700 01 0002 0002 0000000f 01 66726f6e74",
    ),
    "REFUSED": (Refused("busy"), "00000004 02 000000  62757379"),
    "PING": (Ping(7), "00000008 03 000000  0000000000000007"),
    "PONG": (Pong(7), "00000008 04 000000  0000000000000007"),
    "CONNECT": (Connect(DEVICE, Speed.HIGH), "00000001 05 020003  03"),
    "DISCONNECT": (Disconnect(DEVICE), "00000000 06 020003"),
    "DISCONNECTED": (Disconnected(DEVICE), "00000000 07 020003"),
    "SUBMIT": (
        Submit(DEVICE, 41, 0x01, TransferFlags.ZERO_PACKET, 4, bytes(8), b"\xde\xad\xbe\xef"),
        "00000018 08 020003  00000029 01 00 0040 00000004 0000000000000000 deadbeef",
    ),
    "UNLINK": (Unlink(DEVICE, 41), "00000005 09 020003  00000029 00"),
    "COMPLETE": (
        Complete(DEVICE, 41, -errno.EPROTO, 2, 5, quiet=True, data=b"\xca\xfe"),
        "00000013 0a 020003  00000029 ffffffb9 00000002 00000005 01 cafe",
    ),
    "RESUME": (Resume(DEVICE, 0x81, 5), "00000005 0b 020003  81 00000005"),
    "RESET": (Reset(DEVICE), "00000000 0c 020003"),
    "RESET_DONE": (ResetDone(DEVICE, -errno.ENODEV), "00000004 0d 020003  ffffffed"),
}


def octets_of(messages: Iterable[Message], seal: bytes = b"") -> bytes:
    """The stream that carries these messages, each with its seal."""
    return b"".join(bytes(part) for message in messages for part in (*encode(message), seal))


def without_heartbeat(octets: bytes) -> tuple[list[Message], int]:
    """The messages of a stream, and how many answers to pings: these may come between any two."""
    messages = feed(FrameReader(), octets)
    told: list[Message] = [message for message in messages if not isinstance(message, Pong)]
    return told, len(messages) - len(told)


def feed(reader: FrameReader, octets: bytes) -> list[Message]:
    """Put octets into a reader, all at once as far as its space allows."""
    messages: list[Message] = []
    while octets:
        space = reader.space()
        count = min(len(space), len(octets))
        space[:count] = octets[:count]
        messages += reader.received(count)
        octets = octets[count:]
    return messages


_u8, _u16, _device, _u32 = (st.integers(0, (1 << bits) - 1) for bits in (8, 16, 24, 32))
_statuses = st.integers(-(1 << 31), 0)
_texts = st.text(max_size=60)


@st.composite
def _hellos(draw: st.DrawFn) -> Hello:
    oldest, newest = sorted((draw(_u16), draw(_u16)))
    capabilities = Capability(draw(st.integers(0, ALL_CAPABILITIES)))
    role, policy = draw(st.sampled_from(Role)), draw(st.sampled_from(Policy))
    return Hello(role, policy, draw(_texts), oldest, newest, capabilities)


@st.composite
def _submits(draw: st.DrawFn) -> Submit:
    data = draw(st.binary(max_size=200))
    address = draw(_u8)
    is_in = bool(address & DIRECTION_IN)
    length = draw(st.integers(0, 4 << 20)) if is_in else len(data)
    flags = draw(st.sampled_from(TransferFlags)) | draw(st.sampled_from(TransferFlags))
    setup = draw(st.binary(min_size=8, max_size=8))
    return Submit(
        draw(_device),
        draw(_u32),
        address,
        flags,
        length,
        setup,
        b"" if is_in else data,
        clear=draw(st.booleans()),
    )


@st.composite
def _completes(draw: st.DrawFn) -> Complete:
    data = draw(st.binary(max_size=200))
    actual = len(data) or draw(_u32)
    quiet = draw(st.booleans())
    return Complete(draw(_device), draw(_u32), draw(_statuses), actual, draw(_u32), quiet, data)


MESSAGES: st.SearchStrategy[Message] = st.one_of(
    _hellos(),
    st.builds(Refused, _texts),
    st.builds(Ping, st.integers(0, (1 << 64) - 1)),
    st.builds(Pong, st.integers(0, (1 << 64) - 1)),
    st.builds(Connect, _device, st.sampled_from(Speed)),
    st.builds(Disconnect, _device),
    st.builds(Disconnected, _device),
    _submits(),
    st.builds(Unlink, _device, _u32, st.booleans()),
    _completes(),
    st.builds(Resume, _device, _u8, _u32),
    st.builds(Reset, _device),
    st.builds(ResetDone, _device, _statuses),
)
