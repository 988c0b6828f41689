"""The split driver's rules behind an error, as a user wishes them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from rig.errors import UserError
from rig.splitdriver.policy import ACA_STATUSES, DEFAULT_ACA_STATUS, Policy


@dataclass(frozen=True, slots=True)
class Recovery:
    """What the split driver does behind an error.

    Attributes:
        policy: The policy, of both ends.
        aca_status: What policy `aca` fails URBs with.
        window: URBs of a bulk endpoint that the controller has at a time; policy `hold` alone.
    """

    policy: Policy = Policy.HOLD
    aca_status: str = DEFAULT_ACA_STATUS
    window: int = 1

    def __str__(self) -> str:
        """As a verdict names it."""
        match self.policy:
            case Policy.ACA:
                return f"{self.policy} ({self.aca_status})"
            case Policy.HOLD if self.window > 1:
                return f"{self.policy} (window {self.window})"
        return str(self.policy)

    def front_words(self) -> tuple[str, ...]:
        """Options of ``rig front``."""
        return ("--policy", self.policy)

    def back_words(self) -> tuple[str, ...]:
        """Options of ``rig back``."""
        return (
            *self.front_words(),
            *(("--aca-status", self.aca_status) if self.policy is Policy.ACA else ()),
            *(("--window", str(self.window)) if self.window > 1 else ()),
        )


USUAL_RECOVERY = Recovery()


def one_of(what: str, wish: str, known: Iterable[str]) -> str:
    """Return the wish if it is known.

    Raises:
        UserError: It is not; ``what`` says what it would be.
    """
    names = [str(name) for name in known]
    if wish not in names:
        raise UserError(f"There is no {what} '{wish}'.", hint=f"Known are: {', '.join(names)}.")
    return wish


def check_recovery(
    policy: str = Policy.HOLD, aca_status: str | None = None, window: int = 1
) -> Recovery:
    """Return the rules behind an error.

    Args:
        policy: ``hold``, ``aca`` or ``naive``.
        aca_status: Of policy `aca`; None for the usual.
        window: Of policy `hold`.

    Raises:
        UserError: One is not known, or they contradict each other.
    """
    chosen = Policy(one_of("policy", policy, Policy))
    if aca_status is not None and chosen is not Policy.ACA:
        raise UserError(f"Policy {chosen} fails nothing that has not failed: it has no ACA status.")
    if window != 1 and chosen is not Policy.HOLD:
        raise UserError(f"A window is for policy hold, not for {chosen}.")
    status = one_of("ACA status", aca_status or DEFAULT_ACA_STATUS, ACA_STATUSES)
    return Recovery(chosen, status, window)
