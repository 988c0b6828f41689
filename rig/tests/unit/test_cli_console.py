"""What long work looks like, on a terminal and elsewhere."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from rig.cli.console import ConsoleProgress


def progress(*, terminal: bool) -> tuple[ConsoleProgress, io.StringIO]:
    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, width=80, color_system=None)
    return ConsoleProgress(console), out


def test_without_a_terminal_a_step_has_a_line_for_its_beginning_and_one_for_its_end() -> None:
    shown, out = progress(terminal=False)
    with shown.step("boot"):
        assert out.getvalue() == "… boot\n"
    assert out.getvalue().splitlines()[1].startswith("✓ boot  0.")


def test_a_step_tells_its_seconds() -> None:
    shown, out = progress(terminal=False)
    with shown.step("boot"):
        pass
    assert out.getvalue().endswith(" s\n")


def test_a_failed_step_is_told_from_a_done_one_and_the_error_goes_on() -> None:
    shown, out = progress(terminal=False)
    with pytest.raises(ValueError, match="why"), shown.step("boot"):
        raise ValueError("why")
    assert "✗ boot" in out.getvalue()
    assert "✓" not in out.getvalue()


def test_a_step_inside_a_step_is_indented() -> None:
    shown, out = progress(terminal=False)
    with shown.step("outer"), shown.step("inner"):
        shown.note("by the way")
    lines = out.getvalue().splitlines()
    assert lines[:3] == ["… outer", "  … inner", "    · by the way"]
    assert lines[3].startswith("  ✓ inner")
    assert lines[4].startswith("✓ outer")


def test_names_are_no_markup() -> None:
    shown, out = progress(terminal=False)
    shown.note("[bold]x[/]")
    assert "[bold]x[/]" in out.getvalue()


def test_on_a_terminal_the_running_step_is_shown_and_its_end_stays() -> None:
    shown, out = progress(terminal=True)
    with shown.step("outer"):
        with shown.step("inner"):
            assert "inner" in out.getvalue()
        assert "✓ inner" in out.getvalue()
    assert out.getvalue().rstrip().endswith(" s")
    assert "✓ outer" in out.getvalue()


def test_the_cursor_comes_back_after_a_failure_on_a_terminal() -> None:
    shown, out = progress(terminal=True)
    with pytest.raises(KeyboardInterrupt), shown.step("boot"):
        raise KeyboardInterrupt
    assert out.getvalue().rindex("\x1b[?25h") > out.getvalue().rindex("\x1b[?25l")
