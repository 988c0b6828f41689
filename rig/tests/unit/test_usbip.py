from __future__ import annotations

import errno
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rig.errors import RemoteProtocolError
from rig.usb.usbip import (
    HEADER_BYTES,
    RET_PREFIX,
    CmdSubmit,
    CmdUnlink,
    pack_ret_submit,
    pack_ret_unlink,
    unpack_command,
)

SUBMIT = bytes.fromhex(
    "00000001 00000d05 0001000f 00000001 00000001"  # command seqnum devid direction ep
    "00000200 00000040 ffffffff 00000000 00000004"  # flags length start packets interval
    "0000000000000000"  # setup
)  # Documentation/usb/usbip_protocol.rst, after its example of an interrupt-in URB
UNLINK = bytes.fromhex("00000002 00000d06 0001000f 00000000 00000000 00000d05") + bytes(24)
_u32 = st.integers(0, (1 << 32) - 1)
_length = st.integers(0, (1 << 31) - 1)


def test_a_submit_is_read_as_the_kernel_writes_it() -> None:
    expected = CmdSubmit(0xD05, 0x1000F, 0x81, 0x200, 64, 0, 4, bytes(8))
    assert unpack_command(SUBMIT) == expected


def test_an_unlink_is_read_as_the_kernel_writes_it() -> None:
    assert unpack_command(UNLINK) == CmdUnlink(0xD06, 0x1000F, 0xD05)
    assert CmdUnlink(0xD06, 0x1000F, 0xD05).pack() == UNLINK


def test_the_answers_are_as_the_kernel_reads_them() -> None:
    assert pack_ret_submit(0xD05, -errno.EPIPE, 2) == bytes.fromhex(
        "00000003 00000d05 00000000 00000000 00000000 ffffffe0 00000002"
    ) + bytes(20)
    assert pack_ret_unlink(0xD06, 0) == bytes.fromhex("00000004 00000d06") + bytes(40)


@pytest.mark.parametrize("header", [pack_ret_submit(1, -1, 1), pack_ret_unlink(1, -1)])
def test_every_answer_begins_with_the_prefix(header: bytes) -> None:
    assert header.startswith(RET_PREFIX)
    assert len(header) == HEADER_BYTES


@given(
    st.builds(
        CmdSubmit,
        _u32,
        _u32,
        st.sampled_from([n | d for n in range(16) for d in (0, 0x80)]),
        _u32,
        _length,
        _length,
        _length,
        st.binary(min_size=8, max_size=8),
    )
)
def test_what_is_packed_is_what_is_unpacked(command: CmdSubmit) -> None:
    assert unpack_command(command.pack()) == command


def test_out_data_follow_a_submit_and_in_data_do_not() -> None:
    assert CmdSubmit(1, 1, 0x01, 0, 64, 0, 0, bytes(8)).payload_bytes == 64
    assert CmdSubmit(1, 1, 0x81, 0, 64, 0, 0, bytes(8)).payload_bytes == 0


@pytest.mark.parametrize(("address", "payload_bytes"), [(0x01, 64 + 32), (0x81, 32)])
def test_isochronous_descriptors_follow_the_data(address: int, payload_bytes: int) -> None:
    assert CmdSubmit(1, 1, address, 0, 64, 2, 0, bytes(8)).payload_bytes == payload_bytes


def test_minus_one_packets_is_not_isochronous() -> None:
    # The protocol's document gives 0xffffffff for other transfers, the kernel writes 0.
    assert CmdSubmit(1, 1, 0x81, 0, 64, -1, 0, bytes(8)).payload_bytes == 0


@pytest.mark.parametrize("command", [0, 3, 4, 0x8003])
def test_a_command_that_only_we_send_is_refused(command: int) -> None:
    with pytest.raises(RemoteProtocolError, match=f"the command {command}"):
        unpack_command(struct.pack(">5I", command, 1, 1, 0, 0) + bytes(28))


def test_a_negative_length_is_refused() -> None:
    with pytest.raises(RemoteProtocolError, match="buffer length -1"):
        unpack_command(CmdSubmit(1, 1, 0, 0, -1, 0, 0, bytes(8)).pack())
