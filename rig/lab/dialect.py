"""How a daemon's command line is said on one machine.  Pure.

Command lines are made for the guests' link, UDC and port, whose names are fixed.  A host has names
of its own, and instead of a link that nobody else is on it may have certificates; so words that
mean these are replaced, whoever made the command line.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from rig.errors import UserError

VIRTIO = "virtio:"
"""The links that only guests have."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """The words of one machine.

    Attributes:
        words: What is said instead of a word; nothing at all, perhaps.
        mark: What whoever is started gets into its environment, as ``NAME=VALUE``; "" for nothing.
        has_virtio: Whether there is a link of virtio-serial.
    """

    words: Mapping[str, Sequence[str]] = field(default_factory=dict)
    mark: str = ""
    has_virtio: bool = True

    def say(self, argv: Sequence[str]) -> list[str]:
        """Return a command line in this machine's words.

        Raises:
            UserError: It has no such thing.
        """
        if not self.has_virtio and any(word.startswith(VIRTIO) for word in argv):
            raise UserError(
                "Hosts have no port of virtio-serial between them.", hint="Take the link tcp."
            )
        said = [new for word in argv for new in self.words.get(word, (word,))]
        return ["env", self.mark, *said] if self.mark else said


GUESTS_DIALECT = Dialect()
"""Every word means itself."""
