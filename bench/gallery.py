"""How long a page of 10,000 cells takes: to write, to load, to be interactive, to scroll, to search.

    python bench/gallery.py [CELLS]

Interactive means: the scripts have run, the first images stand in the page and it answers to keys
(``domInteractive``, measured by the browser). The goal is 2 s in headless Chromium on two cores.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from itertools import product
from pathlib import Path

from PIL import Image
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

from seedream_jobs.results.gallery import Cell, Run, write_gallery

GOAL = 2.0  # seconds
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


def sample(folder: Path, shape: tuple[int, int]) -> Run:
    """A run whose prompts are as long as people write them."""
    Image.new("RGB", (384, 216), (120, 150, 90)).save(folder / "x.webp")
    axes = {
        "prompt": tuple(f"prompt {n}" for n in range(shape[0])),
        "style": tuple(f"style {n}" for n in range(shape[1])),
    }
    cells = [
        Cell(
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
    return Run(name="big", axes=axes, cells=cells)


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


def main() -> int:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    slowest = 0.0
    with tempfile.TemporaryDirectory() as profile:
        browser = chromium(profile)
        browser.get("about:blank")
        for rows in (count, count // 10, 100, 2):
            with tempfile.TemporaryDirectory() as name:
                folder = Path(name)
                run = sample(folder, (rows, count // rows))
                started = time.perf_counter()
                index = write_gallery(folder, [run])
                written = time.perf_counter() - started
                ready = []
                for _ in range(5):
                    browser.get(index.as_uri())
                    ready.append(
                        browser.execute_script("return performance.getEntriesByType('navigation')[0].domInteractive")
                        / 1000
                    )
                ready.sort()
                slowest = max(slowest, ready[2])
                size = (folder / "data.js").stat().st_size / 1e6
                step, search = browser.execute_script(SCROLL), browser.execute_script(SEARCH)
                elements = browser.execute_script("return document.querySelectorAll('*').length")
                print(
                    f"{rows:>6} x {count // rows:<6} written {written:5.2f} s, data {size:4.1f} MB, "
                    f"interactive {ready[2]:5.2f} s (best {ready[0]:.2f}), scroll step {step:5.1f} ms, "
                    f"search {search:5.1f} ms, {elements} elements"
                )
        browser.quit()
    print(f"slowest median {slowest:.2f} s, goal {GOAL} s: {'met' if slowest <= GOAL else 'MISSED'}")
    return 0 if slowest <= GOAL else 1


if __name__ == "__main__":
    sys.exit(main())
