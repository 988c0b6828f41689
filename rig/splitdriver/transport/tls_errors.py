"""What OpenSSL says about a connection, as a sentence that names the mend.

The codes are OpenSSL's: ``X509_V_ERR_*`` of ``x509_vfy.h``, and the alerts of RFC 8446 §6.2 under
the names that Python's ``SSLError.reason`` has for them.
"""

from __future__ import annotations

import ssl
from enum import StrEnum

from rig.errors import RemoteProtocolError
from rig.splitdriver.messages import Role


class Whose(StrEnum):
    """The other end, as a sentence names it."""

    FRONT = "front end"
    BACK = "back end"

    @classmethod
    def of_peer(cls, role: Role) -> Whose:
        """Return what the other end is to one of this role."""
        return cls.BACK if role is Role.FRONT else cls.FRONT


_NOT_YET_VALID, _EXPIRED = 9, 10
_WRONG_PURPOSE = 26
_OTHER_CA = frozenset({2, 7, 18, 19, 20, 21, 24, 29, 30, 31})
"""No or another issuer, a signature or key that is not the issuer's, self-signed."""

_RENEW = "Renew it on the station, 'rig certs DIR --machine NAME --renew', and copy it there."
_SAME_CA = "Make all machines' certificates with one CA, 'rig certs DIR', and copy its ca.pem."
_ALERTS = {
    "UNKNOWN_CA": ("it is of another CA", _SAME_CA),
    "DECRYPT_ERROR": ("it is of another CA", _SAME_CA),
    "CERTIFICATE_EXPIRED": ("it has expired", _RENEW),
    "CERTIFICATE_REVOKED": ("it was revoked", _RENEW),
    "BAD_CERTIFICATE": (
        "it is not valid, or not yet",
        "Compare the clocks of both machines; else renew the certificate.",
    ),
    "UNSUPPORTED_CERTIFICATE": ("it is for another purpose", _RENEW),
    "CERTIFICATE_UNKNOWN": ("it is not acceptable", "The other end's log says why."),
    "CERTIFICATE_REQUIRED": ("none was shown", "Start this end with --certs."),
}
_NO_TLS13 = ("UNSUPPORTED_PROTOCOL", "ALERT_PROTOCOL_VERSION", "WRONG_VERSION_NUMBER")


def explain(error: ssl.SSLError, whose: Whose) -> RemoteProtocolError:
    """Return what to say about an error.

    Args:
        error: As it came from OpenSSL.
        whose: The other end.
    """
    if isinstance(error, ssl.SSLCertVerificationError):
        why, mend = why_unverified(error)
        return RemoteProtocolError(f"The {whose}'s certificate {why}.", hint=mend)
    reason = error.reason or ""
    if is_alert(error):
        for alert, (why, mend) in _ALERTS.items():
            if reason.endswith(alert):
                return RemoteProtocolError(
                    f"The {whose} does not accept this machine's certificate: {why}.", hint=mend
                )
    if reason == "PEER_DID_NOT_RETURN_A_CERTIFICATE":
        return RemoteProtocolError(
            f"The {whose} showed no certificate.", hint="Start it with --certs."
        )
    if any(reason.endswith(name) for name in _NO_TLS13):
        return RemoteProtocolError(
            f"The {whose} does not speak TLS 1.3.", hint="Start the same rig there, with --certs."
        )
    said = reason.replace("_", " ").lower() or "no reason given"
    return RemoteProtocolError(
        f"TLS with the {whose} failed: {said}.",
        hint="Somebody in between may have changed the octets.",
    )


def is_alert(error: ssl.SSLError) -> bool:
    """Whether it is the other end that says so."""
    reason = error.reason or ""
    return "ALERT_" in reason or reason.endswith("CERTIFICATE_REQUIRED")


def why_unverified(error: ssl.SSLCertVerificationError) -> tuple[str, str]:
    """Return what is wrong with a certificate, as the end of a sentence, and the mend."""
    code = error.verify_code
    if code in _OTHER_CA:
        return "is of another CA than this end's ca.pem", _SAME_CA
    if code == _EXPIRED:
        return "has expired", f"{_RENEW} (Or this machine's clock is wrong.)"
    if code == _NOT_YET_VALID:
        return "is not valid yet", "Compare the clocks of both machines and the station."
    if code == _WRONG_PURPOSE:
        return "was not made for this", _RENEW
    return f"does not hold: {error.verify_message}", _RENEW


def hung_up(whose: Whose) -> RemoteProtocolError:
    """The end of the connection came before the end of the handshake."""
    return RemoteProtocolError(
        f"The {whose} hung up during the TLS handshake.", hint="Its log says why."
    )


def speaks_plainly(whose: Whose) -> RemoteProtocolError:
    """The first octet is none of TLS."""
    return RemoteProtocolError(
        f"The {whose} does not speak TLS, and this end does.",
        hint="Start both with --certs, or both without.",
    )
