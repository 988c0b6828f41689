"""A private CA on the station, and a certificate for each machine of a split driver.

What is made, and who keeps it::

    DIR/ca.pem             the CA's certificate
    DIR/ca.key             its key, mode 0600; it never needs to leave the station
    DIR/NAME/cert.pem      a machine's certificate       } these three
    DIR/NAME/key.pem       its key, mode 0600            } go to the machine NAME
    DIR/NAME/ca.pem        a copy of the CA's certificate }

The keys are of the curve P-256.  A certificate names its machine as subjectAltName (RFC 5280
§4.2.1.6) and may be shown by either end, since who may be what is the daemons' to say
(``--peer``, ``--back-name``).
"""

from __future__ import annotations

import ipaddress
import os
import re
import shutil
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from rig.errors import UserError

CA_CERTIFICATE, CA_KEY = "ca.pem", "ca.key"
CERTIFICATE, KEY = "cert.pem", "key.pem"

CA_LIFETIME = timedelta(days=3650)
MACHINE_LIFETIME = timedelta(days=730)
CLOCK_TOLERANCE = timedelta(days=1)
"""Certificates are valid from so long before they are made: machines' clocks differ."""

_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,62}[A-Za-z0-9_])?")
"""A host's name that is a directory's name, too, and fits the common name's 64 octets."""


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine that gets a certificate.

    Attributes:
        name: Its name, or its address.
        others: Further names and addresses under which it is known.
    """

    name: str
    others: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Machine:
        """Read ``NAME`` or ``NAME=OTHER,...``.

        Raises:
            UserError: One of them is neither a host's name nor an address.
        """
        name, _, rest = text.partition("=")
        others = tuple(rest.split(",")) if rest else ()
        for one in (name, *others):
            wrong = not _NAME.fullmatch(one) and not _is_address(one)
            if wrong or one in (CA_CERTIFICATE, CA_KEY):
                raise UserError(
                    f"'{one}' is no name for a machine.",
                    hint="Use letters, digits, '-', '_' and '.', or an address: back=10.77.0.1.",
                )
        return cls(name, others)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return "%" not in text


class Authority:
    """A CA that lies in a directory; made by `open_or_make`.

    Attributes:
        directory: Where it lies.
        is_new: Whether it was made just now.
    """

    def __init__(
        self,
        directory: Path,
        certificate: x509.Certificate,
        key: ec.EllipticCurvePrivateKey,
        *,
        is_new: bool,
    ) -> None:
        self.directory = directory
        self.is_new = is_new
        self._certificate = certificate
        self._key = key

    @classmethod
    def open_or_make(cls, directory: Path, now: datetime) -> Authority:
        """Return the CA of a directory; make both if need be.

        Args:
            directory: Where it lies, or is to lie.
            now: The present time, with its zone.

        Raises:
            UserError: There is half a CA, or another's, or it has expired.
            OSError: The directory is not ours to write to.
        """
        certificate_path, key_path = directory / CA_CERTIFICATE, directory / CA_KEY
        if not certificate_path.exists() and not key_path.exists():
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            certificate, key = _make_ca(now)
            _write(key_path, _key_pem(key), 0o600)
            _write(certificate_path, _pem(certificate), 0o644)
            return cls(directory, certificate, key, is_new=True)
        certificate, key = _read_ca(certificate_path, key_path)
        if certificate.not_valid_after_utc <= now:
            raise UserError(
                f"The CA in {directory} expired on {certificate.not_valid_after_utc:%Y-%m-%d}.",
                hint="Make a new one in another directory, and every machine's certificate anew.",
            )
        return cls(directory, certificate, key, is_new=False)

    def issue(self, machine: Machine, now: datetime) -> Path:
        """Make a machine's directory, with a fresh key; replace one that is there as a whole.

        The names of a certificate that is replaced stay the machine's.

        Returns:
            The directory.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        place = self.directory / machine.name
        fresh, old = (self.directory / f".{machine.name}.{end}" for end in ("new", "old"))
        known = [name for name in _names_in(place / CERTIFICATE) if name != machine.name]
        machine = Machine(machine.name, tuple(dict.fromkeys((*machine.others, *known))))
        for left_over in (fresh, old):
            shutil.rmtree(left_over, ignore_errors=True)
        fresh.mkdir(mode=0o700)
        _write(fresh / KEY, _key_pem(key), 0o600)
        _write(fresh / CERTIFICATE, _pem(self._sign(machine, key, now)), 0o644)
        _write(fresh / CA_CERTIFICATE, (self.directory / CA_CERTIFICATE).read_bytes(), 0o644)
        if place.exists():
            place.rename(old)
        fresh.rename(place)
        shutil.rmtree(old, ignore_errors=True)
        return place

    def _sign(
        self, machine: Machine, key: ec.EllipticCurvePrivateKey, now: datetime
    ) -> x509.Certificate:
        names = x509.SubjectAlternativeName(
            [_general_name(name) for name in (machine.name, *machine.others)]
        )
        uses = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        until = min(now + MACHINE_LIFETIME, self._certificate.not_valid_after_utc)
        return (
            _builder(_subject(machine.name), self._certificate.subject, now, until)
            .public_key(key.public_key())
            .add_extension(names, critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(digital_signature=True), critical=True)
            .add_extension(x509.ExtendedKeyUsage(uses), critical=False)
            .add_extension(_subject_key_id(key), critical=False)
            .add_extension(_authority_key_id(self._key), critical=False)
            .sign(self._key, hashes.SHA256())
        )


def check(directory: Path, machines: list[Machine], *, renew: bool) -> None:
    """See that each machine can get a certificate, before anything is made.

    Raises:
        UserError: A machine is named twice, or has a certificate that is not to be renewed, or
            something else has its name.
        OSError: The directory cannot be read.
    """
    names = [machine.name for machine in machines]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"The machine '{name}' is named twice.", hint="Name it once.")
        place = directory / name
        if not os.path.lexists(place):
            continue
        if not _is_ours(place):
            raise UserError(
                f"{place} is there and is no directory of a machine's certificate.",
                hint="Take another directory for the CA, or another name for the machine.",
            )
        if not renew:
            raise UserError(
                f"{place} is there already.",
                hint="Give --renew to replace the machine's key and certificate.",
            )


def _is_ours(place: Path) -> bool:
    """Whether a place has nothing but a machine's three files, and may be replaced as a whole."""
    if place.is_symlink() or not place.is_dir():
        return False
    return {path.name for path in place.iterdir()} <= {CERTIFICATE, KEY, CA_CERTIFICATE}


def _make_ca(now: datetime) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    key = ec.generate_private_key(ec.SECP256R1())
    key_id = _subject_key_id(key)
    # Two CAs never have one name: whoever mixes them up is told so, and not of a bad signature.
    subject = _subject(f"rig CA {key_id.digest.hex()[:8]}")
    certificate = (
        _builder(subject, subject, now, now + CA_LIFETIME)
        .public_key(key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(key_cert_sign=True), critical=True)
        .add_extension(key_id, critical=False)
        .add_extension(_authority_key_id(key), critical=False)
        .sign(key, hashes.SHA256())
    )
    return certificate, key


def _read_ca(
    certificate_path: Path, key_path: Path
) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    for path in (certificate_path, key_path):
        if not path.exists():
            raise UserError(
                f"There is no {path}, but the other half of the CA is there.",
                hint="Put it back, or make a new CA in another directory.",
            )
    try:
        certificate = x509.load_pem_x509_certificate(certificate_path.read_bytes())
        key = serialization.load_pem_private_key(key_path.read_bytes(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise UserError(
            f"{certificate_path} and {key_path} are no certificate and key.",
            hint="Make a new CA in another directory.",
        ) from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or certificate.public_key() != (
        key.public_key()
    ):
        raise UserError(
            f"{key_path} is not the key of {certificate_path}.",
            hint="Put the right one back, or make a new CA in another directory.",
        )
    return certificate, key


def _builder(
    subject: x509.Name, issuer: x509.Name, now: datetime, until: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_TOLERANCE)
        .not_valid_after(until)
    )


def _subject(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _names_in(certificate: Path) -> list[str]:
    """Return the names and addresses in a certificate; none if there is no such file to be read."""
    try:
        old = x509.load_pem_x509_certificate(certificate.read_bytes())
        names = old.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (FileNotFoundError, NotADirectoryError, ValueError, x509.ExtensionNotFound):
        return []
    addresses = names.get_values_for_type(x509.IPAddress)
    return [*names.get_values_for_type(x509.DNSName), *map(str, addresses)]


def _general_name(name: str) -> x509.GeneralName:
    if _is_address(name):
        return x509.IPAddress(ipaddress.ip_address(name))
    return x509.DNSName(name)


def _key_usage(*, digital_signature: bool = False, key_cert_sign: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        key_cert_sign=key_cert_sign,
        crl_sign=key_cert_sign,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _subject_key_id(key: ec.EllipticCurvePrivateKey) -> x509.SubjectKeyIdentifier:
    return x509.SubjectKeyIdentifier.from_public_key(key.public_key())


def _authority_key_id(key: ec.EllipticCurvePrivateKey) -> x509.AuthorityKeyIdentifier:
    return x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _write(path: Path, content: bytes, mode: int) -> None:
    """Write a new file that never, not for a moment, has another mode."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
