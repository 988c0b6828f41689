"""Where to call, and where to be called: addresses as people write them."""

from __future__ import annotations

import re
import socket

from rig.errors import UserError

Address = tuple[str, int]
"""A host's name or address, and a port."""

DEFAULT_PORT = 7205
"""Where a back end listens unless it is told otherwise."""
_BACKLOG = 16
_BRACKETED = re.compile(r"\[([^\[\]]+)\](?::([0-9]+))?")
_PORT = re.compile(r"[0-9]{1,5}")


def parse_address(text: str) -> Address:
    """Read ``HOST``, ``HOST:PORT`` or ``[IPV6]:PORT``; the port is `DEFAULT_PORT` if left out.

    Raises:
        UserError: It is none of them.
    """
    host, port = text, str(DEFAULT_PORT)
    if found := _BRACKETED.fullmatch(text):
        host, port = found[1], found[2] or port
    elif text.count(":") == 1:
        host, port = text.split(":")
    if not host or "[" in host or not _PORT.fullmatch(port) or int(port) > 0xFFFF:
        raise UserError(f"'{text}' is no address.", hint="Write HOST:PORT, such as 10.77.0.1:7205.")
    return host, int(port)


def listen(address: Address) -> socket.socket:
    """Return a non-blocking listening socket.

    Raises:
        UserError: The address is not this machine's, or in use.
    """
    try:
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        listener = socket.create_server(address, family=family, backlog=_BACKLOG)
    except (OSError, UnicodeError) as error:  # the latter for a name that no host can have
        raise UserError(
            f"Cannot listen on {address[0]}:{address[1]}: "
            f"{getattr(error, 'strerror', None) or error}.",
            hint="Choose an address of this machine and a free port with --listen.",
        ) from error
    listener.setblocking(False)
    return listener
