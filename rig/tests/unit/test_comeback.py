"""After a hang of the medium the host has its disk, or gets it back."""

from __future__ import annotations

import pytest

from rig.faults.release import ReleasedBy
from rig.gadget.comeback import GRACE_S, HOST_PATIENCE_S, Comeback


class Bench:
    """A gadget and its host, under a clock of ours."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.udc = "configured"
        self.count = 7
        self.plugs = 0
        self.unplugged = False
        self.told: list[tuple[str, float]] = []
        self.comeback = Comeback(
            self, lambda rule, s: self.told.append((rule, s)), lambda: self.now_s
        )

    def state(self) -> str:
        return self.udc

    def accesses(self) -> int:
        return self.count

    def replug(self) -> bool:
        self.plugs += not self.unplugged
        return not self.unplugged

    def hang(self, sequence: int = 1, effect: str = "hang") -> None:
        self.comeback.take(
            {"event": "fault", "layer": "medium", "effect": effect, "sequence": sequence}
        )

    def release(
        self, waited_s: float, by: ReleasedBy = ReleasedBy.DEADLINE, sequence: int = 1
    ) -> None:
        self.comeback.take(
            {
                "event": "released",
                "layer": "medium",
                "rule": "r",
                "sequence": sequence,
                "waited_s": waited_s,
                "by": by,
            }
        )

    def host_resets(self) -> None:
        """Let the host reset the device while a hang lasts."""
        for state in ("default", "configured"):
            self.udc = state
            self.comeback.run()

    def after(self, seconds: float) -> int:
        """Pass time, looking as often as is asked for; return how often it was plugged in anew."""
        until_s = self.now_s + seconds
        while (next_s := self.comeback.next_s()) is not None and self.now_s + next_s <= until_s:
            self.now_s += next_s
            self.comeback.run()
        self.now_s = until_s
        return self.plugs


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_a_host_that_was_silent_after_its_reset_gets_the_disk_back_once(bench: Bench) -> None:
    bench.hang()
    bench.host_resets()
    bench.release(36.0)
    assert bench.after(GRACE_S - 1) == 0
    assert bench.after(2.0) == 1
    assert bench.after(100.0) == 1
    ((rule, silent_s),) = bench.told
    assert rule == "r"
    assert GRACE_S <= silent_s < GRACE_S + 1
    assert bench.comeback.next_s() is None


def test_a_host_that_uses_the_disk_again_keeps_it(bench: Bench) -> None:
    bench.hang()
    bench.host_resets()
    bench.release(32.0)
    bench.after(3.0)
    bench.count += 1
    assert bench.after(100.0) == 0
    assert bench.comeback.next_s() is None


def test_a_host_that_still_tries_is_waited_for(bench: Bench) -> None:
    bench.hang()
    bench.host_resets()
    bench.release(37.0)
    bench.after(GRACE_S - 1)
    bench.udc = "default"
    bench.after(1.0)
    bench.udc = "configured"
    assert bench.after(GRACE_S - 1) == 0
    bench.count += 1
    assert bench.after(100.0) == 0


def test_a_host_that_did_not_reset_need_not_use_the_disk(bench: Bench) -> None:
    bench.hang()
    bench.after(10.0)
    bench.release(10.0)
    assert bench.comeback.next_s() is None


def test_a_reset_that_nobody_can_see_has_come_when_the_hosts_time_is_over(bench: Bench) -> None:
    bench.hang()
    bench.release(HOST_PATIENCE_S)
    assert bench.after(GRACE_S + 1) == 1


@pytest.mark.parametrize("by", [ReleasedBy.MOMENT, ReleasedBy.END])
def test_a_device_that_is_taken_away_is_not_plugged_in(bench: Bench, by: ReleasedBy) -> None:
    bench.hang()
    bench.host_resets()
    bench.release(60.0, by)
    assert bench.comeback.next_s() is None


def test_a_gadget_that_is_unplugged_on_purpose_stays_so(bench: Bench) -> None:
    bench.unplugged = True
    bench.hang()
    bench.release(60.0)
    assert bench.after(100.0) == 0
    assert bench.told == []
    assert bench.comeback.next_s() is None


def test_while_another_access_hangs_the_host_is_not_judged(bench: Bench) -> None:
    bench.hang(1)
    bench.hang(2)
    bench.release(60.0, sequence=1)
    assert bench.after(60.0) == 0
    bench.release(120.0, sequence=2)
    assert bench.after(GRACE_S + 1) == 1


def test_what_is_no_hang_is_not_watched(bench: Bench) -> None:
    bench.hang(effect="delay")
    bench.comeback.take({"event": "fault", "layer": "endpoint"})
    assert bench.comeback.next_s() is None
