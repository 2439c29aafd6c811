"""The links of the built site: ``python -m tests.site.links SITE`` names each that leads nowhere.

A page may link to other places; what it loads by itself (scripts, styles, fonts, images, frames) comes from the site.
"""

from __future__ import annotations

import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag

LOADS = {"script", "img", "iframe", "source", "video", "audio", "embed"}
LOADED = {"stylesheet", "icon", "preload", "modulepreload", "prefetch", "preconnect", "dns-prefetch", "manifest"}


class Reader(HTMLParser):
    """One page: the ids it has, where it links to, what it loads."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collect what one tag says."""
        said = {name: value or "" for name, value in attrs}
        self.ids |= {said[name] for name in ("id", "name") if name in said}
        if tag == "a" and "href" in said:
            self.links.append(said["href"])
        if tag == "link" and LOADED & set(said.get("rel", "").split()):
            self.loads.append(said.get("href", ""))
        if tag in LOADS and "src" in said:
            self.loads.append(said["src"])
        self.loads += [one.split()[0] for one in said.get("srcset", "").split(",") if one.strip()]
        self.loads += re.findall(r"url\([\"']?([^)\"']+)", said.get("style", ""))


def is_elsewhere(url: str) -> bool:
    """Whether a browser would ask another server for it."""
    return re.match(r"(?i)(https?:|wss?:)?//", url) is not None


def problems(site: Path) -> list[str]:
    """A line for each link or image that leads nowhere, thing from elsewhere, and page that no other links to."""
    pages = {page: Reader(page.read_text(encoding="utf-8")) for page in sorted(site.rglob("*.html"))}
    found, linked = [], {site / "index.html", site / "404.html"}
    for page, read in pages.items():
        if page.name == "404.html":
            continue  # its links begin at the root of a server
        for url in (*read.links, *read.loads):
            if is_elsewhere(url) or re.match(r"[a-z]+:", url):
                continue
            path, anchor = urldefrag(url)
            target = (page.parent / unquote(path)).resolve() if path else page
            linked |= {target} if target != page else set()
            if not target.is_file():
                found.append(f"{page.relative_to(site)}: there is no {url}")
            elif anchor and target in pages and unquote(anchor) not in pages[target].ids:
                found.append(f"{page.relative_to(site)}: {url} has no such anchor")
        found += [f"{page.relative_to(site)}: loads {url}" for url in read.loads if is_elsewhere(url)]
    for style in sorted(site.rglob("*.css")):
        urls = re.findall(r"(?:url\(|@import )[\"']?([^)\"';]+)", style.read_text(encoding="utf-8"))
        found += [f"{style.relative_to(site)}: loads {url}" for url in urls if is_elsewhere(url)]
    return found + [f"{page.relative_to(site)}: no page links to it" for page in pages if page not in linked]


def main(site: Path) -> int:
    """Print the problems; 1 if there are any, or no page at all."""
    found = problems(site.resolve())
    pages = len(list(site.rglob("*.html")))
    print(*found, f"{pages} pages, {len(found)} problems", sep="\n")
    return 1 if found or not pages else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
