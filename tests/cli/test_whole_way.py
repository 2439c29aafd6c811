"""The commands one after another, as people use them: a rehearsal, a paid run in two halves, what is left to do."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from PIL import Image

from tests.canary import CANARY

Command = Callable[..., Any]


def git(folder: Path, *arguments: str) -> str:
    """A git command's output, with an identity of its own."""
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "init.defaultBranch=main")
    return subprocess.run(["git", *identity, *arguments], cwd=folder, capture_output=True, text=True, check=True).stdout


def a_minute_later(manifest: Path) -> None:
    """As if the tasks had been accepted a minute earlier: nobody has to wait until they are worth asking for."""
    earlier = (datetime.now(UTC) - timedelta(minutes=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    text = re.sub(r'"submitted_at":"[^"]*"', f'"submitted_at":"{earlier}"', manifest.read_text(encoding="utf-8"))
    manifest.write_text(re.sub(r'"crc":"[0-9a-f]{8}",', "", text), encoding="utf-8")


def test_the_demo_twice(command: Command, campaign: Path) -> None:
    """It ends well, its second run has nothing to submit, and so has the second demo; the repository stays clean."""
    (campaign / ".gitignore").write_text("garden.yaml\ndemo/\n", encoding="utf-8")
    git(campaign, "init", "-q")
    git(campaign, "add", ".gitignore")
    git(campaign, "commit", "-q", "-m", "begin")
    first = command("demo", "demo")
    assert first.code == 0, first.err
    assert "12 new" in first.out
    assert "Plan: nothing to submit" in first.out
    pages = list((campaign / ".seedream").rglob("index.html"))
    images = [file for file in (campaign / ".seedream").rglob("*.jpeg") if "gallery" not in file.parts]
    assert (len(pages), len(images)) == (1, 12)
    with Image.open(images[0]) as image:
        image.load()
    second = command("demo", "demo")
    assert second.code == 0
    assert "12 done" in second.out
    assert "new" not in second.out.split("Plan:")[0]
    assert git(campaign, "status", "--porcelain") == ""


def test_plan_tells_ci_that_there_is_work(command: Command, quick: Command) -> None:
    """`--detailed-exitcode`: 3 while something is to be submitted, 0 when nothing is; without it always 0."""
    assert quick("plan", "garden.yaml", "--detailed-exitcode", "--emulator").code == 3
    assert quick("plan", "garden.yaml", "--emulator").code == 0
    assert command("run", "garden.yaml", "--emulator", "--detach").code == 0
    ended = quick("plan", "garden.yaml", "--detailed-exitcode", "--emulator")
    assert (ended.code, "Plan: nothing to submit" in ended.out) == (0, True)


def test_planning_writes_nothing(quick: Command, campaign: Path) -> None:
    """Looking is free: validate, expand, plan and status leave no file behind."""
    for arguments in (("validate",), ("expand",), ("plan",), ("plan", "--emulator"), ("status",)):
        quick(arguments[0], "garden.yaml", *arguments[1:])
    assert [file.name for file in campaign.rglob("*")] == ["garden.yaml"]


def test_detach_here_fetch_elsewhere(command: Command, campaign: Path, service: str, tmp_path: Path) -> None:
    """A CI job submits; another machine, which has the manifest and nothing else, brings the images home."""
    there = ("--base-url", service)
    started = command("run", "garden.yaml", "--yes", "--detach", *there, APIMART_API_KEY=CANARY)
    assert started.code == 0
    assert "4 not fetched yet: seedream-jobs fetch garden.yaml" in started.err
    assert not (campaign / "out").exists() or not list((campaign / "out").rglob("*.jpeg"))

    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    shutil.copy(campaign / "garden.manifest.jsonl", elsewhere)
    a_minute_later(elsewhere / "garden.manifest.jsonl")
    fetched = command("fetch", "garden.manifest.jsonl", "--json", *there, cwd=elsewhere, APIMART_API_KEY=CANARY)
    assert fetched.code == 0, fetched.err
    assert [json.loads(line)["images"] for line in fetched.err.splitlines()][-1] == 4
    images = sorted(file for file in elsewhere.rglob("*.jpeg") if "gallery" not in file.parts)
    assert len(images) == 4
    entries = [json.loads(line) for line in (elsewhere / "garden.manifest.jsonl").read_text().splitlines()[1:]]
    assert {entry["state"] for entry in entries} == {"stored"}
    assert {str(elsewhere / image["file"]) for entry in entries for image in entry["images"]} == set(map(str, images))

    again = command("fetch", "garden.manifest.jsonl", *there, cwd=elsewhere, APIMART_API_KEY=CANARY)
    assert (again.code, "0 images fetched" in again.out or "nothing to do" in again.out) == (0, True)
    status = command("status", "garden.manifest.jsonl", "--offline", "--format", "json", cwd=elsewhere)
    assert json.loads(status.out)[0]["counts"] == {"stored": 4}


def test_status_tells_what_is_open(command: Command, quick: Command, campaign: Path, service: str) -> None:
    """Exit 8 while images are to be fetched, with the command that fetches them; 0 once they are here."""
    there = ("--base-url", service)
    assert quick("status", "garden.yaml").code == 2
    command("run", "garden.yaml", "--yes", "--detach", *there, APIMART_API_KEY=CANARY)
    a_minute_later(campaign / "garden.manifest.jsonl")
    before = quick("status", "garden.yaml", "--offline")
    assert (before.code, "4 running" in before.out) == (8, True)
    waited = command("status", "garden.yaml", "--wait", *there, APIMART_API_KEY=CANARY)
    assert (waited.code, "4 to fetch" in waited.out) == (8, True)
    command("fetch", "garden.yaml", *there, APIMART_API_KEY=CANARY)
    after = quick("status", "garden.yaml", *there)
    assert (after.code, "4 stored" in after.out) == (0, True)


def test_a_changed_prompt_is_the_only_thing_paid(
    command: Command, quick: Command, campaign: Path, service: str
) -> None:
    """One more value on an axis: two new requests, the four of before are fetched; reordering: nothing."""
    there = ("--base-url", service)
    command("run", "garden.yaml", "--yes", "--detach", *there, APIMART_API_KEY=CANARY)
    job = campaign / "garden.yaml"
    text = job.read_text(encoding="utf-8")
    job.write_text(text.replace("a heron, a tabby cat", "a tabby cat, a heron"), encoding="utf-8")
    assert "Plan: nothing to submit" in quick("plan", "garden.yaml", *there).out
    job.write_text(text.replace("a tabby cat", "a tabby cat, a fox"), encoding="utf-8")
    planned = quick("plan", "garden.yaml", *there).out
    assert "2 new" in planned
    assert "Plan: 2 to submit" in planned
    a_minute_later(campaign / "garden.manifest.jsonl")
    assert "4 to fetch" in command("status", "garden.yaml", "--wait", *there, APIMART_API_KEY=CANARY).out
    assert command("run", "garden.yaml", "--yes", *there, APIMART_API_KEY=CANARY).code == 0
    assert "6 stored" in quick("status", "garden.yaml", "--offline").out


def test_two_jobs_one_plan(quick: Command, campaign: Path) -> None:
    """The total is one line, and an equal request in a second file is not bought twice."""
    text = (campaign / "garden.yaml").read_text(encoding="utf-8")
    (campaign / "park.yaml").write_text(text.replace("a heron", "a fox"), encoding="utf-8")
    ended = quick("plan", "garden.yaml", "park.yaml")
    assert "Plan: 6 to submit" in ended.out


def test_the_record_of_a_rehearsal_by_name(command: Command, quick: Command, campaign: Path) -> None:
    """A manifest below .seedream/emulator leads to its own campaign, also outside git."""
    command("run", "garden.yaml", "--emulator", "--detach")
    manifest = ".seedream/emulator/garden.manifest.jsonl"
    assert command("fetch", manifest, "--emulator").code == 0
    assert "4 stored" in quick("status", manifest, "--emulator").out
    assert "4 done" in quick("plan", "garden.yaml", "--emulator").out
