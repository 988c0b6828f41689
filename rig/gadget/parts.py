"""What can happen to a gadget that is bound: the hands of `rig.gadget.moments`."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from rig.gadget.bot.function import BotFunction
from rig.gadget.configfs import Configfs
from rig.gadget.functions import EJECT, LUN, Function
from rig.gadget.kinds import Kind
from rig.gadget.tree import WriteAttribute
from rig.gadget.udc import Udcs

Guarded = Callable[[str, Callable[[], object]], None]
"""Does what the sentence says, within a deadline."""


class Parts(msgspec.Struct, frozen=True):
    """See `rig.gadget.moments.GadgetParts`.

    Attributes:
        gadget: The gadget's name.
        udc: That it is bound to.
        functions: That it has.
        backing_file: Of the disk among them.
        bot: The bulk-only disk among them, if there is one.
        configfs: Where the gadget is.
        udcs: Where the UDC is.
        guarded: For whatever may wait for the store.
    """

    gadget: str
    udc: str
    functions: tuple[Function, ...]
    backing_file: str
    bot: BotFunction | None
    configfs: Configfs
    udcs: Udcs
    guarded: Guarded

    def eject(self) -> None:
        """Take the medium out."""
        if self.bot is not None:
            self.bot.unit.eject()
        for directory in self._kernels_disks():
            self._write("Ejecting the medium", f"{directory}/{EJECT.path}", str(EJECT.value))

    def insert(self) -> None:
        """Put it in again."""
        if self.bot is not None:
            self.bot.unit.insert()
        for directory in self._kernels_disks():
            self._write("Inserting the medium", f"{directory}/{LUN}/file", self.backing_file)

    def disconnect(self) -> None:
        """Switch the pull-up off; a gadget that is not bound has none."""
        if self._is_bound():
            self.guarded("Disconnecting the gadget", lambda: self.udcs.disconnect(self.udc))

    def connect(self) -> None:
        """Switch it on."""
        self.guarded("Connecting the gadget", lambda: self.udcs.connect(self.gadget, self.udc))

    def unbind(self) -> None:
        """Take the gadget off its UDC."""
        self.guarded("Unbinding the UDC", lambda: self.udcs.unbind(self.gadget))

    def bind(self) -> None:
        """Bind it again."""
        if not self._is_bound():
            self.guarded("Binding the UDC", lambda: self.udcs.bind(self.gadget, self.udc))

    def _is_bound(self) -> bool:
        return self.configfs.bound_udc(self.gadget) == self.udc

    def _kernels_disks(self) -> list[str]:
        found = (f for f in self.functions if f.kind is Kind.MASS_STORAGE)
        return [f"{self.gadget}/functions/{function.directory}" for function in found]

    def _write(self, what: str, path: str, value: str) -> None:
        self.guarded(what, lambda: self.configfs.apply([WriteAttribute(path, value)]))
