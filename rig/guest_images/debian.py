"""Debian through mmdebstrap: where packages come from, and one call that does it all."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path

from rig.guest_images import tools
from rig.guest_images.spec import APTNESS, SUITE

BUILD_S = 900.0
"""A base layer takes 60 s on two cores with a near mirror."""

_TARGETS = "$(ORIGIN)|$(CODENAME)|$(COMPONENT)|$(REPO_URI)"


def one_line_sources(targets: str) -> list[str]:
    """Read what ``apt-get indextargets`` tells, keeping Debian's own sources of our release.

    Args:
        targets: Lines ``ORIGIN|CODENAME|COMPONENT|URI``.

    Returns:
        Lines as sources.list has them; empty if the machine is no Debian of this release.
    """
    lines = set()
    for target in targets.splitlines():
        origin, codename, component, uri = (*target.split("|"), "", "", "", "")[:4]
        suites = (SUITE, f"{SUITE}-updates", f"{SUITE}-security")
        if origin == "Debian" and codename in suites and component == "main":
            lines.add(f"deb {uri} {codename} main")
    has_release = any(f" {SUITE} main" in line for line in lines)
    return sorted(lines) if has_release else []


def mirror_sources(mirror: str) -> list[str]:
    """Return the sources of a mirror that a user named.

    Args:
        mirror: The URL of a mirror's ``debian`` folder; its security archive lies beside it, under
            the same name with ``-security``.  Or the path of a sources.list.
    """
    if "://" not in mirror:
        return [str(Path(mirror).absolute())]
    url = mirror.rstrip("/")
    return [
        f"deb {url} {SUITE} main",
        f"deb {url} {SUITE}-updates main",
        f"deb {url}-security {SUITE}-security main",
    ]


def sources(mirror: str | None) -> list[str]:
    """Return mmdebstrap's MIRROR arguments: the user's choice, else what this machine uses.

    An empty list leaves the choice to mmdebstrap.
    """
    if mirror:
        return mirror_sources(mirror)
    try:
        told = subprocess.run(
            ["apt-get", "indextargets", "--format", _TARGETS, "Created-By: Packages"],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return []
    return one_line_sources(told.stdout)


def mmdebstrap(
    *,
    variant: str,
    include: Sequence[str] = (),
    hooks: Sequence[str],
    mirror: str | None,
    log: Path,
) -> None:
    """Make a Debian tree, run hooks on it, and throw it away: what is to stay, a hook takes out.

    That works alike for root and, in a user namespace, for anybody else; the tree's owners are
    right in both only while mmdebstrap runs.

    Args:
        variant: mmdebstrap's; ``custom`` installs nothing.
        include: Packages.
        hooks: Shell commands with the tree as ``$1``, or mmdebstrap's own hooks.
        mirror: See `sources`.
        log: Takes the output.

    Raises:
        MachineError: It could not.
    """
    command = ["mmdebstrap", f"--variant={variant}", "--format=null"]
    command += [f"--aptopt={option}" for option in APTNESS.apt]
    command += [f"--dpkgopt={option}" for option in APTNESS.dpkg]
    if include:
        command.append(f"--include={','.join(include)}")
    command += [f"--customize-hook={hook}" for hook in hooks]
    tools.run([*command, SUITE, "-", *sources(mirror)], log=log, timeout_s=BUILD_S)


def shell(*commands: str) -> str:
    """Return a hook that runs commands until one fails; on one line, as mmdebstrap wants it."""
    return "; ".join(("set -eu", *commands))


def take_out(inside: str, outside: Path) -> str:
    """Return the hook that copies one file out of the tree."""
    return f"download {shlex.quote(inside)} {shlex.quote(str(outside))}"
