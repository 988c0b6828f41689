"""Both real cores, the models around them, and how what the cores want is carried out.  Pure."""

from __future__ import annotations

from rig.sim.client import Client
from rig.sim.device import Device
from rig.sim.edge import Command, Edge
from rig.sim.link import Lane
from rig.sim.promise import BrokenError, Pipe, Rule, Urb, stop, stops
from rig.sim.scenario import Handler, Scenario
from rig.sim.story import Place, Story, action_text
from rig.splitdriver.backend import BackEnd, capabilities
from rig.splitdriver.backend import Send as BackSend
from rig.splitdriver.frontend import AnswerUnlink, Fence, FrontEnd, GiveBack, Plug
from rig.splitdriver.frontend import Send as FrontSend
from rig.splitdriver.messages import Capability, Complete, Connect, Message
from rig.splitdriver.policy import Policy
from rig.usb.setup import SetupPacket
from rig.usb.urb import Speed, TransferType
from rig.usb.usbip import CmdUnlink

CONFIGURE = SetupPacket(0x00, 0x09, 1, 0, 0).pack()
DESCRIBE = SetupPacket(0x80, 0x06, 0x0100, 0, 64).pack()
"""What the hub driver asks after it has reset a port."""


class Ends:
    """Everything but the moves, from the moment when a device is plugged in and both ends know it.

    Args:
        scenario: What there is to happen.
        policy: Of both ends.
        window: Of the back end.
        story: Where to tell what happens, or None.
    """

    __slots__ = (
        "_batch",
        "_capabilities",
        "_faults",
        "_kinds",
        "_link_losses",
        "_policy",
        "_port_breaks",
        "_reconfigurations",
        "_resets",
        "_scenario",
        "_story",
        "_unlinks",
        "_unplugs",
        "back",
        "back_knows",
        "client",
        "device",
        "edge",
        "ep0",
        "front",
        "front_knows",
        "linked",
        "moves_made",
        "pipes",
        "to_back",
        "to_front",
    )

    def __init__(
        self, scenario: Scenario, policy: Policy, window: int, story: Story | None = None
    ) -> None:
        self._scenario = scenario
        self._policy = policy
        self._story = story
        self._batch = scenario.whole_batches
        self._faults = scenario.faults
        self._unlinks = scenario.unlinks
        self._resets = scenario.resets
        self._reconfigurations = scenario.reconfigurations
        self._link_losses = scenario.link_losses
        self._unplugs = scenario.unplugs
        self._port_breaks = scenario.port_breaks
        self._capabilities = capabilities(policy, window)
        if not scenario.local_unlink:
            self._capabilities &= ~Capability.LOCAL_UNLINK
        self._make_pipes(scenario)
        self._new_front_machine()
        self.to_front = Lane(frames=scenario.frames)
        self.to_back = Lane(frames=scenario.frames)
        self.linked = self.back_knows = self.front_knows = True
        self.moves_made = 0
        self.front = FrontEnd(policy, self._capabilities)
        self.back = BackEnd(policy, window)
        self._plug_first()

    def _new_front_machine(self) -> None:
        """A machine whose kernel has numbered no URB yet."""
        self.client = Client(
            self.pipes,
            newest_first=self._scenario.newest_first,
            may_fail=self._policy is Policy.ACA,
        )
        self.edge = Edge(self.client, self._on_command, self._on_fence_passed)

    def _make_pipes(self, scenario: Scenario) -> None:
        self.pipes = [
            Pipe(address, kind, handler, urbs)
            for (address, kind), handler, urbs in zip(
                scenario.pipes, scenario.handlers, scenario.urbs, strict=True
            )
        ]
        self.ep0 = self.pipes[1]
        if self.ep0.key:
            self.ep0 = Pipe(0, TransferType.CONTROL, Handler.NOTHING, 0)
            self.pipes.append(self.ep0)
        self._kinds = dict(scenario.pipes)

    def _plug_first(self) -> None:
        self.device = self._new_device()
        self.back.linked()
        self.back.plugged(Speed.HIGH)
        self.back.configured(self._kinds)
        for action in self.back.take_actions():
            assert type(action) is BackSend
            self.front.receive(action.message)
        self.front.take_actions()
        self.edge.attach()
        self._enumerate()

    def _new_device(self) -> Device:
        return Device(self.pipes, self.client.urbs, newest_first=self._scenario.newest_first)

    def _enumerate(self) -> None:
        """The hub driver configures the device; only resets make a difference of it."""
        if self._scenario.resets:
            self.client.submit(self.ep0, CONFIGURE)

    # What the cores want.

    def _on_command(self, command: Command) -> None:
        if isinstance(command, CmdUnlink):
            self.front.unlink(command)
        else:
            self.front.submit(command, self.client.urbs[command.seqnum].data)

    def _on_fence_passed(self) -> None:
        self._tell(Place.FRONT, "knows that the fence has passed")
        self.front.fence_passed()
        self._front_acts()

    def _front_acts(self) -> None:
        while actions := self.front.take_actions():
            for action in actions:
                kind = type(action)
                if kind is FrontSend:
                    if self.linked:
                        self.to_back.put(action.message)  # type: ignore[union-attr]
                elif kind is GiveBack or kind is AnswerUnlink:
                    if not self.edge.broken:
                        self.client.give(action)  # type: ignore[arg-type]
                elif kind is Fence:
                    self.edge.fence()
                elif kind is Plug:
                    self.edge.when_ready(self._attach)
                else:
                    self._tell(Place.FRONT, "unplugs the device")
                    self.edge.detach()

    def _attach(self) -> None:
        self._tell(Place.FRONT, "attaches the device")
        self.edge.attach()
        self._enumerate()

    def _back_acts(self) -> None:
        device = self.device
        while True:
            actions = self.back.take_actions()
            for action in actions:
                if type(action) is BackSend:
                    self._back_sends(action.message)
            for action in actions:
                if type(action) is not BackSend and self.back.device is not None:
                    if self._story:
                        self._tell(Place.BACK, action_text(action))
                    device.do(action)  # type: ignore[arg-type]
            if device.at_once:
                self._feed(device.at_once)
            elif not actions:
                return

    def _feed(self, done: list[tuple[int, int, int, bytes]]) -> None:
        device, back = self.device, self.back
        if device.configured:
            device.configured = False
            back.configured(self._kinds)
        for number, status, count, data in done:
            back.completed(number, status, count, data)
        done.clear()

    def _back_sends(self, message: Message) -> None:
        kind = type(message)
        if kind is Complete:
            urb: Urb = self.client.urbs[message.urb_id]  # type: ignore[union-attr]
            if stops(urb.pipe, message.status):  # type: ignore[union-attr]
                stop(urb)
        elif kind is Connect:
            self._meet()
        if self.linked:
            self.to_front.put(message)

    def _meet(self) -> None:
        """A front end is told of the device; the numbers of its URBs may have been in use."""
        if self.device.has_urbs:
            raise BrokenError(
                Rule.STUCK, "A new front end is told of a device that still has the old one's URBs."
            )
        self.device.urbs = self.client.urbs
        for pipe in self.pipes:
            pipe.ran = 0

    def _tell(self, place: Place, text: str) -> None:
        if self._story is not None:
            self._story.tell(self.moves_made, place, text)
