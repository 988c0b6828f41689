"""What no rule can mean is refused: in one sentence with file, line, key and range."""

from __future__ import annotations

import pytest

from rig.errors import UserError
from rig.faults.plan import MOST_SEED, Plan
from rig.faults.reader import parse_plan
from rig.faults.rules.base import LAST_LBA, MOST

MEDIUM = 'name = "x"\n[[fault]]\nlayer = "medium"\nop = "write"\n'
READING = MEDIUM.replace('"write"', '"read"')
ENDPOINT = 'name = "x"\n[[fault]]\nlayer = "endpoint"\nstatus = "EPROTO"\n'
DEVICE = 'name = "x"\n[[fault]]\nlayer = "device"\nnth = 1\n'
LINK = 'name = "x"\n[[fault]]\nlayer = "link"\nnth = 1\n'


def complaint(text: str) -> str:
    with pytest.raises(UserError) as caught:
        parse_plan(text, "dir/demo.toml")
    return str(caught.value)


def test_a_number_that_is_too_long_to_be_read_is_told_with_its_place() -> None:
    assert complaint(f'name = "x"\n\nseed = {"7" * 5000}') == (
        "dir/demo.toml, line 3: 'seed' is a number too long to be shown; "
        f"it must be a whole number from 0 to {MOST_SEED}."
    )


@pytest.mark.parametrize(
    ("text", "range_"),
    [
        (f'name = "x"\nseed = {2**63}', f"a whole number from 0 to {MOST_SEED}"),
        (f'name = "x"\nseed = 0x{"f" * 9000}', f"a whole number from 0 to {MOST_SEED}"),
        (MEDIUM + f"nth = {2**70}", f"a whole number from 1 to {MOST}"),
        (MEDIUM + f"every = {MOST + 1}", f"a whole number from 1 to {MOST}"),
        (MEDIUM + f"nth = 1\ntimes = {2**64}", f"a whole number from 1 to {MOST}, or -1"),
        (MEDIUM + f"probability = 0.5\ninterval = {2**63}", f"a whole number from 1 to {MOST}"),
        (MEDIUM + f"nth = 1\nspace = {10**20}", f"a whole number from 0 to {MOST}"),
        (
            MEDIUM + f"nth = 1\nlba = [0, {2**32}]",
            f"two whole numbers, [first, last], from 0 to {LAST_LBA}",
        ),
        (MEDIUM + 'nth = 1\neffect = "flip"\nbit = 8388608', "from 0 to 8388607"),
        (MEDIUM + 'nth = 1\neffect = "torn"\ntorn_bytes = 1048576', "from 0 to 1048575"),
        (
            MEDIUM + f'nth = 1\neffect = "misdirected"\nshift_blocks = {-(2**32)}',
            f"from -{LAST_LBA} to {LAST_LBA}",
        ),
        (MEDIUM + "nth = 1\nmin_bytes = 1048577", "from 1 to 1048576"),
        (ENDPOINT + f'nth = 1\ndirection = "in"\nmin_bytes = {2**31}', "from 1 to 4194304"),
        (ENDPOINT + f'nth = 1\ndirection = "in"\nat_bytes = {2**31}', "from 0 to 4194304"),
        (DEVICE + f'effect = "csw-residue"\nresidue_bytes = {2**32}', "from 0 to 4294967295"),
        (LINK + f'effect = "delay"\ndelay_ms = {2**40}', "from 1 to 86400000"),
        (LINK + f'effect = "cut"\nat_bytes = {2**40}', "from 0 to 16777216"),
        (LINK + f'effect = "cut"\nway = "to-back"\noffset = {2**63}', f"from 0 to {MOST}"),
        (MEDIUM + f"at_s = {10**400}", "a number, at least 0 and at most 86400"),
        (MEDIUM + "at_s = nan", "a number, at least 0 and at most 86400"),
        (MEDIUM + "probability = inf", "a number greater than 0 and at most 1"),
    ],
)
def test_a_number_out_of_its_range_is_told_with_the_range(text: str, range_: str) -> None:
    said = complaint(text)
    line = text.count("\n") + 1
    assert said.startswith(f"dir/demo.toml, line {line}: ")
    assert f"it must be {range_}" in said or range_ in said.partition("; it must be ")[2]
    assert len(said) < 400


@pytest.mark.parametrize(
    ("text", "end"),
    [
        (
            MEDIUM + 'nth = 1\neffect = "flip"\nmax_bytes = 512\nbit = 4096',
            "'bit' is 4096, but of 'max_bytes' 512 the last bit is 4095.",
        ),
        (
            MEDIUM + 'nth = 1\neffect = "torn"\nmax_bytes = 512\ntorn_bytes = 512',
            "'torn_bytes' is 512, and 'max_bytes' 512, so nothing would be missing.",
        ),
        (
            ENDPOINT + 'nth = 1\nwhen = "after"\ndirection = "out"\nopcode = 0x28\nstage = "data"',
            "'opcode' 0x28 is READ(10), whose data go 'in', not 'out'.",
        ),
        (
            ENDPOINT + 'nth = 1\nwhen = "after"\ndirection = "in"\nopcode = 0\nstage = "data"',
            "'opcode' 0x00 is TEST UNIT READY, which has no data.",
        ),
        (
            ENDPOINT
            + 'nth = 1\nwhen = "after"\ndirection = "out"\nstage = "command"\nmin_bytes = 4096',
            "'min_bytes' is 4096, but this is about a CBW, which has 31, so nothing would match.",
        ),
        (
            ENDPOINT
            + 'nth = 1\nwhen = "after"\ndirection = "out"\nstage = "command"\nmax_bytes = 30',
            "'max_bytes' is 30, but this is about a CBW, which has 31, so nothing would match.",
        ),
        (
            ENDPOINT
            + 'nth = 1\nwhen = "after"\ndirection = "in"\nstage = "status"\nmin_bytes = 14',
            "'min_bytes' is 14, but this is about a CSW, which has 13, so nothing would match.",
        ),
        (
            ENDPOINT + 'nth = 1\ndirection = "in"\nstage = "status"\nat_bytes = 14',
            "'at_bytes' is 14, but this is about a CSW, which has 13, so nothing would match.",
        ),
        (
            ENDPOINT + 'nth = 1\nwhen = "after"\ndirection = "in"\nopcode = 0x2A\nmin_bytes = 4096',
            "'min_bytes' is 4096, but this is about a CSW, which has 13, so nothing would match: "
            "'opcode' 0x2a is WRITE(10), whose data go 'out', not 'in'.",
        ),
        (
            DEVICE + 'effect = "phase-error"\nopcode = 0x28\ndirection = "out"',
            "'opcode' 0x28 is READ(10), whose data go 'in', not 'out', so nothing would match.",
        ),
        (
            DEVICE + 'effect = "short"\nopcode = 0x2A',
            "'opcode' 0x2a is WRITE(10), whose data go 'out', not 'in', so nothing would match.",
        ),
        (
            DEVICE + 'effect = "stall"\nopcode = 0x35',
            "'opcode' 0x35 is SYNCHRONIZE CACHE(10), which has no data, so nothing would match.",
        ),
        (
            DEVICE + 'effect = "csw-tag"\nopcode = 0x12\nlba = [0, 7]',
            "'lba' is looked at for READ, WRITE and VERIFY (0x28, 0x2a, 0x2f, 0x88, 0x8a, 0x8f)"
            " alone.",
        ),
        (
            DEVICE + 'effect = "extra"\nat_bytes = 1000000',
            "'at_bytes' is 1000000, but too much is at least 1 and at most 65536.",
        ),
    ],
)
def test_a_rule_that_nothing_can_match_is_refused(text: str, end: str) -> None:
    said = complaint(text)
    assert said.endswith(f": {end}")
    assert ", line " in said


@pytest.mark.parametrize(
    "rule",
    [
        'direction = "in"\nstage = "status"\nopcode = 0x2A\nmax_bytes = 13',
        'direction = "out"\nopcode = 0x28\nmin_bytes = 31',
        'direction = "out"\nopcode = 0x2A\nmin_bytes = 4096',
        'direction = "in"\nstage = "data"\nopcode = 0xC7\nmin_bytes = 4096',
        'direction = "out"\nmin_bytes = 4096',
    ],
)
def test_a_rule_that_something_may_match_is_taken(rule: str) -> None:
    parse_plan(ENDPOINT + 'nth = 1\nwhen = "after"\n' + rule, "x.toml")


def test_a_seed_of_more_than_63_bits_is_refused_wherever_it_is_given() -> None:
    with pytest.raises(UserError, match="is too large"):
        Plan(name="x").with_seed(10**5000)
    assert Plan(name="x").with_seed(MOST_SEED).seed == MOST_SEED


@pytest.mark.parametrize(
    "name", ["../x", "a/b", "/x", "", ".", "..", ".x", "-x", "x\\n", "x\\u0000", "\\u001b[31m"]
)
def test_a_plans_name_that_no_directory_should_have_is_refused(name: str) -> None:
    said = complaint(f'name = "{name}"')
    assert "'name' is " in said
    assert said.isprintable()


@pytest.mark.parametrize(
    "text",
    [
        MEDIUM + 'nth = 1\nname = "a\\u001b[31mb\\nc"',
        MEDIUM + 'nth = 1\n"\\u001b[2J\\n" = 1',
        MEDIUM + 'nth = 1\neffect = "\\u202e\\n"',
        MEDIUM + 'nth = 1\nphase = "\\r"',
        'name = "x"\nattachment = "\\u0007"',
        'name = "x"\n"\\u009b\\n" = 3',
        'name = "x"\n[[fault]]\nlayer = "\\u001b\\n"',
        'name = "x"\n[a."\\n"]\n[a."\\n"]',
        f'name = "{"x" * 100_000}"',
        f'name = "x"\n{"k" * 100_000} = 1',
    ],
)
def test_what_a_plan_says_never_breaks_the_sentence(text: str) -> None:
    said = complaint(text)
    assert said.isprintable()
    assert said.startswith("dir/demo.toml")
    assert len(said) < 1000
