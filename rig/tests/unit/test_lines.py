"""The line of a key is found in any valid TOML, or none is told."""

from __future__ import annotations

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rig.faults.lines import Lines

PLAN = '''# a comment with [[fault]] and seed = 1

name = "x" # seed = 2
text = """
seed = 3
[[fault]]
"""
seed = 4
"my.key" = 1
a.b = 2
list = [
  1, # ]
  2,
]
last = """a\\"""" # two quotation marks
[meta]
x = 1
[[fault]]
layer = "medium"
'quoted' = {a = 1, b = "}"}
"\\u0065scaped" = 5
[fault.sub]
y = 1
[ [ fault ] ]
 layer="link"
dotted."k" = """"four quotes"""
behind = 1
[fault.other]
'''.replace("[ [ fault ] ]", "[[ fault ]]")


@pytest.mark.parametrize(
    ("number", "key", "line"),
    [
        (0, "name", 3),
        (0, "text", 4),
        (0, "seed", 8),
        (0, "my.key", 9),
        (0, "a", 10),
        (0, "list", 11),
        (0, "last", 15),
        (0, "meta", 16),
        (0, "x", None),
        (0, "", None),
        (1, "", 18),
        (1, "layer", 19),
        (1, "quoted", 20),
        (1, "escaped", 21),
        (1, "sub", 22),
        (1, "y", 18),
        (2, "", 24),
        (2, "layer", 25),
        (2, "dotted", 26),
        (2, "behind", 27),
        (2, "other", 28),
    ],
)
def test_a_key_is_found_however_it_is_written(number: int, key: str, line: int | None) -> None:
    tomllib.loads(PLAN)
    assert Lines(PLAN, 2).of(number, key) == line


def test_nothing_is_said_of_tables_that_are_written_in_another_way() -> None:
    text = 'name = "x"\nfault = [{layer = "medium"}]'
    assert Lines(text, 1).of(1, "layer") is None
    assert Lines(text, 1).of(0, "fault") == 2


VALUES = st.sampled_from(["1", '"a = 1"', '"""\nz = 1\n"""', "'''\n\n'''", "[1,\n2]", "{q = '#'}"])
GAPS = st.sampled_from(["", "\n", "# k0 = 1\n", "   \n# [[fault]]\n"])


@given(st.lists(st.tuples(GAPS, st.sampled_from(["k{}", '"k{}"', "'k{}'", " k{} "]), VALUES)))
def test_every_key_is_found_behind_any_values(parts: list[tuple[str, str, str]]) -> None:
    text, lines = "", []
    for number, (gap, key, value) in enumerate(parts):
        text += gap
        lines.append(text.count("\n") + 1)
        text += f"{key.format(number)} = {value}\n"
    assert set(tomllib.loads(text)) == {f"k{number}" for number in range(len(parts))}
    assert [Lines(text, 0).of(0, f"k{n}") for n in range(len(parts))] == lines
