"""A gallery page of 20,000 cells: to write, to load until it is interactive, to scroll, to search.

Interactive means: the scripts have run, the first images stand in the page and it answers to keys
(``domInteractive``, measured by the browser).
"""

from __future__ import annotations

import shutil
import statistics
import sys
import tempfile
import time
from hashlib import sha256
from itertools import product
from pathlib import Path

from PIL import Image
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

from bench.result import Goal, Result, Row
from seedream_jobs.results.gallery.cells import GalleryCell, GalleryRun
from seedream_jobs.results.gallery.page import write_gallery

TITLE = "The gallery: a page of 20,000 cells in a browser"
GOAL = 2.0  # seconds
INTERACTIVE = "return performance.getEntriesByType('navigation')[0].domInteractive"
FRAME_GOAL = 0.033  # seconds
DATA_GOAL = 5.0  # MB
FRAMES = """
const [done, s] = [arguments[0], document.getElementById('scroller')];
Gallery.app.layout('wall');
const frames = [];
let last = 0;
requestAnimationFrame(function frame(now) {
  if (last) frames.push(now - last);
  last = now;
  if (frames.length === 120) return done(frames);
  s.scrollTop += 120;
  requestAnimationFrame(frame);
});
"""
SEARCH = """
const start = performance.now();
Gallery.app.search('prompt 7 light');
document.body.offsetHeight;
return performance.now() - start;
"""


def digest(number: int) -> str:
    return sha256(str(number).encode()).hexdigest()


def sample(folder: Path, shape: tuple[int, int]) -> GalleryRun:
    """A run whose prompts are as long as people write them."""
    Image.new("RGB", (384, 216), (120, 150, 90)).save(folder / "x.webp")
    axes = {
        "prompt": tuple(f"prompt {n}" for n in range(shape[0])),
        "style": tuple(f"style {n}" for n in range(shape[1])),
    }
    cells = [
        GalleryCell(
            key=f"v1:{digest(-number)}",
            address=f"big/prompt={prompt},style={style}#1",
            axes={"prompt": prompt, "style": style},
            state="stored",
            prompt=f"{prompt} in a garden, soft light before noon, shallow depth of field, " * 4 + style,
            payload={"model": "m", "prompt": "", "size": "16:9", "resolution": "2K"},
            image="x.webp",
            thumbnail="x.webp",
            width=2688,
            height=1512,
            sha256=digest(number),
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
    count = 500 if quick else 20_000
    rows: list[Row] = []
    slowest: list[float] = []
    frames: list[float] = []
    largest = 0.0
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
                search = browser.execute_script(SEARCH) / 1000
                browser.execute_script("Gallery.app.search('')")
                shown = [frame / 1000 for frame in browser.execute_async_script(FRAMES)]
                frames = max(frames, shown, key=statistics.median) if frames else shown
                data = (folder / "data.js").stat().st_size / 1e6
                largest = max(largest, data)
                rows += [
                    Row(what=f"{shape}: written", values=(written,), unit="s"),
                    Row(what=f"{shape}: interactive", values=tuple(ready), unit="s"),
                    Row(what=f"{shape}: a frame while the wall scrolls", values=tuple(shown), unit="s"),
                    Row(what=f"{shape}: data.js", values=(data,), unit="MB"),
                    Row(what=f"{shape}: a search", values=(search,), unit="s"),
                ]
        browser.quit()
    return Result(
        stage="gallery",
        title=TITLE,
        rows=tuple(rows),
        goals=(
            Goal(what="interactive, the slowest shape, seconds", ratios=tuple(slowest), goal=GOAL),
            Goal(
                what="a frame while the wall scrolls, the slowest shape, seconds", ratios=tuple(frames), goal=FRAME_GOAL
            ),
            Goal(what="data.js, the largest shape, MB", ratios=(largest,), goal=DATA_GOAL),
        ),
        notes=(f"{count:,} cells; `domInteractive` as headless Chromium measures it, images on disk.",),
    )
