"""All processes of a machine or a lab that bring faults about: who owns which rule, and changes.

``rig fault`` asks them, and so does a session.  What is asked for by name goes to whoever has the
rule, a new rule to the one process that can bring it about, and several rules go all or none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from typing import Any

import msgspec

from rig.control.client import ControlClient
from rig.control.reach import Process
from rig.control.rules import free_name
from rig.errors import MachineError, RigError, UserError
from rig.faults.plan import Fault, layer_of
from rig.faults.rules.base import Layer
from rig.faults.rules.endpoint import EndpointFault, Place
from rig.faults.writer import Table, table_of

OWNERS = {
    Layer.MEDIUM: "store",
    Layer.DEVICE: "gadget",
    Layer.LINK: "link",
    Layer.MACHINE: "run",
}
"""Which process brings the faults of a layer about; the endpoint layer has two."""
PLACES = {Place.PORT: "back", Place.CABLE: "cable"}
_MENDS = {
    "store": "It serves the disk of a 'rig gadget' on the back machine.",
    "gadget": "It is a 'rig gadget' on the back machine.",
    "back": "It is a 'rig back' on the back machine.",
    "cable": "'rig run --attachment xhci' has one; ehci and ohci, too.",
    "link": (
        "A relay joins a link when the link begins: 'rig run --plan link-ready' has one, as every"
        " plan with a link rule has; elsewhere, start 'rig link' between the two ends."
    ),
    "run": "It is a 'rig run', as long as its workload runs; name its run directory with --lab.",
}
"""Where the process is that a rule has missed."""
HANGING = frozenset({"store", "link", "run"})
"""What can let something wait, and release it."""


def kind_for(rule: Fault) -> str:
    """Return the kind of process that brings a rule about."""
    return PLACES[rule.place] if isinstance(rule, EndpointFault) else OWNERS[layer_of(rule)]


class Asked:
    """A process that was found, what it has told, and how to ask it more.

    Args:
        process: Which.
        client: The connection to it.

    Attributes:
        where: ``MACHINE/NAME``.
        name: Of the process.
        told: What it said when it was listed last.

    Raises:
        MachineError: It does not answer.
    """

    def __init__(self, process: Process, client: ControlClient) -> None:
        self.where = f"{process.machine}/{process.name}"
        self.name = process.name
        self.client = client
        self.told: dict[str, Any] = {}
        self.look()

    def look(self) -> None:
        """Have it list its rules.

        Raises:
            MachineError: It does not answer.
        """
        self.told = self.client.ask("list")

    @property
    def rules(self) -> list[dict[str, Any]]:
        """The rules, with their counters."""
        rules: list[dict[str, Any]] = self.told["rules"]
        return rules

    @property
    def names(self) -> list[str]:
        """Of the rules."""
        return [rule["rule"]["name"] for rule in self.rules]

    def is_a(self, kind: str) -> bool:
        """Whether it is, say, a ``store``: its name may have a number behind."""
        return self.name == kind or self.name.startswith(f"{kind}-")


class Everybody:
    """All processes that were found.

    Args:
        living: Those that answer.
        dead: Why each of the others does not.
    """

    def __init__(self, living: list[Asked], dead: list[MachineError]) -> None:
        self.living = living
        self.dead = dead

    @classmethod
    def of(
        cls, processes: Iterable[Process], lost: Iterable[MachineError], stack: ExitStack
    ) -> Everybody:
        """Connect to processes; the connections last as long as the stack.

        Args:
            processes: Those that were found.
            lost: Why others could not be looked for.
            stack: Closes the connections.
        """
        living, dead = [], [*lost]
        for one in processes:
            try:
                living.append(Asked(one, stack.enter_context(one.open())))
            except MachineError as error:
                where = f"'{one.machine}/{one.name}'"
                dead.append(MachineError(f"Process {where} is dead or deaf: {error.message}"))
        return cls(living, dead)

    def each(self, do: Callable[[Asked], None]) -> None:
        """Do something to each; one that dies meanwhile is no reason to leave out the others."""
        for one in self.living:
            try:
                do(one)
            except MachineError as error:
                self.dead.append(error)

    def tell_dead(self) -> None:
        """Return if all live.

        Raises:
            MachineError: Some do not.
        """
        if not self.dead:
            return
        others = "The others did as they were told." if self.living else self.dead[0].hint
        raise MachineError(" ".join(error.message for error in self.dead), hint=others)

    def add(self, rules: Sequence[Fault], *, armed: bool = True) -> list[tuple[Asked, str]]:
        """Bring each rule to its process; names are looked at before the first one goes.

        Returns:
            Of each rule who has it now, and its name.

        Raises:
            UserError: A name is taken, or nobody can bring a rule about; nothing has changed.
            MachineError: Somebody does not answer.
        """
        taken = {name for one in self.living for name in one.names}
        wanted: dict[Asked, list[Table]] = {}
        for rule in rules:
            name = rule.name or free_name(layer_of(rule), taken)
            if name in taken:
                raise UserError(
                    f"There is a rule '{name}' already.", hint="Remove it, or name the new one."
                )
            taken.add(name)
            named = msgspec.structs.replace(rule, name=name)
            wanted.setdefault(self.owner_of(named), []).append(table_of(named))
        done: list[tuple[Asked, str]] = []
        try:
            for one, tables in wanted.items():
                names = one.client.ask("add", rules=tables, armed=armed)
                done += [(one, name) for name in names]
        except RigError:
            for one, name in done:
                one.client.ask("remove", name=name)
            raise
        return done

    def lacks(self, rule: Fault) -> str:
        """Name the process that a rule needs and that is not among the living; empty if it is."""
        kind = kind_for(rule)
        return "" if any(one.is_a(kind) for one in self.living) else kind

    def owner_of(self, rule: Fault) -> Asked:
        """Find the one process that brings a rule about.

        Raises:
            UserError: There is none, or several.
            MachineError: There may be one among those that do not answer.
        """
        kind = kind_for(rule)
        fitting = [one for one in self.living if one.is_a(kind)]
        if len(fitting) == 1:
            return fitting[0]
        if fitting:
            there = ", ".join(one.where for one in fitting)
            raise UserError(
                f"Several could take rule '{rule.name}': {there}.", hint="Say --process."
            )
        raise self._missing(
            UserError(
                f"Fault '{rule.name}' needs a process '{kind}', and there is none.",
                hint=_MENDS[kind],
            )
        )

    def owner_of_name(self, name: str) -> Asked:
        """Find the one process that has a rule.

        Raises:
            UserError: There is none, or several.
            MachineError: There may be one among those that do not answer.
        """
        having = [one for one in self.living if name in one.names]
        if len(having) == 1:
            return having[0]
        if having:
            there = ", ".join(one.where for one in having)
            raise UserError(f"Several have a rule '{name}': {there}.", hint="Say --process.")
        known = ", ".join(rule for one in self.living for rule in one.names) or "none"
        raise self._missing(UserError(f"There is no rule '{name}'.", hint=f"There are: {known}."))

    def _missing(self, error: UserError) -> RigError:
        """Return an error about what no living process has; a dead one may have it."""
        if not self.dead:
            return error
        dead = " ".join(one.message for one in self.dead)
        return MachineError(f"{error.message} {dead}", hint="Nothing has changed.")


def release(one: Asked) -> int | None:
    """Have a process end what hangs there; None if nothing can.

    Raises:
        MachineError: It does not answer.
    """
    if not any(one.is_a(kind) for kind in HANGING):
        return None
    return int(one.client.ask("release")["released"])
