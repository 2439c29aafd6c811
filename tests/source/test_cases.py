"""Each cases/NAME.yaml is read, and what the terminal shows of it is cases/NAME.txt.

A new case is a new file. ``UPDATE_CASES=1 pytest tests/source/test_cases.py`` writes the expectations anew; the
difference is to be read like code.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from seedream_jobs.errors import FindingsError
from seedream_jobs.job.yaml_reader import decode, parse
from seedream_jobs.report.findings import render_findings

CASES = sorted((Path(__file__).parent / "cases").glob("*.yaml"))


def shown(raw: bytes, path: str, *, libyaml: bool) -> str:
    try:
        diagnostics = parse(raw, path, libyaml=libyaml).warnings
    except FindingsError as error:
        diagnostics = error.diagnostics
    return render_findings(diagnostics, {path: decode(raw)}, color=False)


def test_there_are_cases() -> None:
    """An empty folder would make the test below say nothing."""
    assert len(CASES) >= 40


@pytest.mark.parametrize("libyaml", [True, False], ids=["libyaml", "python"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.stem)
def test_case(case: Path, libyaml: bool) -> None:
    """Both parsers lead to the recorded words and places; what PyYAML's own makes of an escape comes too late."""
    if libyaml:
        pytest.importorskip("yaml._yaml")
    elif case.stem.startswith("bad-escape"):
        with pytest.raises(FindingsError) as caught:
            parse(case.read_bytes(), case.name, libyaml=False)
        assert {item.code for item in caught.value.diagnostics} == {"bad-escape"}
        return
    found = shown(case.read_bytes(), case.name, libyaml=libyaml)
    expected = case.with_suffix(".txt")
    if os.environ.get("UPDATE_CASES") and libyaml:
        expected.write_text(found, encoding="utf-8", newline="")
    assert found == expected.read_bytes().decode()
    assert found, "a case without a finding belongs to test_source.py"
