"""What drivers did behind an error: one line for each trial.  No I/O."""

from __future__ import annotations

import msgspec

from rig.integrity.account import Told


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """One error, and what the driver above did.

    Attributes:
        driver: The kernel's driver on the front machine.
        direction: Of the failed URB, and of the data.
        policy: The split driver's.
        failed_with: The status of the URB that was made to fail.
        status: What the other URBs of the endpoint were failed with, by policy `aca`; else "".
        came_up: Whether the driver had its device, and data flowed, before the error.
        resets_before: Port resets until then: no error was made before it.
        flows_again: Whether data flowed again in time.
        told: Of the receiving end, from the error on.
        urbs: That the kernel submitted to the device from the error on.
        watched_s: For so long.
        stood_s: How long the endpoint stood still; None if it did to the end.
        resets: Port resets from the error on.
        note: What else there is to say.
    """

    driver: str
    direction: str
    policy: str
    failed_with: str
    status: str = ""
    came_up: bool = True
    resets_before: int = 0
    flows_again: bool = False
    told: Told = Told()
    urbs: int = 0
    watched_s: float = 0.0
    stood_s: float | None = None
    resets: int = 0
    note: str = ""

    @property
    def verdict(self) -> str:
        """Say in a word or two what the driver did."""
        if not self.came_up:
            return "no start"
        if not self.flows_again:
            return "stops"
        return "goes on"


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What ``drivers.json`` holds.

    Attributes:
        kernel: The machines' kernel.
        accelerator: ``kvm`` or ``tcg``.
        errors: So many URBs of the endpoint failed in a row.
        trials: All, in their order.
    """

    kernel: str
    accelerator: str
    errors: int
    trials: tuple[Trial, ...]
