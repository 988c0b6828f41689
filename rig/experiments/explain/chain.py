"""Why a write went where it went: a chain of causes, from the host's command to the medium.  Pure.

The journal says what arrived, and when.  The back end's log of URBs says which command the device
was about then, and which URB moved those bytes; the front end's, what the kernel had wanted with
it; the trace, which fault had fired before.  URBs have the same numbers on both ends.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from rig.experiments.explain.commands import Command, Piece, command_at
from rig.experiments.run.scan_service import Access
from rig.experiments.run.trace import Line
from rig.faults.rules.base import Layer
from rig.integrity.stamp import SECTOR_BYTES
from rig.lab.clock import MachineClock
from rig.report.chain import Chain, Step
from rig.usb.bot import Opcode
from rig.usb.urb import status_name
from rig.usb.urblog import Kind, UrbEvent

_FRONT_WORDS = {
    Kind.SUBMIT: "the kernel submits",
    Kind.UNLINK: "the kernel wants back",
    Kind.ANSWER: "the front end has answered for",
}


class Traffic(msgspec.Struct, frozen=True):
    """What was recorded of a run.

    Attributes:
        commands: By the back end's log, in order.
        front: The front end's log.
        faults: What fired.
        back_clock: Of the back machine.
        front_clock: Of the front machine.
    """

    commands: Sequence[Command] = ()
    front: Sequence[UrbEvent] = ()
    faults: Sequence[Line] = ()
    back_clock: MachineClock = MachineClock()
    front_clock: MachineClock = MachineClock()


def chain_of(lba: int, access: Access, traffic: Traffic) -> Chain:
    """Return how a write came to a sector.

    Args:
        lba: The sector, one of the write's.
        access: The write, as it arrived.
        traffic: What was recorded.
    """
    steps = [_arrival(access, traffic)]
    command = command_at(traffic.commands, access.time_ns)
    if command is not None:
        carrier = command.carrier((lba - command.lba) * SECTOR_BYTES)
        about = {piece.urb: piece for piece in command.failed()}
        if carrier is not None:
            about[carrier.urb] = carrier
        steps.append(_command(command, traffic))
        steps += [_piece(piece, command, traffic) for piece in about.values()]
        steps += _on_front({command.urb, *about}, traffic)
    steps += _faults(command, access, traffic)
    return Chain(lba, access.sequence, tuple(sorted(steps, key=lambda step: step.t_ns)))


def _arrival(access: Access, traffic: Traffic) -> Step:
    last = access.lba + access.blocks - 1
    done = f"; it is answered with errno {access.error}" if access.error else ""
    done += f"; a fault of the medium: {access.injected}" if access.injected else ""
    return Step(
        traffic.back_clock.stamp(access.time_ns).t_ns,
        "back, medium",
        f"write {access.sequence} of the journal brings LBAs {access.lba} to {last}{done}",
    )


def _command(command: Command, traffic: Traffic) -> Step:
    name = _name(command.opcode)
    return Step(
        traffic.back_clock.stamp(command.start_ns).t_ns,
        "back, controller",
        f"{name} at LBA {command.lba} begins, by URB {command.urb};"
        f" its data are URBs {_numbers([piece.urb for piece in command.pieces])}",
        command.urb,
    )


def _piece(piece: Piece, command: Command, traffic: Traffic) -> Step:
    what = f"URB {piece.urb} of {piece.length_bytes} bytes"
    if not piece.end_ns:
        return Step(
            traffic.back_clock.stamp(piece.start_ns).t_ns,
            "back, controller",
            f"{what} was given to the controller, and never ended",
            piece.urb,
        )
    before = command.pieces[: command.pieces.index(piece)]
    failed = next((one for one in before if one.status), None)
    behind = f" behind URB {failed.urb}, which had failed" if failed else ""
    how = f"failed with {status_name(piece.status)}" if piece.status else "ended well"
    first = command.lba + piece.at_bytes // SECTOR_BYTES
    to = f", as of LBA {first}" if piece.moved_bytes else ""
    return Step(
        traffic.back_clock.stamp(piece.end_ns).t_ns,
        "back, controller",
        f"{what} {how}{behind}: {piece.moved_bytes} bytes moved{to}",
        piece.urb,
    )


def _on_front(urbs: set[int], traffic: Traffic) -> Iterator[Step]:
    for event in traffic.front:
        if event.urb not in urbs:
            continue
        if event.kind is Kind.GIVEBACK:
            how = status_name(event.status) if event.status else "success"
            what = f"URB {event.urb} is given back: {how}, {event.length_bytes} bytes"
        elif event.kind in _FRONT_WORDS:
            what = f"{_FRONT_WORDS[event.kind]} URB {event.urb}"
        else:
            continue
        t_ns = traffic.front_clock.stamp(event.t_ns).t_ns
        yield Step(t_ns, "front, vhci", what, event.urb)


def _faults(command: Command | None, access: Access, traffic: Traffic) -> list[Step]:
    """Return the faults that fired while the command ran; or else the last one before."""
    arrived = traffic.back_clock.stamp(access.time_ns)
    until_ns = arrived.t_ns + arrived.error_ns
    fired = [
        one
        for one in traffic.faults
        # The journal says itself to which writes a fault of the medium happened.
        if one.t_ns - one.error_ns <= until_ns and (one.layer != Layer.MEDIUM or access.injected)
    ]
    if not fired:
        return []
    since_ns = traffic.back_clock.stamp(command.start_ns).t_ns if command else until_ns
    during = [one for one in fired if one.t_ns + one.error_ns >= since_ns] or fired[-1:]
    return [
        Step(
            one.t_ns,
            f"{one.machine}, {one.process}",
            f"rule '{one.rule}' of layer {one.layer} fires"
            + ("" if one.match is None else f", at its match {one.match}")
            + ("" if one.t_ns >= since_ns else ", the last before this"),
            rule=one.rule,
        )
        for one in during
    ]


def _name(opcode: int) -> str:
    names = {one.value: one.name for one in Opcode}
    return names.get(opcode, f"command {opcode:#04x}").replace("_", " ")


def _numbers(urbs: Sequence[int]) -> str:
    """Return numbers in short: 3 to 6, 9."""
    if not urbs:
        return "none"
    runs: list[list[int]] = []
    for urb in urbs:
        if runs and urb == runs[-1][-1] + 1:
            runs[-1].append(urb)
        else:
            runs.append([urb])
    return ", ".join(str(r[0]) if len(r) == 1 else f"{r[0]} to {r[-1]}" for r in runs)
