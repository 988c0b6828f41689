"""Cells of the table of fidelity, and what usbmon would say of them."""

from __future__ import annotations

import errno

import msgspec

from rig.experiments.fidelity.cells import Injection
from rig.experiments.fidelity.monitor import Record, Told
from rig.experiments.fidelity.report import Data, Observation
from rig.faults.rules.endpoint import EndpointStatus, When
from rig.lab.paths import PathName
from rig.usb import bot
from rig.usb.urb import Direction

PROTO = -errno.EPROTO
INJECTION = Injection("xhci-raw", Direction.OUT, EndpointStatus.EPROTO, When.MIDDLE)
TOLD = Told(PROTO, 2048)


def observation(**fields: object) -> Observation:
    usual = Observation(
        injection=INJECTION,
        path=PathName.SPLIT,
        fired=1,
        below=TOLD,
        above=TOLD,
        sent=2,
        data=Data.RIGHT,
        lines=("reset high-speed USB device",),
    )
    return msgspec.structs.replace(usual, **fields)


def records(*told: tuple[str, int, int, int, str], device: int = 2) -> list[Record]:
    """Make records of (kind, endpoint, status, length, head in hex)."""
    return [
        Record(7, kind, 3, endpoint, 1, device, status, length, at, head)
        for at, (kind, endpoint, status, length, head) in enumerate(told)
    ]


CBW = bot.write_10(1, 0, 8).hex()


def write_once(status: int, moved: int) -> list[Record]:
    return records(
        ("S", 0x01, -115, 31, CBW),
        ("C", 0x01, 0, 31, ""),
        ("S", 0x01, -115, 4096, "00" * 31),
        ("C", 0x01, status, moved, ""),
    )
