"""What the palette lists: keys, commands, ready faults; and what its choices begin with.  Pure."""

from __future__ import annotations

from rig.session.screen.items import Item
from rig.session.screen.keys import KEYS
from rig.session.screen.words import direction_of, number_of
from rig.session.talk.commands import COMMANDS
from rig.session.talk.recipes import RECIPES, Recipe

KEY, LINE, RECIPE = "key", "line", "recipe"
"""What a choice of `everything` begins with, before a colon."""


def recipes() -> list[Item]:
    """The ready faults, by name."""
    return [
        Item(recipe.name, f"{recipe.name}: {recipe.sentence}", f"The host: {recipe.host}")
        for recipe in RECIPES.values()
    ]


def everything() -> list[Item]:
    """Keys, commands and ready faults."""
    keys = [Item(f"{KEY}:{k.action}", f"{k.words}  (key {k.shown})", k.short) for k in KEYS]
    commands = [
        Item(f"{LINE}:{row.name}", row.line, " ".join([row.sentence, row.more]).strip())
        for row in COMMANDS.values()
    ]
    faults = [item._replace(key=f"{RECIPE}:{item.key}") for item in recipes()]
    return [*keys, *commands, *faults]


def recipe_line(name: str, picked: int | None) -> str:
    """The command that arms a ready fault.

    Args:
        name: Of the recipe.
        picked: Address of the endpoint that it is to be about if it can be; None: whichever.
    """
    recipe = RECIPES[name]
    if picked is None or not _fits(recipe, picked):
        return f"recipe {name}"
    return f"recipe {name} endpoint={number_of(picked)}"


def recipe_about(name: str) -> str:
    """Explain a ready fault, and what may be changed."""
    recipe = RECIPES[name]
    return (
        f"{recipe.sentence}\nThe host: {recipe.host}"
        f"\nThe verdict, if all is right: {recipe.verdict}"
        f"\nIts rule: {recipe.words}\nKeys and values behind the name change it."
    )


def _fits(recipe: Recipe, address: int) -> bool:
    return (
        number_of(address) != 0
        and recipe.table.get("layer") == "endpoint"
        and recipe.table.get("direction") == direction_of(address)
    )
