"""The page docs/walkthrough.md, followed to the letter: from a new job to the images that are used.

The commands, and what they print, are the page's. What its reader does in the browser stands here, by the section that
tells of it. Nothing else of the program is called, and no id or path is carried from one step to the next.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver.support.ui import WebDriverWait

from tests.canary import CANARY
from tests.service import serving

PAGE = Path(__file__).parents[2] / "docs" / "walkthrough.md"
HERON, CAT_INK = "subject: a heron, style: photo", "subject: a cat, style: ink"
ESCAPE, LEFT = "\ue00c", "\ue012"
_ANA = {
    f"GIT_{who}_{part}": text for who in ("AUTHOR", "COMMITTER") for part, text in (("NAME", "A"), ("EMAIL", "a@b"))
}


def sections() -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Each heading of the page with its blocks, as (language, text)."""
    _, *parts = re.split(r"^(?:# From|##) (.+)\n", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    for heading, text in zip(parts[::2], parts[1::2], strict=True):
        yield heading, re.findall(r"^```(\w+)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def commands(block: str) -> Iterator[tuple[str, str]]:
    """Each command of a block, and what the page says it prints."""
    for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        command, _, printed = part.partition("\n")
        yield command, printed


class Reader:
    """Who follows the page: a terminal in an empty folder, and a browser that saves into ``Downloads``."""

    def __init__(self, home: Path, url: str, page: Any) -> None:
        self.folder, self.downloads, self.page = home / "herons", home / "Downloads", page
        for folder in (self.folder, self.downloads):
            folder.mkdir(parents=True)
        self.environment = {
            **_ANA,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(home),
            "LANG": "C.UTF-8",
            "GIT_CONFIG_NOSYSTEM": "1",
            "APIMART_BASE_URL": url,
            "APIMART_API_KEY": CANARY,
        }
        self.chosen: set[str] = set()
        saving = {"behavior": "allow", "downloadPath": str(self.downloads)}
        page.browser.execute_cdp_cmd("Browser.setDownloadBehavior", saving)

    def run(self, command: str) -> str:
        """What a command prints, which has to end well."""
        out, put = subprocess.PIPE, subprocess.STDOUT
        child = subprocess.Popen(
            ["bash", "-c", command], cwd=self.folder, env=self.environment, stdout=out, stderr=put, text=True
        )
        said, _ = child.communicate(timeout=300)
        assert child.returncode == 0, f"{command}\n{said}"
        return str(said)

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
            self.page.until("document.querySelector('.why-input') !== null")
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


def look(reader: Reader) -> None:
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


def reject(reader: Reader) -> None:
    """The cat of the new prompt has no opinion, and is told of the earlier one."""
    reader.open()
    assert "Another image of this request was judged" in reader.said_of(CAT_INK)
    reader.judge(CAT_INK, "2", "x", why="the ears are missing")
    reader.export()


def choose(reader: Reader) -> None:
    """The cat that was made again has no opinion, neither Ana's own nor the file's."""
    reader.open()
    said = reader.said_of(CAT_INK)
    assert "You judged another image of this request" in said
    assert "Another image of this request was judged" in said
    reader.judge(CAT_INK, "4", "y", why="soft and curious")
    reader.chosen = {reader.fact(image, "sha256") for image in (HERON, CAT_INK)}
    reader.export()


STEPS: dict[str, Callable[[Reader], None]] = {
    "Look, rate, choose": look,
    "One image again": reject,
    "Chosen": choose,
}


@pytest.fixture
def reader(tmp_path: Path, page: Any) -> Iterator[Reader]:
    with serving("--state", str(tmp_path / "books"), "--delay", "0", "--spread", "0") as url:
        yield Reader(tmp_path / "home", url, page)


def test_from_a_job_to_chosen_images(reader: Reader) -> None:
    """Each command prints what the page says; what is exported are the bytes that were chosen in the browser."""
    told = {}
    for heading, blocks in sections():
        if heading in STEPS:
            STEPS[heading](reader)
        for language, text in blocks:
            if language == "yaml":
                (reader.folder / "herons.yaml").write_text(text, encoding="utf-8")
            for command, printed in commands(text) if language == "console" else ():
                told[command] = reader.run(command)
                expected = ".*".join(map(re.escape, printed.split("…")))
                assert re.fullmatch(expected, told[command], re.DOTALL), f"$ {command}\n{told[command]}"
    assert set(STEPS) <= {heading for heading, _ in sections()}

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
