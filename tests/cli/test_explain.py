"""``explain``: what the pages say of a code, found without them."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from seedream_jobs.cli.explain import plain, sections
from seedream_jobs.errors import ExitCode
from tests.cli.test_streams import BAD, on_a_terminal

Command = Callable[..., Any]
ROOT = Path(__file__).parents[2]
CODES = sorted(
    {
        code
        for page in (ROOT / "docs/diagnostics").glob("*.md")
        for code in re.findall(r"^### (\S+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    }
)


def words(text: str) -> list[str]:
    """What is said, whatever marks and line breaks stand around it."""
    text = re.sub(r"\]\([^)]*\)", "", text)
    return re.findall(r"\w+", text)


def test_every_code_is_explained_in_plain_words(quick: Command) -> None:
    """All that its sections say, no Markdown, and no line beyond the terminal's last column."""
    assert len(CODES) > 100
    for code in CODES:
        ended = quick("explain", code, COLUMNS="60")
        assert (ended.code, ended.err) == (0, "")
        assert not re.search(r"`[^`]+`|\*\*", ended.out)
        assert "](" not in ended.out
        for line in ended.out.splitlines():
            assert len(line) <= 60 or " " not in line.strip(), line
        said = [word for title, text in sections()[code] for word in words(f"{code} {title} {text}")]
        assert words(ended.out) == said


def test_every_exit_code_is_explained(quick: Command) -> None:
    """By its number, and all together."""
    for code in ExitCode:
        ended = quick("explain", str(int(code)))
        assert ended.out.startswith(f"{int(code)}: Exit code, {code.name}\n")
    listed = quick("explain", "exit-codes").out
    assert [int(number) for number in re.findall(r"^  - (\d+): ", listed, re.MULTILINE)] == sorted(ExitCode)


def test_without_a_code_all_are_listed(quick: Command) -> None:
    """A line each, which fits."""
    lines = quick("explain", COLUMNS="80").out.splitlines()
    assert {line.split()[0] for line in lines if line.startswith("  ")} == {
        *CODES,
        *(str(int(one)) for one in ExitCode),
    }
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize("typed", ["unknown-feild", "unknown_field", "Unknown-Fields"])
def test_an_unknown_code_suggests_the_nearest(quick: Command, typed: str) -> None:
    ended = quick("explain", typed)
    assert (ended.code, ended.out) == (2, "")
    assert "did you mean 'unknown-field'?" in ended.err


@pytest.mark.parametrize("typed", ["unknown-field", "error[unknown-field]:", "Unknown-Field"])
def test_a_code_may_be_pasted(quick: Command, typed: str) -> None:
    assert quick("explain", typed).out.startswith("unknown-field: Fields and values\n\n")


def test_a_terminal_is_told_where_to_read_on(campaign: Path, quick: Command) -> None:
    """Once below findings and refusals; a pipe is not, and what is said there works."""
    (campaign / "bad.yaml").write_text(BAD, encoding="utf-8")
    shown = on_a_terminal(["validate", "bad.yaml"], campaign)
    (code,) = re.findall(r"seedream-jobs explain (\S+)", shown)
    assert code == "unknown-field"
    assert "explain" not in quick("validate", "bad.yaml").out
    refused = on_a_terminal(["plan", "nothing.yaml"], campaign)
    assert "  exit code 2: seedream-jobs explain 2\r\n" in refused
    assert quick("explain", code).code == quick("explain", "2").code == 0


def test_markdown_becomes_text() -> None:
    """Links, emphasis, lists and code blocks; a star or a backtick in code is no mark."""
    text = (
        "See [the *page*](a.md#b), **not** `` ` `` or `*`:\n\n- one\n  two\n- three\n\n```console\n$ a   b\n```\nEnd.\n"
    )
    assert plain(text, 40) == "See the page, not ` or *:\n\n  - one two\n  - three\n\n    $ a   b\n\nEnd.\n"
