"""What a fault may be about, and the effects that are offered for it.  Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from rig.session.screen.words import direction_of, endpoint_name, number_of
from rig.session.snapshot import Snapshot

_ENDPOINT = "endpoint:"


class Choice(NamedTuple):
    """An effect that is offered.

    Attributes:
        label: What the person reads.
        keys: Keys and values of the rule, besides those of its subject.
        by_clock: Whether it fires by the clock alone: it has no match to count.
    """

    label: str
    keys: str
    by_clock: bool = False


class Subject(NamedTuple):
    """What a fault is about.

    Attributes:
        key: Tells it from others: ``endpoint:129``, ``medium``, ``machine:back``.
        label: What the person reads.
        keys: Keys and values that say so in a rule.
        choices: Effects that it can have.
    """

    key: str
    label: str
    keys: str
    choices: tuple[Choice, ...]

    @property
    def has_blocks(self) -> bool:
        """Whether a range of LBAs narrows it."""
        return self.key == MEDIUM.key


_LOST = (
    Choice("lost: EPROTO, no data moved", "status=EPROTO when=before"),
    Choice("cut: EPROTO, half of the data moved", "status=EPROTO when=middle"),
    Choice("unheard: EPROTO, all data moved", "status=EPROTO when=after"),
    Choice("CRC error: EILSEQ", "status=EILSEQ when=before"),
    Choice("STALL that only the host is told of: EPIPE", "status=EPIPE when=before"),
    Choice("STALL, the device's endpoint is halted", "status=EPIPE when=before halt=true"),
    Choice("NAK for 5 s, then it runs", "for_s=5"),
)
_ONLY_IN = (
    Choice("babble: EOVERFLOW", "status=EOVERFLOW when=after"),
    Choice("ends short: EREMOTEIO", "status=EREMOTEIO when=middle"),
)
MEDIUM = Subject(
    "medium",
    "the medium (a range of LBAs)",
    "layer=medium",
    (
        Choice("a write fails: EIO", "op=write effect=error"),
        Choice("a read fails: EIO", "op=read effect=error"),
        Choice("a write is answered 5 s late", "op=write effect=delay delay_s=5"),
        Choice("a write hangs until released", "op=write effect=hang"),
        Choice("a write is lost", "op=write effect=lost"),
        Choice("a write is torn", "op=write effect=torn"),
        Choice("a write goes elsewhere", "op=write effect=misdirected"),
        Choice("one bit of a write flips", "op=write effect=flip"),
        Choice("a read gives old data", "op=read effect=stale"),
    ),
)
DEVICE = Subject(
    "device",
    "the device",
    "layer=device",
    (
        Choice("it is unplugged for 5 s", "effect=soft-disconnect for_s=5", by_clock=True),
        Choice("its medium is taken out for 5 s", "effect=eject for_s=5", by_clock=True),
        Choice("the gadget loses its UDC for 5 s", "effect=unbind for_s=5", by_clock=True),
    ),
)
LINK = Subject(
    "link",
    "the link",
    "layer=link",
    (
        Choice("all arrives 50 ms late, for 20 s", "effect=delay delay_ms=50 for_s=20", True),
        Choice("nothing moves for 3 s", "effect=stall for_s=3", by_clock=True),
        Choice("it is cut", "effect=cut", by_clock=True),
        Choice("neither end hears the other for 10 s", "effect=partition for_s=10", True),
    ),
)
_MACHINE = (
    Choice("it stands still for 10 s", "effect=pause for_s=10", by_clock=True),
    Choice("it loses its power, and boots again", "effect=power-cycle", by_clock=True),
    Choice("it reboots in order", "effect=reboot", by_clock=True),
    Choice("it is gone for good", "effect=kill", by_clock=True),
)
_DAEMONS = {"back": ("back", "gadget"), "front": ("front",)}


def subjects(snapshot: Snapshot) -> Iterator[Subject]:
    """What faults may be about, as things are now."""
    seen = set()
    for port in snapshot.ports:
        for row in port.endpoints:
            if number_of(row.address) and row.address not in seen:
                seen.add(row.address)
                yield _endpoint(row.address, row.kind)
    yield MEDIUM
    yield DEVICE
    yield LINK
    for machine in snapshot.machines:
        yield _machine(machine.name)


def _endpoint(address: int, kind: str) -> Subject:
    direction = direction_of(address)
    return Subject(
        endpoint_key(address),
        f"endpoint {endpoint_name(address)} ({kind})",
        f"layer=endpoint endpoint={number_of(address)} direction={direction}",
        _LOST + (_ONLY_IN if direction == "in" else ()),
    )


def _machine(name: str) -> Subject:
    stops = tuple(
        choice
        for daemon in _DAEMONS.get(name, ())
        for choice in (
            Choice(f"its {daemon} daemon is killed", f"effect=kill-daemon daemon={daemon}", True),
            Choice(f"its {daemon} daemon stops", f"effect=stop-daemon daemon={daemon}", True),
        )
    )
    return Subject(
        f"machine:{name}",
        f"the {name} machine",
        f"layer=machine machine={name}",
        stops + _MACHINE,
    )


def endpoint_key(address: int) -> str:
    """The `Subject.key` of an endpoint."""
    return f"{_ENDPOINT}{address}"


def picked_endpoint(key: str) -> int | None:
    """The address in an endpoint's `Subject.key`; None of other keys."""
    return int(key.removeprefix(_ENDPOINT)) if key.startswith(_ENDPOINT) else None


def machine_key(name: str) -> str:
    """The `Subject.key` of a machine."""
    return f"machine:{name}"


TRIGGERS = (
    ("at match number", "nth"),
    ("at every so manyth match", "every"),
    ("at a match, with probability", "probability"),
    ("after so many seconds", "at_s"),
)
"""When a rule fires: label, key."""


def rule_line(
    subject: Subject, choice: Choice, trigger: str, value: str, *, lbas: str = "", name: str = ""
) -> str:
    """Write the words of a rule.

    Args:
        subject: What it is about.
        choice: What happens.
        trigger: Key of when it fires.
        value: Of that key.
        lbas: ``FIRST-LAST``, or one LBA; empty for the whole disk.
        name: Empty: the session gives one.
    """
    words = [subject.keys, choice.keys]
    if lbas.strip() and subject.has_blocks:
        first, _, last = lbas.replace(" ", "").partition("-")
        words.append(f"lba=[{first},{last or first}]")
    words.append(f"{trigger}={value.strip()}")
    if name.strip():
        words.append(f"name={name.strip()}")
    return " ".join(words)


class Picked(NamedTuple):
    """What the person has gone to last.

    Attributes:
        key: The `Subject.key`.
        words: For the person.
    """

    key: str
    words: str
