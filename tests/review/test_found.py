"""Findings and standings in every format: what CI and reviewers see of a job file with errors, and of a run."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from collections.abc import Callable
from typing import Any

import pytest

Run = Callable[..., Any]
BROKEN = 'version: 1\nrequest: {prompt: "x", resolution: 9K, sise: "1:1"}\n'


@pytest.fixture
def broken(campaign: Any) -> str:
    """A job file with two errors, beside the sound one."""
    campaign.write("broken.yaml", BROKEN)
    return "broken.yaml"


def test_github_marks_the_words_in_the_file(command: Run, broken: str) -> None:
    """An annotation for each error, where it stands."""
    ended = command("validate", "garden.yaml", broken, "--format", "github")
    assert ended.code == 1
    lines = ended.out.splitlines()
    assert len(lines) == 2
    assert all(line.startswith("::error file=broken.yaml,line=2,endLine=2,col=") for line in lines)
    assert "title=unknown-field::" in "".join(lines)


def test_json_has_every_finding(command: Run, broken: str) -> None:
    """With its place, and the files that were looked at."""
    data = json.loads(command("validate", "garden.yaml", broken, "--format", "json").out)
    assert data["files"] == ["garden.yaml", broken]
    assert [(one["path"], one["line"], one["severity"]) for one in data["findings"]] == [(broken, 2, "error")] * 2
    lines = command("validate", broken, "--format", "jsonl").out.splitlines()
    assert [json.loads(line) for line in lines] == data["findings"]


def test_junit_shows_what_passed_and_what_failed(command: Run, broken: str) -> None:
    """The sound file is a case that passes."""
    root = ET.fromstring(command("validate", "garden.yaml", broken, "--format", "junit").out)
    assert [(suite.attrib["name"], suite.attrib["failures"]) for suite in root] == [("garden.yaml", "0"), (broken, "2")]


@pytest.mark.parametrize("form", ["sarif", "gitlab", "markdown"])
def test_the_other_formats_have_both_errors(command: Run, broken: str, form: str) -> None:
    """One result each."""
    ended = command("validate", broken, "--format", form)
    assert ended.code == 1
    count = {
        "sarif": lambda text: len(json.loads(text)["runs"][0]["results"]),
        "gitlab": lambda text: len(json.loads(text)),
        "markdown": lambda text: text.count("\n- error "),
    }[form](ended.out)
    assert count == 2


@pytest.mark.parametrize("form", ["json", "github", "gitlab", "sarif", "junit", "markdown"])
def test_a_plan_that_meets_errors_shows_them_in_its_format(command: Run, broken: str, form: str) -> None:
    """So that the comment and the scan say why there is no plan."""
    ended = command("plan", broken, "--base", "main", "--format", form)
    assert ended.code == 1
    assert ended.out == command("validate", broken, "--format", form).out


def test_status_in_every_format(campaign: Any, command: Run) -> None:
    """Of a run that left nothing open there is nothing to remark."""
    command("run", "garden.yaml", "--emulator", "--no-gallery")
    text = {
        form: command("status", "garden.yaml", "--emulator", "--format", form).out
        for form in ("json", "jsonl", "markdown", "github", "gitlab", "sarif", "junit")
    }
    assert json.loads(text["json"]) == [json.loads(text["jsonl"])]
    assert json.loads(text["json"])[0]["counts"] == {"stored": 4}
    assert "- `garden.yaml` **4** stored; 4 images stored, 0.0912 USD charged of 0.0912 estimated" in text["markdown"]
    assert (text["github"], json.loads(text["gitlab"]), json.loads(text["sarif"])["runs"][0]["results"]) == ("", [], [])
    assert 'failures="0"' in text["junit"]
