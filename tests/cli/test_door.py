"""The one door to the terminal: whatever is written, in whatever pieces, is shown and never obeyed."""

from __future__ import annotations

import ast
import csv
import io
import json
import re
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seedream_jobs.cli.streams import COLOURS, COMMANDS, Door, doors, say, show, show_own
from seedream_jobs.foreign_text import csv_text, escaped_json, is_seen, log_text, visible
from seedream_jobs.report.ci_formats import xml
from tests.hostile.payloads import PAYLOADS

PACKAGE = Path(__file__).parents[2] / "seedream_jobs"
words = st.one_of(
    st.sampled_from(PAYLOADS),
    st.lists(st.one_of(st.sampled_from(PAYLOADS), st.sampled_from(":#[] \t\n")), max_size=6).map("".join),
    st.text(max_size=30),
    st.text(":# [vso\n\t", max_size=20),
)


def is_obeyed(text: str) -> bool:
    """Whether a runner finds a command in a log (the rules of GitHub, Azure Pipelines and TeamCity)."""
    return bool(re.search(r"##(vso|teamcity)?\[", text)) or any(
        line.lstrip().startswith("::") for line in text.split("\n")
    )


@given(text=words)
def test_what_is_written_is_seen_and_not_obeyed(text: str) -> None:
    """Line ends and tabs are what is left of the controls; once safe, it stays as it is."""
    shown = log_text(text)
    assert all(one in "\n\t" or is_seen(one) for one in shown)
    assert not is_obeyed(shown)
    assert log_text(shown) == shown
    assert shown.count("\n") == text.count("\n")
    assert "\n" not in visible(text)


@given(pieces=st.lists(words, max_size=6))
def test_pieces_do_not_make_a_command(pieces: list[str]) -> None:
    """A command that is put together from several writes is none either."""
    raw = io.StringIO()
    door = Door(raw)
    for piece in pieces:
        assert door.write(piece) == len(piece)
    assert not is_obeyed(raw.getvalue())
    assert all(one in "\n\t" or is_seen(one) for one in raw.getvalue())


@given(value=st.recursive(words, lambda inner: st.lists(inner) | st.dictionaries(words, inner), max_leaves=8))
def test_json_passes_the_door_and_is_the_same_value(value: Any) -> None:
    for indent in (None, 2):
        text = escaped_json(json.dumps(value, ensure_ascii=False, indent=indent))
        assert json.loads(text) == value
        assert log_text(text) == text


@given(text=words)
def test_xml_passes_the_door(text: str) -> None:
    written = f'<a b="{xml(text)}">\n{xml(text)}</a>'
    assert log_text(written) == written
    assert "".join(ET.fromstring(written).itertext()).strip("\n") == "\n".join(map(visible, text.split("\n"))).strip(
        "\n"
    )


@given(cells=st.lists(words, min_size=1, max_size=4))
def test_csv_is_not_obeyed_and_keeps_its_cells(cells: list[str]) -> None:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerow([csv_text(cell) for cell in cells])
    assert not is_obeyed(out.getvalue())
    assert next(csv.reader(io.StringIO(out.getvalue()))) == [csv_text(cell) for cell in cells] or "" in cells
    assert csv_text("a 👨\u200d👩 no\u200cbreak\u00a0鹭\n") == "a 👨\u200d👩 no\u200cbreak\u00a0鹭\n"


def test_only_the_program_s_own_colours_and_commands_pass(capsys: pytest.CaptureFixture[str]) -> None:
    show_own("\033[1;31ma\033[0m \033[2J\n::error file=x::y\n", COLOURS)
    show_own("::error file=a,title=b::c \033[1m##[x]\n::set-output name=a::b\n", COMMANDS)
    assert capsys.readouterr().out == (
        "\033[1;31ma\033[0m \\x1b[2J\n: :error file=x::y\n"
        "::error file=a,title=b::c \\x1b[1m## [x]\n: :set-output name=a::b\n"
    )


def test_one_line_stays_one(capsys: pytest.CaptureFixture[str]) -> None:
    say("error: a\nPlan: nothing to submit.\r", err=True)
    show("a\nb\n")
    said = capsys.readouterr()
    assert (said.err, said.out) == ("error: a\\nPlan: nothing to submit.\\r\n", "a\nb\n")


def test_doors_are_put_once_and_taken_away() -> None:
    before = sys.stdout
    with doors():
        inner = sys.stdout
        assert isinstance(inner, Door)
        with doors():
            assert sys.stdout is inner
        assert sys.stdout is inner
    assert sys.stdout is before


def test_nothing_is_printed_beside_the_door() -> None:
    """No module prints by itself or by click, or takes the streams behind the doors; the emulator may."""
    found = []
    for file in PACKAGE.rglob("*.py"):
        if file.name in ("streams.py",) or "emulator" in file.parts or "scaffold" in file.parts:
            continue
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                if re.fullmatch(r"print|click\.(s?echo|echo_via_pager)|sys\.__std.*", called):
                    found.append(f"{file.name}:{node.lineno} {called}")
    assert not found
