"""The page of a run under way: it is there first, fills in an open browser, and says how the run ended, or that it is
silent. Runs are processes of their own against the emulator; where a test looks at a moment, the run is stopped there.
"""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.canary import CANARY
from tests.gallery.test_writing import decoded, reader
from tests.service import ServiceProcess

GARDEN = """\
version: 1
request: {prompt: "{{ subject }} in a garden", resolution: 2K}
matrix:
  subject: [a heron, a tabby cat, an otter, a fox, a hare, a newt]
  size: ["16:9", "1:1"]
output: {dir: out/garden}
"""
DOCS = Path(__file__).parents[2] / "docs"
SECONDS = 90  # a busy machine may take them; nothing waits for longer than it must


def until(found: Callable[[], Any], what: str = "") -> Any:
    deadline = time.monotonic() + SECONDS
    while not (value := found()):
        assert time.monotonic() < deadline, what or "it did not come"
        time.sleep(0.05)
    return value


class Campaign:
    """A folder with a job, ``garden.yaml``.

    :param url: of a service; the built-in emulator, whose tasks are asked for more often, by default
    """

    def __init__(self, folder: Path, url: str | None = None) -> None:
        self.folder = folder
        self.options = [] if url else ["--emulator"]
        self.key = {"APIMART_API_KEY": CANARY, "APIMART_BASE_URL": url} if url else {}
        self.out = (folder if url else folder / ".seedream" / "emulator") / "out" / "garden"
        self.index = self.out / "gallery" / "index.html"
        self.runs: list[subprocess.Popen[str]] = []
        folder.mkdir()
        (folder / "garden.yaml").write_text(GARDEN)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """A command, which is stopped as soon as its page is there."""
        command = [sys.executable, "-m", "seedream_jobs", *arguments, *self.options]
        pipe = subprocess.PIPE
        run = subprocess.Popen(
            command,
            cwd=self.folder,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            stdout=pipe,
            stderr=pipe,
            text=True,
        )
        self.runs.append(run)
        assert run.stdout is not None
        for line in run.stdout:
            if line.startswith("The page fills while the images come: "):
                run.send_signal(signal.SIGSTOP)
                return run
        raise AssertionError(run.communicate()[1])

    def call(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "seedream_jobs", *arguments, *self.options]
        return subprocess.run(
            command, cwd=self.folder, env=self.environment() | environment, capture_output=True, text=True, check=False
        )

    def environment(self) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
        return {**kept, **self.key, "HOME": str(self.folder), "LANG": "C.UTF-8"}

    def states(self, folder: Path | None = None) -> list[str]:
        data = decoded(((folder or self.index.parent) / "data.js").read_text())
        return [reader(data, data["state"])(n) for n in range(data["header"]["count"])]

    def end(self) -> None:
        for run in self.runs:
            run.kill()
            run.communicate()

    @property
    def live(self) -> bool:
        return "\nlive: " in (self.index.parent / "data.js").read_text()


@pytest.fixture
def garden(tmp_path: Path) -> Iterator[Campaign]:
    campaign = Campaign(tmp_path / "campaign")
    yield campaign
    campaign.end()


@pytest.fixture
def slow_garden(tmp_path: Path) -> Iterator[Campaign]:
    """With a service that takes two seconds for each reply."""
    service = ServiceProcess("--state", str(tmp_path / "service"), "--latency", "2000")
    campaign = Campaign(tmp_path / "campaign", service.url)
    yield campaign
    campaign.end()
    service.end()


def builder_of(run: subprocess.Popen[str]) -> int:
    """The process that builds the pages of a run."""

    def found() -> int | None:
        children = Path(f"/proc/{run.pid}/task").glob("*/children")
        pids = [int(pid) for file in children for pid in file.read_text().split()]
        return next((pid for pid in pids if b"serve_pages" in Path(f"/proc/{pid}/cmdline").read_bytes()), None)

    return int(until(found, "no process builds the page"))


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait(page: Any, script: str) -> None:
    until(lambda: page.run(f"return {script}"), script)


LINE = "document.getElementById('run').textContent"
PICTURES = "document.querySelectorAll('#scroller img').length"


def test_an_open_page_fills_while_the_run_goes_on(page: Any, garden: Campaign) -> None:
    """Placeholders before the first request is sent; then images without a reload, and what the reader does stays."""
    run = garden.start("run", "garden.yaml", "--yes", "--rate", "1/s")
    page.open(garden.index)
    assert len(page.all("#scroller .placeholder")) == 12
    assert page.run(f"return {PICTURES}") == 0
    assert page.one("#run").text.startswith("The run goes on, as of ")
    page.run("globalThis.witness = document.getElementById('search')")
    page.one("#search").send_keys("heron")
    page.open_image("subject: a heron, size: 16:9")
    page.until("location.hash.includes('open=')")

    run.send_signal(signal.SIGCONT)
    until(lambda: list(garden.out.glob("*.jpeg")))
    wait(page, "document.querySelector('dialog.lightbox .stage img')")
    wait(page, f"{PICTURES} > 0")
    assert page.run("return Gallery.app.model.cells.some((cell) => cell.image)")
    wait(page, f"{LINE} === 'The run has ended.'")
    assert run.wait(SECONDS) == 0
    assert page.run("return witness === document.getElementById('search') && witness.value") == "heron"
    assert page.run("return Gallery.app.opened.address").startswith("garden/subject=a-heron")
    page.press("\ue00c")
    assert page.one("#scroller").get_attribute("data-ready") == "2"
    page.run("Gallery.app.search('')")
    wait(page, f"{PICTURES} === 12")
    assert page.one("#summary").text.startswith("12 images of 12 requests · 0.2736 USD of play money")

    before = {file: file.read_bytes() for file in garden.index.parent.rglob("*") if file.is_file()}
    assert garden.call("gallery", "garden.yaml").returncode == 0
    assert before == {file: file.read_bytes() for file in garden.index.parent.rglob("*") if file.is_file()}


def test_images_come_one_by_one(page: Any, garden: Campaign) -> None:
    """Some are there while others are not: the page shows it, and keeps the focus, the place and what is typed."""
    run = garden.start("run", "garden.yaml", "--yes", "--rate", "20/m")
    page.open(garden.index)
    page.one('[data-layout="wall"]').click()
    page.run("Gallery.app.resize(1100); document.getElementById('scroller').scrollTop = 200")
    page.run("document.querySelector('.wall .open').focus({ preventScroll: true })")
    focused = page.focused().split(" – ")[0]
    run.send_signal(signal.SIGCONT)
    until(lambda: "stored" in garden.states())
    run.send_signal(signal.SIGSTOP)  # whatever is fetched by now, other requests are not
    wait(page, f"{PICTURES} > 0")
    assert 0 < page.run("return Gallery.app.model.cells.filter((cell) => cell.image).length") < 12
    assert page.one("#run").text.startswith("The run goes on")
    assert page.focused().split(" – ")[0] == focused
    assert page.run("return document.getElementById('scroller').scrollTop") == 200


def test_a_click_counts_while_images_come(page: Any, garden: Campaign) -> None:
    """News wait until the mouse is up: what they draw anew would lose the click."""
    from selenium.webdriver import ActionChains

    run = garden.start("run", "garden.yaml", "--yes")
    page.open(garden.index)
    heron = page.one('.open[aria-label^="subject: a heron, size: 16:9"]')
    ActionChains(page.browser).click_and_hold(heron).perform()
    run.send_signal(signal.SIGCONT)
    assert run.wait(SECONDS) == 0
    wait(page, "globalThis.seedreamGallery.live === undefined")
    assert page.run(f"return {PICTURES}") == 0
    ActionChains(page.browser).release().perform()
    wait(page, "document.querySelector('dialog.lightbox .stage img')")
    wait(page, f"{LINE} === 'The run has ended.'")


def test_what_is_in_flight_is_not_in_doubt(slow_garden: Campaign) -> None:
    """For another terminal too, while the run holds the record; after a crash it is, and nothing builds the page."""
    garden = slow_garden
    run = garden.start("run", "garden.yaml", "--yes", "--rate", "2/s")
    journal = garden.folder / "garden.manifest.journal"
    run.send_signal(signal.SIGCONT)
    until(lambda: journal.exists() and journal.read_text().count('"intended"') >= 2)
    builder = builder_of(run)
    run.send_signal(signal.SIGSTOP)
    ended = garden.call("gallery", "garden.yaml", "--out", "other")
    assert ended.returncode == 0, ended.stderr
    assert "in use by" in ended.stderr
    assert "intent" in garden.states(garden.folder / "other")
    assert set(garden.states(garden.folder / "other")) <= {"planned", "intent", "accepted"}
    status = garden.call("status", "garden.yaml", "--offline")
    assert "in doubt" not in status.stdout + status.stderr
    assert "submitting" in status.stdout
    until(lambda: "intent" in garden.states(), "the page does not follow")
    assert "in_doubt" not in garden.states()
    run.kill()
    until(lambda: not is_alive(builder), "the process that builds the page outlived the run")
    assert garden.live
    assert garden.call("gallery", "garden.yaml").returncode == 0
    assert "in_doubt" in garden.states()
    assert set(garden.states()) <= {"planned", "in_doubt", "accepted"}
    assert not garden.live
    assert "in doubt" in garden.call("status", "garden.yaml", "--offline").stdout


def test_a_page_says_that_nothing_was_heard(page: Any, garden: Campaign) -> None:
    """After a kill nobody tells the page that the run is gone: it says so itself, and how to look."""
    run = garden.start("run", "garden.yaml", "--yes", "--rate", "20/m")
    page.open(garden.index)
    run.send_signal(signal.SIGCONT)
    builder = builder_of(run)
    run.kill()
    until(lambda: not is_alive(builder))
    assert page.one("#run").text.startswith("The run goes on")
    page.run("const now = Date.now; Date.now = () => now() + 90000")
    wait(page, f"{LINE}.startsWith('Nothing was heard of the run for ')")
    assert page.one("#run code").text == "seedream-jobs status garden.yaml --emulator"
    assert garden.call("gallery", "garden.yaml").returncode == 0
    wait(page, f"{LINE} === 'The run has ended.'")
    assert "in doubt" in page.one("#summary").text or "running" in page.one("#summary").text


def test_ctrl_c_ends_both_and_the_page_says_so(garden: Campaign) -> None:
    run = garden.start("run", "garden.yaml", "--yes", "--rate", "1/s")
    assert garden.live
    run.send_signal(signal.SIGCONT)
    builder = builder_of(run)
    run.send_signal(signal.SIGINT)
    assert run.wait(SECONDS) == 130
    assert not is_alive(builder)
    assert not garden.live
    assert not list(garden.index.parent.rglob("*.part"))


def test_the_builder_costs_the_page_only(garden: Campaign) -> None:
    """The process that builds is killed: the run ends as ever, says so once, and the page is whole."""
    run = garden.start("run", "garden.yaml", "--yes", "--rate", "1/s")
    run.send_signal(signal.SIGCONT)
    os.kill(builder_of(run), signal.SIGKILL)
    out, err = run.communicate(timeout=SECONDS)
    assert run.returncode == 0, err
    assert err.count("the page was not fresh all the time") == 1
    assert "12 images fetched" in out
    assert set(garden.states()) == {"stored"}
    assert not garden.live


def test_a_page_that_cannot_be_built_is_said_once(garden: Campaign) -> None:
    """A review with an error: the run is paid and fetched all the same."""
    (garden.folder / "reviews").mkdir()
    (garden.folder / "reviews" / "garden.yaml").write_text("version: 2\njob: garden\nratings: 3\n")
    ended = garden.call("run", "garden.yaml", "--yes", "--limit", "2")
    assert "2 images fetched" in ended.stdout
    assert ended.stderr.count("reviews/garden.yaml:3") == 1
    assert ended.returncode == 1


def test_the_page_has_the_requests_of_the_run(garden: Campaign) -> None:
    """``--set`` values are in no file: the record has them, for the page and for ``gallery`` afterwards."""
    (garden.folder / "garden.yaml").write_text(
        GARDEN.replace("a garden", "{{ place }}").replace("matrix", "vars: {place: a wood}\nmatrix")
    )
    run = garden.start("run", "garden.yaml", "--yes", "--set", "place=a marsh", "--limit", "9", "--rate", "1/s")

    def prompts() -> list[str]:
        data = decoded((garden.index.parent / "data.js").read_text())
        return [reader(data, data["prompt"])(n) for n in range(data["header"]["count"])]

    wanted = prompts()
    assert len(wanted) == 12
    assert all(prompt.endswith(" in a marsh") for prompt in wanted)
    run.send_signal(signal.SIGCONT)
    until(lambda: set(garden.states()) != {"planned"}, "the page does not follow")
    assert garden.live
    assert prompts() == wanted
    assert run.wait(SECONDS) == 0
    assert garden.call("gallery", "garden.yaml").returncode == 0
    assert prompts() == wanted
    assert garden.states().count("stored") == 9


def test_each_job_of_a_run_and_each_plan_has_its_page(garden: Campaign) -> None:
    (garden.folder / "lake.yaml").write_text(GARDEN.replace("garden", "lake"))
    saved = garden.call("plan", "garden.yaml", "lake.yaml", "-o", "plan.json")
    assert saved.returncode == 0, saved.stderr
    run = garden.start("run", "plan.json", "--yes", "--rate", "2/s")
    lake = garden.out.with_name("lake") / "gallery"
    assert garden.states() == garden.states(lake) == ["planned"] * 12
    run.send_signal(signal.SIGCONT)
    until(lambda: "planned" not in garden.states() and "planned" not in garden.states(lake))
    assert run.wait(SECONDS) == 0
    assert set(garden.states()) == set(garden.states(lake)) == {"stored"}


def test_fetch_keeps_the_page_fresh(garden: Campaign) -> None:
    assert garden.call("run", "garden.yaml", "--yes", "--detach").returncode == 0
    assert not garden.index.exists()
    run = garden.start("fetch", "garden.yaml")
    assert garden.live
    run.send_signal(signal.SIGCONT)
    assert run.wait(SECONDS) == 0
    assert set(garden.states()) == {"stored"}
    assert not garden.live


def test_without_a_gallery_nothing_is_built(garden: Campaign) -> None:
    ended = garden.call("run", "garden.yaml", "--yes", "--limit", "1", "--no-gallery")
    assert ended.returncode == 0
    assert not garden.index.exists()


@pytest.mark.skipif(not os.environ.get("UPDATE_DOCS"), reason="draws pictures of docs/gallery.md: UPDATE_DOCS=1")
def test_the_pictures_of_the_docs(page: Any, garden: Campaign) -> None:
    """docs/gallery-run-*.webp: one page, before, during and after a run."""
    size = page.browser.get_window_size()
    page.browser.set_window_size(1280, 800)

    def draw(moment: str) -> None:
        page.until("[...document.images].every((image) => image.complete)")
        with Image.open(io.BytesIO(page.browser.get_screenshot_as_png())) as image:
            image.save(DOCS / f"gallery-run-{moment}.webp", quality=60, method=6)

    run = garden.start("run", "garden.yaml", "--yes", "--rate", "30/m")
    page.open(garden.index)
    page.run("Gallery.app.resize(140)")
    draw("before")
    run.send_signal(signal.SIGCONT)
    until(lambda: garden.states().count("stored") >= 5)
    run.send_signal(signal.SIGSTOP)
    wait(page, f"{PICTURES} >= 5")
    draw("during")
    run.send_signal(signal.SIGCONT)
    wait(page, f"{LINE} === 'The run has ended.'")
    draw("after")
    page.browser.set_window_size(size["width"], size["height"])


# ``gallery`` before a run, and --open ---------------------------------------------------------------------------------


def test_a_job_that_was_never_run_has_a_page(garden: Campaign) -> None:
    """Whatever is wrong with other files of the tree; a job with errors says them."""
    (garden.folder / "broken.yaml").write_text("version: 1\nrequest: {prompt: '{{ nothing }}'}\n")
    (garden.folder / "broken.manifest.jsonl").write_text("no record\n")
    ended = garden.call("gallery", "garden.yaml")
    assert ended.returncode == 0, ended.stderr
    assert "nothing was submitted yet" in ended.stderr
    assert garden.states() == ["planned"] * 12
    assert not garden.live
    (garden.folder / "broken.manifest.jsonl").unlink()
    ended = garden.call("gallery", "broken.yaml")
    assert ended.returncode == 1
    assert "broken.yaml:2:" in ended.stderr


def test_open_shows_the_page_in_the_browser(garden: Campaign) -> None:
    """The browser gets neither the key nor the command's limits; without a display the error says where the page is."""
    browser = garden.folder / "browser"
    browser.write_text(
        f'#!/bin/sh\n{{ echo "$1"; ulimit -t; echo "${{APIMART_API_KEY:-no key}}"; }} > "{browser}.said"\n'
    )
    browser.chmod(0o755)
    ended = garden.call("gallery", "garden.yaml", "--open", BROWSER=str(browser))
    assert ended.returncode == 0, ended.stderr
    assert Path(f"{browser}.said").read_text().split("\n")[:3] == [garden.index.as_uri(), "unlimited", "no key"]
    ended = garden.call("gallery", "garden.yaml", "--open", DISPLAY="", WAYLAND_DISPLAY="")
    assert ended.returncode == 2
    assert ended.stdout.strip() == str(garden.index)
    assert garden.index.as_uri() in ended.stderr
