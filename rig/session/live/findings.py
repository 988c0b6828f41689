"""What is wrong so far, and what that makes of the verdict.  Pure."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

PASSES = "pass so far"
NOTHING = "Nothing could be judged: no pass has confirmed anything yet."


class Verified(msgspec.Struct, frozen=True):
    """What came of reading everything back.

    Attributes:
        said: What was seen, a sentence a view.
        judged: How many sectors were found as they must be, in all views.
        findings: What of it is wrong.
    """

    said: tuple[str, ...] = ()
    findings: tuple[str, ...] = ()
    judged: int = 0

    def words(self) -> list[str]:
        """Return what is to be said of it: what is wrong comes first."""
        good = "Nothing is wrong." if self.judged else NOTHING
        return [*(self.findings or (good,)), *self.said]


def so_far(findings: Sequence[str], open_ends: Sequence[str], broken: str) -> str:
    """Return the running verdict.

    Args:
        findings: What is wrong.
        open_ends: What is not confirmed.
        broken: Why the session cannot go on; empty if it can.
    """
    if findings:
        more = f", and {len(findings) - 1} more" if len(findings) > 1 else ""
        return f"fail: {findings[0]}{more}"
    if broken:
        return f"infrastructure: {broken}"
    if open_ends:
        return f"indeterminate: {open_ends[0]}"
    return PASSES
