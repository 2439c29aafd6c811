"""docs/emulator.md says what the emulator does: its faults and options are those of the code."""

from __future__ import annotations

import re
from pathlib import Path

from seedream_jobs.emulator.__main__ import emulator
from seedream_jobs.emulator.faults import FAULTS

TEXT = (Path(__file__).parents[2] / "docs" / "emulator.md").read_text(encoding="utf-8")


def test_every_fault_is_documented_in_its_own_words():
    """The tables hold each fault once, with the sentence that --list-faults prints."""
    section = TEXT.partition("## Faults")[2].partition("## Pictures")[0]
    rows = re.findall(r"^\| `([^`]+)` \| (.*) \|$", section, re.MULTILINE)
    assert sorted(rows) == sorted((fault.name, fault.about) for fault in FAULTS.values())


def test_every_option_is_documented():
    """And no other."""
    section = TEXT.partition("## Options")[2].partition("## Endpoints")[0]
    documented = set(re.findall(r"`(--[a-z-]+)`", " ".join(re.findall(r"^\| (`[^|]+) \|", section, re.MULTILINE))))
    assert documented == {option for parameter in emulator.params for option in parameter.opts}
    assert all(getattr(parameter, "help", None) for parameter in emulator.params)


def test_the_python_example_runs(tmp_path, monkeypatch, capsys):
    """The block of the page prints the URL of a running emulator."""
    (block,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    exec(compile(block, "docs/emulator.md", "exec"), {})
    assert capsys.readouterr().out.startswith("http://127.0.0.1:")
