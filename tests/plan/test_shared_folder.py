"""Two jobs with one folder of images: a warning where both are named, and where one lies beside the other."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.review.conftest import command as command

Command = Callable[..., Any]


def job(folder: Path, name: str, rest: str) -> None:
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text(f"version: 1\nrequest: {{prompt: {name}}}\n{rest}\n")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    return tmp_path


SAME = [
    ("output: {dir: out/both}", "output: {dir: out/both}"),
    ("output: {dir: out/both}", "output: {dir: Out/../out/./BOTH}"),
    ("output: {dir: out/b}", ""),
    ("name: birds", "name: birds"),
    ("output: {dir: out/both}", "output: {dir: out/both/gallery}"),
    ("output: {dir: out/both/gallery/images}", "output: {dir: out/both}"),
]


@pytest.mark.parametrize(("first", "second"), SAME)
def test_named_together(here: Path, command: Command, first: str, second: str) -> None:
    """By each command that loads jobs to pay for them: of both jobs, at its place, with the next step."""
    job(here, "a.yaml", first)
    job(here, "b.yaml", second)
    for words in (("validate",), ("plan",), ("run", "--emulator", "--detach")):
        ended = command(words[0], "a.yaml", "b.yaml", *words[1:])
        assert ended.code == 0, ended.err
        said = ended.out + ended.err
        for name, other in (("a", "b"), ("b", "a")):
            assert f"warning[shared-folder]: {other}.yaml writes its images and its page to the same folder" in said
            assert f"output: {{dir: out/{name}}}" in said
        assert second != "output: {dir: out/both}" or "b.yaml:3:15: warning[shared-folder]" in said


def test_three_with_one_folder(here: Path, command: Command) -> None:
    for name in "abc":
        job(here, f"{name}.yaml", "output: {dir: out/all}")
    ended = command("validate", "a.yaml", "b.yaml", "c.yaml")
    assert (ended.code, (ended.out + ended.err).count("warning[shared-folder]")) == (0, 3)


@pytest.mark.parametrize(("first", "second"), SAME)
def test_beside_it_is_a_warning(here: Path, command: Command, first: str, second: str) -> None:
    job(here, "a.yaml", first)
    job(here, "b.yaml", second)
    for name, other in (("a", "b"), ("b", "a")):
        for word in ("validate", "plan"):
            ended = command(word, f"{name}.yaml")
            assert ended.code in (0, 3), ended.err
            assert f"warning[shared-folder]: {other}.yaml writes" in ended.out + ended.err


def test_what_is_apart_is_no_finding(here: Path, command: Command) -> None:
    """Defaults, one folder in another, names that only begin alike, another folder's jobs, what can't be read."""
    job(here, "a.yaml", "")
    job(here, "b.yaml", "output: {dir: out}")
    job(here, "c.yaml", "output: {dir: out/a/gallery2}")
    job(here, "d.yaml", "output: {dir: out/a2}")
    job(here, "sub/a.yaml", "")
    assert command("validate", "a.yaml", "b.yaml", "c.yaml", "d.yaml", "sub/a.yaml").code == 0
    (here / "e.yaml").write_text("version: 1\nrequest: out/a [\n")
    (here / "f.yaml").write_text("version: 1\nrequest: 1\noutput: {dir: ../../a}\n")
    (here / "g.yaml").symlink_to("a.yaml")
    (here / "h.yaml").mkdir()
    ended = command("validate", "a.yaml")
    assert (ended.code, "shared-folder" in ended.out + ended.err) == (0, False)


def test_in_another_folder_of_the_campaign(here: Path, command: Command) -> None:
    job(here, "a.yaml", "output: {dir: sub/out/a}")
    job(here, "sub/a.yaml", "")
    ended = command("plan", "a.yaml", "sub/a.yaml")
    said = ended.out + ended.err
    assert (ended.code, said.count("warning[shared-folder]")) == (0, 2), said
