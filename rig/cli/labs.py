"""In which lab a command works: the two options that every command that opens a lab has."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from rig.errors import UserError


class LabKind(StrEnum):
    """The kinds of labs."""

    QEMU = "qemu"
    """Guests that are booted for this."""
    HOSTS = "hosts"
    """Machines that are there."""


Kind = Annotated[LabKind, typer.Option(help="The machines: qemu, guests; or hosts, of --lg-env.")]
LgEnv = Annotated[
    Path | None,
    typer.Option(help="labgrid environment file with targets back and front (docs/lab.md)."),
]


def in_lab(command: Callable[..., None]) -> Callable[..., None]:
    """Return a command with the two options, ``--lab`` and ``--lg-env``, besides its own."""

    @functools.wraps(command)
    def with_lab(*args: Any, lab: LabKind, lg_env: Path | None, **options: Any) -> None:
        if lab is LabKind.QEMU:
            if lg_env is not None:
                raise UserError("An environment file is for --lab hosts.", hint="Add --lab hosts.")
            command(*args, **options)
            return
        if lg_env is None:
            raise UserError("A lab of hosts needs an environment file.", hint="Give --lg-env FILE.")
        # labgrid is slow to import, and guests alone do not need it this early.
        from rig.lab.basis import using  # noqa: PLC0415

        with using(lg_env):
            command(*args, **options)

    own = {"lab": (Kind, LabKind.QEMU), "lg_env": (LgEnv, None)}
    hints = get_type_hints(command, include_extras=True)
    given = [
        parameter.replace(annotation=hints[parameter.name])
        for parameter in inspect.signature(command).parameters.values()
    ]
    added = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)
        for name, (kind, default) in own.items()
    ]
    signature = inspect.Signature([*given, *added])
    with_lab.__signature__ = signature  # type: ignore[attr-defined]
    with_lab.__annotations__ = {**hints, **{name: kind for name, (kind, _) in own.items()}}
    return with_lab
