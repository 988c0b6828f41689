"""Frames: how messages become octets and octets messages.  No I/O.

Every frame is a header of 8 octets, big endian, then a body whose layout depends on the type, then
possibly data up to the frame's end::

     0               4       5                       8
    +---------------+-------+-----------------------+
    | length        | type  | device                |  body …  data …
    +---------------+-------+-----------------------+

``length`` counts the octets behind the header.  ``docs/protocol.md`` has every body.

Messages that were read hold views of the receive buffer: between the socket and usbfs data is not
copied, unless a frame straddles the end of a buffer.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from enum import IntEnum

from rig.buffers import ReceiveBuffer
from rig.errors import LocalProtocolError, RemoteProtocolError
from rig.splitdriver.messages import (
    ALL_CAPABILITIES,
    Capability,
    Complete,
    Connect,
    Disconnect,
    Disconnected,
    Hello,
    Message,
    Payload,
    Ping,
    Pong,
    Refused,
    Reset,
    ResetDone,
    Resume,
    Role,
    Submit,
    Unlink,
)
from rig.splitdriver.policy import Policy, PolicyCode
from rig.usb.urb import DIRECTION_IN, MAX_TRANSFER_BYTES, Speed, TransferFlags

HEADER = struct.Struct(">II")
"""The length; the type, and in the lower 24 bits the device."""
_TYPE_SHIFT = 24
_DEVICE_MASK = (1 << _TYPE_SHIFT) - 1
_HELLO = struct.Struct(">4sBHHIB")
_MAGIC = b"RIG\0"
_TOKEN = struct.Struct(">Q")
_CONNECT = struct.Struct(">B")
_SUBMIT = struct.Struct(">IBBHI8s")
_UNLINK = struct.Struct(">IB")
_COMPLETE = struct.Struct(">IiIIB")
_RESUME = struct.Struct(">BI")
_STATUS = struct.Struct(">i")

_FLAGS = sum(TransferFlags)
"""Other bits are reserved: what usbfs means by them is not for the front end to ask."""
_QUIET = 0x01
_LOCAL = 0x01
_CLEAR = 0x01

MAX_FRAME_BYTES = MAX_TRANSFER_BYTES + 64
"""A longer frame is refused: no message can need it."""

MAX_TEXT_BYTES = 1024


class FrameType(IntEnum):
    """The octet that tells what a frame is."""

    HELLO = 1
    REFUSED = 2
    PING = 3
    PONG = 4
    CONNECT = 5
    DISCONNECT = 6
    DISCONNECTED = 7
    SUBMIT = 8
    UNLINK = 9
    COMPLETE = 10
    RESUME = 11
    RESET = 12
    RESET_DONE = 13


def encode(message: Message) -> tuple[bytes, Payload]:
    """Return a frame's head, and the data that must follow it (not copied; may be empty).

    Raises:
        LocalProtocolError: A field does not fit its place.
    """
    try:
        frame_type, device, body, data = _parts(message)
        if device > _DEVICE_MASK:
            raise struct.error(f"the device {device} is over {_DEVICE_MASK}")
        kind = frame_type << _TYPE_SHIFT | device
        return HEADER.pack(len(body) + len(data), kind) + body, data
    except struct.error as error:
        raise LocalProtocolError(f"{message!r} cannot be sent: {error}.") from error


def _parts(message: Message) -> tuple[FrameType, int, bytes, Payload]:  # noqa: PLR0911
    match message:
        case Submit() as m:
            body = _SUBMIT.pack(
                m.urb_id,
                m.endpoint_address,
                _CLEAR if m.clear else 0,
                m.flags,
                m.buffer_bytes,
                m.setup,
            )
            return FrameType.SUBMIT, m.device, body, m.data
        case Complete() as m:
            flags = _QUIET if m.quiet else 0
            body = _COMPLETE.pack(m.urb_id, m.status, m.actual_bytes, m.epoch, flags)
            return FrameType.COMPLETE, m.device, body, m.data
        case Unlink() as m:
            body = _UNLINK.pack(m.urb_id, _LOCAL if m.local else 0)
            return FrameType.UNLINK, m.device, body, b""
        case Resume() as m:
            return FrameType.RESUME, m.device, _RESUME.pack(m.endpoint_address, m.epoch), b""
        case Connect() as m:
            return FrameType.CONNECT, m.device, _CONNECT.pack(m.speed), b""
        case ResetDone() as m:
            return FrameType.RESET_DONE, m.device, _STATUS.pack(m.status), b""
        case Disconnect() | Disconnected() | Reset() as m:
            return _BARE_TYPES[type(m)], m.device, b"", b""
        case Ping() as m:
            return FrameType.PING, 0, _TOKEN.pack(m.token), b""
        case Pong() as m:
            return FrameType.PONG, 0, _TOKEN.pack(m.token), b""
        case Hello() as m:
            policy = PolicyCode[m.policy.name] if isinstance(m.policy, Policy) else m.policy
            head = (m.role, m.oldest, m.newest, m.capabilities, policy)
            return FrameType.HELLO, 0, _HELLO.pack(_MAGIC, *head) + _text(m.name), b""
    return FrameType.REFUSED, 0, _text(message.reason), b""


_BARE_TYPES = {
    Disconnect: FrameType.DISCONNECT,
    Disconnected: FrameType.DISCONNECTED,
    Reset: FrameType.RESET,
}


def _text(text: str) -> bytes:
    """UTF-8, cut to what a frame of text may have."""
    return text.encode()[:MAX_TEXT_BYTES].decode(errors="ignore").encode()


def decode(frame_type: int, device: int, body: memoryview) -> Message:
    """Read one frame's body.  Data in the message are views of it.

    Raises:
        RemoteProtocolError: The type is unknown, or the body is not what the type asks for.
    """
    read = _READERS.get(frame_type)
    if read is None:
        raise RemoteProtocolError(f"A frame has the unknown type {frame_type}.")
    try:
        return read(device, body)
    except (struct.error, ValueError) as error:
        name = FrameType(frame_type).name
        raise RemoteProtocolError(f"A {name} frame is malformed: {error}.") from error


def _read_submit(device: int, body: memoryview) -> Submit:
    urb_id, address, marks, flags, buffer_bytes, setup = _SUBMIT.unpack_from(body)
    if buffer_bytes > MAX_TRANSFER_BYTES:
        raise ValueError(f"a buffer of {buffer_bytes} octets is over {MAX_TRANSFER_BYTES}")
    data: Payload = body[_SUBMIT.size :]
    expected = 0 if address & DIRECTION_IN else buffer_bytes
    if len(data) != expected:
        raise ValueError(f"{len(data)} octets of data, {expected} expected")
    # An empty view would keep the whole receive buffer for as long as the URB runs.
    data = data or b""
    return Submit(
        device, urb_id, address, flags & _FLAGS, buffer_bytes, setup, data, bool(marks & _CLEAR)
    )


def _read_complete(device: int, body: memoryview) -> Complete:
    urb_id, status, actual_bytes, epoch, flags = _COMPLETE.unpack_from(body)
    data = body[_COMPLETE.size :]
    if len(data) not in (0, actual_bytes):
        raise ValueError(f"{len(data)} octets of data, {actual_bytes} moved")
    if status > 0:
        raise ValueError(f"the status {status} is positive")
    return Complete(device, urb_id, status, actual_bytes, epoch, bool(flags & _QUIET), data)


def _read_unlink(device: int, body: memoryview) -> Unlink:
    urb_id, flags = _UNLINK.unpack(body)
    return Unlink(device, urb_id, bool(flags & _LOCAL))


def _read_resume(device: int, body: memoryview) -> Resume:
    return Resume(device, *_RESUME.unpack(body))


def _read_connect(device: int, body: memoryview) -> Connect:
    return Connect(device, Speed(*_CONNECT.unpack(body)))


def _read_reset_done(device: int, body: memoryview) -> ResetDone:
    (status,) = _STATUS.unpack(body)
    if status > 0:
        raise ValueError(f"the status {status} is positive")
    return ResetDone(device, status)


_POLICIES: dict[int, Policy] = {code: Policy[code.name] for code in PolicyCode}


def _read_hello(_device: int, body: memoryview) -> Hello:
    magic, role, oldest, newest, capabilities, policy = _HELLO.unpack_from(body)
    if magic != _MAGIC:
        raise ValueError("it does not begin with RIG")
    if not oldest <= newest:
        raise ValueError(f"its versions go from {oldest} to {newest}")
    return Hello(
        Role(role),
        _POLICIES.get(policy, policy),
        _read_text(body[_HELLO.size :]),
        oldest,
        newest,
        Capability(capabilities & ALL_CAPABILITIES),
    )


def _read_text(body: memoryview) -> str:
    if len(body) > MAX_TEXT_BYTES:
        raise ValueError(f"a text of {len(body)} octets is over {MAX_TEXT_BYTES}")
    return bytes(body).decode()


def _bare(kind: Callable[[int], Message]) -> Callable[[int, memoryview], Message]:
    def read(device: int, body: memoryview) -> Message:
        if body:
            raise ValueError(f"{len(body)} octets too many")
        return kind(device)

    return read


_READERS: dict[int, Callable[[int, memoryview], Message]] = {
    FrameType.HELLO: _read_hello,
    FrameType.REFUSED: lambda _, body: Refused(_read_text(body)),
    FrameType.PING: lambda _, body: Ping(*_TOKEN.unpack(body)),
    FrameType.PONG: lambda _, body: Pong(*_TOKEN.unpack(body)),
    FrameType.CONNECT: _read_connect,
    FrameType.DISCONNECT: _bare(Disconnect),
    FrameType.DISCONNECTED: _bare(Disconnected),
    FrameType.SUBMIT: _read_submit,
    FrameType.UNLINK: _read_unlink,
    FrameType.COMPLETE: _read_complete,
    FrameType.RESUME: _read_resume,
    FrameType.RESET: _bare(Reset),
    FrameType.RESET_DONE: _read_reset_done,
}


class FrameReader:
    """Collects octets and returns messages, whose data are views of the receive buffer.

    Args:
        seal: What stands behind each frame, on a stream that does not end with its connection.
    """

    def __init__(self, seal: bytes = b"") -> None:
        self._buffer = ReceiveBuffer()
        self._seal = seal

    def space(self) -> memoryview:
        """Return where the next octets go; never empty."""
        return self._buffer.space()

    @property
    def idle(self) -> bool:
        """Whether no frame is half received."""
        return not self._buffer

    def take_back(self, octets: bytes) -> None:
        """Take octets that a lane has read and not used; `received` returns their messages."""
        self._buffer.put(octets)

    def received(self, count: int) -> list[Message]:
        """Take `count` octets that were put into `space()`; return the messages now complete.

        Raises:
            RemoteProtocolError: The octets are no frames.  The link is of no more use.
        """
        buffer = self._buffer
        buffer.received(count)
        messages: list[Message] = []
        while (header := buffer.peek(HEADER.size)) is not None:
            length, kind = HEADER.unpack(header)
            if length > MAX_FRAME_BYTES:
                raise RemoteProtocolError(f"A frame of {length} octets is over {MAX_FRAME_BYTES}.")
            end = HEADER.size + length
            frame = buffer.peek(end + len(self._seal))
            if frame is None:
                break
            if frame[end:] != self._seal:
                raise RemoteProtocolError("A frame lacks its seal: its sender fell silent within.")
            message = decode(kind >> _TYPE_SHIFT, kind & _DEVICE_MASK, frame[HEADER.size : end])
            messages.append(message)
            buffer.take(len(frame))
        return messages
