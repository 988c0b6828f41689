"""The commands that add, change and remove fault rules.  Pure over `Deeds`."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rig.errors import RigError, UserError
from rig.faults.plan import Fault
from rig.faults.rules.base import NO_LIMIT
from rig.faults.rules.device import DeviceFault, DeviceKind
from rig.faults.rules.endpoint import EndpointFault
from rig.session.deeds import Deeds
from rig.session.snapshot import FaultRow
from rig.session.talk import making
from rig.session.talk.doings import Doings, Lasting, Undo, Undone, lasting, undone_by
from rig.session.talk.journal import Deed, Entry
from rig.session.talk.strikes import Strikes

Words = tuple[str, ...]
Handler = Callable[[str, Words], Sequence[str]]
"""Does a command: its line, and the words behind its name; returns the answer."""


class RuleCommands:
    """See the module.

    Args:
        deeds: Has it done.
        doings: Is told of it.
        settle: Waits until it is known what the device has.
        strikes: Is told of what strikes.

    Attributes:
        handlers: By the command's name.
    """

    def __init__(
        self, deeds: Deeds, doings: Doings, settle: Callable[[], object], strikes: Strikes
    ) -> None:
        self._deeds = deeds
        self._doings = doings
        self._settle = settle
        self._strikes = strikes
        self.handlers: dict[str, Handler] = {
            "arm": lambda line, words: self._add(line, making.armed_rules(words[0], self.taken)),
            "recipe": lambda line, words: self._add(line, [making.recipe_rule(words, self.taken)]),
            "unplug": self._unplug,
            "plug": self._plug,
            "power-cycle": self._power_cycle,
            "kill": self._strike_daemon,
            "stop": self._strike_daemon,
            "restart": self._strike_daemon,
            "fire": self._fire,
            "disarm": self._disarm,
            "rearm": self._rearm,
            "remove": self._remove,
        }

    @property
    def taken(self) -> set[str]:
        """The names that rules have, or had."""
        had = {rule.name for entry in self._doings.journal.entries for rule in entry.rules}
        return had | {row.name for row in self._deeds.snapshot().faults}

    def row(self, name: str) -> FaultRow | None:
        """What a rule has done; None: there is none of this name now."""
        rows = (row for row in self._deeds.snapshot().faults if row.name == name)
        return next(rows, None)

    # Rules that are added.

    def _add(
        self, line: str, rules: list[Fault], undo: Undo | None = None, said: str = ""
    ) -> list[str]:
        if any(isinstance(rule, EndpointFault) and rule.endpoint for rule in rules):
            self._settle()
        now_s = self._doings.now_s()
        timed = [making.from_now(rule, now_s) for rule in rules]
        names = tuple(self._deeds.add(timed))
        self._strikes.added(timed)
        answer = [said] if said else [f"{rule.name} is armed: {rule.words()}." for rule in timed]
        entry = Entry(
            at_s=now_s, line=line, deed=Deed.ADDED, rules=tuple(timed), answer=tuple(answer)
        )
        self._doings.record(entry, undo or (lambda: self._take_back(names)))
        return answer

    def _take_back(self, names: Words) -> Undone:
        """Remove rules again, as far as they have not fired for the last time."""
        rows = [row for row in map(self.row, names) if row is not None]
        spent = [row.name for row in rows if row.planned != NO_LIMIT and row.fired >= row.planned]
        left = [row for row in rows if row.name not in spent]
        if not left:
            has = f"{_listed(spent or names)} {'has' if len(spent or names) == 1 else 'have'}"
            raise Lasting(f"{has} fired: that stays." if spent else f"{has} gone already.")
        for row in left:
            self._deeds.remove(row.name)
            if not row.fired:
                self._strikes.forget(row.name)
        fired = [row for row in left if row.fired]
        said = [f"{row.name} had fired {row.fired} times: that stays." for row in fired]
        said += [f"{_listed(spent)} had fired: that stays."] if spent else []
        if not fired and not spent:
            return Undone()
        removed = tuple(row.name for row in left)
        return Undone(tuple(said), removed, tuple(row.fired for row in left))

    def _unplug(self, line: str, words: Words) -> list[str]:
        for_s = making.seconds(words[0]) if words else None
        rule = making.unplug_rule(for_s, self.taken)
        return self._add(line, [rule], self._plug_in if for_s is None else None)

    def _plug(self, line: str, _: Words) -> list[str]:
        ports = self._deeds.snapshot().ports
        there = bool(ports) and all(port.device is not None for port in ports)
        if there and not self._unplugged():
            raise UserError("The device is plugged in.")
        cannot = lasting("'plug' cannot be undone; 'unplug' can.")
        return self._add(line, [making.plug_rule(self.taken)], cannot, "The device is plugged in.")

    def _unplugged(self) -> bool:
        """Whether the last unplugging lasts: what ports tell comes a second later."""
        rules = [rule for entry in self._doings.journal.entries for rule in entry.rules]
        moments = [rule for rule in rules if isinstance(rule, DeviceFault)]
        last = [rule for rule in moments if rule.kind is DeviceKind.SOFT_DISCONNECT][-1:]
        return any(rule.for_s is None for rule in last)

    def _plug_in(self) -> Undone:
        rule = making.from_now(making.plug_rule(self.taken), self._doings.now_s())
        self._deeds.add([rule])
        self._strikes.added([rule])
        return Undone(("The device is plugged in.",), added=(rule,))

    def _power_cycle(self, line: str, words: Words) -> list[str]:
        machine = words[0] if words else "back"
        return self._add(line, [making.power_rule(machine, self.taken)])

    def _strike_daemon(self, line: str, words: Words) -> list[str]:
        do, daemon, *rest = line.split(maxsplit=1)[0], *words
        for_s = making.seconds(rest[0]) if rest else None
        return self._add(line, [making.daemon_rule(do, daemon, for_s, self.taken)])

    # Rules that are there.

    def _fire(self, line: str, words: Words) -> list[str]:
        (name,) = words
        self._strikes.fires(name)
        try:
            self._deeds.fire(name)
        except RigError:
            self._strikes.forget(name)
            raise
        cannot = lasting(f"That {name} was fired cannot be undone.")
        return self._changed(line, Deed.FIRED, name, "fires at its next match, or at once", cannot)

    def _disarm(self, line: str, words: Words) -> list[str]:
        (name,) = words
        self._must(name, armed=True)
        self._deeds.disarm(name)
        undo = undone_by(lambda: self._deeds.arm(name), f"{name} is armed.")
        return self._changed(line, Deed.DISARMED, name, "is disarmed", undo)

    def _rearm(self, line: str, words: Words) -> list[str]:
        (name,) = words
        self._must(name, armed=False)
        self._deeds.arm(name)
        undo = undone_by(lambda: self._deeds.disarm(name), f"{name} is disarmed.")
        return self._changed(line, Deed.ARMED, name, "is armed", undo)

    def _must(self, name: str, *, armed: bool) -> None:
        row = self.row(name)
        if row is not None and row.armed is not armed:
            raise UserError(f"{name} is {'armed' if row.armed else 'disarmed'} already.")

    def _remove(self, line: str, words: Words) -> list[str]:
        (name,) = words
        row = self.row(name)
        rule, armed = self._deeds.remove(name)
        if row is not None and not row.fired:
            self._strikes.forget(name)
        back = undone_by(lambda: self._deeds.add([rule], armed=armed), f"{name} is there again.")
        fired = 0 if row is None else row.fired
        return self._changed(line, Deed.REMOVED, name, "is removed", back, fired)

    def _changed(
        self, line: str, deed: Deed, name: str, said: str, undo: Undo, *fired: int
    ) -> list[str]:
        answer = (f"{name} {said}.",)
        at_s = self._doings.now_s()
        entry = Entry(at_s=at_s, line=line, deed=deed, names=(name,), fired=fired, answer=answer)
        self._doings.record(entry, undo)
        return list(answer)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names)
