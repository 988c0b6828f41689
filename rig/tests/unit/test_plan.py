"""A fault plan is read exactly, and a bad one is told in one sentence that names the place."""

from __future__ import annotations

import errno
import re
from pathlib import Path

import pytest
from hypothesis import given

from rig.errors import UserError
from rig.faults.load import load_plan, shipped_plans
from rig.faults.plan import Plan
from rig.faults.reader import parse_plan, parse_rule
from rig.faults.rules.base import NO_LIMIT
from rig.faults.rules.endpoint import EndpointFault, EndpointStatus, When
from rig.faults.rules.medium import MediumError, MediumFault, MediumOp
from rig.tests.harness.plans import DISTURBED_RULES, toml
from rig.usb.urb import Direction

MEDIUM = 'name = "x"\n[[fault]]\nlayer = "medium"\nop = "write"\nerror = "EIO"\n'
MACHINE = 'name = "x"\n[[fault]]\nlayer = "machine"\nmachine = "back"\n'
ENDPOINT = (
    'name = "x"\n[[fault]]\nlayer = "endpoint"\ndirection = "out"\n'
    'status = "EPROTO"\nwhen = "before"\n'
)


def complaint(text: str) -> str:
    with pytest.raises(UserError) as caught:
        parse_plan(text, "demo.toml")
    return str(caught.value)


def test_all_keys_of_an_endpoint_rule_are_read() -> None:
    plan = parse_plan(
        ENDPOINT + 'name = "n"\nphase = "write"\nmin_bytes = 4096\nevery = 40\ntimes = -1', "x"
    )
    assert plan.faults == (
        EndpointFault(
            name="n",
            phase="write",
            every=40,
            times=NO_LIMIT,
            direction=Direction.OUT,
            status=EndpointStatus.EPROTO,
            when=When.BEFORE,
            min_bytes=4096,
        ),
    )


def test_all_keys_of_a_medium_rule_are_read() -> None:
    plan = parse_plan(MEDIUM + "lba = [0, 4095]\nnth = 3", "x")
    assert plan.faults == (
        MediumFault(
            name="medium-1", nth=3, op=MediumOp.WRITE, error=MediumError.EIO, lba=(0, 4095)
        ),
    )


def test_rules_without_a_name_are_numbered_within_their_layer() -> None:
    rule = MEDIUM.split("\n", 1)[1] + "nth = 1\n"
    other = ENDPOINT.split("\n", 1)[1] + "nth = 1\n"
    plan = parse_plan('name = "x"\n' + rule + other + rule, "x")
    assert [fault.name for fault in plan.faults] == ["medium-1", "endpoint-1", "medium-2"]


def test_a_plan_without_faults_is_a_plan() -> None:
    assert parse_plan('name = "calm"', "x") == Plan(name="calm")


def test_a_layer_sees_its_own_rules_only() -> None:
    plan = parse_plan(MEDIUM + "nth = 1\n" + ENDPOINT.split("\n", 1)[1] + "nth = 1", "x")
    assert [fault.name for fault in plan.rules(EndpointFault)] == ["endpoint-1"]


@pytest.mark.parametrize("status", list(EndpointStatus))
def test_every_status_is_a_negative_errno(status: EndpointStatus) -> None:
    assert errno.errorcode[-status.code] == status.value


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('name = "x', "demo.toml: not valid TOML: Unterminated string (at end of document)."),
        ("name =\n", "demo.toml: not valid TOML: Invalid value (at line 1, column 7)."),
        (
            'nam = "x"',
            "demo.toml, line 1: unknown key 'nam' (did you mean 'name'?); "
            "known keys: fault, name, seed, expect, classes, attachment.",
        ),
        (
            "seed = 1",
            "demo.toml: 'name' is missing; it must be 1 to 64 letters and digits, and behind the "
            "first also '.', '_', '+', '-' and spaces, for it names run directories.",
        ),
        (
            'name = "x"\nseed = -1',
            "demo.toml, line 2: 'seed' is -1; it must be a whole number "
            "from 0 to 9223372036854775807.",
        ),
        (
            'name = "x"\nexpect = "fall"',
            "demo.toml, line 2: 'expect' is 'fall'; "
            "it must be one of 'pass', 'indeterminate', 'fail'.",
        ),
        (
            'name = "x"\nexpect = "fail"',
            "demo.toml: 'classes' is missing: a plan that is to fail names what will be wrong.",
        ),
        (
            'name = "x"\nclasses = ["lost"]',
            "demo.toml, line 2: 'classes' is of no use: nothing is to be wrong unless 'expect' is "
            "'fail'.",
        ),
        (
            'name = "x"\nexpect = "fail"\nclasses = ["gone"]',
            "demo.toml, line 3: 'classes' is ['gone']; it must be a list of one of 'lost', "
            "'stale', 'torn', 'misdirected', 'foreign', 'corrupt', 'zeroed', 'unreadable'.",
        ),
        (
            'name = "x"\nfault = 3',
            "demo.toml, line 2: 'fault' must be written as [[fault]] tables.",
        ),
        (
            'name = "x"\n[[fault]]',
            "demo.toml, line 2: fault 1: no 'layer'; "
            "known layers: endpoint, medium, device, link, machine.",
        ),
        (
            'name = "x"\n[[fault]]\nlayer = "lnk"',
            "demo.toml, line 3: fault 1: unknown layer 'lnk'; "
            "known layers: endpoint, medium, device, link, machine.",
        ),
        (
            MEDIUM + "lbas = [1, 2]",
            "demo.toml, line 6: fault 1 (medium): unknown key 'lbas' (did you mean "
            "'lba'?); known keys: layer, name, phase, nth, every, probability, at_s, times, "
            "interval, space, op, effect, error, lba, min_bytes, max_bytes, delay_s, "
            "release_after_s, torn_bytes, shift_blocks, bit, versions.",
        ),
        (
            MEDIUM + "nth = 0",
            "demo.toml, line 6: fault 1 (medium): 'nth' is 0; "
            "it must be a whole number from 1 to 1000000000000000.",
        ),
        (
            MEDIUM + "every = true",
            "demo.toml, line 6: fault 1 (medium): 'every' is True; "
            "it must be a whole number from 1 to 1000000000000000.",
        ),
        (
            MEDIUM + "probability = 1.5",
            "demo.toml, line 6: fault 1 (medium): 'probability' is 1.5; "
            "it must be a number greater than 0 and at most 1.",
        ),
        (
            MEDIUM + "nth = 1\ntimes = -2",
            "demo.toml, line 7: fault 1 (medium): 'times' is -2; "
            "it must be a whole number from 1 to 1000000000000000, or -1 for no limit.",
        ),
        (
            MEDIUM + "nth = 1\ntimes = 0",
            "demo.toml, line 7: fault 1 (medium): 'times' is 0, so it would never fire; "
            "-1 means no limit.",
        ),
        (
            MEDIUM,
            "demo.toml, line 2: fault 1 (medium): none of 'nth', 'every', 'probability', 'at_s' "
            "is given, so it would never fire.",
        ),
        (
            MEDIUM + "nth = 1\nprobability = 0.5",
            "demo.toml, line 6: fault 1 (medium): 'nth' and 'probability' exclude each other.",
        ),
        (
            MEDIUM + "nth = 1\nlba = [5, 3]",
            "demo.toml, line 7: fault 1 (medium): 'lba' ends at 3, before it begins at 5.",
        ),
        (
            MEDIUM + "nth = 1\nlba = [5]",
            "demo.toml, line 7: fault 1 (medium): 'lba' is [5]; "
            "it must be two whole numbers, [first, last], from 0 to 4294967295.",
        ),
        (
            MEDIUM.replace("write", "wrote") + "nth = 1",
            "demo.toml, line 4: fault 1 (medium): 'op' is 'wrote'; "
            "it must be one of 'read', 'write', 'flush'.",
        ),
        (
            MEDIUM.replace('op = "write"\n', "nth = 1\n"),
            "demo.toml, line 2: fault 1 (medium): 'op' is missing; "
            "it must be one of 'read', 'write', 'flush'.",
        ),
        (
            ENDPOINT.replace("before", "during") + "nth = 1",
            "demo.toml, line 6: fault 1 (endpoint): 'when' is 'during'; "
            "it must be one of 'before', 'middle', 'after'.",
        ),
        (
            ENDPOINT.replace("EPROTO", "EOVERFLOW") + "nth = 1",
            "demo.toml, line 5: fault 1 (endpoint): 'status' 'EOVERFLOW' is seen on 'in' "
            "transfers only, but the direction is 'out'.",
        ),
        (
            ENDPOINT + "nth = 1\nmin_bytes = 10\nmax_bytes = 9",
            "demo.toml, line 8: fault 1 (endpoint): 'min_bytes' is 10, above 'max_bytes', "
            "which is 9, so nothing would match.",
        ),
        (
            ENDPOINT + "nth = 1\nat_bytes = 512",
            "demo.toml, line 8: fault 1 (endpoint): 'at_bytes' and 'when' exclude each other.",
        ),
        (
            ENDPOINT.replace('when = "before"', "") + "nth = 1",
            "demo.toml, line 2: fault 1 (endpoint): neither 'when' nor 'at_bytes' is given, "
            "so the moment is not known.",
        ),
        (
            ENDPOINT + 'nth = 1\nstage = "status"',
            "demo.toml, line 8: fault 1 (endpoint): "
            "'stage' 'status' goes the other way than 'out'.",
        ),
        (
            ENDPOINT.replace('status = "EPROTO"\n', "nth = 1\n"),
            "demo.toml, line 2: fault 1 (endpoint): neither 'status' nor 'for_s' is given, so "
            "nothing would happen.",
        ),
        (
            ENDPOINT + "nth = 1\nfor_s = 2",
            "demo.toml, line 8: fault 1 (endpoint): 'for_s' and 'status' exclude each other.",
        ),
        (
            ENDPOINT.replace('status = "EPROTO"\n', "nth = 1\nfor_s = 2\n"),
            "demo.toml, line 6: fault 1 (endpoint): 'for_s' lets the transfer run in the end: "
            "'when', 'at_bytes' and 'halt' go with 'status'.",
        ),
        (
            ENDPOINT + "nth = 1\nhalt = true",
            "demo.toml, line 8: fault 1 (endpoint): 'halt' is seen as 'EPIPE', not as 'EPROTO'.",
        ),
        (
            ENDPOINT.replace("EPROTO", "EPIPE") + 'nth = 1\nhalt = true\nplace = "cable"',
            "demo.toml, line 8: fault 1 (endpoint): 'halt' is brought about by the back end, "
            "not on the cable.",
        ),
        (
            ENDPOINT + "nth = 1\nat_s = 2",
            "demo.toml, line 7: fault 1 (endpoint): 'nth' and 'at_s' exclude each other.",
        ),
        (
            ENDPOINT + "nth = 1\ninterval = 2",
            "demo.toml, line 8: fault 1 (endpoint): 'interval' goes with 'probability', "
            "not with 'nth'.",
        ),
        (
            MACHINE + 'effect = "pause"\nnth = 1',
            "demo.toml, line 6: fault 1 (machine): 'nth' counts matches, and a machine has none; "
            "give 'at_s'.",
        ),
        (
            MACHINE + 'effect = "reboot"\nat_s = 1\ntimes = 2',
            "demo.toml, line 7: fault 1 (machine): 'times' counts matches, but this rule fires by "
            "the clock alone, and once.",
        ),
        (
            ENDPOINT + 'nth = 1\nphase = ""',
            "demo.toml, line 8: fault 1 (endpoint): 'phase' is ''; "
            "it must be a text of 1 to 100 characters, none of them a control character.",
        ),
        (
            MEDIUM + "nth = 1\n" + ENDPOINT.split("\n", 1)[1] + 'nth = 1\nname = "medium-1"',
            "demo.toml, line 13: fault 2 (endpoint): 'medium-1' is already fault 1's name.",
        ),
    ],
)
def test_a_bad_plan_is_told_in_one_sentence_that_names_the_place(text: str, sentence: str) -> None:
    assert complaint(text) == sentence


def test_no_line_is_told_for_tables_that_are_written_inline() -> None:
    said = complaint('name = "x"\nfault = [{layer = "medium"}]')
    assert said.startswith("demo.toml: fault 1 (medium): 'op' is missing")


@given(rule=DISTURBED_RULES)
def test_any_rule_is_read_or_refused_by_a_user_error(rule: dict[str, object]) -> None:
    try:
        said = f"x.toml read {parse_plan(toml(rule), 'x.toml').name}."
    except UserError as error:
        said = str(error)
    assert re.fullmatch(r"x\.toml.*\.", said, re.DOTALL)


def test_a_rule_that_is_in_no_file_is_refused_without_a_place() -> None:
    with pytest.raises(UserError) as caught:
        parse_rule({"layer": "medium", "op": "read", "nth": 0})
    assert str(caught.value) == "'nth' is 0; it must be a whole number from 1 to 1000000000000000."


def test_a_seed_given_later_overrides_the_plans_own() -> None:
    assert Plan(name="x", seed=1).with_seed(2).seed == 2
    assert Plan(name="x", seed=1).with_seed(None).seed == 1


def test_a_negative_seed_is_refused() -> None:
    with pytest.raises(UserError, match="Seed -2 is negative"):
        Plan(name="x").with_seed(-2)


def test_a_missing_file_is_named_and_the_shipped_plans_are_offered(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no plan file '.*none.toml'\. .* demo, "):
        load_plan(tmp_path / "none.toml")


def test_a_directory_is_no_plan(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        load_plan(tmp_path)


@pytest.mark.parametrize("name", list(shipped_plans()))
def test_every_shipped_plan_is_valid_and_called_like_its_file(name: str) -> None:
    assert load_plan(name).name == name


def test_the_demo_covers_every_moment_in_both_directions_and_the_medium() -> None:
    plan = load_plan("demo")
    endpoint = [fault for fault in plan.faults if isinstance(fault, EndpointFault)]
    assert {(f.direction, f.when) for f in endpoint if f.min_bytes >= 4096} == {
        (direction, when) for direction in Direction for when in When
    }
    assert {fault.op for fault in plan.faults if isinstance(fault, MediumFault)} == {MediumOp.WRITE}


def test_a_plan_that_is_nested_too_deeply_is_no_plan() -> None:
    with pytest.raises(UserError, match="nested too deeply"):
        parse_plan("name = " + "[" * 100_000, "deep.toml")


def test_a_name_that_no_file_can_have_is_no_plan() -> None:
    with pytest.raises(UserError, match="cannot be read"):
        load_plan("x" * 5000)
