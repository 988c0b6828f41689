"""A medium is made anew from its journal, whatever faults befell it."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from rig.faults.reader import parse_plan
from rig.faults.rules.medium import MediumFault
from rig.faults.triggers import Injector
from rig.gadget.journal import Record, read_journal
from rig.gadget.rebuild import Rebuilder
from rig.gadget.store import Store

BLOCK = 512
SIZE = 64 * BLOCK
EFFECTS = {
    "write": ("error", "torn", "lost", "misdirected", "flip", "hang"),
    "flush": ("error", "lie", "power-cut", "hang"),
}


def rebuilt(directory: Path, *, as_stored: bool) -> bytes:
    new = bytearray(SIZE)

    def write(offset: int, data: bytes) -> None:
        new[offset : offset + len(data)] = data

    rebuilder = Rebuilder(
        lambda offset, length: bytes(new[offset : offset + length]), write, as_stored=as_stored
    )
    for item in read_journal([(directory / "journal.bin").read_bytes()]):
        assert isinstance(item, Record)
        rebuilder.take(item)
    return bytes(new)


class Bench:
    """A store under a plan, and the medium as it should be."""

    def __init__(self, directory: Path, rules: str, seed: int = 1) -> None:
        self.directory = directory
        self.ideal = bytearray(SIZE)
        self._plan = parse_plan(f'name = "t"\nseed = {seed}\n{rules}', "t")
        self.store = self.open()

    def open(self) -> Store:
        directory, injector = self.directory, Injector(self._plan, MediumFault)
        return Store(directory / "medium.img", directory / "journal.bin", SIZE, injector)

    def write(self, offset: int, data: bytes) -> None:
        if not self.store.write(offset, data).error:
            self.ideal[offset : offset + len(data)] = data

    def medium(self) -> bytes:
        return (self.directory / "medium.img").read_bytes()


def rules(chance: float) -> str:
    return "\n".join(
        f'[[fault]]\nlayer = "medium"\nop = "{op}"\neffect = "{effect}"\n'
        f"probability = {chance}\ntimes = -1\n"
        for op, effects in EFFECTS.items()
        for effect in effects
    )


_actions = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.integers(0, 63), st.integers(1, 2000)),
        st.tuples(st.sampled_from(["flush", "kill"]), st.just(0), st.just(0)),
    ),
    max_size=30,
)


@given(actions=_actions, seed=st.integers(0, 1000), chance=st.sampled_from([0.1, 0.5]))
def test_pristine_is_what_was_answered_and_as_stored_is_the_medium_itself(
    tmp_path_factory: object, actions: list[tuple[str, int, int]], seed: int, chance: float
) -> None:
    directory = tmp_path_factory.mktemp("rebuild")  # type: ignore[attr-defined]
    bench = Bench(directory, rules(chance), seed)
    for number, (action, lba, length) in enumerate(actions, start=1):
        if action == "write":
            data = bytes([number]) * min(length, SIZE - lba * BLOCK)
            bench.write(lba * BLOCK, data)
        elif action == "flush":
            bench.store.flush()
        else:  # without its last words: what its cache holds is gone
            bench.store._cache = None
            bench.store.close()
            bench.store = bench.open()
        assert rebuilt(directory, as_stored=True) == bench.medium()
    assert rebuilt(directory, as_stored=False) == bytes(bench.ideal)
    bench.store.close()
    assert rebuilt(directory, as_stored=True) == bench.medium()


def test_an_end_in_order_writes_the_cache_out_and_the_journal_says_so(tmp_path: Path) -> None:
    bench = Bench(tmp_path, rules(1e-9))
    bench.write(0, b"a" * BLOCK)
    assert bench.medium() == bytes(SIZE)
    bench.store.close()
    assert bench.medium()[:BLOCK] == b"a" * BLOCK
    assert rebuilt(tmp_path, as_stored=True) == bench.medium()
