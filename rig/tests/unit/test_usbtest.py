from __future__ import annotations

import ctypes
import errno
import fcntl
import io
import os
from collections.abc import Callable

import msgspec
import pytest

from rig.daemon import Events
from rig.errors import RemoteProtocolError, UserError
from rig.usb import usbtest
from rig.usb.usbtest import (
    CASES,
    PARAMETERS,
    Case,
    main,
    outcome,
    parse_cases,
    perform,
    run,
    serve,
)

NODE = os.devnull
Driver = Callable[[Callable[[list[int]], int]], None]


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Driver:
    """Put a driver in the kernel's place; it gets the parameters and returns an errno."""

    def install(answer: Callable[[list[int]], int]) -> None:
        def ioctl(fd: int, request: int, argument: bytes) -> bytes:
            assert request == 0xC0105512  # KERNEL: USBDEVFS_IOCTL on x86-64
            interface, code, place = usbtest._VIA_DRIVER.unpack(argument)
            assert (interface, code) == (0, 0xC01C5564)  # USBTEST_REQUEST_32
            memory = (ctypes.c_char * PARAMETERS.size).from_address(place)
            *inputs, _, _ = PARAMETERS.unpack(memory)
            number = answer(inputs)
            PARAMETERS.pack_into(memory, 0, *inputs, 2, 500000)
            if number:
                raise OSError(number, os.strerror(number))
            return argument

        monkeypatch.setattr(fcntl, "ioctl", ioctl)

    return install


def told(out: io.BytesIO) -> list[dict[str, object]]:
    return [msgspec.json.decode(line) for line in out.getvalue().splitlines()]


def test_the_listed_cases_are_all_but_isochronous_and_interrupt_ones() -> None:
    assert list(CASES) == [*range(15), *range(17, 22), 24, 27, 28, 29]


@pytest.mark.parametrize("case", CASES.values(), ids=str)
def test_what_is_read_comes_in_whole_packets_of_every_speed(case: Case) -> None:
    assert case.number in (0, 9, 10, 13, 29) or case.length_bytes % 1024 == 0
    # usbtest itself refuses these, or the kernel does (num_sgs, usb_submit_urb).
    if case.number in (4, 6, 7, 8):
        assert case.vary_bytes % 1024 == 0
    if case.number in (3, 4, 7, 8, 14, 21):
        assert 0 < case.vary_bytes < case.length_bytes
    if case.number in (5, 6, 7, 8, 10, 24, 27, 28):
        assert case.queued >= 4


def test_the_driver_gets_a_cases_parameters_and_tells_the_duration(driver: Driver) -> None:
    asked: list[int] = []

    def answer(inputs: list[int]) -> int:
        asked.extend(inputs)
        return 0

    driver(answer)
    assert perform(NODE, Case(7, "", 4, 4096, 1024, 32), times=3) == (0, 2.5)
    assert asked == [7, 12, 4096, 1024, 32]


def test_the_drivers_errno_is_the_result(driver: Driver) -> None:
    driver(lambda inputs: errno.EOPNOTSUPP)
    assert perform(NODE, CASES[1])[0] == errno.EOPNOTSUPP


def test_the_status_of_an_unlinked_urb_is_told_by_its_name(driver: Driver) -> None:
    driver(lambda inputs: 1000 + errno.EPROTO)
    assert outcome(NODE, 11, 1)["status"] == "EPROTO"


def test_a_device_that_is_gone_is_a_result_too() -> None:
    assert perform("/no/such/node", CASES[1]) == (errno.ENOENT, 0.0)


def test_each_case_is_told_in_a_line_and_failures_are_counted(driver: Driver) -> None:
    driver(lambda inputs: errno.EPIPE if inputs[0] == 13 else 0)
    out = io.BytesIO()
    assert run(NODE, (1, 13), 1, Events(out)) == 1
    lines = [(line["event"], line["case"], line["status"]) for line in told(out)]
    assert lines == [("result", 1, "0"), ("result", 13, "EPIPE")]


def supervised(*commands: bytes) -> list[dict[str, object]]:
    reading, writing = os.pipe()
    os.write(writing, b"".join(command + b"\n" for command in commands))
    os.close(writing)
    out = io.BytesIO()
    try:
        serve(NODE, Events(out), reading)
    finally:
        os.close(reading)
    return told(out)


def test_supervised_it_runs_what_it_is_told_and_replies(driver: Driver) -> None:
    driver(lambda inputs: errno.ETIMEDOUT)
    ready, reply = supervised(b'{"id": 4, "do": "run", "case": 11}')
    assert ready["event"] == "ready"
    assert (reply["id"], reply["ok"]) == (4, True)
    assert reply["result"] == {
        "case": 11,
        "name": CASES[11].name,
        "status": "ETIMEDOUT",
        "duration_s": 2.5,
    }


@pytest.mark.parametrize(
    "command",
    [
        b'"do": "run", "case": 15',
        b'"do": "walk", "case": 1',
        b'"do": "run", "case": 1, "times": ""',
    ],
)
def test_a_command_that_it_does_not_know_is_refused(command: bytes) -> None:
    _, reply = supervised(b'{"id": 1, %b}' % command)
    assert reply["ok"] is False
    assert "'rig usbtest' is told 'run'" in str(reply["error"])


def test_what_is_no_command_ends_it() -> None:
    with pytest.raises(RemoteProtocolError):
        supervised(b"nonsense")


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        (None, tuple(CASES)),
        ("24", (24,)),
        ("9-11,9,24", (9, 10, 11, 24)),
        ("12-18", (12, 13, 14, 17, 18)),
    ],
)
def test_a_list_of_cases_is_read(text: str | None, numbers: tuple[int, ...]) -> None:
    assert parse_cases(text) == numbers


@pytest.mark.parametrize("text", ["", "15", "x", "5-x", "-3", "24-30", "12-9", "1,,9"])
def test_a_list_that_names_no_case_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="names no test case of usbtest"):
        parse_cases(text)


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["/nowhere"], "The device '/nowhere' cannot be opened: No such file or directory"),
        (["/dev/null", "--times", "0"], "--times 0 would run nothing"),
    ],
)
def test_what_cannot_be_run_is_refused(argv: list[str], said: str) -> None:
    with pytest.raises(UserError, match=said):
        usbtest.main(argv)


@pytest.mark.parametrize(("number", "status"), [(0, 0), (errno.EIO, 1)])
def test_the_exit_status_says_whether_all_passed(
    driver: Driver, capfdbinary: pytest.CaptureFixture[bytes], number: int, status: int
) -> None:
    driver(lambda inputs: number)
    assert main([NODE, "--case", "1,2"]) == status
    assert len(capfdbinary.readouterr().out.splitlines()) == 2
