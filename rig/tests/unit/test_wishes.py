"""Functions as a user asks for them on a command line."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rig.errors import UserError
from rig.faults.reader import parse_plan
from rig.faults.rules.device import DeviceFault
from rig.gadget.functions import Function
from rig.gadget.kinds import Kind
from rig.gadget.wishes import SETTINGS, Wish, check_rules, functions_of, parse_wish, wants_store


def made(*texts: str) -> tuple[Function, ...]:
    return functions_of([parse_wish(text) for text in texts], "rig0", "/m/lun0")


def attributes(text: str) -> dict[str, str | bytes]:
    (function,) = made(text)
    return {attribute.path: attribute.value for attribute in function.attributes}


@pytest.mark.parametrize("kind", Kind)
def test_the_name_of_a_kind_is_a_wish(kind: Kind) -> None:
    assert parse_wish(kind) == Wish(kind, {})


def test_settings_follow_the_kind() -> None:
    wish = parse_wish("source-sink,pattern=1,bulk_qlen=8")
    assert wish.settings == {"pattern": "1", "bulk_qlen": "8"}


def test_a_kind_that_does_not_exist_is_refused_with_those_that_do() -> None:
    with pytest.raises(UserError, match="'floppy' is no function") as caught:
        parse_wish("floppy")
    assert "mass-storage, bot-storage, acm, ncm" in caught.value.hint


def test_a_setting_that_does_not_exist_is_refused_with_those_that_do() -> None:
    with pytest.raises(UserError, match="Function loopback has no setting 'size'") as caught:
        parse_wish("loopback,size=1")
    assert caught.value.hint == "It has qlen, bulk_buflen."


@pytest.mark.parametrize(
    "text",
    [
        "source-sink,pattern=",
        "source-sink,pattern=x",
        "mass-storage,removable=2",
        "ncm,dev_addr=02:00",
    ],
)
def test_a_value_that_has_not_its_form_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="cannot be the"):
        parse_wish(text)


@given(st.text())
def test_any_text_is_a_wish_or_refused_with_a_sentence(text: str) -> None:
    try:
        wish = parse_wish(text)
    except UserError:
        return
    assert set(wish.settings) <= set(SETTINGS[wish.kind])


def test_a_setting_takes_the_usual_values_place_and_order() -> None:
    (function,) = made("mass-storage,removable=1")
    paths = [attribute.path for attribute in function.attributes]
    assert attributes("mass-storage,removable=1")["lun.0/removable"] == "1"
    assert paths == [attribute.path for attribute in made("mass-storage")[0].attributes]


def test_a_setting_without_a_usual_value_is_written_too() -> None:
    assert attributes("source-sink,bulk_qlen=8") == {"bulk_qlen": "8"}
    assert attributes("ncm,qmult=2").keys() == {"qmult", "dev_addr", "host_addr"}


def test_functions_of_one_kind_are_numbered() -> None:
    assert [f.directory for f in made("acm", "hid", "acm", "hid")] == [
        *("acm.0", "hid.0", "acm.1", "hid.1")
    ]


def test_a_disk_alone_wants_a_store() -> None:
    assert wants_store([Wish(Kind.ACM), Wish(Kind.MASS_STORAGE)])
    assert not wants_store([Wish(Kind.ACM), Wish(Kind.LOOPBACK)])


def test_two_disks_are_refused() -> None:
    with pytest.raises(UserError, match="one disk at most"):
        made("mass-storage", "mass-storage,removable=1")


def test_no_function_is_no_gadget() -> None:
    with pytest.raises(UserError, match="needs a function"):
        made()


@pytest.mark.parametrize(
    ("rule", "kinds", "said"),
    [
        ('effect = "csw-tag"\nnth = 1', [Kind.MASS_STORAGE], "about the commands of a disk"),
        ('effect = "unbind"\nnth = 1', [Kind.ACM], "about the commands of a disk"),
        ('effect = "eject"\nat_s = 1', [Kind.ACM], "takes a medium out"),
        ('effect = "csw-tag"\nnth = 1', [Kind.BOT_STORAGE], ""),
        ('effect = "eject"\nat_s = 1', [Kind.MASS_STORAGE], ""),
        ('effect = "unbind"\nat_s = 1', [Kind.ACM], ""),
    ],
)
def test_a_plan_that_the_gadget_cannot_bring_about_is_refused(
    rule: str, kinds: list[Kind], said: str
) -> None:
    rules = parse_plan(f'name = "p"\n[[fault]]\nlayer = "device"\n{rule}', "p").rules(DeviceFault)
    expected = pytest.raises(UserError, match=said) if said else nullcontext()
    with expected:
        check_rules(rules, [Wish(kind) for kind in kinds])
