"""A small campaign with real images, and a real browser for the whole session."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from decimal import Decimal
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from seedream_jobs.results.compare import Kind
from seedream_jobs.results.gallery.cells import GalleryCell as Cell
from seedream_jobs.results.gallery.cells import GalleryRun as Run
from seedream_jobs.results.gallery.page import write_gallery
from tests.review.conftest import command as command

SUBJECTS = ("a heron", "a tabby cat", "an otter")
SEASONS = ("spring", "autumn", "winter")
STYLES = ("photo", "ink")
AXES = {"subject": SUBJECTS, "season": SEASONS, "style": STYLES}
HOSTILE = (
    "</script><script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\"> "
    "\u2028 <!-- {{ x }} {% raw %} '\\"
)
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1280,2300",
)


def make_image(path: Path, colour: tuple[int, int, int]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (64, 36), colour).save(path)


@pytest.fixture(scope="session")
def make_run() -> Callable[..., Run]:
    """Eighteen requests in three axes; the last one is hostile, three have no image."""

    def make(folder: Path, *, title: str = "", tweak: str = "") -> Run:
        cells = []
        for number, (subject, season, style) in enumerate(product(SUBJECTS, SEASONS, STYLES)):
            prompt = f"{subject} in a garden, {season}, {style}{tweak if style == 'ink' else ''}"
            name = f"{title or 'run'} #{number}.png"
            make_image(folder / "images" / name, (number * 13, 90, 200 - number * 9))
            cells.append(
                Cell(
                    key="v1:" + (f"{number:02x}" + ("ff" if tweak and style == "ink" else "00")).ljust(64, "0"),
                    address=f"garden/subject={subject},season={season},style={style}#1",
                    axes={"subject": subject, "season": season, "style": style},
                    state="stored",
                    prompt=prompt,
                    payload={"model": "m", "prompt": prompt, "size": "16:9", "n": 1},
                    image=f"images/{name}",
                    thumbnail=f"images/{name}",
                    width=64,
                    height=36,
                    sha256=f"{number:064x}",
                    task_id=f"task_{number}",
                    cost_usd=Decimal("0.0228"),
                    submitted_at=1_785_665_472,
                )
            )
        nothing: dict[str, Any] = {"image": None, "thumbnail": None, "sha256": None}
        cells[3] = replace(cells[3], state="failed", error="content policy", **nothing)
        cells[9] = replace(cells[9], state="running", **nothing)
        cells[14] = replace(cells[14], state="in_doubt", **nothing)
        cells[17] = replace(cells[17], prompt=HOSTILE)
        return Run(name="garden", title=title, axes=AXES, cells=tuple(cells), charged_usd=Decimal("0.3420"))

    return make


@pytest.fixture(scope="session")
def campaign(tmp_path_factory: pytest.TempPathFactory, make_run: Callable[..., Run]) -> Path:
    """The page of one run; its index."""
    folder = tmp_path_factory.mktemp("campaign") / "a gallery #1"
    return write_gallery(folder, [make_run(folder)])


@pytest.fixture(scope="session")
def two_runs(tmp_path_factory: pytest.TempPathFactory, make_run: Callable[..., Run]) -> Path:
    """The page of two runs of one job, of which the second has another ink; its index."""
    folder = tmp_path_factory.mktemp("runs")
    main, sepia = make_run(folder, title="main"), make_run(folder, title="sepia", tweak=", sepia")
    changed = [cell.key != other.key for cell, other in zip(main.cells, sepia.cells, strict=True)]
    kinds: list[Kind] = ["new request" if one else "equal" for one in changed]
    was = [replace(cell, change=kind) for cell, kind in zip(main.cells, kinds, strict=True)]
    now = [
        replace(cell, change=kind, former=other.key)
        for cell, kind, other in zip(sepia.cells, kinds, main.cells, strict=True)
    ]
    return write_gallery(folder, [replace(main, cells=was), replace(sepia, cells=now)])


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """One headless Chromium, with its console and its requests on record."""
    binary, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if binary is None or driver is None:
        pytest.skip("needs Chromium: apt install chromium chromium-driver")
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    browser = webdriver.Chrome(options=options, service=Service(driver))
    yield browser
    browser.quit()


class Page:
    """A page in the browser, in the words of the tests."""

    def __init__(self, browser: Any) -> None:
        self.browser = browser

    def open(self, index: Path | str) -> Page:
        self.browser.get("about:blank")
        self.browser.get_log("performance")
        self.browser.get_log("browser")
        self.browser.get(index.as_uri() if isinstance(index, Path) else index)
        return self

    def all(self, selector: str) -> list[Any]:
        found: list[Any] = self.browser.find_elements("css selector", selector)
        return found

    def one(self, selector: str) -> Any:
        return self.browser.find_element("css selector", selector)

    def texts(self, selector: str) -> list[str]:
        return [element.text for element in self.all(selector)]

    def run(self, script: str, *arguments: Any) -> Any:
        return self.browser.execute_script(script, *arguments)

    def until(self, script: str) -> Any:
        """Wait for an expression to be true: for what the browser does in its own time (decoding, downloads)."""
        from selenium.webdriver.support.ui import WebDriverWait

        return WebDriverWait(self.browser, 60, 0.02).until(lambda _: self.run(f"return {script}"))

    def press(self, *keys: str) -> None:
        """Keys to whatever has the focus."""
        self.browser.switch_to.active_element.send_keys(*keys)

    def focused(self) -> str:
        return str(self.run("return document.activeElement.getAttribute('aria-label') ?? document.activeElement.id"))

    def choose(self, select: str, text: str) -> None:
        from selenium.webdriver.support.ui import Select

        Select(self.one(select)).select_by_visible_text(text)

    def contents(self, selector: str) -> list[str]:
        """Texts, of elements out of sight too."""
        found: list[str] = self.run(f"return [...document.querySelectorAll({selector!r})].map((e) => e.textContent)")
        return found

    def shrink(self) -> None:
        """Small images, so that all eighteen are in sight."""
        self.run("const s = document.querySelector('.size input'); s.value = 96; s.dispatchEvent(new Event('input'))")

    def press_button(self, text: str) -> None:
        next(button for button in self.all("button") if button.text == text).click()

    def open_image(self, label: str) -> None:
        self.one(f'.open[aria-label^="{label}"]').click()


@pytest.fixture
def page(chromium: Any) -> Iterator[Page]:
    """The browser, everything forgotten; a page that writes an error to the console fails its test."""
    chromium.execute_cdp_cmd("Storage.clearDataForOrigin", {"origin": "file://", "storageTypes": "all"})
    view = Page(chromium)
    yield view
    view.run("try { localStorage.clear() } catch {}")
    assert [entry["message"] for entry in chromium.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")] == []
