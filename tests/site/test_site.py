"""The documentation site: it builds without a warning, its links lead somewhere, it loads nothing from elsewhere."""

from __future__ import annotations

import functools
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver.support.ui import WebDriverWait

from tests.gallery.conftest import chromium as chromium
from tests.site.links import main, problems

ROOT = Path(__file__).parents[2]
PAGES = [page.relative_to(ROOT / "docs") for page in (ROOT / "docs").rglob("*.md")]


def build(root: Path, site: Path) -> subprocess.CompletedProcess[str]:
    """What ``dev.py docs`` builds."""
    pytest.importorskip("mkdocs", reason="needs mkdocs-material: the dependency group docs")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(site)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    return subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site of this checkout."""
    folder = tmp_path_factory.mktemp("docs") / "site"
    ended = build(ROOT, folder)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return folder


def test_every_link_of_the_site_leads_somewhere(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Links, anchors, images; and each page of docs/ is there, reached from another one."""
    assert problems(site) == []
    assert main(site) == 0
    assert f"{len(PAGES) + 1} pages, 0 problems" in capsys.readouterr().out  # and the one for wrong addresses
    assert all((site / page.with_suffix(".html")).is_file() for page in PAGES)


FAULTS: dict[str, tuple[str, str]] = {
    "a page": ('<a href="gone.html">x</a>', "index.html: there is no gone.html"),
    "an anchor": ('<a href="faq.html#gone">x</a>', "index.html: faq.html#gone has no such anchor"),
    "an anchor of its own": ('<a href="#gone">x</a>', "index.html: #gone has no such anchor"),
    "an image": ('<img src="gone.webp">', "index.html: there is no gone.webp"),
    "a script from elsewhere": (
        '<script src="https://cdn.example/x.js"></script>',
        "index.html: loads https://cdn.example/x.js",
    ),
    "a font from elsewhere": (
        '<link rel="stylesheet" href="//fonts.example/x.css">',
        "index.html: loads //fonts.example/x.css",
    ),
    "an image from elsewhere": ('<img src="https://a.example/x.png">', "index.html: loads https://a.example/x.png"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_seeded_fault_is_found(fault: str, tmp_path: Path) -> None:
    """Each kind of broken link, and each kind of thing that a page loads from elsewhere."""
    html, problem = FAULTS[fault]
    whole = (
        '<link rel="icon" href="x.png"><h1 id="top">x</h1><a href="faq.html#top"><img src="x.png"></a><a href="#top">'
    )
    (tmp_path / "index.html").write_text(f'{whole}<a href="https://a.example/">', encoding="utf-8")
    (tmp_path / "faq.html").write_text(whole, encoding="utf-8")
    (tmp_path / "x.png").touch()
    assert problems(tmp_path) == []
    (tmp_path / "index.html").write_text(whole + html, encoding="utf-8")
    assert problems(tmp_path) == [problem]


def test_a_style_from_elsewhere_and_a_page_without_a_link_are_found(tmp_path: Path) -> None:
    """The faults that are in no link of a page."""
    (tmp_path / "index.html").write_text("<p>", encoding="utf-8")
    (tmp_path / "lost.html").write_text("<p>", encoding="utf-8")
    (tmp_path / "a.css").write_text("@font-face { src: url(https://fonts.example/a.woff2) }", encoding="utf-8")
    assert problems(tmp_path) == ["a.css: loads https://fonts.example/a.woff2", "lost.html: no page links to it"]
    assert main(tmp_path) == 1
    assert main(tmp_path / "nothing") == 1


def broken_link(docs: Path) -> None:
    with (docs / "faq.md").open("a", encoding="utf-8") as page:
        page.write("\n[nowhere](gone.md)\n")


def broken_anchor(docs: Path) -> None:
    with (docs / "faq.md").open("a", encoding="utf-8") as page:
        page.write("\n[nowhere](ci.md#gone)\n")


def page_outside_the_navigation(docs: Path) -> None:
    (docs / "lost.md").write_text("# Lost\n", encoding="utf-8")


def missing_page(docs: Path) -> None:
    (docs / "mutation.md").unlink()


@pytest.mark.slow
@pytest.mark.parametrize("seed", [broken_link, broken_anchor, page_outside_the_navigation, missing_page])
def test_the_build_is_strict(seed: Callable[[Path], None], tmp_path: Path) -> None:
    """Each of these ends the build with an error."""
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    shutil.copy(ROOT / "mkdocs.yml", tmp_path)
    seed(tmp_path / "docs")
    ended = build(tmp_path, tmp_path / "site")
    assert ended.returncode == 1
    assert "Aborted with" in ended.stderr + ended.stdout


class Quiet(SimpleHTTPRequestHandler):
    """Serves files and says nothing."""

    def log_message(self, format: str, *args: Any) -> None:
        """No line for each request."""


@pytest.fixture(params=["from disk", "from a server"])
def address(request: pytest.FixtureRequest, site: Path) -> Iterator[str]:
    """Where a reader opens the site."""
    if request.param == "from disk":
        yield site.as_uri()
        return
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(site))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def asked_for(browser: Any) -> list[str]:
    """The addresses of other programs that were asked since the last call; the browser's own pages are none."""
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    urls = [one["params"]["request"]["url"] for one in events if one["method"] == "Network.requestWillBeSent"]
    return [url for url in urls if re.match("file:|http|ws", url)]


def test_the_site_is_read_and_searched_without_another_place(address: str, chromium: Any) -> None:
    """In a real browser: pages, the diagram among them, and the search, which finds a finding by its code."""
    asked_for(chromium)
    for page in ("index", "ledger", "job-file", "diagnostics/job"):
        chromium.get(f"{address}/{page}.html")
        assert chromium.execute_script("return document.querySelector('article h1').textContent.length") > 3
    chromium.get(f"{address}/index.html")
    chromium.execute_script("document.querySelector('[data-md-toggle=search]').click()")
    chromium.find_element("css selector", "input.md-search__input").send_keys("look-alike-name")
    found = "return [...document.querySelectorAll('.md-search-result__link')].map((e) => e.href)"
    WebDriverWait(chromium, 60, 0.05).until(lambda _: chromium.execute_script(found))
    links = chromium.execute_script(found)
    assert any(link.split("?")[0] == f"{address}/diagnostics/job.html" for link in links), links
    asked = asked_for(chromium)
    assert len(asked) > 10
    assert [url for url in asked if not url.startswith(address)] == []


def test_the_browser_sees_a_request_to_another_place(site: Path, tmp_path: Path, chromium: Any) -> None:
    """The check above fails where it should."""
    page = tmp_path / "page.html"
    page.write_text('<img src="http://127.0.0.1:9/x.png">', encoding="utf-8")
    asked_for(chromium)
    chromium.get(page.as_uri())
    assert "http://127.0.0.1:9/x.png" in asked_for(chromium)
