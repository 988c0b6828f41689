"""How fast this machine's time-stamp counter runs, which an emulated guest must be told.

QEMU's emulation passes the counter through but not its frequency.  A guest measures it against the
PIT, and if the station is busy just then, it fails and hangs for ever: on a "hardware-reduced"
ACPI machine, as microvm is, Linux has no second way.  ``tsc_early_khz=`` spares it the attempt.
"""

from __future__ import annotations

import ctypes
import mmap
import platform
import time
from collections.abc import Callable
from functools import cache

MEASURE_S = 0.05
TRIES = 9

_READ_TSC = bytes.fromhex("0f31 48c1e220 4809d0 c3")
"""``rdtsc; shl rdx, 32; or rax, rdx; ret``: Python has no other way to the counter."""


@cache
def boot_args() -> tuple[str, ...]:
    """Return the kernel arguments that make a guest's clock independent of the station's load.

    Where the counter cannot be read, they only keep the guest from hanging.
    """
    try:
        khz = measure_khz()
    except (OSError, ValueError):
        return ("lpj=4000000",)
    return (f"tsc_early_khz={khz}", "tsc=reliable")


def measure_khz() -> int:
    """Measure the counter against the clock that no time server bends, to about 1 in 10,000.

    Raises:
        OSError: The machine is no x86, or executable memory is forbidden.
    """
    if platform.machine() != "x86_64":
        raise OSError("The machine has no time-stamp counter.")
    access = mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC
    with mmap.mmap(-1, mmap.PAGESIZE, prot=access) as code:
        code.write(_READ_TSC)
        place = ctypes.c_char.from_buffer(code)
        read = ctypes.CFUNCTYPE(ctypes.c_uint64)(ctypes.addressof(place))
        start_ns, start = _both(read)
        time.sleep(MEASURE_S)  # Nothing to wait for but time itself.
        end_ns, end = _both(read)
        del read, place
    return round((end - start) * 1_000_000 / (end_ns - start_ns))


def _both(read: Callable[[], int]) -> tuple[int, int]:
    """Read both clocks at one moment: the time in nanoseconds and the counter.

    Of several tries the quickest counts: it was neither preempted nor slowed by a cold cache.
    """
    tries = []
    for _ in range(TRIES):
        before_ns = time.clock_gettime_ns(time.CLOCK_MONOTONIC_RAW)
        count = read()
        after_ns = time.clock_gettime_ns(time.CLOCK_MONOTONIC_RAW)
        tries.append((after_ns - before_ns, (before_ns + after_ns) // 2, count))
    return min(tries)[1:]
