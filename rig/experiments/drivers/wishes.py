"""What a user of ``rig drivers`` can wish, checked before anything is started."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rig.experiments.drivers.devices import DRIVERS, Route
from rig.experiments.run.options import Recovery, check_recovery, one_of
from rig.faults.rules.endpoint import EndpointStatus
from rig.guest_images.spec import kernel_package
from rig.splitdriver.policy import Policy
from rig.usb.urb import Direction

RULE = """
[[fault]]
name = "{route.phase}"
layer = "endpoint"
phase = "{route.phase}"
direction = "{route.direction}"
min_bytes = {route.min_bytes}
nth = 1
times = {errors}
when = "before"
status = "{status}"
"""

STATUSES = tuple(status.value for status in EndpointStatus)


@dataclass(frozen=True, slots=True)
class Wishes:
    """What to try.

    Attributes:
        drivers: Names in `rig.experiments.drivers.devices.DRIVERS`.
        recoveries: The split driver's rules; each in turn.
        statuses: Of the URB that fails; each in turn.
        errors: So many URBs of the endpoint fail in a row.
        directions: Of the data.
        kernel: ``6.12`` or ``6.1``.
        memory_mib: Of each machine.
    """

    drivers: tuple[str, ...]
    recoveries: tuple[Recovery, ...]
    statuses: tuple[EndpointStatus, ...] = (EndpointStatus.EPROTO,)
    errors: int = 1
    directions: tuple[Direction, ...] = tuple(Direction)
    kernel: str = "6.12"
    memory_mib: int = 512

    def plan(self, routes: Sequence[Route], status: EndpointStatus) -> str:
        """Return the fault plan: a rule for each way of data, in a phase of its own."""
        rules = (RULE.format(route=route, status=status, errors=self.errors) for route in routes)
        return 'name = "drivers"\nseed = 0\n' + "".join(rules)

    def want(self, route: Route) -> bool:
        """Whether that way of data is to be tried."""
        return route.driver in self.drivers and route.direction in self.directions


def read_wishes(
    drivers: Sequence[str],
    policies: Sequence[str],
    aca_statuses: Sequence[str],
    statuses: Sequence[str],
    *,
    errors: int = 1,
    directions: Sequence[str] = tuple(Direction),
    kernel: str = "6.12",
) -> Wishes:
    """Return what to try.

    Args:
        drivers: Names of drivers; none for all.
        policies: Names of policies.
        aca_statuses: With each of which policy `aca` is tried.
        statuses: Of the URB that fails; each in turn.
        errors: So many URBs of the endpoint fail in a row.
        directions: Of the data.
        kernel: ``6.12`` or ``6.1``.

    Raises:
        UserError: One of them is not known.
    """
    kernel_package(kernel)
    recoveries = [
        check_recovery(policy, status, 1)
        for policy in policies
        for status in (aca_statuses if policy == Policy.ACA else (None,))
    ]
    chosen = [one_of("driver", driver, DRIVERS) for driver in drivers] or DRIVERS
    fails = [EndpointStatus(one_of("status", status, STATUSES)) for status in statuses]
    return Wishes(
        tuple(dict.fromkeys(chosen)),
        tuple(dict.fromkeys(recoveries)),
        tuple(dict.fromkeys(fails)),
        errors,
        tuple(Direction(one_of("direction", one, Direction)) for one in dict.fromkeys(directions)),
        kernel,
    )
