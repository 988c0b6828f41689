"""The manual tells of every command and recipe, in the words that the session has for them."""

from __future__ import annotations

from pathlib import Path

import pytest

import rig
from rig.cli.session import session
from rig.session.talk.commands import COMMANDS, Command
from rig.session.talk.recipes import RECIPES, Recipe

MANUAL = (Path(rig.__file__).parents[1] / "docs" / "manual.md").read_text()


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_each_command_has_its_row(command: Command) -> None:
    line = command.line.replace("|", "\\|")
    assert f"| `{line}` | {command.sentence.replace('|', chr(92) + '|')} |" in MANUAL


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_each_recipe_has_its_row(recipe: Recipe) -> None:
    row = f"| `{recipe.name}` | {recipe.sentence} | {recipe.host} | {recipe.verdict} |"
    assert row in MANUAL


def test_the_command_names_the_manual() -> None:
    assert "docs/manual.md" in (session.__doc__ or "")
