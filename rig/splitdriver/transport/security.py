"""Who may be at the other end of the link, and how that is proved: the two daemons' options.

Within one machine nothing needs to be proved.  Beyond it there is mutual TLS, with certificates of
one private CA (``rig certs``), or the user's word that the network is private.  A certificate of
the CA is not enough: a back end serves only whom it was told to, and a front end talks only to the
back end that it wants.
"""

from __future__ import annotations

import argparse
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rig.errors import RemoteProtocolError, UserError
from rig.splitdriver.messages import Role
from rig.splitdriver.transport.link import require_private

if TYPE_CHECKING:
    from rig.splitdriver.transport.credentials import Credentials
    from rig.splitdriver.transport.tls import TlsStream

ANYBODY = "*"
"""As a peer's name: every machine that the CA knows."""


@dataclass(frozen=True, slots=True)
class Security:
    """What every connection must go through: the `Security` of a handshake.

    Attributes:
        role: Ours.
        credentials: Our certificate and the CA's; None: the link is plain.
        wanted: Who may be at the other end, as `rig.splitdriver.transport.tls.canonical` has names.
    """

    role: Role
    credentials: Credentials | None = None
    wanted: tuple[str, ...] = ()

    def wrap(self, connection: socket.socket) -> TlsStream | None:
        """See `rig.splitdriver.transport.handshake.Security.wrap`."""
        return None if self.credentials is None else self.credentials.stream(connection)

    def admit(self, names: tuple[str, ...]) -> str:
        """See `rig.splitdriver.transport.handshake.Security.admit`."""
        for name in names:
            if name in self.wanted or ANYBODY in self.wanted:
                return name
        said = ", ".join(names) or "nobody"
        if self.role is Role.BACK:
            raise RemoteProtocolError(
                f"This back end does not serve {said}.",
                hint=f"If it should, start it with --peer {names[0] if names else 'NAME'}.",
            )
        raise RemoteProtocolError(
            f"The back end's certificate is for {said}, not for {', '.join(self.wanted)}.",
            hint="Say which back end is wanted with 'rig front --back-name NAME'.",
        )


def add_options(parser: argparse.ArgumentParser, role: Role) -> None:
    """Add the options of one of the two daemons."""
    parser.add_argument(
        "--certs",
        metavar="DIR",
        help="this machine's cert.pem, key.pem and ca.pem, of 'rig certs': encrypt the link, and"
        " let both ends prove who they are",
    )
    parser.add_argument(
        "--insecure", action="store_true", help="allow an unencrypted link beyond this machine"
    )
    if role is Role.BACK:
        parser.add_argument(
            "--peer",
            action="append",
            default=[],
            metavar="NAME",
            help="a machine that is served, as its certificate names it; may be repeated;"
            f" '{ANYBODY}' is every machine of the CA",
        )
    else:
        parser.add_argument(
            "--back-name",
            metavar="NAME",
            help="whom the back end's certificate must name; default: the host of --connect",
        )


def require_none(options: argparse.Namespace, role: Role) -> None:
    """See that nothing is asked for that a link without a network does not have.

    Raises:
        UserError: Something is.
    """
    names = options.peer if role is Role.BACK else options.back_name
    if options.certs is not None or names:
        raise UserError(
            "A port of virtio-serial is neither encrypted nor authenticated: whoever runs both"
            " machines has joined it.",
            hint="Leave --certs out, and what goes with it, or take a link over TCP.",
        )


def from_options(options: argparse.Namespace, role: Role, host: str) -> Security:
    """Return what the options ask for.

    Args:
        options: As `add_options` made them.
        role: Ours.
        host: Where we listen or connect to.

    Raises:
        UserError: They contradict each other, the link would be open to a network by accident, or
            the certificates are not usable.
    """
    peers: list[str] = options.peer if role is Role.BACK else [options.back_name or host]
    if options.certs is None:
        if role is Role.BACK and peers:
            raise UserError(
                "--peer is of no use without --certs.", hint="A plain link does not say who calls."
            )
        if role is Role.FRONT and options.back_name is not None:
            raise UserError(
                "--back-name is of no use without --certs.",
                hint="A plain link does not say who answers.",
            )
        require_private(host, insecure=options.insecure)
        return Security(role)
    if role is Role.FRONT and ANYBODY in peers:
        raise UserError(
            f"--back-name '{ANYBODY}' would take any machine of the CA for the back end.",
            hint="Name the one that is wanted.",
        )
    if options.insecure:
        raise UserError("--certs and --insecure contradict each other.", hint="Leave one away.")
    if not peers:
        raise UserError(
            "This back end would serve nobody.",
            hint=f"Name each front end's machine with --peer NAME, or '{ANYBODY}' for every"
            " machine of the CA.",
        )
    from rig.splitdriver.transport.credentials import load  # noqa: PLC0415 - see rig.splitdriver.transport.tls
    from rig.splitdriver.transport.tls import canonical  # noqa: PLC0415

    return Security(role, load(options.certs, role), tuple(map(canonical, peers)))
