"""Writes the gallery: the page, its data, its styles and scripts, as a folder or as one file."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path
from string import Template

from seedream_jobs.errors import UsageError
from seedream_jobs.results.gallery.data import data_script, page_axes
from seedream_jobs.results.gallery.table import html_text, page_links, pages_of, plain_table
from seedream_jobs.results.gallery.values import Run
from seedream_jobs.results.gallery.whole import write_whole

SINGLE_FILE_LIMIT = 24 * 1024 * 1024
"""Bytes of a page that stands alone: what a mail server or a chat still takes."""

SCRIPTS = (
    "dom",
    "model",
    "storage",
    "snippet",
    "zoom",
    "thumb",
    "review",
    "grid",
    "wall",
    "lightbox",
    "compare",
    "vote",
    "panel",
    "app",
)
"""The page's scripts, in the order in which they are read; each leans only on those before it."""

_ASSETS = Path(__file__).resolve().parent / "assets"
# A page on disk has no origin: 'self' covers it in Chromium, other browsers want the scheme named.
_FOLDER_SOURCES = {"script-src": "'self' file:", "style-src": "'self' file:", "img-src": "'self' file: data: blob:"}
_MEDIA_TYPES = {b"RIFF": "image/webp", b"\x89PNG": "image/png", b"\xff\xd8\xff": "image/jpeg"}


def write_gallery(
    folder: Path, runs: Sequence[Run], *, single_file: bool = False, generated_at: str | None = None, title: str = ""
) -> Path:
    """Write the page of ``runs`` into ``folder`` and return the path of its ``index.html``.

    The same runs give the same bytes. Thumbnails and images are not copied: their paths are relative to ``folder``.
    Every file appears whole, ``index.html`` last.

    :param single_file: one file that stands alone, with the thumbnails inside and no link to the whole images
    :param generated_at: shown on the page as it is
    :param title: the page's heading; by default the names of the runs
    :raises UsageError: for a page that would be larger than ``SINGLE_FILE_LIMIT``
    :raises ValueError: for an image that is not a path relative to the page
    :raises OSError: as the file system does
    """
    heading = title or " · ".join(dict.fromkeys(run.name for run in runs)) or "Gallery"
    if single_file:
        page = _single_file(folder, runs, heading, generated_at)
    else:
        page = _folder(folder, runs, heading, generated_at)
    index = folder / "index.html"
    write_whole(index, page.encode())
    return index


def _folder(folder: Path, runs: Sequence[Run], heading: str, generated_at: str | None) -> str:
    """Write everything but ``index.html``, and return that."""
    data = data_script(runs, title=heading, generated_at=generated_at)
    axes, pages = page_axes(runs), pages_of(runs)
    write_whole(folder / "data.js", data.encode())
    write_whole(folder / "assets" / "gallery.css", _asset("gallery.css").encode())
    for name in SCRIPTS:
        write_whole(folder / "assets" / f"{name}.js", _asset(f"{name}.js").encode())
    for number, rows in enumerate(pages[1:], start=2):
        table = plain_table(rows, axes, up=1) + page_links(number, len(pages))
        write_whole(folder / "pages" / f"{number}.html", _plain_page(heading, table).encode())
    _remove_stale_pages(folder / "pages", len(pages))
    return _fill(
        heading,
        policy=_policy(_FOLDER_SOURCES),
        style='<link rel="stylesheet" href="assets/gallery.css">',
        table=page_links(1, len(pages)) + plain_table(pages[0], axes) + page_links(1, len(pages)),
        scripts="\n".join(
            f'<script src="{src}"></script>' for src in ("data.js", *(f"assets/{n}.js" for n in SCRIPTS))
        ),
    )


def _single_file(folder: Path, runs: Sequence[Run], heading: str, generated_at: str | None) -> str:
    """The page that stands alone. The plain table carries the thumbnails; the script takes them from there."""
    rows = [(run, cell) for run in runs for cell in run.cells]
    thumbnails: list[str | None] = []
    room = SINGLE_FILE_LIMIT
    for _, cell in rows:
        thumbnails.append(_data_uri(folder / cell.thumbnail) if cell.thumbnail else None)
        room -= len(thumbnails[-1] or "")
        if room < 0:
            raise _too_large(len(rows))
    style = _asset("gallery.css")
    sources = [data_script(runs, title=heading, generated_at=generated_at, images=False)]
    sources += [_asset(f"{name}.js") for name in SCRIPTS]
    page = _fill(
        heading,
        policy=_policy(
            {
                "script-src": " ".join(_hash(source) for source in sources),
                "style-src": _hash(style),
                "img-src": "data: blob:",
            }
        ),
        style=f"<style>{style}</style>",
        table=plain_table(rows, page_axes(runs), thumbnails=thumbnails),
        scripts="\n".join(f"<script>{source}</script>" for source in sources),
    )
    if len(page.encode()) > SINGLE_FILE_LIMIT:
        raise _too_large(len(rows))
    return page


def _too_large(cells: int) -> UsageError:
    return UsageError(
        f"{cells} images are too many for one file of at most {SINGLE_FILE_LIMIT // 1024**2} MiB",
        hint="leave out --single-file: the folder has no such bound",
    )


def _fill(heading: str, *, policy: str, style: str, table: str, scripts: str) -> str:
    template = Template(_asset("index.html"))
    return template.substitute(title=html_text(heading), policy=policy, style=style, table=table, scripts=scripts)


def _plain_page(heading: str, table: str) -> str:
    template = Template(_asset("plain.html"))
    return template.substitute(
        title=html_text(heading), policy=_policy({**_FOLDER_SOURCES, "script-src": "'none'"}), table=table
    )


def _policy(sources: dict[str, str]) -> str:
    """The page's content security policy: nothing from anywhere but these, and no text ever becomes markup."""
    parts = ["default-src 'none'", *(f"{name} {value}" for name, value in sources.items())]
    parts += ["base-uri 'none'", "form-action 'none'", "require-trusted-types-for 'script'", "trusted-types 'none'"]
    return "; ".join(parts)


def _hash(source: str) -> str:
    return "'sha256-" + base64.b64encode(hashlib.sha256(source.encode()).digest()).decode() + "'"


def _data_uri(path: Path) -> str | None:
    """A thumbnail as a data URI; None where the file is gone or is no image of a known kind."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    for magic, media_type in _MEDIA_TYPES.items():
        if data.startswith(magic):
            return f"data:{media_type};base64,{base64.b64encode(data).decode()}"
    return None


def _remove_stale_pages(folder: Path, count: int) -> None:
    """Pages that an earlier, longer gallery left behind; nothing else in the folder is touched."""
    for page in folder.glob("*.html"):
        if page.stem.isdecimal() and page.stem == str(int(page.stem)) and int(page.stem) > count:
            page.unlink(missing_ok=True)


def _asset(name: str) -> str:
    return (_ASSETS / name).read_text("utf-8")
