"""Addresses as people write them, and listening on one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rig.errors import UserError
from rig.net.address import DEFAULT_PORT, listen, parse_address


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("10.77.0.1", ("10.77.0.1", DEFAULT_PORT)),
        ("10.77.0.1:99", ("10.77.0.1", 99)),
        ("back", ("back", DEFAULT_PORT)),
        ("back:0", ("back", 0)),
        ("[::1]:99", ("::1", 99)),
        ("[::1]", ("::1", DEFAULT_PORT)),
        ("::1", ("::1", DEFAULT_PORT)),
        ("fe80::1%eth0", ("fe80::1%eth0", DEFAULT_PORT)),
    ],
)
def test_an_address_is_read_in_each_of_its_forms(text: str, address: tuple[str, int]) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":99",
        "back:",
        "back:x",
        "back:-1",
        "back:65536",
        "[]:1",
        "[::1",
        "[::1]:",
        "[::1]9",
        "a:٣",
    ],
)
def test_what_is_no_address_is_told_how_to_write_it(text: str) -> None:
    with pytest.raises(UserError, match=r"is no address\. Write HOST:PORT"):
        parse_address(text)


@given(st.text())
def test_whatever_is_written_is_an_address_or_refused(text: str) -> None:
    try:
        host, port = parse_address(text)
    except UserError:
        return
    assert host
    assert 0 <= port <= 0xFFFF


def test_a_port_in_use_is_told_with_the_mend() -> None:
    with listen(("127.0.0.1", 0)) as listener:
        assert not listener.getblocking()
        with pytest.raises(UserError, match=r"Cannot listen on 127\.0\.0\.1:\d+: .*--listen"):
            listen(listener.getsockname())


def test_a_name_that_no_host_can_have_is_told() -> None:
    with pytest.raises(UserError, match=r"Cannot listen on a\.\.b:1: "):
        listen(("a..b", 1))
