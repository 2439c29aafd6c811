"""``--set`` values are in no file, so the record keeps them, and whoever forgets them is told."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.canary import CANARY
from tests.service import serving

Command = Callable[..., Any]

JOB = """\
version: 1
vars: {colour: red}
request: {prompt: "a {{ colour }} heron {{ i }}"}
matrix: {i: [1, 2]}
"""


@pytest.fixture
def rehearse(campaign: Path, quick: Command) -> Command:
    """``run`` on the emulator; it ends well."""
    (campaign / "heron.yaml").write_text(JOB)

    def run(*options: str) -> Any:
        ended = quick("run", "heron.yaml", "--emulator", "--detach", *options)
        assert ended.code == 0, ended.err
        return ended

    return run


def recorded(campaign: Path) -> list[Any]:
    """The options of each line of a run or a plan, in the record's order."""
    manifest = campaign / ".seedream" / "emulator" / "heron.manifest.jsonl"
    lines = map(json.loads, manifest.read_text().splitlines())
    return [line.get("options", {}) for line in lines if "plan" in line]


def test_values_are_recorded_where_they_change(campaign: Path, rehearse: Command) -> None:
    """A run like the last one, or one that submits nothing, adds no line."""
    rehearse("--limit", "1")
    assert recorded(campaign) == []
    rehearse("--set", "colour=blue", "--limit", "1")
    rehearse("--set", "colour=blue")
    rehearse("--set", "colour=green", "--limit", "0")
    assert recorded(campaign) == [{"set": {"colour": "blue"}}]
    rehearse()
    rehearse("--set", "colour=blue and 'white'")
    assert recorded(campaign) == [{"set": {"colour": "blue"}}, {}, {"set": {"colour": "blue and 'white'"}}]


def test_a_plan_that_forgets_them_warns(rehearse: Command, quick: Command) -> None:
    """With the options as they are typed; silent where they are the same, or where nothing would be submitted."""
    rehearse("--set", "colour=dark blue")

    def said(*options: str) -> str:
        return str(quick("plan", "heron.yaml", "--emulator", *options).err)

    assert "warning[other-set]: the last run used --set 'colour=dark blue'; this plan does not" in said()
    assert "this plan uses --set colour=green" in said("--set", "colour=green")
    assert said("--set", "colour=dark blue") == ""
    assert said("--limit", "0") == ""
    rehearse()
    assert said("--set", "colour=green") == ""


@pytest.mark.parametrize("options", ['{"set":5}', '{"set":{"colour":7}}', '{"set":{"colour":"\\u001b[31m"}}', "{}"])
def test_a_record_from_elsewhere_harms_nobody(options: str, campaign: Path, rehearse: Command, quick: Command) -> None:
    """Whatever stands in it, no command breaks and no terminal is painted."""
    rehearse("--limit", "1")
    manifest = campaign / ".seedream" / "emulator" / "heron.manifest.jsonl"
    plan = {"digest": "sha256:1", "plan": "r-000009-ab", "used_at": "2030-01-01T00:00:00Z"}
    line = json.dumps({**plan, "options": json.loads(options)})
    manifest.write_text(f"{manifest.read_text()}{line}\n")
    ended = quick("plan", "heron.yaml", "--emulator")
    assert ended.code == 0
    assert "\x1b" not in ended.out + ended.err


@pytest.fixture
def refusing(tmp_path: Path) -> Iterator[str]:
    """The URL of a service that refuses every submission."""
    with serving("--state", str(tmp_path / "books"), "--fault", "400") as url:
        yield url


def test_the_way_to_retry_names_them(campaign: Path, quick: Command, refusing: str) -> None:
    """``--retry-failed`` without them would be another request: the hint repeats them, in run and in fetch."""
    (campaign / "heron.yaml").write_text(JOB)
    key = {"APIMART_API_KEY": CANARY}
    ran = quick("run", "heron.yaml", "--yes", "--base-url", refusing, "--set", "colour=dark blue", **key)
    fetched = quick("fetch", "heron.yaml", "--base-url", refusing, **key)
    assert ran.code == 1, ran.err
    for ended in (ran, fetched):
        assert "--retry-failed --set 'colour=dark blue' submits them again" in ended.err
