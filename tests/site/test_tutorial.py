"""The tutorial and the recipes are followed to the letter: each command prints what the page says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.gallery.conftest import chromium as chromium
from tests.gallery.conftest import page as page
from tests.gallery.test_walkthrough import Viewer
from tests.reader import Block, Reader, sections
from tests.service import serving

DOCS = Path(__file__).parents[2] / "docs"
TUTORIAL = dict(sections(DOCS / "tutorial.md"))
GALLERY = ".seedream/emulator/out/birds/gallery/index.html"


def look(viewer: Viewer) -> None:
    """What the section "Choose" tells its reader to do in the browser."""
    viewer.page.open(viewer.folder / GALLERY)
    viewer.judge("bird: a heron, style: photo", "y", why="calm")
    viewer.export()


def test_the_tutorial(tmp_path: Path, page: Any) -> None:
    """From a new folder to a saved plan that is run; what is chosen is chosen in a browser."""
    viewer = Viewer(tmp_path, "", page)
    for heading, blocks in TUTORIAL.items():
        if heading == "Choose":
            look(viewer)
        if heading != "Install":  # tests/site/test_first_minutes.py
            viewer.follow(blocks)
    assert viewer.run("git status --porcelain") == ""


def winners(viewer: Viewer) -> None:
    """One image of each bird is chosen."""
    viewer.page.open(viewer.folder / ".seedream/emulator/out/wording/gallery/index.html")
    viewer.judge("bird: a heron, wording: long", "y", why="calm")
    viewer.judge("bird: a robin, wording: short", "y", why="the eye")
    viewer.export()


def test_the_cookbook(tmp_path: Path, page: Any) -> None:
    """All recipes, in one campaign with a remote; what has no --emulator goes to an emulator of its own."""
    with serving("--state", str(tmp_path / "books"), "--delay", "0", "--spread", "0") as url:
        viewer = Viewer(tmp_path / "home", url, page)
        viewer.run(
            "git init --quiet --initial-branch main --bare ../origin.git && git init --quiet --initial-branch main"
        )
        viewer.run("seedream-jobs init && git add --all && git commit --quiet --message 'A campaign'")
        viewer.run("git remote add origin ../origin.git && git push --quiet --set-upstream origin main")
        for heading, blocks in sections(DOCS / "cookbook.md"):
            if heading == "Pick the winners":
                winners(viewer)
            viewer.follow(blocks)


FAULTS = {"faq.md": (), "troubleshooting.md": ("--fault", "drop-after-accept:first=1")}


@pytest.mark.parametrize("name", FAULTS)
def test_questions_and_troubles(name: str, tmp_path: Path) -> None:
    """The pages of answers, each in a campaign of its own."""
    with serving("--state", str(tmp_path / "books"), "--delay", "0", "--spread", "0", *FAULTS[name]) as url:
        reader = Reader(tmp_path / "home", url)
        reader.run(
            "git init --quiet && seedream-jobs init && git add --all && git commit --quiet --message 'A campaign'"
        )
        for _, blocks in sections(DOCS / name):
            reader.follow(blocks)


def test_a_page_that_says_otherwise_is_noticed(tmp_path: Path) -> None:
    """Another line, a line too many, one too few; a command that fails; a digest is the last that was printed."""
    reader = Reader(tmp_path)
    digest = "sha256:" + "0" * 64
    reader.follow(
        [Block("text", "a/x.txt", "one\ntwo\n"), Block("console", "", "$ cat a/x.txt\none\n…\ntwo\n$ cd a\n")]
    )
    reader.follow([Block("console", "", f"$ echo {digest}\n…\n$ echo sha256:…\n{digest}\n$ cat x.txt\none\nt…\n")])
    for said in ("one\n", "one\ntwo\nthree\n", "one\ntoo\n", "…\none\n"):
        with pytest.raises(AssertionError, match="the page has"):
            reader.follow([Block("console", "", f"$ cat x.txt\n{said}")])
    with pytest.raises(AssertionError, match="false"):
        reader.follow([Block("console", "", "$ false\n")])
