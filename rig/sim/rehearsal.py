"""A fault plan played in simulation: both real cores, a disk's commands, the plan's rules.  Pure.

The client does what a disk's driver does: commands of three stages, one after the other, first all
WRITEs, then all READs; the data of each in several URBs at once.  What failed is tried again.  The
simulated URBs are small; rules are asked about them as about the transfers that they stand for.
Endpoint rules bring their errors about, those of the cable as if they were the port's: above the
controller a transfer that failed looks the same.  Medium rules are asked about the accesses that a
gadget would make, and only noted.  Rules of other layers have no place here (`left_out`).
"""

from __future__ import annotations

import msgspec

from rig.faults.phases import Phase
from rig.faults.plan import Fault, Plan
from rig.faults.rules.base import BLOCK_BYTES, Layer
from rig.faults.rules.endpoint import EndpointEffect, EndpointFault, EndpointTransfer, When
from rig.faults.rules.medium import MediumAccess, MediumFault, MediumOp
from rig.faults.triggers import Draws, Injector
from rig.sim.promise import BUFFER_BYTES, BrokenError, Pipe, Rule
from rig.sim.scenario import Handler, scenario_of
from rig.sim.world import World
from rig.splitdriver.policy import Policy
from rig.usb.bot import CBW_BYTES, CSW_BYTES
from rig.usb.bot_stages import Stage
from rig.usb.urb import Direction

COMMANDS = 100
"""Of each phase."""
TRIES = 6
"""Of each command, as the SCSI layer has them."""
DATA_URBS = 3
DATA_BYTES = 65_536
"""Of each of them."""
PIECE_BYTES = 16_384
"""So much of it is one access of the medium, as with a file behind FUSE."""
MOVE_S = 0.001
"""Virtual time that a move takes."""
MAX_MOVES = 10_000
"""By then a stage has ended."""

_SIZES = {Stage.COMMAND: CBW_BYTES, Stage.DATA: DATA_BYTES, Stage.STATUS: CSW_BYTES}
_PHASES = (  # SBC-3: WRITE(10), READ(10)
    (Phase.WRITE, 0x2A, Direction.OUT),
    (Phase.READ, 0x28, Direction.IN),
)
_FLUSH = 0x35  # SYNCHRONIZE CACHE(10)
_FLUSH_EVERY = 10


def left_out(plan: Plan) -> tuple[Fault, ...]:
    """Return the rules for which the simulation has no place."""
    return tuple(one for one in plan.faults if not isinstance(one, EndpointFault | MediumFault))


class Firing(msgspec.Struct, frozen=True):
    """A fault that fired.

    Attributes:
        t_s: Virtual time since the beginning.
        layer: Of the rule.
        rule: Its name.
        match: At its so-manyth match.
    """

    t_s: float
    layer: Layer
    rule: str
    match: int


class Rehearsal(World):
    """Plays a plan.

    Args:
        plan: The plan; its seed also chooses in which order things happen.
        policy: Of both ends.
        window: Of the back end.
    """

    __slots__ = ("_endpoint", "_medium", "_next_lba", "_opcode", "_order", "_stage", "firings")

    def __init__(self, plan: Plan, policy: Policy = Policy.HOLD, window: int = 1) -> None:
        scenario = msgspec.structs.replace(
            scenario_of(b""), handlers=(Handler.UNLINK, Handler.UNLINK), urbs=(0, 0)
        )
        super().__init__(scenario, policy, window)
        self._order = Draws("order of moves", plan.seed)
        self._endpoint = Injector(plan, EndpointFault, self._now_s)
        self._medium = Injector(plan, MediumFault, self._now_s)
        self._next_lba = 0
        self._opcode = 0
        self._stage = Stage.STATUS
        self.firings: list[Firing] = []

    def run(self) -> list[Firing]:
        """Play it.

        Returns:
            What fired, in order: a function of the plan, its seed, and the policy.

        Raises:
            BrokenError: The split driver broke Linux's promise, or a command never succeeded.
        """
        for phase, opcode, direction in _PHASES:
            self._set_phase(phase)
            for number in range(1, COMMANDS + 1):
                self._command(number, opcode, direction)
                if direction is Direction.OUT and number % _FLUSH_EVERY == 0:
                    self._command(number, _FLUSH, None)
                    if number == _FLUSH_EVERY:
                        self._set_phase(Phase.PROMISED)
        self._check_nothing_open()
        return self.firings

    def _set_phase(self, phase: Phase) -> None:
        for injector in (self._endpoint, self._medium):
            injector.set_phase(phase)

    def _command(self, number: int, opcode: int, direction: Direction | None) -> None:
        """Have a command carried out; without a direction it has no data, and is a flush."""
        outward, inward = self.pipes[:2]
        self._opcode = opcode
        stages = [(outward, Stage.COMMAND, 1), (inward, Stage.STATUS, 1)]
        if direction is not None:
            data = outward if direction is Direction.OUT else inward
            stages.insert(1, (data, Stage.DATA, DATA_URBS))
        for _ in range(TRIES):
            self._next_lba = number * DATA_URBS * DATA_BYTES // BLOCK_BYTES
            if all(self._passes(pipe, stage, count) for pipe, stage, count in stages):
                return
        raise BrokenError(Rule.STUCK, f"Command {number} failed {TRIES} times.")

    def _passes(self, pipe: Pipe, stage: Stage, count: int) -> bool:
        """Submit the URBs of a stage, let everything settle, and tell whether all succeeded."""
        self._stage = stage
        pipe.command += 1
        pipe.page = 0
        urbs = [self.client.submit(pipe) for _ in range(count)]
        end = self.moves_made + MAX_MOVES
        while self.go_on(self._order.luck(self.moves_made) & 0xFF):
            if self.moves_made > end:
                raise BrokenError(Rule.ENDLESS, f"After {MAX_MOVES} moves still things happen.")
        return all(self.client.done.get(urb.number) == 0 for urb in urbs)

    def _now_s(self) -> float:
        return self.moves_made * MOVE_S

    def _end(self, pipe: Pipe, status: int = 0, count: int = BUFFER_BYTES) -> None:
        if pipe in self.pipes[:2]:
            length_bytes = _SIZES[self._stage]
            if self._stage is Stage.DATA:
                self._access(MediumOp.READ if pipe.is_in else MediumOp.WRITE)
            elif self._stage is Stage.COMMAND and self._opcode == _FLUSH:
                self._ask_medium(MediumAccess(MediumOp.FLUSH, 0, 0))
            direction = Direction.of(pipe.address)
            fired = self._endpoint.ask(
                EndpointTransfer(direction, pipe.address, length_bytes, self._opcode, self._stage)
            )
            if fired is not None:
                self._note(Layer.ENDPOINT, fired.rule_name, fired.match)
                status, count = fired.effect.status, _moved(fired.effect, length_bytes)
        super()._end(pipe, status, count)

    def _access(self, op: MediumOp) -> None:
        for _ in range(DATA_BYTES // PIECE_BYTES):
            blocks = PIECE_BYTES // BLOCK_BYTES
            self._ask_medium(MediumAccess(op, self._next_lba, blocks))
            self._next_lba += blocks

    def _ask_medium(self, access: MediumAccess) -> None:
        fired = self._medium.ask(access)
        if fired is not None:
            self._note(Layer.MEDIUM, fired.rule_name, fired.match)

    def _note(self, layer: Layer, rule: str, match: int) -> None:
        self.firings.append(Firing(round(self._now_s(), 3), layer, rule, match))


def _moved(effect: EndpointEffect, length_bytes: int) -> int:
    """How much of the small buffer moves when so much of the large one would."""
    if effect.at_bytes is not None:
        return BUFFER_BYTES * min(effect.at_bytes, length_bytes) // length_bytes
    return {When.BEFORE: 0, When.MIDDLE: BUFFER_BYTES // 2, When.AFTER: BUFFER_BYTES}[effect.when]
