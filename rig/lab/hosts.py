"""The machines of a labgrid environment file: hosts, instead of guests."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

from labgrid import Environment
from labgrid.factory import TargetFactory

from rig.errors import UserError
from rig.lab.attachment import DUMMY, Attachment
from rig.lab.environment import LINK_ADDRESS, Places, Role
from rig.lab.examination import Examination
from rig.lab.facts import MachineRow
from rig.lab.host import Host
from rig.lab.host_options import HostOptions
from rig.lab.private import private_directory
from rig.lab.strategy import RigStrategy

CONNECT_S = 10.0
"""How long a host may take to answer; one that boots is asked again and again."""
STRATEGY: dict[str, Any] = {"drivers": {RigStrategy.__name__: {}}}


class Hosts:
    """What a user's environment file has; a lab's machines are made of it, as of an image.

    Args:
        file: The environment file.

    Attributes:
        file: See above.
        options: Of both targets.
        addresses: Of both on the link between them.

    Raises:
        UserError: It is not what it must be; nothing was tried.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self._environment(None)  # a first reading, to find what is wrong with it
        self._hosts: dict[Role, Host] = {}

    @property
    def kernel_version(self) -> str:
        """The kernels of both, as far as they were asked."""
        found = {host.facts.kernel for host in self._hosts.values() if host.facts}
        return ", ".join(sorted(found)) or "not asked"

    def attachment(self, wished: Attachment) -> Attachment:
        """Return what the gadget is plugged into.

        Args:
            wished: As for guests.

        Raises:
            UserError: Only guests have that.
        """
        if wished != DUMMY:
            raise UserError(
                f"Attachment '{wished.name}' is for guests in QEMU.",
                hint=f"Name 'udc' and 'port' in the options of target back in {self.file}.",
            )
        return self.options[Role.BACK].attachment

    def open(self, places: Places, note: Callable[[str], None]) -> tuple[Environment, list[Host]]:
        """Make labgrid's environment, and the hosts of a lab.

        Args:
            places: Where the lab's files are.
            note: Is told what the user should know.
        """
        environment = self._environment(places)
        self._hosts = {
            role: Host(
                role,
                environment.get_target(role.value),
                options=self.options[role],
                examination=Examination(role, self.options[role]),
                log_directory=places.logs(role),
                note=note,
                words=self._words,
            )
            for role in Role
        }
        return environment, list(self._hosts.values())

    def _environment(self, places: Places | None) -> Environment:
        try:
            environment = Environment(str(self.file))
            targets = environment.config.data["targets"]
        except Exception as error:  # labgrid's, YAML's, and those of the file's own imports
            raise UserError(
                f"The environment file '{self.file}' cannot be used: {error}"
            ) from error
        self.options: dict[Role, HostOptions] = {}
        self.addresses: dict[Role, str] = {}
        for role in Role:
            self._adapt(role, targets, places)
        targets["lab"] = deepcopy(STRATEGY)
        try:
            for name in (*Role, "lab"):
                environment.get_target(str(name))
        except Exception as error:  # an unknown driver, a missing binding, a wrong argument
            raise UserError(
                f"The environment file '{self.file}' cannot be used: {error}"
            ) from error
        return environment

    def _adapt(self, role: Role, targets: dict[str, Any], places: Places | None) -> None:
        """Check a target, and put the rig's own SSH driver in the place of labgrid's."""
        target = targets.get(role.value)
        if not isinstance(target, dict):
            raise UserError(
                f"The environment file '{self.file}' has no target '{role.value}'.",
                hint="It needs back and front, each with NetworkService and SSHDriver.",
            )
        target = targets[role.value] = deepcopy(target)  # YAML may have one for both
        options = HostOptions.read(role.value, target.get("options") or {})
        target["drivers"] = TargetFactory._convert_to_named_list(target.get("drivers") or {})
        resources = TargetFactory._convert_to_named_list(target.get("resources") or {})
        services = [one for one in resources if one["cls"] == "NetworkService"]
        drivers = [one for one in target["drivers"] if one["cls"] == "SSHDriver"]
        if len(services) != 1 or len(drivers) != 1:
            raise UserError(
                f"Target '{role.value}' in '{self.file}' needs one NetworkService and one"
                " SSHDriver."
            )
        if services[0].get("password") or drivers[0].pop("password", None):
            raise UserError(
                f"Target '{role.value}' in '{self.file}' has a password for SSH.",
                hint="Use a key: 'keyfile' of SSHDriver.",
            )
        drivers[0].setdefault("connection_timeout", CONNECT_S)
        drivers[0]["cls"] = "RigSSHDriver"
        drivers[0]["known_hosts"] = options.trusted
        drivers[0]["run_directory"] = str(places.private) if places else ""
        self.options[role] = options
        self.addresses[role] = options.link_address or str(services[0]["address"])

    def _words(self, role: Role) -> dict[str, tuple[str, ...]]:
        """Return what is said on a host instead of guests' words; the hosts were looked at."""
        back = self.options[Role.BACK]
        attachment = back.attachment
        words: dict[str, tuple[str, ...]] = {
            LINK_ADDRESS: (f"{self.addresses[Role.BACK]}:{back.link_port}",),
            DUMMY.udc: (attachment.udc,),
            DUMMY.port: (attachment.port,),
        }
        directory = self.options[role].certificates
        peer = Role.FRONT if role is Role.BACK else Role.BACK
        facts = self._hosts[peer].facts if self._hosts else None
        if directory and facts and facts.certificate:
            option = "--peer" if role is Role.BACK else "--back-name"
            words["--insecure"] = ("--certs", directory, option, facts.certificate.name())
        return words


def examine_hosts(file: Path) -> list[MachineRow]:
    """Look at the machines of an environment file; change nothing.

    Raises:
        UserError: The file is not what it must be.
    """
    hosts = Hosts(file)
    rows: list[MachineRow] = []
    with private_directory() as private:
        environment, units = hosts.open(Places(private / "logs", private), lambda _: None)
        try:
            for host in units:
                rows += host.examine()
        finally:
            for host in units:
                host.leave()
            environment.cleanup()
    return rows
