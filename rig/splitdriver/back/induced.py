"""What the fault plan does to a device's transfers: which it meets, and what is told when."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from rig.faults.rules.endpoint import EndpointEffect, EndpointTransfer
from rig.faults.triggers import EndpointInjector, Fired
from rig.splitdriver.back.flight import Completion
from rig.splitdriver.messages import Submit
from rig.splitdriver.porthook import Altered, alter
from rig.usb.bot_stages import StageTracker
from rig.usb.urb import Direction

OnFault = Callable[[Fired[EndpointEffect], Submit], None]


class Failing(msgspec.Struct, frozen=True):
    """What fails when others of its endpoint, which the controller has, have ended.

    Attributes:
        before: The numbers of those others.
        urb: The URB.
        altered: How it fails.
    """

    before: set[int]
    urb: Submit
    altered: Altered

    @property
    def completion(self) -> Completion:
        """Its end."""
        return Completion(self.urb.urb_id, self.altered.status, 0)


class Halting(msgspec.Struct, frozen=True):
    """An endpoint that the device has still to halt.

    Attributes:
        address: The endpoint's.
        told: What is told when it has: the end that is a STALL, and what ended behind it.
    """

    address: int
    told: list[Completion]


class Induced:
    """The faults of one device.

    Args:
        injector: Asked about every bulk transfer; None for no faults.
        on_fault: Told of every fault that fires, with the URB it hits.
    """

    def __init__(self, injector: EndpointInjector | None, on_fault: OnFault) -> None:
        self._injector = injector
        self._on_fault = on_fault
        self._stages = StageTracker()
        self.failing: list[Failing] = []
        """What fails in its turn, of which the kernel will say nothing."""
        self.halting: list[Halting] = []
        """The endpoints that are still to be halted."""

    @property
    def active(self) -> bool:
        """Whether a transfer may meet a rule."""
        return self._injector is not None and self._injector.active

    def forget_stage(self) -> None:
        """Know no longer what the device is about: what was not seen must not be guessed."""
        self._stages = StageTracker()

    def meet(self, urb: Submit, packet_bytes: int) -> Altered | None:
        """Ask the plan about a transfer; return what becomes of it, if anything.

        Args:
            urb: The URB.
            packet_bytes: Size of the endpoint's packets.
        """
        if self._injector is None:
            return None
        if not self._injector.active:
            self.forget_stage()
            return None
        direction = Direction.of(urb.endpoint_address)
        told = self._stages.see(direction, urb.buffer_bytes, urb.data)
        transfer = EndpointTransfer(
            direction, urb.endpoint_address, urb.buffer_bytes, told.opcode, told.stage
        )
        fired = self._injector.ask(transfer)
        if fired is None:
            return None
        self._on_fault(fired, urb)
        return alter(fired.effect, urb.buffer_bytes, packet_bytes)

    def due_behind(self, urb_id: int) -> list[Failing]:
        """Return what fails now that this URB has ended, and forget it."""
        for failing in self.failing:
            failing.before.discard(urb_id)
        due = [failing for failing in self.failing if not failing.before]
        self.failing = [failing for failing in self.failing if failing.before]
        return due

    def halt(self, address: int, stall: Completion) -> Halting:
        """Keep an end until its endpoint is halted, and what ends there behind it."""
        halting = Halting(address, [stall])
        self.halting.append(halting)
        return halting

    def keep_behind_halt(self, address: int, end: Completion) -> bool:
        """Keep an end if one before it on its endpoint is kept; return whether."""
        for halting in reversed(self.halting):
            if halting.address == address:
                halting.told.append(end)
                return True
        return False

    def halted(self, halting: Halting) -> list[Completion]:
        """The endpoint is halted: return what is told now, and forget it."""
        self.halting.remove(halting)
        return halting.told
