"""A compiled lane that was made of other code is as none."""

from __future__ import annotations

import importlib

import pytest

from rig.splitdriver.lane import StaleError, _lane, compiled


def test_the_module_was_made_of_this_code() -> None:
    assert compiled.INTERFACE == _lane.INTERFACE


def test_one_that_was_made_of_other_code_is_not_used_and_the_mend_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr(_lane, "INTERFACE")  # as of a module from before it had a number
    with pytest.raises(StaleError, match=r"interface 0, and this rig needs .* './bootstrap'"):
        importlib.reload(compiled)
