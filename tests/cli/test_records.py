"""A record where a job file is expected, and jobs of which some have no record yet."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Command = Callable[..., Any]


@pytest.fixture
def record(campaign: Path) -> Path:
    """A manifest beside ``garden.yaml``."""
    made = campaign / "garden.manifest.jsonl"
    made.write_text('{"format":1,"id":"m-0123456789abcdef","job":"garden.yaml","origin":"emulator"}\n')
    return made


@pytest.mark.parametrize("line", ["plan --emulator", "validate", "expand", "run --emulator --limit 0"])
def test_a_record_stands_for_its_job_file(line: str, record: Path, quick: Command) -> None:
    """Naming the manifest is naming the job beside it."""
    name, *options = line.split()
    named, meant = quick(name, record.name, *options), quick(name, "garden.yaml", *options)
    assert (named.code, named.out) == (meant.code, meant.out)
    assert named.code == 0, named.err


@pytest.mark.parametrize("name", ["plan", "validate", "expand", "run"])
def test_a_record_alone_is_no_job(name: str, record: Path, campaign: Path, quick: Command) -> None:
    """It is said what it is, instead of what is wrong with its YAML."""
    (campaign / "garden.yaml").unlink()
    ended = quick(name, record.name)
    assert ended.code == 2
    assert "garden.manifest.jsonl is a record; its job file is not beside it" in ended.err
    assert "name the job file" in ended.err


def test_a_job_and_its_record_are_one(record: Path, quick: Command) -> None:
    """Naming both is naming one job twice."""
    ended = quick("plan", "garden.yaml", record.name)
    assert ended.code == 2
    assert "or name it once" in ended.err


@pytest.mark.parametrize("line", ["status --offline", "status", "fetch --no-gallery"])
def test_one_job_without_a_record_stops_no_other(line: str, campaign: Path, quick: Command) -> None:
    """What was never run is told of on stderr; the others are looked after."""
    (campaign / "fresh.yaml").write_text((campaign / "garden.yaml").read_text())
    assert quick("run", "garden.yaml", "--emulator", "--detach", "--limit", "1").code == 0
    name, *options = line.split()
    ended = quick(name, "fresh.yaml", "garden.yaml", "--emulator", *options)
    assert ended.code in (0, 8), ended.err
    assert "fresh.yaml: nothing was submitted yet" in ended.err
    assert "garden" in ended.out
    assert "fresh" not in ended.out


@pytest.mark.parametrize("line", ["status --offline", "status", "fetch"])
def test_jobs_without_any_record_are_refused(line: str, campaign: Path, quick: Command) -> None:
    """There is nothing to look after."""
    (campaign / "fresh.yaml").write_text((campaign / "garden.yaml").read_text())
    name, *options = line.split()
    ended = quick(name, "fresh.yaml", "garden.yaml", "--emulator", *options)
    assert ended.code == 2
    assert "nothing was submitted yet" in ended.err


@pytest.mark.parametrize("name", ["status", "fetch"])
def test_a_name_that_leads_nowhere_is_still_a_mistake(name: str, record: Path, quick: Command) -> None:
    """A typing error is not a job that was never run."""
    ended = quick(name, "garden.yaml", "gardn.yaml", "--emulator")
    assert ended.code == 2
    assert "there is no gardn.yaml" in ended.err
