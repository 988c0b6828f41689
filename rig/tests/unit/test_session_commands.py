from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rig.errors import UserError
from rig.session.talk.commands import COMMANDS, find, help_lines, parse


@pytest.mark.parametrize("name", COMMANDS)
def test_a_name_means_its_command_although_others_begin_so(name: str) -> None:
    assert find(name).name == name


@pytest.mark.parametrize(
    ("said", "meant"), [("sta", "status"), ("v", "verify"), ("po", None), ("un", None)]
)
def test_the_beginning_of_a_name_will_do_if_no_other_begins_so(
    said: str, meant: str | None
) -> None:
    if meant is not None:
        assert find(said).name == meant
        return
    with pytest.raises(UserError, match="could be several commands"):
        find(said)


def test_an_unknown_command_is_told_with_what_was_probably_meant() -> None:
    with pytest.raises(UserError, match=r"no command 'verfy'\. Did you mean 'verify'\?"):
        parse("verfy")


@pytest.mark.parametrize("line", ["", "   ", "# a comment", "  # another"])
def test_nothing_and_comments_are_no_commands(line: str) -> None:
    assert parse(line) is None


def test_words_are_quoted_as_a_shells() -> None:
    asked = parse("fire 'two words'")
    assert asked is not None
    assert asked.words == ("two words",)


def test_a_quotation_without_an_end_is_told() -> None:
    with pytest.raises(UserError, match="has no end"):
        parse("fire 'two")


def test_a_note_is_taken_as_it_is() -> None:
    asked = parse('note it\'s "here"  #now')
    assert asked is not None
    assert asked.words == ('it\'s "here"  #now',)


@pytest.mark.parametrize("line", ["fire", "arm", "note", "shell", "wait", "kill", "save"])
def test_what_is_missing_is_told_with_the_usage(line: str) -> None:
    with pytest.raises(UserError, match=f"'{line}' needs more. Write: {line} "):
        parse(line)


@pytest.mark.parametrize("line", ["quit now", "fire a b", "plug in", "undo 3"])
def test_what_is_too_much_is_told(line: str) -> None:
    with pytest.raises(UserError, match="does not take"):
        parse(line)


def test_the_help_has_a_line_for_each_command() -> None:
    assert len(help_lines()) == len(COMMANDS) + 1


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_is_explained_in_sentences(name: str) -> None:
    for line in help_lines(name):
        assert line.endswith(".")


@given(st.text())
def test_no_line_does_harm(line: str) -> None:
    with suppress(UserError):
        asked = parse(line)
        assert asked is None or asked.command.name in COMMANDS
