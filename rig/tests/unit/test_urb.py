from __future__ import annotations

import errno

import pytest

from rig.usb.urb import Direction, TransferType, status_name, stops_endpoint

QUEUES = [TransferType.BULK, TransferType.INTERRUPT, TransferType.CONTROL]


def test_bit_7_of_an_address_is_the_direction() -> None:
    assert (Direction.of(0x81), Direction.of(0x01)) == (Direction.IN, Direction.OUT)


@pytest.mark.parametrize(
    ("status", "name"), [(0, "0"), (-errno.EPROTO, "-EPROTO"), (-9999, "-9999")]
)
def test_a_status_has_the_kernels_name(status: int, name: str) -> None:
    assert status_name(status) == name


@pytest.mark.parametrize("kind", QUEUES)
@pytest.mark.parametrize("error", [errno.EPROTO, errno.EPIPE, errno.ECONNRESET, errno.ENOENT])
def test_an_error_stops_every_queue_but_isochronous(kind: TransferType, error: int) -> None:
    assert stops_endpoint(kind, -error)
    assert not stops_endpoint(TransferType.ISOCHRONOUS, -error)


@pytest.mark.parametrize("kind", QUEUES)
def test_a_success_stops_nothing(kind: TransferType) -> None:
    assert not stops_endpoint(kind, 0)


@pytest.mark.parametrize("kind", QUEUES)
def test_a_short_read_stops_every_queue_but_control(kind: TransferType) -> None:
    assert stops_endpoint(kind, -errno.EREMOTEIO) is (kind is not TransferType.CONTROL)
