"""Whether a run ended as its plan says that it does with a correct stack.  Pure."""

from __future__ import annotations

from rig.faults.plan import Expect, Head
from rig.report.verdict import Outcome, Verdict

_ENDS = {
    Expect.PASS: (Outcome.PASS,),
    Expect.INDETERMINATE: (Outcome.PASS, Outcome.INDETERMINATE),
    Expect.FAIL: (Outcome.FAIL,),
}


def surprise(plan: Head, verdict: Verdict) -> str:
    """Return a sentence about what is not as the plan says; empty if all is."""
    if verdict.verdict not in _ENDS[plan.expect]:
        return f"Plan '{plan.name}' expects '{plan.expect}', and the verdict is not that."
    counts = {str(one): count for one, count in verdict.sectors.items()}
    if plan.classes and not any(counts.get(one) for one in plan.classes):
        return f"Plan '{plan.name}' expects sectors that are {' or '.join(plan.classes)}."
    return ""
