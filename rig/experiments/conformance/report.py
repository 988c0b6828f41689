"""What a conformance test found: results of cases, and which of them count."""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import StrEnum

import msgspec

_TROUBLE = re.compile(r"\bWARNING: CPU|\bBUG: |refcount_t:|\bOops: ")
"""A kernel's complaint of itself: ``__warn`` (kernel/panic.c), ``die``, ``refcount_warn_saturate``.
"""

_USBTEST = re.compile(r"\busbtest \S+: (?P<words>.*(fail|status|error|not |timed? ?out).*)", re.I)

_PLACE = re.compile(r"\bRIP: \w+:(?P<function>[\w.]+\+\S+)")
"""Where a kernel died (``show_iret_regs``, arch/x86/kernel/dumpstack.c)."""

_TIME = re.compile(r"\[ *\d+\.\d+\] ")
"""The time at the beginning of a line of a kernel's log."""


class Result(StrEnum):
    """How a case ended."""

    PASS = "pass"  # noqa: S105 - not that kind of pass
    FAIL = "fail"
    """usbtest returned an errno."""
    UNSUPPORTED = "not supported"
    """usbtest does not run the case on such a device (-EOPNOTSUPP)."""
    HANG = "hang"
    """It did not end."""
    CRASH = "crash"
    """A machine's kernel died."""
    WARNING = "kernel warning"
    """It ended, but a machine's kernel complained of itself."""

    @classmethod
    def of(cls, status: str) -> Result:
        """Return the result that a status, "0" or an errno's name, stands for."""
        if status == "0":
            return cls.PASS
        return cls.UNSUPPORTED if status == "EOPNOTSUPP" else cls.FAIL


class CaseResult(msgspec.Struct, frozen=True):
    """How one case went.

    Attributes:
        case: usbtest's number.
        name: What it tests.
        result: How it ended.
        status: "0", an errno's name, or "" if usbtest did not return.
        duration_s: As usbtest took it; for a hang or a crash, until that was noticed.
        detail: The kernels' words, if it did not pass.
    """

    case: int
    name: str
    result: Result
    status: str
    duration_s: float
    detail: str = ""

    @property
    def spoils_machines(self) -> bool:
        """Whether the machines are of no use afterwards."""
        return self.result in (Result.HANG, Result.CRASH, Result.WARNING)

    @property
    def told(self) -> str:
        """The result in a few words."""
        return self.status if self.result is Result.FAIL else self.result.value


class PathReport(msgspec.Struct, frozen=True):
    """What was found over one path.

    Attributes:
        path: Its name.
        machine_pairs: How many pairs of machines it took; more than one after hangs and crashes.
        cases: In the order in which they ran.
    """

    path: str
    machine_pairs: int
    cases: tuple[CaseResult, ...]

    @property
    def passed(self) -> bool:
        """Whether each case did."""
        return all(case.result is Result.PASS for case in self.cases)


class Report(msgspec.Struct, frozen=True):
    """What was found over all paths.

    Attributes:
        kernel: The machines' kernel version.
        accelerator: ``kvm`` or ``tcg``.
        policy: The split driver's.
        times: By what each case's iterations were multiplied.
        paths: One report each.
    """

    kernel: str
    accelerator: str
    policy: str
    times: int
    paths: tuple[PathReport, ...]

    @property
    def judged(self) -> PathReport:
        """The path that decides: the split driver's if it was tested, else the first."""
        return next((path for path in self.paths if path.path == "split"), self.paths[0])


def trouble(lines: Iterable[str]) -> str:
    """Return the first line of a kernel's log in which it complains of itself, or ""."""
    return next((_TIME.sub("", line).strip() for line in lines if _TROUBLE.search(line)), "")


def crash_words(message: str, excerpt: str) -> str:
    """Say how a machine was lost, and in which function of its kernel.

    Args:
        message: The sentence of the loss.
        excerpt: The machine's console around it.
    """
    place = _PLACE.search(excerpt)
    where = f", in {place['function']}" if place else ""
    return _TIME.sub("", message) + where


def usbtest_words(lines: Iterable[str]) -> str:
    """Return usbtest's last words about a failure, or ""."""
    found = [match["words"] for line in lines if (match := _USBTEST.search(line))]
    return found[-1] if found else ""
