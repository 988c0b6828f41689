"""The stages of Bulk-Only commands, told before they run."""

from __future__ import annotations

import struct

from hypothesis import given
from hypothesis import strategies as st

from rig.usb.bot import CBW_BYTES, CSW_BYTES, unit_ready, write_10
from rig.usb.bot_stages import Stage, StageOf, StageTracker
from rig.usb.urb import Direction

READ_10 = 0x28
WRITE_10 = 0x2A


def read_10(data_bytes: int) -> bytes:
    command = struct.pack(">BBIBHB", READ_10, 0, 0, 0, data_bytes // 512, 0)
    return struct.pack("<4sIIBBB16s", b"USBC", 1, data_bytes, 0x80, 0, len(command), command)


class Host:
    """Submits transfers, and keeps what they are told to be."""

    def __init__(self) -> None:
        self.tracker = StageTracker()
        self.told: list[StageOf] = []

    def sends(self, data: bytes) -> Host:
        self.told.append(self.tracker.see(Direction.OUT, len(data), data))
        return self

    def asks(self, length_bytes: int) -> Host:
        self.told.append(self.tracker.see(Direction.IN, length_bytes))
        return self

    def stages(self) -> list[Stage | None]:
        return [told.stage for told in self.told]


def test_a_write_has_three_stages_of_one_opcode() -> None:
    host = Host().sends(write_10(1, 0, 8)).sends(bytes(4096)).asks(CSW_BYTES)
    assert host.told == [
        StageOf(Stage.COMMAND, WRITE_10),
        StageOf(Stage.DATA, WRITE_10),
        StageOf(Stage.STATUS, WRITE_10),
    ]


def test_a_command_without_data_goes_from_command_to_status() -> None:
    assert Host().sends(unit_ready(1)).asks(CSW_BYTES).stages() == [Stage.COMMAND, Stage.STATUS]


def test_a_data_stage_in_pieces_is_data_until_all_is_asked_for() -> None:
    host = Host().sends(read_10(8192)).asks(4096).asks(4096).asks(CSW_BYTES)
    assert host.stages() == [Stage.COMMAND, Stage.DATA, Stage.DATA, Stage.STATUS]


def test_after_a_short_piece_a_csws_size_is_the_status() -> None:
    host = Host().sends(read_10(8192)).asks(4096).asks(CSW_BYTES)
    assert host.stages() == [Stage.COMMAND, Stage.DATA, Stage.STATUS]


def test_thirteen_bytes_of_data_are_data() -> None:
    host = Host().sends(read_10(CSW_BYTES)).asks(CSW_BYTES).asks(CSW_BYTES)
    assert host.stages() == [Stage.COMMAND, Stage.DATA, Stage.STATUS]


def test_a_status_that_is_asked_for_again_is_a_status() -> None:
    host = Host().sends(write_10(1, 0, 1)).sends(bytes(512)).asks(CSW_BYTES).asks(CSW_BYTES)
    assert host.stages()[2:] == [Stage.STATUS, Stage.STATUS]


def test_a_cbw_in_the_middle_of_a_command_begins_another() -> None:
    host = Host().sends(read_10(8192)).asks(4096).sends(write_10(2, 0, 1)).sends(bytes(512))
    assert host.told[2:] == [StageOf(Stage.COMMAND, WRITE_10), StageOf(Stage.DATA, WRITE_10)]


def test_before_the_first_cbw_nothing_is_known() -> None:
    assert Host().asks(512).sends(bytes(CBW_BYTES)).stages() == [None, None]


def test_data_of_a_cbws_size_without_its_signature_is_data() -> None:
    host = Host().sends(write_10(1, 0, 1)).sends(bytes(CBW_BYTES))
    assert host.stages() == [Stage.COMMAND, Stage.DATA]


_transfers = st.one_of(
    st.tuples(st.just(Direction.IN), st.integers(0, 70_000), st.just(b"")),
    st.binary(max_size=64).map(lambda data: (Direction.OUT, len(data), data)),
    st.sampled_from([write_10(1, 0, 8), read_10(4096), unit_ready(1)]).map(
        lambda data: (Direction.OUT, len(data), data)
    ),
)


@given(st.lists(_transfers, max_size=30))
def test_any_stream_is_followed_and_the_directions_fit(
    transfers: list[tuple[Direction, int, bytes]],
) -> None:
    tracker = StageTracker()
    for direction, length_bytes, data in transfers:
        told = tracker.see(direction, length_bytes, data)
        if told.stage is Stage.STATUS:
            assert direction is Direction.IN
        if told.stage is Stage.COMMAND:
            assert (direction, data[15]) == (Direction.OUT, told.opcode)
