"""A gallery page of 10,000 cells: to write, to load until it is interactive, to scroll, to search.

Interactive means: the scripts have run, the first images stand in the page and it answers to keys
(``domInteractive``, measured by the browser).
"""

from __future__ import annotations

import shutil
import statistics
import sys
import tempfile
import time
from itertools import product
from pathlib import Path

from PIL import Image
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

from bench.result import Goal, Result, Row
from seedream_jobs.results.gallery.cells import GalleryCell, GalleryRun
from seedream_jobs.results.gallery.page import write_gallery

TITLE = "The gallery: a page of 10,000 cells in a browser"
GOAL = 2.0  # seconds
INTERACTIVE = "return performance.getEntriesByType('navigation')[0].domInteractive"
SCROLL = """
const s = document.getElementById('scroller');
const start = performance.now();
for (let n = 0; n < 100; n++) { s.scrollTop += 900; s.dispatchEvent(new Event('scroll')); s.offsetHeight; }
return (performance.now() - start) / 100;
"""
SEARCH = """
const start = performance.now();
Gallery.app.search('prompt 7 light');
document.body.offsetHeight;
return performance.now() - start;
"""


def sample(folder: Path, shape: tuple[int, int]) -> GalleryRun:
    """A run whose prompts are as long as people write them."""
    Image.new("RGB", (384, 216), (120, 150, 90)).save(folder / "x.webp")
    axes = {
        "prompt": tuple(f"prompt {n}" for n in range(shape[0])),
        "style": tuple(f"style {n}" for n in range(shape[1])),
    }
    cells = [
        GalleryCell(
            key=f"v1:{number:064x}",
            address=f"big/prompt={prompt},style={style}#1",
            axes={"prompt": prompt, "style": style},
            state="stored",
            prompt=f"{prompt} in a garden, soft light before noon, shallow depth of field, " * 4 + style,
            payload={"model": "m", "prompt": "", "size": "16:9", "resolution": "2K"},
            image="x.webp",
            thumbnail="x.webp",
            width=2688,
            height=1512,
            sha256=f"{number:064x}",
            task_id=f"task_{number}",
        )
        for number, (prompt, style) in enumerate(product(*axes.values()))
    ]
    return GalleryRun(name="big", axes=axes, cells=cells)


def chromium(profile: str) -> webdriver.Chrome:
    binary, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if binary is None or driver is None:
        sys.exit("needs Chromium: apt install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for flag in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--no-first-run",
        "--disable-background-networking",
    ):
        options.add_argument(flag)
    for flag in (
        "--disable-component-update",
        "--disable-sync",
        "--window-size=1440,900",
        f"--user-data-dir={profile}",
    ):
        options.add_argument(flag)
    return webdriver.Chrome(options=options, service=Service(driver))


def run(quick: bool) -> Result:
    """Several shapes of one page; each is loaded five times."""
    count = 500 if quick else 10_000
    rows: list[Row] = []
    slowest: list[float] = []
    with tempfile.TemporaryDirectory() as profile:
        browser = chromium(profile)
        browser.get("about:blank")
        for prompts in (count, count // 10, 100, 2):
            shape = f"{prompts:,} × {count // prompts:,}"
            with tempfile.TemporaryDirectory() as name:
                folder = Path(name)
                started = time.perf_counter()
                index = write_gallery(folder, [sample(folder, (prompts, count // prompts))])
                written = time.perf_counter() - started
                ready = []
                for _ in range(5):
                    browser.get(index.as_uri())
                    ready.append(browser.execute_script(INTERACTIVE) / 1000)
                slowest = max(slowest, ready, key=statistics.median) if slowest else ready
                step, search = browser.execute_script(SCROLL) / 1000, browser.execute_script(SEARCH) / 1000
                rows += [
                    Row(what=f"{shape}: written", values=(written,), unit="s"),
                    Row(what=f"{shape}: interactive", values=tuple(ready), unit="s"),
                    Row(what=f"{shape}: a step of scrolling", values=(step,), unit="s"),
                    Row(what=f"{shape}: a search", values=(search,), unit="s"),
                ]
        browser.quit()
    return Result(
        stage="gallery",
        title=TITLE,
        rows=tuple(rows),
        goals=(Goal(what="interactive, the slowest shape, seconds", ratios=tuple(slowest), goal=GOAL),),
        notes=(f"{count:,} cells; `domInteractive` as headless Chromium measures it, images on disk.",),
    )
