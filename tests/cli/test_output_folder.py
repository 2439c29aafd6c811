"""The folder of the images: written to before anything is paid, and corrected where a paid image can't be placed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from seedream_jobs.atomic_file import Folders
from seedream_jobs.ledger.manifest import Entries
from seedream_jobs.ledger.state import Entry, State
from seedream_jobs.run.job_run import outputs
from tests.campaign import Folder
from tests.canary import CANARY

Command = Callable[..., Any]
KEY = {"APIMART_API_KEY": CANARY}

BLOCKED = """\
version: 1
request: {prompt: "an owl {{ x }}"}
matrix: {x: {range: [1, 3]}}
output: {dir: DIR, name: "{{ x }}/owl"}
"""


def test_a_folder_that_can_not_be_is_found_before_the_first_post(
    campaign: Path, command: Command, service: str
) -> None:
    """A file in the way of the second job: nothing of either is paid, by job files and by a saved plan."""
    (campaign / "owls.yaml").write_text(BLOCKED.replace("DIR", "afile/x"))
    jobs = ("garden.yaml", "owls.yaml")
    assert command("plan", *jobs, "-o", "plan.json", "--base-url", service).code == 0
    (campaign / "afile").touch()
    assert command("plan", *jobs, "--base-url", service).code == 1
    for named, code in ((jobs, 1), (("plan.json",), 2)):
        ended = command("run", *named, "--yes", "--base-url", service, **KEY)
        assert ended.code == code, ended.err
        assert "afile is a file where a folder is needed" in ended.out + ended.err
    records = [json.loads(line) for file in campaign.glob("*.jsonl") for line in file.read_text().splitlines()]
    assert not any("task_id" in line for line in records)
    assert not list(campaign.rglob(".seedream-probe*"))
    checked = command("validate", *jobs)
    assert checked.code == 1
    assert "owls.yaml:4:15: error[output-dir]" in checked.out


def test_a_corrected_folder_is_taken_by_fetch(campaign: Path, command: Command, service: str) -> None:
    """What was paid before its folder was blocked goes where the job file says now; what is stored stays."""
    owls = campaign / "owls.yaml"
    owls.write_text(BLOCKED.replace("DIR", "out/owls"))
    options = ("--base-url", service)
    assert command("run", "owls.yaml", "--yes", "--limit", "1", "--no-gallery", *options, **KEY).code == 0
    assert command("run", "owls.yaml", "--yes", "--detach", *options, **KEY).code == 0
    (campaign / "out/owls/2").rmdir()
    (campaign / "out/owls/2").touch()
    blocked = command("fetch", "owls.yaml", "--no-gallery", *options, **KEY)
    assert (blocked.code, (campaign / "out/owls/2").read_bytes()) == (2, b"")
    owls.write_text(BLOCKED.replace("DIR", "pictures"))
    fetched = command("fetch", "owls.yaml", "--no-gallery", *options, **KEY)
    assert fetched.code == 0, fetched.err
    found = {str(file.relative_to(campaign)) for file in campaign.rglob("owl.jpeg")}
    assert {"out/owls/1/owl.jpeg", "pictures/2/owl.jpeg"} <= found
    assert len(found) == 3
    assert command("fetch", "owls.yaml", "--verify", "--no-gallery", *options, **KEY).code == 0


@pytest.mark.parametrize(
    ("folder", "said"),
    [
        ("d" * 201, "201 bytes: at most 200"),
        ("out/" + "花" * 67, "201 bytes"),
        ("~/pictures", "begins with ~"),
        ("out/nul", "Windows keeps for a device"),
        ("out/aux.d/x", "Windows keeps for a device"),
        ("out/a?b", "which Windows takes for something else"),
        ("out./x", "which Windows leaves out"),
        ("out/-rf", "begins with -"),
        ("out/cafe\u0301", "NFC"),
        (".git/x", "no place for images"),
        ("../out", "outside the campaign's folder"),
    ],
)
def test_each_part_of_the_folder_is_checked(campaign: Path, quick: Command, folder: str, said: str) -> None:
    """As a part of an output name is, at its place in the job file."""
    (campaign / "garden.yaml").write_text(f'version: 1\nrequest: {{prompt: a}}\noutput: {{dir: "{folder}"}}\n')
    ended = quick("validate", "garden.yaml")
    assert ended.code == 1
    assert "garden.yaml:3:15: error[output-dir]" in ended.out
    assert said in ended.out


def test_links_are_looked_at(campaign: Path, quick: Command) -> None:
    """One that leads out of the campaign, or nowhere, is found; one within it is a folder like any other."""
    (campaign / "garden.yaml").write_text("version: 1\nrequest: {prompt: a}\noutput: {dir: out/x}\n")
    (campaign / "pictures").mkdir()
    for target, code in (("pictures", 0), ("..", 1), ("nowhere", 1), ("out", 1)):
        (campaign / "out").symlink_to(target)
        assert quick("validate", "garden.yaml").code == code, target
        (campaign / "out").unlink()


def test_a_probe_leaves_nothing(tmp_path: Path) -> None:
    """A folder is looked at once, and what was written in it is gone."""
    folders = Folders(tmp_path, tmp_path)
    folders.hold("out/a/one")
    (tmp_path / "out/a").rmdir()
    folders.hold("out/a/two")
    assert not (tmp_path / "out/a").exists()


def test_a_mistake_in_the_job_hides_no_folder(tmp_path: Path) -> None:
    """What was paid is placed where the job file says, though another of its requests can't be made any more."""
    job = 'request: {prompt: "{{ p }}"}\nmatrix: {p: [a, b/c, " "]}\noutput: {dir: new, name: "{{ p }}"}\n'
    expansion = Folder(tmp_path).expand(job)
    places = expansion.places()
    known = Entries()
    for name, output in (("a", "old/x/a"), ("b/c", "old/x/b/c"), ("gone", "old/x/gone")):
        key = "v1:" + "0" * 64 if name == "gone" else next(places).key
        known.put(
            Entry(
                key=key,
                address=name,
                cell={},
                request={"prompt": name},
                repeat=1,
                output=output,
                max_images=1,
                generation=1,
                state=State.COMPLETED,
            )
        )
    output_of = outputs(expansion, known)
    assert [output_of(known[key]) for key in known] == ["new/a", "new/b/c", "old/x/gone"]
