"""What a host tells of itself before a lab uses it, and what of that is in order.

`rig.lab.on_host_facts` looks, on the host; the rows made here are those of ``rig doctor --lab``.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

import msgspec
from cryptography import x509

from rig.about import About
from rig.lab.clock import Offset
from rig.lab.doctor import Row, State

PYTHON = (3, 11)
FREE_BYTES = 512 << 20
"""The demo's medium, its journal and logs."""
CLOCK_S = 60.0
"""A clock that is further off is not only off: time stamps are compared by measured offsets, but
certificates are not."""
EXPIRY_WARNING = timedelta(days=14)
INSTALL = (
    "Install the station's rig there: ansible-playbook site.yml, or pip install in its checkout."
)


class Question(msgspec.Struct, frozen=True):
    """What a host is asked.

    Attributes:
        modules: Kernel modules that it has to have.
        programs: Programs that it has to have.
        port: The TCP port that a daemon will listen on; 0 for none.
        work: The directory for what a lab writes.
        certificates: The directory of its certificate; "" for none.
        lock: The file that whoever uses it locks.
    """

    modules: tuple[str, ...]
    programs: tuple[str, ...]
    port: int
    work: str
    certificates: str
    lock: str


class Papers(msgspec.Struct, frozen=True):
    """A machine's certificate.

    Attributes:
        pem: The certificate; "" if it cannot be read.
        ca: Its CA's; likewise.
        key_mode: The permissions of its key; -1 if there is none.
    """

    pem: str
    ca: str
    key_mode: int

    def parsed(self) -> x509.Certificate | None:
        """Return the certificate; None if it is none."""
        try:
            return x509.load_pem_x509_certificate(self.pem.encode())
        except ValueError:
            return None

    def name(self) -> str:
        """Return the first name in it; "" if there is none."""
        certificate = self.parsed()
        if certificate is None:
            return ""
        try:
            names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        except x509.ExtensionNotFound:
            return ""
        addresses = names.value.get_values_for_type(x509.IPAddress)
        return next(
            iter([*names.value.get_values_for_type(x509.DNSName), *map(str, addresses)]), ""
        )


class Facts(msgspec.Struct, frozen=True):
    """What it answers.

    Attributes:
        uid: Of whoever SSH lets in.
        kernel: Its kernel's release.
        python: The version of its ``python3``.
        modules: Whether it has each module.
        programs: Whether it has each program.
        udcs: Its UDCs, each with the gadget that is bound to it, or "".
        hubs: Names of USB devices.
        rig: Which rig it has; None: none that can say so.
        why_no_rig: Then why.
        listener: Who listens on the port; "" for nobody.
        free_bytes: In the work directory; -1 if that cannot be written to.
        holder: Which lab uses it; "" for none.
        certificate: Its certificate, if it was asked for.
        t_ns: Its clock.
        boot_id: Another one after each boot.
    """

    uid: int
    kernel: str
    python: tuple[int, int]
    modules: dict[str, bool]
    programs: dict[str, bool]
    udcs: dict[str, str]
    hubs: tuple[str, ...]
    rig: About | None
    why_no_rig: str
    listener: str
    free_bytes: int
    holder: str
    certificate: Papers | None
    t_ns: int
    boot_id: str


class Wanted(msgspec.Struct, frozen=True):
    """What a host is to be.

    Attributes:
        question: What it was asked.
        about: The station's rig.
        now: The station's clock.
        udc: That its gadget is bound to; "" if it plays none.
        hub: The hub of the port that is mapped, as sysfs names it; "" if it need not be there yet.
    """

    question: Question
    about: About
    now: datetime
    udc: str = ""
    hub: str = ""


class MachineRow(Row, frozen=True):
    """A row of one machine.

    Attributes:
        machine: Its name.
    """

    machine: str = ""


def judge(machine: str, facts: Facts, offset: Offset, wanted: Wanted) -> list[MachineRow]:
    """Say what of a host is in order.

    Args:
        machine: Its name.
        facts: What it told.
        offset: Of its clock.
        wanted: What it is to be.
    """
    rows = [
        *_who(facts),
        *_software(facts, wanted),
        *_kernel(facts),
        *_usb(facts, wanted),
        *_room(facts, wanted),
        _clock(offset),
        *_papers(facts, wanted),
    ]
    return [MachineRow(row.what, row.state, row.found, row.mend, machine=machine) for row in rows]


def _row(what: str, good: bool, found: str, mend: str) -> Row:
    return Row(what, State.OK, found) if good else Row(what, State.LACKING, found, mend)


def _who(facts: Facts) -> Iterator[Row]:
    good = facts.uid == 0
    found = "root" if good else f"SSH lets in user {facts.uid}"
    yield _row("user", good, found, "Only root may play devices: set 'username: root'.")
    used = facts.holder
    mend = "Wait for it, or end it; it leaves the host as it found it."
    yield _row("lab", not used, f"used by {used}" if used else "free", mend)


def _software(facts: Facts, wanted: Wanted) -> Iterator[Row]:
    version = ".".join(map(str, facts.python))
    yield _row("python", facts.python >= PYTHON, version, "Install Python 3.11 or newer.")
    if facts.rig is None:
        yield Row("rig", State.LACKING, facts.why_no_rig, INSTALL)
    else:
        found = f"{facts.rig.version} ({facts.rig.digest})"
        station = f"the station has {wanted.about.version} ({wanted.about.digest})"
        same = facts.rig == wanted.about
        yield _row("rig", same, found if same else f"{found}, and {station}", INSTALL)
    for name, there in facts.programs.items():
        mend = f"Install what has it; packages/guest.txt lists the packages: '{name}'."
        yield _row(name, there, "installed" if there else "not installed", mend)


def _kernel(facts: Facts) -> Iterator[Row]:
    yield Row("kernel", State.OK, facts.kernel)
    for name, there in facts.modules.items():
        mend = "Install a kernel that has it: Debian's linux-image, not its cloud flavour."
        found = "there" if there else f"kernel {facts.kernel} has no module {name}"
        yield _row(f"module {name}", there, found, mend)


def _usb(facts: Facts, wanted: Wanted) -> Iterator[Row]:
    if wanted.udc:
        known = ", ".join(facts.udcs) or "none"
        made = wanted.udc.startswith("dummy_udc.")  # by dummy_hcd, when it is loaded
        there = made or wanted.udc in facts.udcs
        user = facts.udcs.get(wanted.udc, "")
        found = f"bound to gadget {user}" if user else "free" if there else f"not one of: {known}"
        mend = f"Unbind gadget {user}." if user else "Name one of them as 'udc' of target back."
        yield _row(f"UDC {wanted.udc}", there and not user, found, mend)
    if wanted.hub:
        there = wanted.hub in facts.hubs
        found = "there" if there else "there is no such hub"
        mend = "Name the port as 'port' of target back; 'lsusb -t' lists hubs and ports."
        yield _row(f"hub {wanted.hub}", there, found, mend)


def _room(facts: Facts, wanted: Wanted) -> Iterator[Row]:
    question = wanted.question
    if question.port:
        user = facts.listener
        found = f"{user} listens on it" if user else "free"
        mend = "End it, or name another as 'link_port' of target back."
        yield _row(f"TCP port {question.port}", not user, found, mend)
    free = facts.free_bytes
    found = f"{free >> 20} MiB free" if free >= 0 else "cannot be written to"
    mend = f"Make {FREE_BYTES >> 20} MiB free, or name another as 'work_directory'."
    yield _row(question.work, free >= FREE_BYTES, found, mend)


def _clock(offset: Offset) -> Row:
    off_s = offset.offset_ns / 1e9
    found = f"{off_s:+.3f} s to the station's"
    return _row("clock", abs(off_s) <= CLOCK_S, found, "Set it: timedatectl set-ntp true.")


def _papers(facts: Facts, wanted: Wanted) -> Iterator[Row]:
    papers = facts.certificate
    if papers is None:
        found = "none: the link is neither encrypted nor authenticated"
        mend = "Give each machine 'certificates' of 'rig certs' where others are on the network."
        yield Row("certificate", State.NOTE, found, mend)
        return
    mend = "Make it anew with 'rig certs --renew', and copy it there."
    certificate = papers.parsed()
    if certificate is None:
        where = wanted.question.certificates
        yield Row("certificate", State.LACKING, f"none in {where}/cert.pem", mend)
        return
    until = certificate.not_valid_after_utc
    found = f"of '{papers.name()}', until {until:%Y-%m-%d}"
    if until <= wanted.now:
        yield Row("certificate", State.LACKING, f"expired on {until:%Y-%m-%d}", mend)
    elif certificate.not_valid_before_utc > wanted.now:
        since = f"{certificate.not_valid_before_utc:%Y-%m-%d}"
        yield Row("certificate", State.LACKING, f"not valid before {since}", mend)
    elif until - EXPIRY_WARNING <= wanted.now:
        yield Row("certificate", State.NOTE, found, mend)
    else:
        yield Row("certificate", State.OK, found)
    if papers.key_mode < 0:
        yield Row("key", State.LACKING, "there is none", mend)
    else:
        private = not papers.key_mode & 0o077
        found = f"mode {papers.key_mode:04o}"
        where = wanted.question.certificates
        yield _row("key", private, found, f"Keep it from others: chmod 600 {where}/key.pem.")


def sentence(row: MachineRow) -> str:
    """Return a row that lacks something as a sentence."""
    return f"Machine '{row.machine}': {row.what}: {row.found}."
