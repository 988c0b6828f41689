"""Damaged conversations on both ends; ``python -m rig.tests.fuzz`` tries very many more."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rig.errors import RemoteProtocolError
from rig.splitdriver import back_queues
from rig.splitdriver.backend import BackEnd
from rig.splitdriver.frontend import FrontEnd
from rig.splitdriver.messages import Disconnect, Message, Ping, Submit
from rig.tests import fuzz
from rig.tests.harness.frames import octets_of
from rig.tests.harness.fuzzing import BackUnderTest, FrontUnderTest, run_one, sentences
from rig.tests.harness.mutations import MUTATIONS, Mutation, mutate, pieces

CHANCE = st.randoms(use_true_random=False)


@given(CHANCE)
def test_a_bad_front_end_costs_its_link_and_nothing_else(rng: Random) -> None:
    BackUnderTest(rng, Counter()).converse()


@given(CHANCE)
def test_a_bad_back_end_costs_its_link_and_nothing_else(rng: Random) -> None:
    FrontUnderTest(rng, Counter()).converse()


@given(st.binary(max_size=400))
def test_any_octets_end_the_link_or_are_waited_for(octets: bytes) -> None:
    for end in (BackUnderTest, FrontUnderTest):
        one = end(Random(0), Counter())
        try:
            one.hear(octets)
        except RemoteProtocolError:
            one.lose_link()


def met(inputs: int = 400) -> Counter[str]:
    """What so many inputs meet."""
    seen: Counter[str] = Counter()
    for number in range(inputs):
        run_one(Random(f"1/{number}"), seen)
    return seen


def test_conversations_go_deep_enough_to_reach_every_message_and_many_complaints() -> None:
    seen = met()
    kinds = ["Submit", "Unlink", "Resume", "Reset", "Disconnected"]
    kinds += ["Connect", "Complete", "ResetDone", "Disconnect"]
    assert min(seen[kind] for kind in kinds) >= 20
    assert seen["Submit"] > seen["refused"]
    assert len(list(sentences(seen))) >= 40


def test_an_input_is_the_same_whenever_it_is_tried() -> None:
    assert met(20) == met(20)


# What it must notice.


def test_another_exception_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def receive(self: BackEnd, message: Message) -> None:
        raise KeyError(7)

    monkeypatch.setattr(BackEnd, "receive", receive)
    with pytest.raises(KeyError):
        met()


def test_a_second_answer_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    original = BackEnd._complete

    def twice(self: BackEnd, *args: object, **kwargs: object) -> None:
        original(self, *args, **kwargs)  # type: ignore[arg-type]
        self._actions.append(self._actions[-1])

    monkeypatch.setattr(BackEnd, "_complete", twice)
    with pytest.raises(AssertionError, match="completed twice"):
        met()


def test_a_missing_limit_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(back_queues, "MAX_QUEUED_BYTES", 1 << 62)
    end = BackUnderTest(Random(1), Counter())
    end.hear(octets_of([end.greeting()]))
    end.act()
    large = [Submit(1, number, 0x82, 0, 4 << 20, bytes(8)) for number in range(1, 18)]
    with pytest.raises(AssertionError):
        end.hear(octets_of(large))


def test_a_next_front_end_that_is_told_too_early_is_noticed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    original = BackEnd.linked

    def hasty(self: BackEnd) -> None:
        self._plug.orphans.clear()
        original(self)

    monkeypatch.setattr(BackEnd, "linked", hasty)
    with pytest.raises(AssertionError):
        met()


def test_an_urb_that_is_given_back_twice_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    original = FrontEnd._give_back

    def twice(self: FrontEnd, *args: object) -> None:
        original(self, *args)  # type: ignore[arg-type]
        self._actions.append(self._actions[-1])

    monkeypatch.setattr(FrontEnd, "_give_back", twice)
    with pytest.raises((AssertionError, KeyError)):
        met()


def test_a_device_that_stays_after_the_link_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FrontEnd, "link_lost", lambda self: None)
    with pytest.raises(AssertionError):
        met()


class Clock:
    """Stands for the module `time`; an input takes as long as it is told."""

    def __init__(self, wall_s: float, processor_s: float) -> None:
        self.wall_s, self.processor_s = wall_s, processor_s
        self.runs = 0

    def run(self, rng: Random, seen: Counter[str]) -> None:
        self.runs += 1

    def monotonic(self) -> float:
        return self.runs * self.wall_s

    def process_time(self) -> float:
        return self.runs * self.processor_s


def clocked(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    monkeypatch.setattr(fuzz, "time", clock)
    monkeypatch.setattr(fuzz, "run_one", clock.run)
    fuzz.try_input(1, 7, Counter())


def test_an_input_that_takes_too_long_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AssertionError, match=r"it took 2\.5 s"):
        clocked(monkeypatch, Clock(3.0, 2.5))


@pytest.mark.parametrize("clock", [Clock(3.0, 0.1), Clock(0.1, 0.1)])
def test_a_busy_machine_is_no_finding(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    clocked(monkeypatch, clock)
    assert clock.runs == 1 + (clock.wall_s > fuzz.SLOW_S)


def test_a_process_that_grows_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = iter([1000, 1000 + fuzz.MAX_GROWTH_KIB, 1001 + fuzz.MAX_GROWTH_KIB])
    monkeypatch.setattr(fuzz, "peak_kib", lambda: next(sizes))
    monkeypatch.setattr(fuzz, "LOOK_EVERY", 1)
    limits = fuzz.Limits(warm=2)
    for done in (1, 2, 3):
        limits.check(done)
    with pytest.raises(AssertionError, match="has grown by 65537 KiB"):
        limits.check(4)


def test_no_inputs_are_no_proof(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["fuzz", "--inputs", "0"])
    with pytest.raises(SystemExit) as end:
        fuzz.main()
    assert end.value.code == 2


def test_a_finding_is_told_with_how_to_repeat_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(rng: Random, seen: Counter[str]) -> None:
        if rng.random() == Random("5/12").random():
            raise AssertionError("planted")

    monkeypatch.setattr(fuzz, "run_one", run)
    with pytest.raises(AssertionError, match="planted"):
        fuzz.fuzz(100, seed=5, first=10)
    assert (
        "again: python -m rig.tests.fuzz --seed 5 --first 12 --inputs 1" in capsys.readouterr().err
    )


# The mutations.

FRAME = octets_of([Ping(7)])


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda m: m.__name__)
def test_a_mutation_changes_a_frame_for_some_chance(mutation: Mutation) -> None:
    assert any(mutation(Random(seed), FRAME) != FRAME for seed in range(10))


@pytest.mark.parametrize("shape", [lambda f: f[:8], lambda f: f, lambda f: f * 9])
@given(CHANCE)
def test_every_frame_can_be_damaged(shape: Callable[[bytes], bytes], rng: Random) -> None:
    assert isinstance(mutate(rng, shape(octets_of([Disconnect(3)]))), bytes)


@given(CHANCE, st.binary(max_size=40))
def test_pieces_are_the_whole(rng: Random, octets: bytes) -> None:
    assert b"".join(pieces(rng, octets)) == octets
