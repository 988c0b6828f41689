from __future__ import annotations

import errno
import io
import os
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec
import pytest

from rig.buffers import ReceiveBuffer
from rig.cable.callers import MAX_CALLERS, SECRET_DEADLINE_S
from rig.cable.controllers import Controller
from rig.cable.ends import CableService
from rig.cable.pipe import Pipe
from rig.cable.service import connect, hurry, main, read_secret
from rig.cable.usbredir import packets as redir
from rig.cable.usbredir.codec import pack, unpack
from rig.cable.usbredir.packets import Packet
from rig.cable.usbredir.vocabulary import CAPABILITIES, Status
from rig.cable.wire import FENCE
from rig.daemon import Command, Events
from rig.errors import MachineError, UserError
from rig.faults.plan import Plan
from rig.faults.rules.endpoint import EndpointFault, EndpointStatus, Place, When
from rig.faults.triggers import Injector
from rig.tests.harness.stepped import SteppedReactor
from rig.tests.unit.test_cable_wire import BULK_OUT, WHOLE
from rig.tests.unit.test_descriptors import DEVICE
from rig.usb.urb import Direction
from rig.usb.usbip import HEADER_BYTES, CmdSubmit, pack_ret_submit, unpack_command

SECRET = b"a secret of twenty!!"
RULE = EndpointFault(
    name="cut",
    direction=Direction.OUT,
    status=EndpointStatus.EPIPE,
    when=When.BEFORE,
    place=Place.CABLE,
    phase="write",
    nth=1,
)


class Rig:
    """A cable's service, with both of its ends in the test's hands."""

    def __init__(self, undo: ExitStack) -> None:
        self.reactor = SteppedReactor()
        undo.callback(self.reactor.close)
        ours, self.qemu = socket.socketpair()
        undo.callback(self.qemu.close)
        self.qemu.setblocking(False)
        listener = socket.create_server(("127.0.0.1", 0))
        self.address = listener.getsockname()
        self.out = io.BytesIO()
        injector = Injector(Plan(name="test", faults=(RULE,)), EndpointFault)
        self.service = CableService(
            Controller.EHCI,
            ours,
            listener,
            secret=SECRET,
            injector=injector,
            events=Events(self.out),
            reactor=self.reactor,
        )
        undo.callback(self.service.close)
        self._undo = undo
        self._buffer = ReceiveBuffer()
        self._wide = False

    def told(self) -> list[dict[str, Any]]:
        return [msgspec.json.decode(line) for line in self.out.getvalue().splitlines()]

    def names(self) -> list[str]:
        return [event["event"] for event in self.told()]

    def say(self, *packets: Packet) -> None:
        """QEMU sends packets."""
        for packet in packets:
            self.qemu.sendall(b"".join(pack(packet, wide=not isinstance(packet, redir.Hello))))
        self.reactor.turn()

    def heard(self) -> list[Packet]:
        """QEMU reads all that it was sent."""
        while True:
            try:
                self._buffer.received(self.qemu.recv_into(self._buffer.space()))
            except BlockingIOError:
                break
        found = []
        while (packet := unpack(self._buffer, wide=self._wide)) is not None:
            found.append(packet)
            self._wide = True
        return found

    def dial(self, secret: bytes = SECRET) -> socket.socket:
        """The gadget's machine connects."""
        stream = self._undo.enter_context(socket.create_connection(self.address, 10.0))
        stream.sendall(secret)
        self.reactor.turn(1.0)
        return stream

    def next_submit(self, vudc: socket.socket) -> CmdSubmit:
        command = unpack_command(vudc.recv(HEADER_BYTES, socket.MSG_WAITALL))
        assert isinstance(command, CmdSubmit)
        return command

    def answer(self, vudc: socket.socket, data: bytes = b"", status: int = 0) -> None:
        """The device carries out the next URB."""
        seqnum = self.next_submit(vudc).seqnum
        vudc.sendall(pack_ret_submit(seqnum, status, len(data)) + data)
        self.reactor.turn(1.0)

    def configured(self) -> socket.socket:
        """A device is plugged in and configured; return vudc's end."""
        self.say(redir.Hello(0, bytes(64), CAPABILITIES))
        vudc = self.dial()
        for part in (DEVICE, WHOLE[:9], WHOLE):
            self.answer(vudc, part)
        self.say(redir.SetConfiguration(1, 1))
        self.answer(vudc)
        self.heard()
        return vudc

    def ask(self, do: str, **args: object) -> Any:
        return self.service.obey(Command(1, do, args))


@pytest.fixture
def rig() -> Iterator[Rig]:
    with ExitStack() as undo:
        yield Rig(undo)


def write(packet_id: int) -> redir.BulkPacket:
    return redir.BulkPacket.of(packet_id, BULK_OUT, 0, 512, bytes(512))


def test_a_device_is_plugged_in_and_said_to_be(rig: Rig) -> None:
    rig.configured()
    assert rig.names() == ["attached", "plugged"]
    assert rig.ask("status") == {"plugged": True, "configuration": 1}


def test_somebody_without_the_secret_is_turned_away(rig: Rig) -> None:
    stream = rig.dial(b"no secret of twenty!")
    assert stream.recv(1) == b""
    assert rig.names() == []


def test_a_silent_caller_keeps_nobody_waiting_and_is_turned_away_in_time(rig: Rig) -> None:
    began_s = time.monotonic()
    silent = rig.dial(b"")
    rig.dial()
    assert time.monotonic() - began_s < SECRET_DEADLINE_S
    assert rig.names() == ["attached"]
    rig.reactor.fire("secret")
    assert silent.recv(1) == b""


def test_a_secret_may_come_in_pieces(rig: Rig) -> None:
    stream = rig.dial(SECRET[:5])
    assert rig.names() == []
    stream.sendall(SECRET[5:])
    rig.reactor.turn(1.0)
    assert rig.names() == ["attached"]
    assert "secret" not in rig.reactor.timers()


def test_who_hangs_up_before_the_secret_is_forgotten(rig: Rig) -> None:
    rig.dial(SECRET[:5]).close()
    rig.reactor.turn(1.0)
    assert "secret" not in rig.reactor.timers()
    assert rig.names() == []


def test_of_many_silent_callers_the_oldest_goes_first(rig: Rig) -> None:
    first, second, *_ = [rig.dial(b"") for _ in range(MAX_CALLERS + 1)]
    second.setblocking(False)
    assert first.recv(1) == b""
    with pytest.raises(BlockingIOError):
        second.recv(1)


def test_a_gadget_that_says_more_moved_than_was_asked_for_is_unplugged(rig: Rig) -> None:
    vudc = rig.configured()
    rig.say(write(5))
    vudc.sendall(pack_ret_submit(rig.next_submit(vudc).seqnum, 0, 513))
    rig.reactor.turn(1.0)
    assert rig.names()[-1] == "unplugged"


def test_a_gadget_with_half_a_descriptor_is_not_plugged_in(rig: Rig) -> None:
    rig.say(redir.Hello(0, bytes(64), CAPABILITIES))
    vudc = rig.dial()
    rig.answer(vudc, DEVICE[:9])
    assert vudc.recv(1) == b""
    assert rig.names() == ["attached"]


def test_a_gadget_that_goes_is_unplugged(rig: Rig) -> None:
    vudc = rig.configured()
    vudc.close()
    rig.reactor.turn(1.0)
    assert rig.names()[-1] == "unplugged"
    assert rig.heard() == [redir.DeviceDisconnect(0)]


def test_a_gadget_that_comes_again_is_plugged_in_again(rig: Rig) -> None:
    rig.configured().close()
    rig.reactor.turn(1.0)
    vudc = rig.dial()
    for part in (DEVICE, WHOLE[:9], WHOLE):
        rig.answer(vudc, part)
    assert rig.names()[-3:] == ["unplugged", "attached", "plugged"]


def test_a_gadget_that_talks_nonsense_is_unplugged(rig: Rig) -> None:
    vudc = rig.configured()
    vudc.sendall(bytes(HEADER_BYTES))
    rig.reactor.turn(1.0)
    assert rig.names()[-1] == "unplugged"


def test_a_fault_is_told_and_counted(rig: Rig) -> None:
    rig.configured()
    rig.ask("phase", name="write")
    rig.say(write(5))
    (fault,) = [event for event in rig.told() if event["event"] == "fault"]
    assert {**fault, "t": 0} == {
        "event": "fault",
        "t": 0,
        "layer": "endpoint",
        "rule": "cut",
        "match": 1,
        "by_hand": False,
        "place": "cable",
        "when": "before",
        "status": "-EPIPE",
        "endpoint": 1,
        "length_bytes": 512,
        "moved_bytes": 0,
    }
    counts = {"planned": {"cut": 1}, "fired": {"cut": 1}}
    assert rig.ask("faults") == {**counts, "layers": {"cut": "endpoint"}}
    assert rig.heard() == [redir.BulkPacket.of(5, BULK_OUT, Status.STALL, 0)]


def behind_an_error(rig: Rig) -> socket.socket:
    """One transfer has failed, one has come after it, and QEMU has read the answer."""
    vudc = rig.configured()
    vudc.setblocking(False)
    rig.ask("phase", name="write")
    rig.say(write(5))
    rig.say(write(6))
    rig.reactor.fire("read")
    assert rig.heard() == [redir.BulkPacket.of(5, BULK_OUT, Status.STALL, 0)]
    return vudc


def test_what_follows_an_error_starts_when_qemu_has_read_the_fence_and_not_before(rig: Rig) -> None:
    vudc = behind_an_error(rig)
    for _ in range(3):  # the answer is read, the fence is not, however long that takes
        rig.reactor.fire("read")
    with pytest.raises(BlockingIOError):
        vudc.recv(1)
    assert rig.heard() == [FENCE]
    rig.reactor.fire("read")
    vudc.settimeout(10.0)
    assert rig.next_submit(vudc).buffer_bytes == 512
    assert "read" not in rig.reactor.timers()


def test_what_qemu_takes_back_before_it_reads_the_fence_never_starts(rig: Rig) -> None:
    vudc = behind_an_error(rig)
    rig.reactor.fire("read")
    rig.qemu.sendall(b"".join(pack(redir.Cancel(6), wide=True)))
    assert rig.heard() == [FENCE]
    rig.reactor.fire("read")  # and not when the socket is readable
    with pytest.raises(BlockingIOError):
        vudc.recv(1)
    assert [packet.id for packet in rig.heard()] == [6]


def test_qemus_end_ends_the_cable_with_a_sentence(rig: Rig) -> None:
    rig.qemu.close()
    rig.reactor.run()
    assert isinstance(rig.service.failure, MachineError)


def test_nonsense_of_qemu_ends_the_cable_with_a_sentence(rig: Rig) -> None:
    rig.qemu.sendall(b"\xff" * 12)
    rig.reactor.run()
    assert "4294967295 octets" in str(rig.service.failure)


def test_nonsense_of_qemu_that_is_found_at_a_timer_ends_the_cable_too(rig: Rig) -> None:
    behind_an_error(rig)
    rig.qemu.sendall(b"".join(pack(redir.DeviceDisconnect(0), wide=True)))
    rig.reactor.fire("read")
    assert rig.reactor.stopping
    assert "DeviceDisconnect" in str(rig.service.failure)


def test_an_unknown_command_is_refused(rig: Rig) -> None:
    with pytest.raises(UserError, match="knows no command 'dance'"):
        rig.ask("dance")


def test_what_does_not_fit_is_sent_when_there_is_room() -> None:
    reactor = SteppedReactor()
    ours, theirs = socket.socketpair()
    with theirs:
        theirs.setblocking(False)
        pipe = Pipe(ours, reactor, lambda: None)
        sent = [bytes([number]) * 50_000 for number in range(100)]
        pipe.send(list(sent))
        got = bytearray()
        while len(got) < 5_000_000:
            try:
                got += theirs.recv(1 << 20)
            except BlockingIOError:
                reactor.turn()
        assert got == b"".join(sent)
        assert pipe.read
        pipe.close()
    reactor.close()


def test_a_pipe_knows_whether_its_peer_has_read() -> None:
    reactor = SteppedReactor()
    ours, theirs = socket.socketpair()
    with theirs:
        pipe = Pipe(ours, reactor, lambda: None)
        assert pipe.read
        pipe.send([b"octets"])
        theirs.recv(3)
        assert not pipe.read
        theirs.recv(3)
        assert pipe.read
        pipe.close()
    reactor.close()


class LostSocket(socket.socket):
    """A connection whose peer's machine has gone."""

    def recv_into(self, *_: Any) -> int:
        raise TimeoutError(errno.ETIMEDOUT, "Connection timed out")

    def sendmsg(self, *_: Any) -> int:
        raise OSError(errno.EHOSTUNREACH, "No route to host")


def test_a_connection_that_is_lost_in_whatever_way_has_ended() -> None:
    reactor = SteppedReactor()
    ours, theirs = socket.socketpair()
    with theirs:
        pipe = Pipe(LostSocket(fileno=ours.detach()), reactor, lambda: None)
        pipe.send([b"octets"])
        assert not pipe.fill()
        pipe.close()
    reactor.close()


def test_a_socket_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(MachineError, match="cannot be reached: No such file"):
        connect(tmp_path / "nothing")


def test_a_secret_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        read_secret(tmp_path / "nothing")
    (tmp_path / "empty").write_text("\n")
    with pytest.raises(UserError, match="is empty"):
        read_secret(tmp_path / "empty")


def test_a_plan_that_the_controller_cannot_show_starts_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "secret").write_text("x")
    plan = tmp_path / "plan.toml"
    plan.write_text(
        'name = "p"\n[[fault]]\nlayer = "endpoint"\nplace = "cable"\ndirection = "in"\n'
        'status = "EPROTO"\nwhen = "before"\nnth = 1\n'
    )
    argv = ["--usb-redir", str(tmp_path / "none"), "--secret", str(tmp_path / "secret")]
    status = main([*argv, "--controller", "ehci", "--plan", str(plan), "--supervised"])
    assert status == 2
    assert "cannot show EPROTO" in msgspec.json.decode(capfd.readouterr().out)["error"]


def test_no_qemu_is_a_failure_of_the_world(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "secret").write_text("x")
    argv = ["--usb-redir", str(tmp_path / "none"), "--secret", str(tmp_path / "secret")]
    assert main([*argv, "--controller", "ehci", "--supervised"]) == 3
    assert "cannot be reached" in capfd.readouterr().out
    assert main([*argv, "--controller", "ehci"]) == 3
    assert capfd.readouterr().err.count("cannot be reached") == 1


def test_an_error_of_the_device_itself_is_passed_on(rig: Rig) -> None:
    vudc = rig.configured()
    rig.say(write(5))
    command = rig.next_submit(vudc)
    assert vudc.recv(512, socket.MSG_WAITALL) == bytes(512)
    vudc.sendall(pack_ret_submit(command.seqnum, -errno.EPIPE, 0))
    rig.reactor.turn(1.0)
    assert rig.heard() == [redir.BulkPacket.of(5, BULK_OUT, Status.STALL, 0)]


def test_a_rule_is_taken_while_it_runs_if_the_controller_can_show_it(rig: Rig) -> None:
    rig.configured()
    keys = {"layer": "endpoint", "direction": "out", "when": "before", "nth": 1}
    cut = {**keys, "name": "late", "place": "cable", "status": "EPIPE"}
    with pytest.raises(UserError, match="has the place 'port'"):
        rig.ask("add", rules=[{**keys, "status": "EPIPE"}])
    with pytest.raises(UserError, match="cannot show EILSEQ"):
        rig.ask("add", rules=[{**cut, "status": "EILSEQ"}])
    assert rig.ask("add", rules=[cut]) == ["late"]
    rig.say(write(5))
    assert rig.heard() == [redir.BulkPacket.of(5, BULK_OUT, Status.STALL, 0)]


def test_a_cable_that_may_not_hurry_runs_as_it_can(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def refuse(*wish: object) -> None:
        asked.append(wish)
        raise PermissionError

    monkeypatch.setattr(os, "sched_setscheduler", refuse)
    hurry()
    assert [policy for _, policy, _ in asked] == [os.SCHED_RR]


def test_a_place_for_control_that_cannot_be_used_is_an_error_and_no_gadget_is_awaited(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for name in ("secret", "file"):
        (tmp_path / name).write_text("x")
    with socket.socket(socket.AF_UNIX) as qemu:
        qemu.bind(str(tmp_path / "qemu"))
        qemu.listen()
        argv = ["--usb-redir", str(tmp_path / "qemu"), "--secret", str(tmp_path / "secret")]
        argv += ["--controller", "ehci", "--control", str(tmp_path / "file")]
        assert main(argv) == 2
    said = capfd.readouterr().err
    assert f"no control socket in '{tmp_path}/file'" in said
    assert "listening" not in said
