"""Both real cores between a disk's driver and a disk, all URBs told to the monitors.  Pure."""

from __future__ import annotations

import errno
from collections.abc import Callable
from random import Random

import msgspec

from rig.integrity.monitors.run import Monitors
from rig.sim import calm
from rig.sim.device import Done
from rig.sim.edge import Command, Edge
from rig.sim.link import Lane
from rig.sim.promise import BUFFER_BYTES, Pipe
from rig.sim.scenario import Handler, Laggard, Scenario, scenario_of
from rig.sim.world import World
from rig.splitdriver.frontend import AnswerUnlink, GiveBack
from rig.splitdriver.messages import (
    Complete,
    Connect,
    Disconnect,
    Disconnected,
    Message,
    Resume,
    Submit,
    Unlink,
)
from rig.splitdriver.policy import Policy
from rig.tests.mutants.client import DiskClient
from rig.tests.mutants.device import DiskDevice
from rig.tests.mutants.disk import Disk
from rig.usb.urblog import Kind, Place, UrbEvent, digest_of
from rig.usb.usbip import CmdUnlink

FAILURES = (errno.EPROTO, errno.EILSEQ, errno.EOVERFLOW, errno.ETIME)


class TellingEdge(Edge):
    """The front end's edge; tells when the front end lets go of a device."""

    gone: Callable[[], None]

    def detach(self) -> None:
        if self.attached:
            self.gone()
        super().detach()


class TappedLane(Lane):
    """The link to the back end; tells what arrives."""

    tell: Callable[[Message], None]

    def take(self) -> Message:
        message = super().take()
        self.tell(message)
        return message


def scenario(chance: Random) -> Scenario:
    """Choose who is slow, and how machines do what they may do in several ways."""
    laggards = (Laggard.NOBODY, Laggard.NOBODY)
    if chance.random() < 0.5:
        laggards = (Laggard(chance.randrange(10)), Laggard(chance.randrange(10)))
    return msgspec.structs.replace(
        scenario_of(b""),
        # Of reads, what stands behind an error may run: nobody will look at it.
        handlers=(Handler.UNLINK, chance.choice((Handler.UNLINK, Handler.NOTHING))),
        urbs=(0, 0),
        resets=1,  # the device is configured, so that a reset can be told
        another_front=chance.random() < 0.3,
        whole_batches=chance.random() < 0.5,
        frames=chance.random() < 0.3,
        local_unlink=chance.random() < 0.8,
        newest_first=chance.random() < 0.5,
        laggards=laggards,
    )


class DiskWorld(World):
    """The machines, the link, and what befalls them.

    Args:
        chance: All that is random.
        disk: Plugged into the back end's port.
        policy: Of both ends.
        window: Of the back end.
        lane: Of the link to the back end.
    """

    client: DiskClient
    device: DiskDevice

    def __init__(
        self,
        chance: Random,
        disk: Disk,
        *,
        policy: Policy = Policy.HOLD,
        window: int = 1,
        lane: type[TappedLane] = TappedLane,
    ) -> None:
        self.chance = chance
        self.disk = disk
        self.monitors = Monitors(window, holds=policy is not Policy.ACA)
        self.losses = 0
        """How often the client's device went away."""
        self._make_lane = lane
        self._shown = 0  # the device that the front's kernel has
        self._served: int | None = None  # the one that the back end has told of
        super().__init__(scenario(chance), policy, window)

    # The parts.

    def _new_front_machine(self) -> None:
        self.client = DiskClient(
            self.pipes,
            newest_first=self._scenario.newest_first,
            given=self._tell_giveback,
            lost=self._count_loss,
        )
        edge = TellingEdge(self.client, self._on_command, self._on_fence_passed)
        edge.gone = self._tell_gone
        self.edge = edge

    def _new_device(self) -> DiskDevice:
        self.disk.reset()
        return DiskDevice(
            self.pipes,
            self.client.urbs,
            newest_first=self._scenario.newest_first,
            disk=self.disk,
            tell=self._tell_submit,
        )

    def _plug_first(self) -> None:
        lane = self._make_lane(frames=self._scenario.frames)
        lane.tell = self._tell_arrival
        self.to_back = lane
        super()._plug_first()
        self._served = self.back.device
        self._event(Kind.UP, Place.BACK, self._served or 0)
        self._tell_up()

    def _enumerate(self) -> None:
        """The host does it."""

    def _meet(self) -> None:
        """The monitor judges it, on the word of the back end."""
        self.device.urbs = self.client.urbs

    def _attach(self) -> None:
        super()._attach()
        self._tell_up()

    def _tell_up(self) -> None:
        self._shown = self.front._device or 0
        self._event(Kind.UP, Place.FRONT, self._shown)

    # What the monitors are told.

    def _event(self, kind: Kind, place: Place, device: int, urb: int = 0, **fields: int) -> None:
        self.monitors.feed(UrbEvent(kind, place, device, urb, **fields))

    def _address(self, number: int) -> int:
        urb = self.client.urbs.get(number)
        return 0 if urb is None else urb.address

    def _on_command(self, command: Command) -> None:
        if isinstance(command, CmdUnlink):
            target = command.target
            endpoint = self._address(target)
            self._event(Kind.UNLINK, Place.FRONT, self._shown, target, endpoint=endpoint)
        else:
            self._event(
                Kind.SUBMIT,
                Place.FRONT,
                self._shown,
                command.seqnum,
                endpoint=command.endpoint_address,
                length_bytes=command.buffer_bytes,
                digest=digest_of(self.client.urbs[command.seqnum].data),
            )
        super()._on_command(command)

    def _tell_giveback(self, pdu: GiveBack | AnswerUnlink, target: int) -> None:
        endpoint = self._address(target)
        if isinstance(pdu, AnswerUnlink):
            self._event(Kind.ANSWER, Place.FRONT, self._shown, target, endpoint=endpoint)
            return
        self._event(
            Kind.GIVEBACK,
            Place.FRONT,
            self._shown,
            target,
            endpoint=endpoint,
            status=pdu.status,
            length_bytes=pdu.actual_bytes,
            digest=digest_of(pdu.data),
        )

    def _count_loss(self) -> None:
        self.losses += 1

    def _tell_gone(self) -> None:
        self._event(Kind.DOWN, Place.FRONT, self._shown)

    def _tell_submit(self, kind: Kind, urb: Submit) -> None:
        self._event(
            kind,
            Place.BACK,
            urb.device,
            urb.urb_id,
            endpoint=urb.endpoint_address,
            length_bytes=urb.buffer_bytes,
            digest=digest_of(urb.data),
        )

    def _tell_arrival(self, message: Message) -> None:
        match message:
            case Submit():
                self._tell_submit(Kind.SUBMIT, message)
            case Unlink(device, number, local):
                kind = Kind.DROP if local else Kind.UNLINK
                endpoint = self._address(number)
                self._event(kind, Place.BACK, device, number, endpoint=endpoint)
            case Resume(device, endpoint, epoch):
                self._event(Kind.RESUME, Place.BACK, device, endpoint=endpoint, epoch=epoch)
            case Disconnected(device) if device == self._served:
                self._tell_down()

    def _back_sends(self, message: Message) -> None:
        match message:
            case Complete(device, number, status, count, epoch):
                self._event(
                    Kind.GIVEBACK,
                    Place.BACK,
                    device,
                    number,
                    endpoint=self._address(number),
                    status=status,
                    length_bytes=count,
                    epoch=epoch,
                    digest=digest_of(message.data),
                )
            case Connect(device):
                self._event(Kind.UP, Place.BACK, device)
                self._served = device
                self._meet()
            case Disconnect():
                self._tell_down(-errno.ENODEV)
        if self.linked:
            self.to_front.put(message)

    def _feed(self, done: list[Done]) -> None:
        for number, status, count, data in done:
            submit = self.device.submits.get(number)
            device, endpoint = (submit.device, submit.endpoint_address) if submit else (0, 0)
            self._event(
                Kind.END,
                Place.BACK,
                device,
                number,
                endpoint=endpoint,
                status=status,
                length_bytes=count,
                digest=digest_of(data),
            )
        super()._feed(done)

    def _back_acts(self) -> None:
        if not self.back_knows:
            self._tell_down()  # the link was lost
        super()._back_acts()

    def _tell_down(self, status: int = 0) -> None:
        """The front end is no longer served with the device."""
        if self._served is not None:
            self._event(Kind.DOWN, Place.BACK, self._served, status=status)
            self._served = None

    # What goes on, and what befalls it.

    def _back_moves(self, moves: list[int]) -> None:
        before = len(moves)
        super()._back_moves(moves)
        answering = {calm._END + i for i, p in enumerate(self.pipes) if self.device.answers(p)}
        ends = range(calm._END, calm._END + len(self.pipes))
        moves[before:] = [m for m in moves[before:] if m not in ends or m in answering]

    def _end(self, pipe: Pipe, status: int = 0, count: int = 0) -> None:
        self.device.end(pipe, status, count)

    def fail_transfer(self) -> None:
        """A transfer fails on the bus; some of it has moved, or all."""
        running = [pipe for pipe in self.pipes[:2] if pipe.running]
        if running:
            pipe = self.chance.choice(running)
            status = -self.chance.choice(FAILURES)
            self.device.end(pipe, status, self.chance.choice((0, BUFFER_BYTES // 2, BUFFER_BYTES)))

    def unlink_any(self) -> None:
        """The client loses patience with one of its URBs."""
        if self.client.open and self.client.plugged:
            self.client.unlink(self.chance.choice(list(self.client.open)))

    def lose_link(self) -> None:
        """The link breaks."""
        if self.linked:
            self._lose_link(0)

    def unplug(self) -> None:
        """The device is pulled out; it may lose what was not safe."""
        if not self.device.gone:
            self.device.lose()
            if self.chance.random() < 0.5:
                self.disk.medium.cut_power()

    def break_port(self) -> None:
        """The front's kernel detaches the port."""
        if self.client.plugged:
            self._break_port(0)

    def finish_job_badly(self) -> None:
        """What is discarded has moved half of its data."""
        if self.device.job is not None:
            self._do_job(1 if hasattr(self.device.job, "urb_id") else 0)

    def fail_medium(self) -> None:
        """The medium's next accesses end in errors."""
        self.disk.medium.fails += self.chance.randint(1, 2)
