from __future__ import annotations

import pytest

from rig.errors import LostVMError, MachineError
from rig.lab.health import Health


def test_a_machine_is_there_until_it_is_lost() -> None:
    health = Health("back")
    health.check()
    assert not health.lost


def test_the_first_loss_stays() -> None:
    health = Health("back")
    health.lose(LostVMError("It panicked.", hint="See the console."))
    health.lose(MachineError("The console ended."))
    with pytest.raises(LostVMError, match=r"It panicked\. See the console\."):
        health.check()


def test_every_check_raises_an_exception_of_its_own() -> None:
    health = Health("back")
    health.lose(LostVMError("It panicked."))
    seen = []
    for _ in range(2):
        with pytest.raises(LostVMError) as caught:
            health.check()
        seen.append(caught.value)
    assert seen[0] is not seen[1]


def test_a_watcher_is_woken_once() -> None:
    health, woken = Health("back"), []
    health.watch(lambda: woken.append(1))
    health.lose(MachineError("one"))
    health.lose(MachineError("two"))
    assert woken == [1]


def test_a_watcher_that_comes_late_is_woken_at_once() -> None:
    health, woken = Health("back"), []
    health.lose(MachineError("gone"))
    health.watch(lambda: woken.append(1))
    assert woken == [1]


def test_an_ended_watch_is_not_woken() -> None:
    health, woken = Health("back"), []
    unwatch = health.watch(lambda: woken.append(1))
    unwatch()
    unwatch()
    health.lose(MachineError("gone"))
    assert woken == []
