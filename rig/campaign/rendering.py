"""The environment file of one place, from that of a pool of places.

In the pool's file each target, back and front, has a `RemotePlace`; all else in it is common to
all labs.  What the coordinator says of a place takes the place of `RemotePlace`; its tags
``back_OPTION`` and ``front_OPTION`` are options of its targets.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_type_hints

from labgrid.exceptions import NoSupplierFoundError
from labgrid.factory import TargetFactory
from labgrid.util.yaml import dump, load, resolve_templates

from rig.campaign.desk import Exported
from rig.errors import MachineError, UserError
from rig.lab.environment import Role
from rig.lab.host_options import HostOptions
from rig.lab.hosts import Hosts

PLACE = "LG_PLACE"
REMOTE = "RemotePlace"
_KINDS: dict[str, type] = {
    name: kind for name, kind in get_type_hints(HostOptions).items() if isinstance(kind, type)
}


class Pool:
    """The environment file of many labs.

    Args:
        file: It.

    Raises:
        UserError: It cannot be used.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        try:
            self._text = file.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"The environment file '{file}' cannot be read: {error}.") from error
        self._check(self._loaded("PLACE"))

    def write(
        self, directory: Path, place: str, tags: Mapping[str, str], resources: Sequence[Exported]
    ) -> Path:
        """Write the environment file of a place (mode 0600), and return its path.

        Args:
            directory: Where; others cannot look into it.
            place: The place's name.
            tags: The place's.
            resources: What it has.

        Raises:
            UserError: The pool's file does not fit.
            MachineError: The place is no lab, or lacks what a driver of the pool's needs.
        """
        path = directory / f"{place.replace('/', '_')}.yaml"
        text = dump(self.rendered(place, tags, resources))
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as out:
            out.write(text)
        _must_bind(place, path)
        return path

    def rendered(
        self, place: str, tags: Mapping[str, str], resources: Sequence[Exported]
    ) -> dict[str, Any]:
        """Return what `write` writes."""
        data = self._loaded(place)
        by_role = _by_role(place, resources)
        for role in Role:
            target = data["targets"][role.value]
            own = [one for one in _listed(target, "resources") if one["cls"] != REMOTE]
            target["resources"] = [_plain(one) for one in own] + by_role[role]
            target["drivers"] = [_plain(self._placed(one)) for one in _listed(target, "drivers")]
            target["options"] = {**(target.get("options") or {}), **_options(role, place, tags)}
        data["imports"] = [self._absolute(one) for one in data.get("imports") or []]
        return data

    def _loaded(self, place: str) -> dict[str, Any]:
        variables = {k: v for k, v in os.environ.items() if k.startswith("LG_")}
        variables |= {"BASE": str(self.file.absolute().parent), PLACE: place}
        try:
            data = load(self._text)
            resolve_templates(data, variables)
        except Exception as error:  # YAML's, and a template's
            raise UserError(
                f"The environment file '{self.file}' cannot be used: {error}"
            ) from error
        if not isinstance(data, dict) or not isinstance(data.get("targets"), dict):
            raise UserError(f"The environment file '{self.file}' has no targets.")
        return data

    def _check(self, data: dict[str, Any]) -> None:
        for role in Role:
            target = data["targets"].get(role.value)
            remote = [
                one
                for one in (_listed(target, "resources") if isinstance(target, dict) else [])
                if one["cls"] == REMOTE
            ]
            if len(remote) != 1 or remote[0].get("name") != "PLACE":
                raise UserError(
                    f"Target '{role}' in '{self.file}' does not take its resources from a place.",
                    hint="Under 'resources': RemotePlace: {name: !template $LG_PLACE}.",
                )

    def _placed(self, driver: dict[str, Any]) -> dict[str, Any]:
        if "keyfile" in driver:
            driver["keyfile"] = self._absolute(driver["keyfile"])
        return driver

    def _absolute(self, path: str) -> str:
        """Return a path as the pool's file means it; a module's name as it is."""
        expanded = Path(path).expanduser()
        beside = self.file.absolute().parent / expanded
        return str(beside if beside.exists() else expanded)


def _must_bind(place: str, path: Path) -> None:
    """See that each driver finds its resource: where none is, this place is at fault alone."""
    try:
        Hosts(path)
    except UserError as error:
        if not isinstance(error.__cause__, NoSupplierFoundError):
            return  # the pool's file is at fault: whoever uses it refuses it
        path.unlink()
        what = str(error.__cause__).partition(" found in ")[0]
        raise MachineError(
            f"Place '{place}' lacks what a driver in the pool's file needs: {what}.",
            hint=f"Let its exporter have it; 'labgrid-client -p {place} show' tells what it has.",
        ) from error


def _listed(target: dict[str, Any], what: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = TargetFactory._convert_to_named_list(target.get(what) or {})
    return found


def _plain(one: dict[str, Any]) -> dict[str, Any]:
    """Return a resource or driver as an environment file has it."""
    return {
        one["cls"]: {key: value for key, value in one.items() if key != "cls" and value is not None}
    }


def _by_role(place: str, resources: Sequence[Exported]) -> dict[Role, list[dict[str, Any]]]:
    found: dict[Role, list[dict[str, Any]]] = {role: [] for role in Role}
    for one in resources:
        role = _role(one)
        if role is None:
            raise MachineError(
                f"Nobody knows which machine of place '{place}' has the resource"
                f" {one.exporter}/{one.group}/{one.kind}.",
                hint="Let the exporter have it in a group 'back' or 'front', or '...-back' or"
                " '...-front'.",
            )
        if one.proxied:
            raise MachineError(
                f"Exporter '{one.exporter}' of place '{place}' is isolated: the station reaches"
                " nothing behind it.",
                hint="Start it without --isolated.",
            )
        name = {} if one.name == one.kind or one.named else {"name": one.name}
        found[role].append({one.kind: {**name, **one.arguments}})
    for role, have in found.items():
        if not any("NetworkService" in one for one in have):
            raise MachineError(
                f"Place '{place}' has no NetworkService for machine '{role}'.",
                hint="Let its exporter have one; 'labgrid-client -p PLACE show' tells what it has.",
            )
    return found


def _role(one: Exported) -> Role | None:
    """Return the machine of a resource: a named match tells it, or else the exporter's group."""
    for word in (one.name if one.named else "", one.group):
        for role in Role:
            if word == role.value or word.endswith(f"-{role.value}"):
                return role
    return None


def _options(role: Role, place: str, tags: Mapping[str, str]) -> dict[str, Any]:
    """Return the options that a place's tags give a target."""
    made: dict[str, Any] = {}
    for tag, value in tags.items():
        who, _, option = tag.partition("_")
        if who != role.value or option not in _KINDS:
            continue
        try:
            made[option] = _KINDS[option](value)
        except ValueError as error:
            raise MachineError(
                f"Tag {tag}={value} of place '{place}' is no number.",
                hint=f"labgrid-client -p {place} set-tags {tag}=NUMBER",
            ) from error
    return made
