"""Changes names for a time; light, for it also runs on the machines of a lab."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

from rig.splitdriver.backend import Action as BackAction
from rig.splitdriver.backend import BackEnd
from rig.splitdriver.frontend import Action as FrontAction
from rig.splitdriver.frontend import FrontEnd
from rig.splitdriver.messages import Message


class Patch:
    """Sets attributes and items, and puts back what was there when it is left."""

    def __init__(self) -> None:
        self._undo: list[Callable[[], None]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        while self._undo:
            self._undo.pop()()

    def set(self, owner: Any, name: str, value: Any) -> None:
        """Set an attribute that is there."""
        before = getattr(owner, name)
        self._undo.append(lambda: setattr(owner, name, before))
        setattr(owner, name, value)

    def item(self, table: dict[Any, Any], key: Any, value: Any) -> None:
        """Set an item that is there."""
        before = table[key]
        self._undo.append(lambda: table.__setitem__(key, before))
        table[key] = value


def nth(thing: Any, name: str, every: int) -> bool:
    """Count what happens to a thing; returns whether this is an every so-manyth time."""
    counts: dict[str, int] = thing.__dict__.setdefault("_counts", {})
    counts[name] = counts.get(name, 0) + 1
    return counts[name] % every == 0


def back_does(patch: Patch, change: Callable[[BackEnd, BackAction], list[BackAction]]) -> None:
    """Change what a back end wants to be done, action by action."""
    real = BackEnd.take_actions

    def take_actions(self: BackEnd) -> list[BackAction]:
        return [each for action in real(self) for each in change(self, action)]

    patch.set(BackEnd, "take_actions", take_actions)


def front_does(patch: Patch, change: Callable[[FrontEnd, FrontAction], list[FrontAction]]) -> None:
    """Change what a front end wants to be done, action by action."""
    real = FrontEnd.take_actions

    def take_actions(self: FrontEnd) -> list[FrontAction]:
        return [each for action in real(self) for each in change(self, action)]

    patch.set(FrontEnd, "take_actions", take_actions)


def back_hears(patch: Patch, change: Callable[[BackEnd, Message], list[Message]]) -> None:
    """Change what a back end receives, message by message."""
    real = BackEnd.receive

    def receive(self: BackEnd, message: Message) -> None:
        for each in change(self, message):
            real(self, each)

    patch.set(BackEnd, "receive", receive)


def front_hears(patch: Patch, change: Callable[[FrontEnd, Message], list[Message]]) -> None:
    """Change what a front end receives, message by message."""
    real = FrontEnd.receive

    def receive(self: FrontEnd, message: Message) -> None:
        for each in change(self, message):
            real(self, each)

    patch.set(FrontEnd, "receive", receive)
