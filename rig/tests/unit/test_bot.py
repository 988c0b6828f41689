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


@pytest.mark.parametrize(
    ("octets", "said"),
    [
        # tag 9, length, flags, LUN 0, length of the command, the command itself
        (bot.read_10(9, 0x0A0B0C0D, 2), "00 04 00 00 80 00 0a 28 00 0a 0b 0c 0d 00 00 02 00"),
        (bot.read_capacity_10(9), "08 00 00 00 80 00 0a 25 00 00 00 00 00 00 00 00 00"),
        (bot.synchronize_cache_10(9), "00 00 00 00 00 00 0a 35 00 00 00 00 00 00 00 00 00"),
        (bot.request_sense(9), "12 00 00 00 80 00 06 03 00 00 00 12 00 00 00 00 00"),
    ],
)
def test_a_command_says_which_way_its_data_go_and_how_many(octets: bytes, said: str) -> None:
    assert octets[:8].hex(" ") == "55 53 42 43 09 00 00 00"
    assert octets[8:25].hex(" ") == said
    assert not any(octets[25:])


def test_a_capacity_tells_the_last_lba_and_not_their_number() -> None:
    capacity = bot.parse_capacity(bytes.fromhex("0001ffff 00000200"))

    assert capacity == bot.Capacity(0x1FFFF, 512)
    assert capacity.size_bytes == 64 << 20


@pytest.mark.parametrize("octets", ["ffffffff 00000200", "0001ffff 00000000", "0001ffff"])
def test_a_capacity_that_cannot_be_used_is_refused(octets: str) -> None:
    with pytest.raises(RemoteProtocolError, match="READ CAPACITY"):
        bot.parse_capacity(bytes.fromhex(octets))


@pytest.mark.parametrize(
    "octets",
    ["70 00 06 00 00 00 00 0a 00 00 00 00 29 01 00 00 00 00", "72 06 29 01 00 00 00 00"],
)
def test_sense_is_read_in_either_format(octets: str) -> None:
    assert bot.parse_sense(bytes.fromhex(octets)) == bot.SenseData(6, 0x29, 1)


@given(
    st.integers(0, 15),
    st.integers(0, 255),
    st.integers(0, 255),
    st.none() | st.integers(0, 2**32 - 1),
)
def test_sense_survives_the_way(key: int, asc: int, ascq: int, lba: int | None) -> None:
    sense = bot.SenseData(key, asc, ascq, lba)
    assert bot.parse_sense(sense.pack()) == sense


def test_an_lba_that_does_not_fit_is_not_told() -> None:
    assert bot.SenseData(3, 0x11, 0, lba=2**32).pack()[:7] == bytes((0x70, 0, 3, 0, 0, 0, 0))


@given(st.binary(max_size=20))
def test_what_is_no_sense_is_refused_and_nothing_else(octets: bytes) -> None:
    if octets and octets[0] & 0x7F in (0x70, 0x71, 0x72, 0x73):
        assert 0 <= bot.parse_sense(octets).key <= 15
    else:
        with pytest.raises(RemoteProtocolError, match="no sense data"):
            bot.parse_sense(octets)
