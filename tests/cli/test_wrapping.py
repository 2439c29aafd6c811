"""Lines in the width of a terminal: broken between words, indented below their beginning, nothing lost."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seedream_jobs.foreign_text import visible, width, wrapped

ROW = "  + 12 new          "


def test_a_note_goes_on_below_itself() -> None:
    text = ROW + "axis style gained 'ink', and a sentence that is too long for one line (garden.yaml:11)"
    assert wrapped(text, 60).split("\n") == [
        ROW + "axis style gained 'ink', and a sentence",
        " " * len(ROW) + "that is too long for one line",
        " " * len(ROW) + "(garden.yaml:11)",
    ]


def test_wide_characters_take_two_columns_and_part_anywhere_but_before_a_mark() -> None:
    """Chinese has no spaces: 在花园里 is broken between characters, and no line begins with 。"""
    lines = wrapped("      在花园里的一只苍鹭，在秋天的花园里。", 24).split("\n")
    assert [width(line) <= 24 for line in lines] == [True] * len(lines)
    assert not any(line.strip().startswith(("，", "。")) for line in lines)
    assert "".join(line.strip() for line in lines) == "在花园里的一只苍鹭，在秋天的花园里。"


def test_a_command_and_a_long_word_stay_whole() -> None:
    """Somebody may paste them: half a command would be another one."""
    command = "seedream-jobs run plan.json --expect sha256:" + "0" * 64
    assert wrapped(f"Saved. After approval: {command}", 60).split("\n") == ["Saved. After approval:", f"  {command}"]
    path = "/a/" + "b" * 80
    assert wrapped(f"  images    {path}", 40).split("\n")[-1].strip() == path


@pytest.mark.parametrize("columns", [1, 4, 10])
def test_a_terminal_of_a_few_columns(columns: int) -> None:
    assert "".join(wrapped(ROW + "in two words", columns).split()) == "+12newintwowords"


@given(st.text(st.sampled_from("ab 在花，。é\u0301😀-/"), max_size=80), st.integers(8, 60))
def test_nothing_is_lost_and_everything_fits(text: str, columns: int) -> None:
    """Without its spaces the text is the same; a line is wider only where it is one word."""
    shown = visible(text)
    lines = wrapped(shown, columns).split("\n")
    assert re.sub(r"\s", "", "".join(lines)) == re.sub(r"\s", "", shown)
    for line in lines:
        assert width(line) <= columns or " " not in line.strip()
