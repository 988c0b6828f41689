"""The gadget put together: store, configfs tree and UDC, from nothing to bound and back.

Whatever is made is taken back in the reverse order: unbind the UDC, eject the LUN, remove the
tree, unmount, stop the store.  What a killed one left behind goes before a new one begins.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import ExitStack, nullcontext
from pathlib import Path

import msgspec

from rig.daemon import Command, Events
from rig.errors import RemoteProtocolError, UserError
from rig.faults.plan import NO_FAULTS, Plan
from rig.faults.rules.base import Layer, Rule
from rig.faults.rules.device import MOMENTS, DeviceEffect, DeviceFault, DeviceRequest
from rig.gadget import kernel
from rig.gadget.bot.function import BotFunction
from rig.gadget.comeback import Comeback
from rig.gadget.configfs import Configfs
from rig.gadget.device_faults import DeviceFaults
from rig.gadget.functions import Function
from rig.gadget.kinds import Kind
from rig.gadget.moments import Moments
from rig.gadget.parts import Parts
from rig.gadget.storage import Medium, Storage
from rig.gadget.store_process import Event, StoreProcess
from rig.gadget.tree import GadgetSpec, MaxSpeed, build_steps, removal_steps
from rig.gadget.udc import Udcs
from rig.gadget.wishes import Wish, check_rules, functions_of

STEP_DEADLINE_S = 15.0
"""For one thing that the kernel or the store has to do."""
RUN = Path("/run")


class Options(msgspec.Struct, frozen=True):
    """What the daemon is asked for.

    Attributes:
        name: Of the gadget.
        udc: To bind.
        wishes: The functions.
        medium: Behind the disk among them; None if there is none.
        max_speed: That the gadget offers.
        chosen_id: Vendor and product ID; None for the functions' own.
        plan: Faults of the device layer; the store has a plan of its own.
        run_directory: Where the lock that makes the name ours is, and FunctionFS is mounted.
    """

    name: str
    udc: str
    wishes: tuple[Wish, ...]
    medium: Medium | None = None
    max_speed: MaxSpeed = MaxSpeed.HIGH
    chosen_id: tuple[int, int] | None = None
    plan: Plan = NO_FAULTS
    run_directory: Path = RUN

    def functions(self) -> tuple[Function, ...]:
        """The functions that were asked for.

        Raises:
            UserError: They cannot be in one gadget.
        """
        backing_file = str(self.medium.backing_file) if self.medium else ""
        return functions_of(self.wishes, self.name, backing_file)


class Gadget:
    """The gadget from nothing to bound, and back.

    Use it as a context manager; leaving it takes back all that was made.

    Args:
        options: What is asked for.
        events: Where events of the store go on to.
        configfs: The kernel's, or a fake for tests.
        udcs: The kernel's, or a fake for tests.

    Raises:
        UserError: What is asked for is no gadget.
    """

    def __init__(self, options: Options, events: Events, configfs: Configfs, udcs: Udcs) -> None:
        self._options = options
        self._events = events
        self._configfs = configfs
        self._udcs = udcs
        self._spec = GadgetSpec(
            options.name, options.functions(), options.max_speed, options.chosen_id
        )
        self._steps = build_steps(self._spec)
        self._undo = ExitStack()
        self._storage = Storage(options.medium, self._forward) if options.medium else None
        self._bot = self._bot_function()
        self.device_faults = DeviceFaults(events, options.plan, accept=self._accept)
        self.moments = Moments(self._parts())
        self._comeback = Comeback(self, self._tell_replugged)
        self._noted: deque[Event] = deque()  # of the store, for the comeback

    @property
    def store(self) -> StoreProcess | None:
        """The store's process; None without a disk, or before the gadget is built."""
        return self._storage.process if self._storage else None

    def __enter__(self) -> Gadget:
        with ExitStack() as undo:
            self._build(undo)
            self._undo = undo.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._undo.close()

    def _bot_function(self) -> BotFunction | None:
        options, medium = self._options, self._options.medium
        if medium is None or all(f.kind is not Kind.BOT_STORAGE for f in self._spec.functions):
            return None
        mount = options.run_directory / f"rig-gadget-{options.name}.ffs"
        return BotFunction(options.name, mount, medium.backing_file, medium.size_bytes)

    def _parts(self) -> Parts:
        options = self._options
        backing_file = str(options.medium.backing_file) if options.medium else ""
        return Parts(
            options.name,
            options.udc,
            self._spec.functions,
            backing_file,
            self._bot,
            self._configfs,
            self._udcs,
            self._at_a_moment,
        )

    def _build(self, undo: ExitStack) -> None:
        options = self._options
        lock = kernel.lock(
            options.run_directory / f"rig-gadget-{options.name}.lock",
            f"Gadget '{options.name}' is being played already.",
            "Stop that one, or choose another --name.",
        )
        undo.callback(lock.close)
        self._remove_tree()  # of a former one that was killed
        if self._bot:
            self._bot.clean()
        if self._storage:
            self._storage.prepare(undo)
        self._udcs.check(options.udc, options.name)
        if self._storage:
            self._storage.start(undo)
        undo.callback(self._remove_tree)
        self._guarded("Building the gadget", lambda: self._configfs.apply(self._steps))
        if self._bot:
            faults = self.device_faults
            self._bot.start(undo, faults.decide, self.moments.ask, faults.released)
            undo.callback(self._unbind)
        self._udcs.bind(options.name, options.udc)

    def _unbind(self) -> None:
        """Take the gadget off its UDC, before what plays its functions goes."""
        if self._storage:
            self._storage.kill_if_silent()
        self._guarded("Unbinding the UDC", lambda: self._udcs.unbind(self._options.name))

    def _remove_tree(self) -> None:
        """Take the tree down; a store that hangs would hold the kernel up, so it must go first."""
        if self._storage:
            self._storage.kill_if_silent()
        name = self._options.name
        if not self._configfs.exists(name):
            return
        # A former gadget of this name may have had other functions.
        steps = removal_steps(name, self._configfs.functions(name))
        self._guarded("Unbinding the UDC", lambda: self._udcs.unbind(name))
        self._guarded("Removing the gadget", lambda: self._configfs.undo(steps))

    def _guarded(self, what: str, do: Callable[[], object]) -> None:
        if self._storage:
            self._storage.guarded(what, do)
        else:
            kernel.bounded(what, STEP_DEADLINE_S, do)

    def _at_a_moment(self, what: str, do: Callable[[], object]) -> None:
        """Do what the kernel cannot while the gadget waits for its medium."""
        with self._storage.letting_go() if self._storage else nullcontext():
            self._guarded(what, do)

    def ready_fields(self) -> dict[str, object]:
        """The fields of the ``ready`` event.

        Raises:
            MachineError: The kernel does not say what a function became.
        """
        vendor_id, product_id = self._spec.device_id
        return {
            "gadget": self._options.name,
            "udc": self._options.udc,
            "vendor_id": vendor_id,
            "product_id": product_id,
            "serial": self._spec.serial,
            "functions": [self._became(function) for function in self._spec.functions],
            **(self._options.medium.ready_fields() if self._options.medium else {}),
        }

    def _became(self, function: Function) -> dict[str, str]:
        name, directory = self._options.name, function.directory
        asked = (told.attribute for told in function.facts.told)
        return function.became({a: self._configfs.read(name, directory, a) for a in asked})

    def do(self, command: Command) -> object:
        """Carry out a command of the lab.

        Raises:
            RigError: It is unknown, or cannot be done.
        """
        store = self.store
        match command.do:
            case "phase":
                self.device_faults.obey(command)
                return store.ask("phase", STEP_DEADLINE_S, **command.args) if store else None
            case "faults":
                of_store = store.ask("faults", STEP_DEADLINE_S) if store else {}
                own = self.device_faults.obey(command)
                return {key: {**of_store.get(key, {}), **own[key]} for key in own}
            case "happen":
                self.moments.ask(_moment(command))
                return None
            case "release" | "power_cut" | "store":
                return self._ask_store(command)
            case "status":
                return self._status(store)
        return self.device_faults.obey(command)

    def _accept(self, rule: Rule[DeviceRequest, DeviceEffect]) -> None:
        """Refuse a rule that this gadget cannot bring about.

        Raises:
            UserError: Its functions cannot.
        """
        if isinstance(rule, DeviceFault):
            check_rules([rule], self._options.wishes)

    def _ask_store(self, command: Command) -> object:
        if self.store is None:
            raise UserError(f"This gadget has no disk: it cannot obey '{command.do}'.")
        args = dict(command.args)
        do = str(args.pop("ask", "")) if command.do == "store" else command.do
        return self.store.ask(do, STEP_DEADLINE_S, **args)

    def _status(self, store: StoreProcess | None) -> dict[str, object]:
        return {
            "udc": self._options.udc,
            "state": self.state(),
            "speed": self._udcs.speed(self._options.udc),
            "store": store.ask("status", STEP_DEADLINE_S) if store else None,
            **({"disk": self._bot.status()} if self._bot else {}),
        }

    def pass_time(self) -> float | None:
        """Do what is to be done by the clock, or because the store told something.

        Returns:
            In how many seconds to call this again; None: not before something else happens.

        Raises:
            MachineError: The kernel or the store does not do its part.
        """
        for effect in self.device_faults.due():
            self.moments.ask(effect)
        self.moments.run()
        while self._noted:
            self._comeback.take(self._noted.popleft())
        self._comeback.run()
        waits = (self.device_faults.next_due_s(), self.moments.next_s(), self._comeback.next_s())
        return min((wait for wait in waits if wait is not None), default=None)

    # What `rig.gadget.comeback.Device` asks for.

    def state(self) -> str:
        """Return the UDC's state."""
        return self._udcs.state(self._options.udc)

    def accesses(self) -> int:
        """Return how many accesses the medium has had.

        Raises:
            MachineError: The store does not answer.
        """
        assert self.store is not None
        told: dict[str, int] = self.store.ask("status", STEP_DEADLINE_S)["accesses"]
        return sum(told.values())

    def replug(self) -> bool:
        """See `Moments.replug`."""
        return self.moments.replug()

    def _tell_replugged(self, rule: str, silent_s: float) -> None:
        self._events.emit("replugged", layer=Layer.MEDIUM, rule=rule, silent_s=silent_s)

    def _forward(self, event: Event) -> None:
        if event["event"] in ("fault", "released", "control"):
            # With its own time: by ours it would be later.
            fields = {key: value for key, value in event.items() if key != "event"}
            self._events.emit(event["event"], **fields, process="store")
            self._noted.append(event)


def _moment(command: Command) -> DeviceEffect:
    """Read ``happen {effect, for_s}``.

    Raises:
        RemoteProtocolError: It asks for nothing that can happen.
    """
    wanted = {"kind": command.args.get("effect"), "for_s": command.args.get("for_s")}
    try:
        effect = msgspec.convert(wanted, DeviceEffect)
    except msgspec.ValidationError as error:
        raise RemoteProtocolError(f"Command 'happen' is not understood: {error}.") from error
    if effect.kind not in MOMENTS:
        raise RemoteProtocolError(f"'{effect.kind}' does not happen by itself.")
    return effect
