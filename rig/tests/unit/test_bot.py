"""Bulk-Only Transport: octets as the specification has them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rig.errors import RemoteProtocolError
from rig.usb import bot


def test_a_write_names_its_lba_and_length_as_scsi_and_its_bytes_as_usb() -> None:
    octets = bot.write_10(tag=0x01020304, lba=0x0A0B0C0D, blocks=128)

    assert octets.hex(" ") == (
        "55 53 42 43 04 03 02 01 00 00 01 00 00 00 0a "  # USBC, tag, 65536 octets, OUT, LUN 0, 10
        "2a 00 0a 0b 0c 0d 00 00 80 00 00 00 00 00 00 00"
    )


def test_a_command_without_data_announces_none() -> None:
    octets = bot.unit_ready(tag=7)

    assert len(octets) == bot.CBW_BYTES == 31
    assert octets[8:15].hex(" ") == "00 00 00 00 00 00 06"
    assert not any(octets[15:])


def test_a_status_tells_tag_residue_and_result() -> None:
    octets = bytes.fromhex("55534253 04030201 00020000 01")

    assert bot.parse_csw(octets) == bot.Csw(0x01020304, 512, bot.CommandStatus.FAILED)


@given(st.binary(max_size=40))
def test_what_is_no_status_is_refused_and_nothing_else(octets: bytes) -> None:
    if len(octets) == bot.CSW_BYTES and octets.startswith(b"USBS"):
        assert bot.parse_csw(octets).tag == int.from_bytes(octets[4:8], "little")
    else:
        with pytest.raises(RemoteProtocolError, match="no command status wrapper"):
            bot.parse_csw(octets)
