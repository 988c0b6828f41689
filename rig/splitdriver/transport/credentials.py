"""A machine's certificate, its key and the CA's certificate, as they lie in a directory."""

from __future__ import annotations

import logging
import socket
import ssl
import time
from pathlib import Path

from rig.errors import UserError
from rig.splitdriver.messages import Role
from rig.splitdriver.transport.tls import TlsStream, names_in
from rig.splitdriver.transport.tls_errors import why_unverified

_log = logging.getLogger("rig.link")

CERTIFICATE, KEY, CA = "cert.pem", "key.pem", "ca.pem"

EXPIRY_WARNING_S = 30 * 86400
_COPY = "Make it on the station, 'rig certs DIR --machine NAME', and copy DIR/NAME here."


class Credentials:
    """What one end shows, and what it asks of the other.

    Args:
        directory: Has the three files.
        role: Ours.

    Raises:
        UserError: A file is missing, not readable, readable by others, or not what it should be.
    """

    def __init__(self, directory: Path, role: Role) -> None:
        self._role = role
        _check_files(directory)
        self._context = _context(directory, role)
        self.names, self._expires_at_s = _look_in_the_mirror(directory)

    @property
    def expires_soon(self) -> bool:
        """Whether it is time to renew the certificate."""
        return self._expires_at_s - time.time() < EXPIRY_WARNING_S

    def stream(self, connection: socket.socket) -> TlsStream:
        """Return a stream over a connection; the other end has yet to prove who it is."""
        return TlsStream(connection, self._context, self._role)


def load(directory: str, role: Role) -> Credentials:
    """Read a directory of credentials, and say so if they expire soon.

    Raises:
        UserError: As `Credentials`.
    """
    credentials = Credentials(Path(directory), role)
    if credentials.expires_soon:
        _log.warning(
            "the certificate in %s expires within 30 days: renew it on the station, 'rig certs DIR"
            " --machine NAME --renew'",
            directory,
        )
    return credentials


def _check_files(directory: Path) -> None:
    for name in (CERTIFICATE, KEY, CA):
        path = directory / name
        try:
            with path.open("rb") as file:
                mode = path.stat().st_mode
                file.read(1)
        except FileNotFoundError as error:
            raise UserError(f"There is no {path}.", hint=_COPY) from error
        except OSError as error:
            raise UserError(
                f"{path} cannot be read: {error.strerror}.",
                hint="See whose it is, and what --certs names.",
            ) from error
        if name == KEY and mode & 0o077:
            raise UserError(f"{path} can be used by others than its owner.", hint="chmod 600 it.")


def _context(directory: Path, role: Role) -> ssl.SSLContext:
    server = role is Role.BACK
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    # The names are compared in `Security.admit`, the same way at both ends, and with a sentence.
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    if server:
        context.num_tickets = 0  # no session is ever resumed: every link proves itself anew
    try:
        # A key under a passphrase must not ask for it on a terminal that a daemon may not have.
        context.load_cert_chain(directory / CERTIFICATE, directory / KEY, password=lambda: "")
        context.load_verify_locations(directory / CA)
    except OSError as error:  # ssl.SSLError is one
        raise UserError(
            f"The files in {directory} are no certificate with its key and its CA.", hint=_COPY
        ) from error
    return context


def _look_in_the_mirror(directory: Path) -> tuple[tuple[str, ...], float]:
    """Shake hands with oneself: what is wrong shows now, not when somebody calls.

    Returns:
        The certificate's names, and when it expires, as `time.time` has it.
    """
    to_front, to_back = ssl.MemoryBIO(), ssl.MemoryBIO()
    front = _context(directory, Role.FRONT).wrap_bio(to_front, to_back)
    back = _context(directory, Role.BACK).wrap_bio(to_back, to_front, server_side=True)
    done = 0
    try:
        while done < 2:
            done = _step(front) + _step(back)
    except ssl.SSLCertVerificationError as error:
        why, mend = why_unverified(error)
        raise UserError(f"The certificate {directory / CERTIFICATE} {why}.", hint=mend) from error
    except ssl.SSLError as error:
        raise UserError(
            f"The files in {directory} do not fit OpenSSL here: {error.reason}.", hint=_COPY
        ) from error
    certificate = back.getpeercert() or {}
    return names_in(back), ssl.cert_time_to_seconds(str(certificate["notAfter"]))


def _step(end: ssl.SSLObject) -> bool:
    try:
        end.do_handshake()
    except ssl.SSLWantReadError:
        return False
    return True
