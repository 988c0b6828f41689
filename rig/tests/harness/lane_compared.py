"""A daemon that converses with a lane and without must say the same."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from random import Random
from typing import Protocol, TypeVar


class Compared(Protocol):
    """A daemon and what is around it.

    Attributes:
        waits: How often its lane has waited.
    """

    waits: int

    def told(self) -> tuple[object, ...]:
        """Return what the daemon has said to both its sides."""


World = TypeVar("World", bound=Compared)
Open = Callable[[Random, bool], AbstractContextManager[World]]
"""Makes a world by chance, with a lane or without; it is closed behind the conversation."""


def compare(open_world: Open[World], talk: Callable[[Random, World], None], seed: str) -> World:
    """Have a conversation with a lane and without; return the world with it.

    Args:
        open_world: Makes the worlds.
        talk: Holds the conversation, by chance.
        seed: Of all chance.

    Raises:
        AssertionError: They are not the same, or what one of them was not answered.
    """
    worlds = []
    for use_lane in (True, False):
        rng = Random(seed)
        with open_world(rng, use_lane) as world:
            talk(rng, world)
        worlds.append(world)
    quick, slow = worlds
    assert slow.waits == 0
    assert quick.told() == slow.told()
    return quick
