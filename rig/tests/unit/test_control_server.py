"""The control socket: who may come, what is answered, and that nobody holds a daemon up."""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import resource
import select
import socket
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rig.control import server
from rig.control.client import connect
from rig.control.server import ControlSocket, control_socket, served_by_thread
from rig.daemon import Command
from rig.errors import MachineError, UserError


def obey(command: Command) -> object:
    if command.do == "bad":
        raise UserError("It cannot be.", hint="Let it.")
    return {"did": command.do, **command.args}


class Served:
    """A control socket that a thread serves, as a daemon's loop would."""

    def __init__(self, directory: Path) -> None:
        self.control = ControlSocket(directory, "store", obey)
        self._end, self._other = socket.socketpair()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            ready, _, _ = select.select([self.control.fileno(), self._end.fileno()], [], [], 10)
            if self._end.fileno() in ready:
                return
            self.control.pump()

    def close(self) -> None:
        self._other.close()
        self._thread.join(10)
        self._end.close()
        self.control.close()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    one = Served(tmp_path / "rig")
    yield one
    one.close()


def test_the_socket_is_its_owners_alone_and_gone_in_the_end(tmp_path: Path) -> None:
    control = ControlSocket(tmp_path / "rig", "store", obey)
    assert control.path == tmp_path / "rig" / "store.sock"
    assert stat.S_IMODE(control.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(control.path.parent.stat().st_mode) == 0o700
    control.close()
    assert not control.path.exists()


def test_commands_are_answered_in_order_and_refusals_are_the_daemons_sentence(
    served: Served,
) -> None:
    with connect(served.control.path, "store") as client:
        assert client.ask("fire", name="x") == {"did": "fire", "name": "x"}
        with pytest.raises(UserError, match=r"^It cannot be\. Let it\.$"):
            client.ask("bad")
        assert client.ask("list") == {"did": "list"}


def test_several_come_at_a_time(served: Served) -> None:
    with connect(served.control.path, "store") as one, connect(served.control.path, "store") as two:
        assert two.ask("list") == one.ask("list")


def caller(path: Path) -> socket.socket:
    one = socket.socket(socket.AF_UNIX)
    one.connect(str(path))  # waits for a place in the queue, which it does not with a timeout
    one.settimeout(10)
    return one


def answers(one: socket.socket) -> bool:
    with contextlib.suppress(OSError):
        one.sendall(b'{"id": 1, "do": "x"}\n')
        return one.recv(1000) != b""
    return False


def test_idle_ones_lock_nobody_out_and_the_one_that_is_silent_for_longest_goes(
    served: Served,
) -> None:
    crowd = [caller(served.control.path) for _ in range(server.MAX_CLIENTS)]
    assert all(map(answers, crowd))
    assert answers(crowd[0])  # so the second is the one
    with connect(served.control.path, "store") as late:
        assert late.ask("list")
        assert [answers(one) for one in crowd] == [True, False] + [True] * (len(crowd) - 2)
    for one in crowd:
        one.close()


def test_a_whole_crowd_of_idle_ones_is_replaced_by_another(served: Served) -> None:
    crowds = [[caller(served.control.path) for _ in range(server.MAX_CLIENTS)] for _ in range(3)]
    assert all(map(answers, crowds[2]))
    assert not any(map(answers, crowds[0]))
    for one in itertools.chain(*crowds):
        one.close()


@pytest.fixture
def few_descriptors() -> Iterator[Callable[[], None]]:
    """Lets this process open no further descriptor, as long as the test lasts."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)

    def limit() -> None:
        free = os.dup(0)
        os.close(free)
        resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))

    yield limit
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def is_quiet(control: ControlSocket) -> bool:
    """Whether nothing wakes the loop that serves it."""
    poll = select.poll()
    poll.register(control.fileno(), select.POLLIN)
    return not poll.poll(0)


def test_without_a_descriptor_left_callers_are_sent_away_and_the_loop_rests(
    tmp_path: Path, few_descriptors: Callable[[], None]
) -> None:
    control = ControlSocket(tmp_path, "store", obey)
    callers = [caller(control.path) for _ in range(3)]
    few_descriptors()
    control.pump()
    assert is_quiet(control)
    assert not any(map(answers, callers))
    for one in callers:
        one.close()
    control.close()


def test_without_even_a_spare_one_the_loop_rests_until_there_is_one_again(
    tmp_path: Path, few_descriptors: Callable[[], None]
) -> None:
    control = ControlSocket(tmp_path, "store", obey)
    served = caller(control.path)
    control.pump()
    waiting = caller(control.path)
    control._spare, spare = None, control._spare
    few_descriptors()
    control.pump()
    assert is_quiet(control)
    served.close()
    control.pump()  # its end frees a descriptor
    waiting.sendall(b'{"id": 1, "do": "x"}\n')
    control.pump()
    assert b'"did":"x"' in waiting.recv(1000)
    assert spare is not None
    os.close(spare)
    waiting.close()
    control.close()


@pytest.mark.parametrize("line", [b"nonsense\n", b"[" * 100_000 + b"\n", b'{"do": 1}\n'])
def test_who_sends_no_command_is_told_and_cut_off(served: Served, line: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as stream:
        stream.settimeout(10)
        stream.connect(str(served.control.path))
        stream.sendall(line)
        assert b'"event":"error"' in stream.recv(1000)
        assert stream.recv(1000) == b""
    with connect(served.control.path, "store") as client:
        assert client.ask("list")


def test_who_does_not_read_holds_up_nobody(tmp_path: Path) -> None:
    control = ControlSocket(tmp_path, "store", lambda _: "x" * 100_000)
    with socket.socket(socket.AF_UNIX) as stream:
        stream.connect(str(control.path))
        control.pump()
        stream.sendall(b'{"id": 1, "do": "list"}\n' * 20)
        control.pump()  # it must not block: the replies have no room
        stream.settimeout(10)
        while stream.recv(1 << 20):
            pass
    control.close()


def test_a_second_process_of_a_kind_has_a_number_and_a_killed_ones_place_is_taken(
    tmp_path: Path,
) -> None:
    first = ControlSocket(tmp_path, "store", obey)
    second = ControlSocket(tmp_path, "store", obey)
    assert [one.path.name for one in (first, second)] == ["store.sock", "store-2.sock"]
    second.close()
    first.close()
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(str(first.path))  # nobody listens any more
    third = ControlSocket(tmp_path, "store", obey)
    assert third.path == first.path
    third.close()


def test_without_a_place_for_it_there_is_a_warning_and_no_socket(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    with caplog.at_level(logging.WARNING), control_socket(tmp_path / "file", "store", obey) as none:
        assert none is None
    assert "there is no control socket" in caplog.text


def test_one_that_is_required_and_has_no_place_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(UserError, match=r"no control socket in '.*/file': .*--control"),
        control_socket(tmp_path / "file", "store", obey, required=True),
    ):
        pass


def test_nobody_there_is_a_sentence(tmp_path: Path) -> None:
    opening = connect(tmp_path / "none.sock", "store")
    with pytest.raises(MachineError, match="of process 'store' cannot be reached"):
        opening.__enter__()


def test_a_process_that_ends_is_a_sentence(tmp_path: Path) -> None:
    control = ControlSocket(tmp_path, "store", obey)
    with connect(control.path, "store") as client:
        control.pump()
        control.close()
        with pytest.raises(MachineError, match="'store'"):
            client.ask("list")


def test_a_process_without_a_loop_is_served_by_a_thread_to_the_end(tmp_path: Path) -> None:
    def failing() -> None:
        with (
            served_by_thread(tmp_path, "run", obey),
            connect(tmp_path / "run.sock", "run") as client,
        ):
            assert client.ask("list") == {"did": "list"}
            raise MachineError("Something else is wrong.")

    with pytest.raises(MachineError, match="Something else"):
        failing()
    assert not (tmp_path / "run.sock").exists()
    assert not any("run-control" in thread.name for thread in threading.enumerate())


def test_without_a_place_a_process_goes_on_without_a_thread(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with served_by_thread(tmp_path / "file", "run", obey):
        assert not any("run-control" in thread.name for thread in threading.enumerate())
