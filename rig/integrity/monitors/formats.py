"""Captures as files: usbmon's text, pcap and pcapng.  Pure.

A packet of link type 220 (``LINKTYPE_USB_LINUX_MMAPPED``) begins with the 64 octets that usbmon's
binary interface gives, one of type 189 with their first 48, in the byte order of the file
(https://www.tcpdump.org/linktypes.html; Documentation/usb/usbmon.rst).
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator

from rig.errors import UserError
from rig.integrity.monitors.capture import CaptureEvent
from rig.usb.urb import TransferType

LINK_TYPES = (189, 220)
_PCAP = {
    b"\xd4\xc3\xb2\xa1": "<",
    b"\xa1\xb2\xc3\xd4": ">",
    b"\x4d\x3c\xb2\xa1": "<",  # with nanoseconds
    b"\xa1\xb2\x3c\x4d": ">",
}
_PCAPNG = b"\x0a\x0d\x0d\x0a"
_INTERFACE, _ENHANCED, _SIMPLE = 1, 6, 3
_USBMON = "QcBBBHbbqiiI"
# tag, us, event, type and direction, bus, device, endpoint, status (or s), the rest
_LINE = re.compile(r"^([0-9a-f]+) (\d+) ([SCE]) ([CZIB][io]):(\d+):(\d+):(\d+) (\S+)((?: \S+)*)$")
_TYPES = {
    "C": TransferType.CONTROL,
    "Z": TransferType.ISOCHRONOUS,
    "I": TransferType.INTERRUPT,
    "B": TransferType.BULK,
}
_SETUP_WORDS = 5
_PCAP_HEADER_BYTES = 24


def read_capture(octets: bytes) -> Iterator[CaptureEvent]:
    """Read a capture, of whichever kind; a packet that is cut off at the end is left out.

    Raises:
        UserError: It is none, or not one of USB as Linux captures it.
    """
    reader = CaptureReader()
    yield from reader.feed(octets)
    yield from reader.finish()


class CaptureReader:
    """Reads a capture that still grows, of whichever kind."""

    def __init__(self) -> None:
        self._rest = b""
        self._order = "<"
        self._cut: Callable[[], Iterator[CaptureEvent]] | None = None
        self._line = 0
        self._whole = False  # the header of a binary capture

    def feed(self, octets: bytes) -> list[CaptureEvent]:
        """Take what has come; return the events that are whole now.

        Raises:
            UserError: As `read_capture`.
        """
        self._rest += octets
        if self._cut is None and len(self._rest) >= len(_PCAPNG):
            self._begin()
        return [] if self._cut is None else list(self._cut())

    def finish(self) -> list[CaptureEvent]:
        """Nothing more comes; return the event of a last line that has no end.

        Raises:
            UserError: As `read_capture`.
        """
        if not (self._whole or self._cut in (None, self._cut_text)):
            raise UserError(
                f"The capture is cut: it ends after {len(self._rest)} octets, in its header.",
                hint="Capture anew, and let who captures end before you copy the file.",
            )
        if self._cut not in (None, self._cut_text):
            return []
        return list(self._events_of_lines([self._take(len(self._rest))]))

    def _begin(self) -> None:
        if self._rest[:4] in _PCAP:
            self._order = _PCAP[self._rest[:4]]
            self._cut = self._cut_pcap_header
        elif self._rest.startswith(_PCAPNG):
            self._cut = self._cut_pcapng
        else:
            self._cut = self._cut_text

    def _take(self, length: int) -> bytes:
        taken, self._rest = self._rest[:length], self._rest[length:]
        return taken

    def _cut_pcap_header(self) -> Iterator[CaptureEvent]:
        if len(self._rest) >= _PCAP_HEADER_BYTES:
            link = struct.unpack_from(self._order + "I", self._take(_PCAP_HEADER_BYTES), 20)[0]
            _check_link_type(link & 0xFFFF)
            self._cut, self._whole = self._cut_pcap, True
            yield from self._cut_pcap()

    def _cut_pcap(self) -> Iterator[CaptureEvent]:
        octets, at = self._rest, 0
        while at + 16 <= len(octets):
            length = struct.unpack_from(self._order + "I", octets, at + 8)[0]
            if at + 16 + length > len(octets):
                break
            yield _event(octets[at + 16 : at + 16 + length], self._order)
            at += 16 + length
        self._take(at)

    def _cut_pcapng(self) -> Iterator[CaptureEvent]:
        octets, at = self._rest, 0
        while at + 12 <= len(octets):
            if octets.startswith(_PCAPNG, at):
                self._order = "<" if octets[at + 8 : at + 12] == b"\x4d\x3c\x2b\x1a" else ">"
            order = self._order
            kind, length = struct.unpack_from(order + "II", octets, at)
            if length < 12 or at + length > len(octets):
                break
            if kind == _INTERFACE:
                _check_link_type(struct.unpack_from(order + "H", octets, at + 8)[0])
            elif kind == _ENHANCED:
                captured = struct.unpack_from(order + "I", octets, at + 20)[0]
                yield _event(octets[at + 28 : at + 28 + captured], order)
            elif kind == _SIMPLE:
                yield _event(octets[at + 12 : at + length - 4], order)
            at += length
        self._whole = self._whole or at > 0
        self._take(at)

    def _cut_text(self) -> Iterator[CaptureEvent]:
        whole = self._take(self._rest.rfind(b"\n") + 1)
        return self._events_of_lines(whole.split(b"\n")[:-1])

    def _events_of_lines(self, lines: list[bytes]) -> Iterator[CaptureEvent]:
        for octets in lines:
            self._line += 1
            line = octets.decode("utf-8", "replace").strip()
            if not line:
                continue
            match = _LINE.match(line)
            event = None if match is None else _event_of_line(match)
            if event is None:
                raise UserError(
                    f"Line {self._line} is no event of usbmon: {line[:60]!r}.",
                    hint="Take the text of /sys/kernel/debug/usb/usbmon/0u, a pcap or pcapng file,"
                    " or a log of --urb-log.",
                )
            yield event


def _check_link_type(link_type: int) -> None:
    if link_type not in LINK_TYPES:
        raise UserError(
            f"The capture is of link type {link_type}, not of USB as Linux captures it.",
            hint="Capture from usbmon: 'tcpdump -i usbmon0 -w FILE', or Wireshark.",
        )


def _event(packet: bytes, order: str) -> CaptureEvent:
    header = struct.Struct(order + _USBMON)
    if len(packet) < header.size:
        raise UserError(
            f"A packet of the capture has only {len(packet)} octets.",
            hint="It was cut short while capturing: capture at least 64 octets of each.",
        )
    tag, kind, transfer, endpoint, device, bus, _, _, s, us, status, length = header.unpack_from(
        packet
    )
    t_ns = (s * 1_000_000 + us) * 1000
    if kind not in (b"S", b"C", b"E") or transfer > TransferType.BULK:
        raise UserError(
            f"A packet of the capture begins with {packet[:12].hex(' ')}: no event of usbmon.",
            hint="Was the file written on a machine of another byte order?",
        )
    # usbmon's numbers: 0 isochronous, 1 interrupt, 2 control, 3 bulk, the same as usbfs's.
    return CaptureEvent(
        tag, kind.decode(), TransferType(transfer), bus, device, endpoint, status, length, t_ns
    )


def _event_of_line(match: re.Match[str]) -> CaptureEvent | None:
    tag, us, kind, address, bus, device, endpoint, status, rest = match.groups()
    words = rest.split()
    if not status.lstrip("-")[:1].isdigit():
        # The tag of a SETUP packet: "s", or another that says why there is none.
        words, status = words[_SETUP_WORDS:], "0"
    try:
        length = int(words[0]) if words else 0
        told = int(status.partition(":")[0])  # interval and such follow it
    except ValueError:
        return None
    direction = 0x80 if address[1] == "i" else 0
    return CaptureEvent(
        int(tag, 16),
        kind,
        _TYPES[address[0]],
        int(bus),
        int(device),
        int(endpoint) | direction,
        told if kind != "S" else 0,
        length,
        int(us) * 1000,
    )
