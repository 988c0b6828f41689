"""What every process with an injector obeys, whoever asks: the lab or a control socket.

==================  ==============================  =============================================
command             keys                            does
==================  ==============================  =============================================
``list``                                            says each rule and what it has done
``counters``                                        says what each rule has done, by name
``add``             ``rules`` or ``text``,          takes more rules, all or none: tables as in a
                    ``armed`` (true)                plan, or text in TOML or JSON
``remove``          ``name``                        forgets a rule
``arm``, ``disarm`` ``name``                        lets it count and fire, or not
``fire``            ``name``                        has it fire at its next match, or at once
``clear``                                           forgets all rules
``phase``           ``name`` (a string or null)     says in which phase the workload is
``faults``                                          says what was planned and what has fired, also
                                                    of rules that are gone
==================  ==============================  =============================================
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic

import msgspec

from rig.control.rules import free_name, tables_of
from rig.daemon import Command, Events
from rig.errors import UserError
from rig.faults.plan import layer_of
from rig.faults.reader import parse_rule
from rig.faults.rules.base import EffectT, EventT, Rule
from rig.faults.triggers import Injector
from rig.faults.writer import table_of


class FaultCommands(Generic[EventT, EffectT]):
    """Obeys for one injector.

    Args:
        process: What errors call the process: ``rig back``.
        injector: What is listed and changed.
        events: Where changes are told: ``control {do, rules}``.
        accept: Raises `UserError` for a rule that the process could never bring about.
        added: Told of each rule that was taken.
    """

    def __init__(
        self,
        process: str,
        injector: Injector[EventT, EffectT],
        events: Events,
        *,
        accept: Callable[[Rule[EventT, EffectT]], None] = lambda _: None,
        added: Callable[[Rule[EventT, EffectT]], None] = lambda _: None,
    ) -> None:
        self._process = process
        self._injector = injector
        self._events = events
        self._accept = accept
        self._added = added
        self._gone: dict[str, int] = {}  # how often rules fired that were removed
        self._by_name: dict[str, Callable[[dict[str, Any]], object]] = {
            "list": self._list,
            "counters": self._counters,
            "add": self._add,
            "remove": self._remove,
            "arm": lambda args: self._arm(args, armed=True),
            "disarm": lambda args: self._arm(args, armed=False),
            "fire": self._fire,
            "clear": self._clear,
            "phase": self._phase,
            "faults": self._faults,
        }

    def obey(self, command: Command) -> object:
        """Carry out a command; one that cannot be changes nothing.

        Raises:
            UserError: It is unknown, or cannot be carried out.
        """
        do = self._by_name.get(command.do)
        if do is None:
            raise UserError(f"'{self._process}' knows no command '{command.do}'.")
        return do(command.args)

    # What is asked.

    def _list(self, _: dict[str, Any]) -> object:
        counters = self._injector.counters()
        return {
            "layer": self._injector.layer,
            "phase": self._injector.phase,
            "rules": [
                {"rule": table_of(rule), **msgspec.structs.asdict(counters[rule.name])}
                for rule in self._injector.rules
            ],
        }

    def _counters(self, _: dict[str, Any]) -> object:
        counters = self._injector.counters()
        return {name: msgspec.structs.asdict(one) for name, one in counters.items()}

    def _faults(self, _: dict[str, Any]) -> object:
        injector, gone = self._injector, self._gone
        fired = {name: gone.get(name, 0) + count for name, count in injector.fired.items()}
        names = dict.fromkeys([*injector.planned, *gone])
        return {
            # Of a rule that is gone nothing more is to be expected.
            "planned": gone | injector.planned,
            "fired": gone | fired,
            "layers": dict.fromkeys(names, injector.layer),
        }

    # What is changed.

    def _add(self, args: dict[str, Any]) -> object:
        armed = args.get("armed", True)
        if not isinstance(armed, bool):
            raise UserError("'armed' must be true or false.")
        rules = self._read(args)
        for rule in rules:
            self._accept(rule)
        for rule in rules:
            self._injector.add(rule, armed=armed)
            self._added(rule)
        return self._tell("add", [rule.name for rule in rules])

    def _remove(self, args: dict[str, Any]) -> object:
        name = _name(args)
        fired = self._injector.fired.get(name, 0)
        self._injector.remove(name)
        self._gone[name] = self._gone.get(name, 0) + fired
        return self._tell("remove", [name])

    def _clear(self, _: dict[str, Any]) -> object:
        names = [rule.name for rule in self._injector.rules]
        for name in names:
            self._remove({"name": name})
        return names

    def _arm(self, args: dict[str, Any], *, armed: bool) -> object:
        name = _name(args)
        self._injector.arm(name, armed)
        return self._tell("arm" if armed else "disarm", [name])

    def _fire(self, args: dict[str, Any]) -> object:
        name = _name(args)
        self._injector.fire(name)
        return self._tell("fire", [name])

    def _phase(self, args: dict[str, Any]) -> object:
        name = args.get("name")
        self._injector.set_phase(None if name is None else str(name))
        return None

    def _tell(self, do: str, names: list[str]) -> list[str]:
        self._events.emit("control", do=do, layer=self._injector.layer, rules=names)
        return names

    # Rules.

    def _read(self, args: dict[str, Any]) -> list[Any]:
        """Read the rules of ``add``, give the nameless their names, and check them all."""
        if ("rules" in args) == ("text" in args):
            raise UserError("'add' needs either 'rules' or 'text'.")
        given = args.get("rules")
        tables = tables_of(str(args["text"])) if "text" in args else given
        if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
            raise UserError("'rules' must be an array of objects.")
        taken = set(self._injector.planned)
        rules: list[Any] = []
        for table in tables:
            rule = self._checked(table, taken)
            taken.add(rule.name)
            rules.append(rule)
        return rules

    def _checked(self, table: dict[str, Any], taken: set[str]) -> Rule[Any, Any]:
        rule, layer = parse_rule(table), self._injector.layer
        if layer_of(rule) is not layer:
            raise UserError(
                f"'{self._process}' brings faults of layer '{layer}' about,"
                f" not of layer '{layer_of(rule)}'."
            )
        if not rule.name:
            return msgspec.structs.replace(rule, name=free_name(layer, taken))
        if rule.name in taken:
            raise UserError(
                f"There is a rule '{rule.name}' already.", hint="Remove it, or name the new one."
            )
        return rule


def _name(args: dict[str, Any]) -> str:
    name = args.get("name")
    if not isinstance(name, str):
        raise UserError("'name' must be the name of a rule.")
    return name
