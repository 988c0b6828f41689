"""Command lines in a host's own words."""

from __future__ import annotations

import pytest

from rig.errors import UserError
from rig.lab.dialect import GUESTS_DIALECT, Dialect


def test_guests_take_every_word_as_it_is() -> None:
    words = ["rig", "back", "--listen", "virtio:rig.link"]
    assert GUESTS_DIALECT.say(words) == words


def test_a_word_is_replaced_by_any_number_of_others_wherever_it_stands() -> None:
    dialect = Dialect({"--insecure": ("--certs", "/etc/rig"), "10.77.0.1:7205": ("h:1",), "x": ()})
    said = dialect.say(["rig", "x", "--listen", "10.77.0.1:7205", "--insecure", "10.77.0.1:72050"])
    assert said == ["rig", "--listen", "h:1", "--certs", "/etc/rig", "10.77.0.1:72050"]


def test_whoever_is_started_bears_the_mark() -> None:
    assert Dialect(mark="RIG_LAB=1").say(["rig", "gadget"]) == ["env", "RIG_LAB=1", "rig", "gadget"]


def test_a_link_that_only_guests_have_is_refused() -> None:
    with pytest.raises(UserError, match="no port of virtio-serial"):
        Dialect(has_virtio=False).say(["rig", "back", "--listen", "virtio:rig.link"])
