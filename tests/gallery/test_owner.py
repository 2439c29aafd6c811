"""A page is not written over the page of other jobs: real campaigns, the emulator, the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from seedream_jobs.ledger.state import State
from seedream_jobs.results.gallery.owner import MARK
from tests.campaign import NOW, Folder, history, requests_of
from tests.campaign import record as put_on_record

JOB = "version: 1\nrequest: {{prompt: '{0} {{{{ x }}}}'}}\nmatrix: {{x: [a, b]}}\noutput: {{dir: {1}}}\n"
Command = Callable[..., Any]


def job(folder: Path, name: str, output: str = "out/both") -> None:
    campaign = Folder(folder)
    made = campaign.load(JOB.format(name, output), name=f"{name}.yaml")
    put_on_record(made, [event for request in requests_of(made) for event in history(request, State.FAILED, at=NOW)])


def pages(folder: Path) -> dict[Path, bytes]:
    return {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "campaign"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def test_another_jobs_page_is_kept(here: Path, command: Command) -> None:
    """By its default folder and by --out; what lies there stays to the byte, and the error says whose it is."""
    job(here, "owls")
    job(here, "herons")
    assert command("gallery", "owls.yaml").code == 0
    before = pages(here / "out/both/gallery")
    assert json.loads(before[here / f"out/both/gallery/{MARK}"]) == {"manifests": ["../../../owls.manifest.jsonl"]}
    for out in ((), ("--out", "out/both/gallery"), ("--single-file", "--out", "out/both/gallery")):
        ended = command("gallery", "herons.yaml", *out)
        assert ended.code == 2
        assert "out/both/gallery has the page of owls.manifest.jsonl: it is not written over" in ended.err
        assert "gallery --out DIR" in ended.err
        assert pages(here / "out/both/gallery") == before
    assert command("gallery", "owls.yaml").code == 0
    assert command("gallery", "herons.yaml", "--out", "elsewhere").code == 0
    assert command("gallery", "owls.yaml", "--out", "elsewhere").code == 2


def test_a_page_without_a_mark(here: Path, command: Command) -> None:
    """Of the version before: its job replaces it, no other; and nothing replaces a page that is not of a gallery."""
    job(here, "owls")
    job(here, "herons")
    for option in ((), ("--single-file",)):
        assert command("gallery", "owls.yaml", "--out", "page", *option).code == 0
        (here / "page" / MARK).unlink()
        ended = command("gallery", "herons.yaml", "--out", "page")
        assert (ended.code, "page has the page of 'owls'" in ended.err) == (2, True)
        assert command("gallery", "owls.yaml", "--out", "page", *option).code == 0
        assert (here / "page" / MARK).exists()
        for file in ("data.js", "index.html", MARK):
            (here / "page" / file).unlink(missing_ok=True)
    (here / "page" / "index.html").write_text("my own")
    ended = command("gallery", "owls.yaml", "--out", "page")
    assert (ended.code, "another index.html" in ended.err) == (2, True)
    assert (here / "page" / "index.html").read_text() == "my own"


@pytest.mark.parametrize("text", ["", "[]", '{"manifests": 3}', '{"manifests": ["\\u0000"]}', "[" * 5_000])
def test_a_damaged_mark_is_no_permission(here: Path, command: Command, text: str) -> None:
    job(here, "owls")
    assert command("gallery", "owls.yaml").code == 0
    (here / "out/both/gallery" / MARK).write_text(text)
    ended = command("gallery", "owls.yaml")
    assert (ended.code, "nobody knows what" in ended.err) == (2, True)


def test_a_renamed_job_keeps_its_page(here: Path, command: Command) -> None:
    """Its record came along; the page of before has no job any more."""
    job(here, "owls")
    assert command("gallery", "owls.yaml").code == 0
    for ending in (".yaml", ".manifest.jsonl"):
        (here / f"owls{ending}").rename(here / f"birds{ending}")
    assert command("gallery", "birds.yaml").code == 0
    assert "birds" in (here / "out/both/gallery" / MARK).read_text()


def test_a_run_goes_on_without_its_page(here: Path, command: Command) -> None:
    """Rehearsals of two jobs with one folder: the second is told, has its images, and ends well."""
    for name in ("owls", "herons"):
        (here / f"{name}.yaml").write_text(JOB.format(name, "out/both"))
        ended = command("run", f"{name}.yaml", "--emulator")
        assert ended.code == 0, ended.err
    assert "warning: no page of herons.yaml: " in ended.err
    assert "has the page of " in ended.err
    assert "2 images fetched" in ended.out
