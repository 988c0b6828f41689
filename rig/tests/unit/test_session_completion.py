from __future__ import annotations

import msgspec
import pytest

from rig.faults.plan import FAULT_TYPES
from rig.session.snapshot import FaultRow
from rig.session.talk.completion import complete
from rig.session.talk.recipes import RECIPES
from rig.tests.harness.fake_deeds import LIVE

ROW = FaultRow("back/back", "lost-1", "endpoint", True, 0, 1, 0, "x")
SEEN = msgspec.structs.replace(LIVE, faults=(ROW,))


@pytest.mark.parametrize(
    ("text", "may_become"),
    [
        ("ver", ["verify"]),
        ("wor", ["workload "]),
        ("help ver", ["help verify"]),
        ("status f", ["status files"]),
        ("policy n", ["policy naive"]),
        ("pol n", ["pol naive"]),
        ("workload ra", ["workload random"]),
        ("fire l", ["fire lost-1"]),
        ("wait fired ", ["wait fired lost-1"]),
        ("kill b", ["kill back"]),
        ("shell f", ["shell front"]),
        ("recipe write-l", ["recipe write-lost"]),
        ("arm l", ["arm layer="]),
        ("arm layer=lin", ["arm layer=link"]),
        ("arm layer=medium ef", ["arm layer=medium effect="]),
        ("arm layer=medium effect=mis", ["arm layer=medium effect=misdirected"]),
        ("arm layer=endpoint status=EP", ["arm layer=endpoint status=EPROTO",
                                          "arm layer=endpoint status=EPIPE"]),
        ("arm layer=endpoint halt=t", ["arm layer=endpoint halt=true"]),
        ("arm layer=endpoint endpoint=", ["arm layer=endpoint endpoint=1",
                                          "arm layer=endpoint endpoint=2"]),
        ("arm layer=medium lba=", ["arm layer=medium lba=[2048,67583]"]),
        ("arm layer=medium phase=r", ["arm layer=medium phase=read"]),
        ("recipe nak endp", ["recipe nak endpoint="]),
        ("recipe nak opcode=0x3", ["recipe nak opcode=0x35"]),
        ("arm layer=medium nth=", []),
        ("fire lost-1 ", []),
        ("note lay", []),
        ("moon ", []),
        ("re ", []),
        ("recipe moon ", []),
    ],
)  # fmt: skip
def test_a_line_may_become(text: str, may_become: list[str]) -> None:
    assert complete(text, SEEN) == may_become


def test_keys_that_are_given_are_not_offered_again() -> None:
    assert "arm layer=link effect=" not in complete("arm layer=link effect=cut ", SEEN)
    assert "arm layer=link effect=cut way=" in complete("arm layer=link effect=cut ", SEEN)


@pytest.mark.parametrize("layer", FAULT_TYPES)
def test_all_keys_of_a_layer_are_offered(layer: str) -> None:
    keys = {line.split()[-1].rstrip("=") for line in complete(f"arm layer={layer} ", SEEN)}
    assert keys == {field.encode_name for field in msgspec.structs.fields(FAULT_TYPES[layer])}


def test_an_empty_line_may_become_any_command_and_recipe_any_recipe() -> None:
    assert "verify" in complete("", SEEN)
    assert len(complete("recipe ", SEEN)) == len(RECIPES)
