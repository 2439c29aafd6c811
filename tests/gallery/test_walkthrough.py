"""The page docs/walkthrough.md, followed to the letter: from a new job to the images that are used.

The commands, and what they print, are the page's. What its reader does in the browser stands here, by the section that
tells of it. Nothing else of the program is called, and no id or path is carried from one step to the next.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver.support.ui import WebDriverWait

from tests.reader import Reader, sections
from tests.service import serving

PAGE = Path(__file__).parents[2] / "docs" / "walkthrough.md"
HERON, CAT_INK = "subject: a heron, style: photo", "subject: a cat, style: ink"
ESCAPE, LEFT = "\ue00c", "\ue012"


class Viewer(Reader):
    """A reader of the page who has a browser, too."""

    def __init__(self, home: Path, url: str, page: Any) -> None:
        super().__init__(home, url)
        self.page = page
        self.chosen: set[str] = set()
        saving = {"behavior": "allow", "downloadPath": str(self.downloads)}
        page.browser.execute_cdp_cmd("Browser.setDownloadBehavior", saving)

    def open(self) -> Any:
        """The page as it lies on disk."""
        self.page.open(self.folder / "out" / "herons" / "gallery" / "index.html")
        return self.page

    def _open_image(self, image: str) -> None:
        """Found and clicked at once: the grid is drawn anew a moment after an image was judged."""
        self.page.until(f"document.querySelector('.open[aria-label^=\"{image}\"]') !== null")
        self.page.run(f"document.querySelector('.open[aria-label^=\"{image}\"]').click()")

    def judge(self, image: str, *keys: str, note: str = "", why: str = "") -> None:
        """Press keys at an open image, and write what its fields take."""
        self._open_image(image)
        for key in keys:
            self.page.press(key)
        if note:
            self.page.one(".side textarea").send_keys(note)
        if why:
            self.page.one(".why-input").send_keys(why)
        self.page.press(ESCAPE)

    def fact(self, image: str, name: str) -> str:
        """What the details of an image say."""
        self._open_image(image)
        rows = zip(self.page.contents(".facts dt"), self.page.contents(".facts dd"), strict=True)
        self.page.press(ESCAPE)
        return dict(rows)[name]

    def said_of(self, image: str) -> str:
        """What stands under the reviews of an image; none of its own buttons is pressed."""
        self._open_image(image)
        assert self.page.all('.side [aria-pressed="true"]') == []
        said = str(self.page.one(".others").text)
        self.page.press(ESCAPE)
        return said

    def export(self) -> None:
        """*Export ratings*, until the file is there."""
        self.page.one("#export").click()
        name = self.page.one("#reviewer")
        if not name.get_attribute("value"):
            self.page.one("#save-ratings").click()
            assert self.page.contents(".toast") == ["Give your name: a choice is by somebody"]
            name.send_keys("Ana")
        self.page.one("#save-ratings").click()
        WebDriverWait(self.page.browser, 60, 0.05).until(lambda _: (self.downloads / "ratings.json").exists())


def look(reader: Viewer) -> None:
    """One heron is chosen, one cat is rejected, and each pair of styles has a vote."""
    page = reader.open()
    reader.judge(HERON, "5", "s", "y", note="calm", why="the one for the cover")
    reader.judge(CAT_INK, "2", "x", why="too pale")
    page.one("#vote").click()
    page.choose(".vote select", "style")
    page.run("document.querySelector('.ballot').focus()")
    for _ in range(2):
        page.press(LEFT)
    page.press(ESCAPE)
    reader.export()


def reject(reader: Viewer) -> None:
    """The cat of the new prompt has no opinion, and is told of the earlier one."""
    reader.open()
    assert "Another image of this request was judged" in reader.said_of(CAT_INK)
    reader.judge(CAT_INK, "2", "x", why="the ears are missing")
    reader.export()


def choose(reader: Viewer) -> None:
    """The cat that was made again has no opinion, neither Ana's own nor the file's."""
    reader.open()
    said = reader.said_of(CAT_INK)
    assert "You judged another image of this request" in said
    assert "Another image of this request was judged" in said
    reader.judge(CAT_INK, "4", "y", why="soft and curious")
    reader.chosen = {reader.fact(image, "sha256") for image in (HERON, CAT_INK)}
    reader.export()


STEPS: dict[str, Callable[[Viewer], None]] = {
    "Look, rate, choose": look,
    "One image again": reject,
    "Chosen": choose,
}


@pytest.fixture
def reader(tmp_path: Path, page: Any) -> Iterator[Viewer]:
    with serving("--state", str(tmp_path / "books"), "--delay", "0", "--spread", "0") as url:
        yield Viewer(tmp_path / "home", url, page)


def test_from_a_job_to_chosen_images(reader: Viewer) -> None:
    """Each command prints what the page says; what is exported are the bytes that were chosen in the browser."""
    headings = set()
    for heading, blocks in sections(PAGE):
        headings.add(heading)
        if heading in STEPS:
            STEPS[heading](reader)
        reader.follow(blocks)
    assert set(STEPS) <= headings

    data = reader.folder / "data"
    rows = {row["address"]: row for row in map(json.loads, (data / "herons.jsonl").read_text().splitlines())}
    assert {row["sha256"] for row in rows.values()} == reader.chosen
    images = (data / "herons" / "images").rglob("*.*")
    assert {hashlib.sha256(file.read_bytes()).hexdigest() for file in images} == reader.chosen
    heron, cat = (rows[f"herons/subject={name}#1"] for name in ("a-heron,style=photo", "a-cat,style=ink"))
    names = ("rating", "ratings", "stars", "votes", "notes", "choice", "choice_by", "choice_why")
    assert [heron[name] for name in names] == [5, 1, 1, 1, ["Ana: calm"], "chosen", ["Ana"], "the one for the cover"]
    assert [cat[name] for name in names] == [4, 1, 0, 0, [], "chosen", ["Ana"], "soft and curious"]
    assert reader.run("git status --porcelain").splitlines() == ["?? data/"]
