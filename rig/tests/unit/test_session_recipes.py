from __future__ import annotations

import pytest

from rig.errors import UserError
from rig.faults.rules.endpoint import EndpointFault, EndpointStatus
from rig.session.talk.recipes import RECIPES, Recipe, find, rule_of, search


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_each_recipe_is_a_good_rule_and_says_what_the_host_sees(recipe: Recipe) -> None:
    assert rule_of(recipe, {}, "mine").name == "mine"
    assert recipe.sentence.endswith(".")
    assert recipe.host.endswith(".")
    assert recipe.verdict in ("pass", "fail")


def test_another_trigger_takes_the_place_of_the_recipes() -> None:
    rule = rule_of(find("write-lost"), {"every": 5}, "x")
    assert (rule.nth, rule.every) == (None, 5)


def test_a_status_takes_the_place_of_a_time_of_naks() -> None:
    rule = rule_of(find("nak"), {"status": "EILSEQ", "when": "before"}, "x")
    assert isinstance(rule, EndpointFault)
    assert (rule.for_s, rule.status) == (None, EndpointStatus.EILSEQ)


def test_changes_that_make_a_bad_rule_are_told() -> None:
    with pytest.raises(UserError, match="'status' is 'EGGS'"):
        rule_of(find("write-lost"), {"status": "EGGS"}, "x")


def test_a_changed_name_is_the_rules() -> None:
    assert rule_of(find("write-lost"), {"name": "mine"}, "x").name == "mine"


def test_an_unknown_recipe_is_told_with_the_nearest() -> None:
    with pytest.raises(UserError, match=r"no recipe 'write-los'\. Did you mean 'write-lost'\?"):
        find("write-los")


def test_all_words_are_searched_in_names_sentences_and_what_the_host_sees() -> None:
    found = {recipe.name for recipe in search(["STALL", "halt"])}
    assert found == {"stall-told", "stall-halted"}
    assert len(search()) == len(RECIPES)
