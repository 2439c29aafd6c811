"""This module writes the gallery: the page, its data, its styles and scripts, as a folder or as one file.

Called by ``build_gallery`` with the runs that ``cells`` collected. Invariant: the same runs give the same bytes; no
text of a job can become markup or code in the page.

The data crosses into the page as JSON text inside JavaScript string literals, read by ``JSON.parse``: no value can end
the script element, and none (``__proto__`` included) is ever evaluated. One line per column (``columns``). A reader
without JavaScript sees plain, linked HTML tables.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal
from html import escape
from pathlib import Path
from string import Template
from typing import Any, Literal

from seedream_jobs.atomic_file import check_folder, read_regular, update_file
from seedream_jobs.errors import UsageError
from seedream_jobs.plans.cost import plain
from seedream_jobs.results.gallery.cells import GalleryCell, GalleryRun, href
from seedream_jobs.results.gallery.columns import Column, ColumnWriter
from seedream_jobs.run.images import sniff

SINGLE_FILE_LIMIT = 24 * 1024 * 1024
"""Bytes of a page in one file: mail servers and chats refuse larger ones."""

PAGE_SIZE = 500
"""Cells on one page without a script: few enough for a phone."""

SCRIPTS = (
    "dom",
    "messages-zh",
    "columns",
    "model",
    "filter",
    "hash",
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
    "scores",
    "filters",
    "panel",
    "help",
    "live",
    "app",
)
"""The page's scripts, in the order in which they are read; each needs only those before it."""

STATE_WORDS = {
    "planned": ("○", "planned"),
    "new": ("○", "planned"),
    "intent": ("◔", "submitting"),
    "submitted": ("◔", "submitted"),
    "accepted": ("◑", "running"),
    "running": ("◑", "running"),
    "completed": ("◕", "ready to fetch"),
    "stored": ("●", "stored"),
    "in_doubt": ("?", "in doubt"),
    "rejected": ("⊘", "rejected"),
    "failed": ("✕", "failed"),
    "expired": ("⌛", "expired"),
    "abandoned": ("–", "abandoned"),
    "not_delivered": ("∅", "not delivered"),
}
"""A sign and a word for each state: never by colour alone. ``assets/dom.js`` has the same words."""

# A copy of this element reads the file again: no text becomes a script's address, which the policy would refuse.
_DATA = '<script src="data.js"></script>'
# What must not stand raw in a script element, in a JavaScript string of any edition, or in UTF-8.
_UNSAFE = re.compile("[<>&'\u007f-\u009f\u2028\u2029\ufeff\ud800-\udfff]")
_NOT_IN_HTML = re.compile("[\x00-\x08\x0b-\x1f\ud800-\udfff]")
_ASSETS = Path(__file__).resolve().parent / "assets"
# A page on disk has no origin: 'self' covers it in Chromium, other browsers want the scheme named.
_FOLDER_SOURCES = {"script-src": "'self' file:", "style-src": "'self' file:", "img-src": "'self' file: data: blob:"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Live:
    """What the page of a run under way says of itself, so that an open page reads its data again.

    :param every: seconds to the next writing of the page
    :param at: Unix seconds of this one
    :param look: the command that tells how the run stands, for a page that hears no more of it
    """

    every: float
    at: int
    look: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PageAxis:
    """An axis of the page: one of the jobs' axes, or one that every page may have (repeat, image, generation, run)."""

    name: str
    kind: Literal["axis", "repeat", "image", "generation", "run"]
    values: tuple[str, ...]


def page_axes(runs: Sequence[GalleryRun]) -> tuple[PageAxis, ...]:
    """The union of all runs' axes and labels, in order of first appearance, and the page's own axes where they vary.

    A label that only a cell has (an ``include``) joins its axis at the end.
    """
    labels: dict[str, dict[str, None]] = {}
    for run in runs:
        for name, values in run.axes.items():
            labels.setdefault(name, {}).update(dict.fromkeys(values))
        for cell in run.cells:
            for name, label in cell.axes.items():
                labels.setdefault(name, {})[label] = None
    repeats = max((cell.repeat for run in runs for cell in run.cells), default=1)
    images = max((cell.index for run in runs for cell in run.cells), default=1)
    axes = [PageAxis(name=name, kind="axis", values=tuple(values)) for name, values in labels.items()]
    if repeats > 1:
        axes.append(PageAxis(name="repeat", kind="repeat", values=tuple(str(n + 1) for n in range(repeats))))
    if images > 1:
        axes.append(PageAxis(name="image", kind="image", values=tuple(str(n + 1) for n in range(images))))
    if generations := _generations(runs):
        axes.append(PageAxis(name="generation", kind="generation", values=tuple(map(str, generations))))
    if len(runs) > 1:
        axes.append(PageAxis(name="run", kind="run", values=tuple(run.title or run.name for run in runs)))
    return tuple(axes)


def _generations(runs: Sequence[GalleryRun]) -> list[int]:
    """The generations of all images, the latest first; none where every image is its request's present one."""
    if not any(cell.earlier for run in runs for cell in run.cells):
        return []
    return sorted({cell.generation for run in runs for cell in run.cells}, reverse=True)


# ── The page's data ──


def literal(value: Any) -> str:
    """A JavaScript string literal whose content is ``value`` as JSON."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False, default=_json_value)
    # First escapes that JSON.parse undoes, then the backslashes of the literal around it.
    text = _UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
    return "'" + text.replace("\\", "\\\\") + "'"


def data_script(
    runs: Sequence[GalleryRun],
    axes: Sequence[PageAxis],
    *,
    title: str,
    language: str | None = None,
    images: bool = True,
    live: Live | None = None,
) -> str:
    """The classic script that holds the page's data.

    :param live: of a run that is under way
    :param images: False leaves out every reference to a file, for a page that stands alone
    :raises ValueError: for an image that is not a relative path
    """
    rows = [(number, cell) for number, run in enumerate(runs) for cell in run.cells]
    cells = [cell for _, cell in rows]
    own = {"repeat": [cell.repeat - 1 for cell in cells], "image": [cell.index - 1 for cell in cells]}
    own["run"] = [number for number, _ in rows]
    generations = {number: at for at, number in enumerate(_generations(runs))}
    own["generation"] = [generations.get(cell.generation, -1) for cell in cells]
    ranks = [{label: n for n, label in enumerate(axis.values)} for axis in axes]
    places = [
        [rank.get(cell.axes[axis.name], -1) if axis.name in cell.axes else -1 for cell in cells]
        if axis.kind == "axis"
        else own[axis.kind]
        for axis, rank in zip(axes, ranks, strict=True)
    ]
    digests = [cell.sha256 for cell in cells]
    writer = ColumnWriter(places, [axis.values for axis in axes], digests)
    columns: dict[str, Column | None] = {
        "sha256": writer.digests(digests),
        "key": writer.digests([cell.key for cell in cells]),
        "address": writer.texts([cell.address for cell in cells]),
        "prompt": writer.texts([cell.prompt for cell in cells]),
        "task": writer.texts([cell.task_id for cell in cells]),
        "run": writer.values(own["run"]),
        "cost": writer.values([None if cell.cost_usd is None else plain(cell.cost_usd) for cell in cells]),
        "submitted": writer.values([cell.submitted_at for cell in cells]),
        "warnings": writer.values([list(cell.warnings) or None for cell in cells]),
        "earlier": writer.values([cell.generation if cell.earlier else None for cell in cells]),
        "pair": writer.values(_pairs(rows)),
    }
    for name in ("repeat", "index", "state", "width", "height", "error", "opinion", "choice", "change"):
        columns[name] = writer.values([getattr(cell, name) for cell in cells])
    for name in ("image", "thumbnail") if images else ():
        paths = (getattr(cell, name) for cell in cells)
        columns[name] = writer.texts([None if path is None else href(path) for path in paths])
    fields = [name for name in dict.fromkeys(name for cell in cells for name in cell.payload) if name != "prompt"]
    payload = [(name, writer.values([cell.payload.get(name) for cell in cells])) for name in fields]
    rule = next((run.select for run in runs if run.select is not None), None)
    votes = list(dict.fromkeys(vote for run in runs for vote in run.votes))  # runs of one job have one review
    header = {
        "format": 2,
        "title": title,
        "language": language,
        "count": len(cells),
        "axes": [
            {"name": axis.name, "kind": axis.kind, "values": axis.values}
            | ({"slugs": writer.slugs[number]} if number in writer.slugs_used else {})
            for number, axis in enumerate(axes)
        ],
        "runs": [_run_values(run) for run in runs],
        **({"votes": votes} if votes else {}),
        **({"select": {"one_per": rule.one_per, "approvals": rule.approvals or 1}} if rule else {}),
    }
    lines = [f"{name}: {literal(column)}" for name, column in columns.items() if column is not None]
    lines.append(f"place: {literal(writer.places())}")
    lines.append(f"payload: {literal([pair for pair in payload if pair[1] is not None])}")
    body = ",\n".join(lines)
    head = f"header: {literal(header)},\n" + (f"{_LIVE}{literal(asdict(live))},\n" if live else "")
    return f"'use strict';\nglobalThis.seedreamGallery = {{\n{head}columns: {{\n{body}\n}}}};\n"


_LIVE = "live: "


def end_live(folder: Path) -> None:
    """Let the data of the page in ``folder`` no longer say that a run is under way; nothing where there is no page.

    :raises OSError: as the file system does
    """
    try:
        lines = read_regular(folder / "data.js").splitlines(keepends=True)
    except FileNotFoundError:
        return
    # Each value is one line, and a line's end in it is an escape: no other line begins so.
    update_file(folder / "data.js", b"".join(line for line in lines if not line.startswith(_LIVE.encode())))


def _pairs(rows: Sequence[tuple[int, GalleryCell]]) -> list[int | None]:
    """For each cell the number of the one that it is held against, in the run before or after its own."""
    number = {(run, cell.key, cell.index): at for at, (run, cell) in enumerate(rows) if not cell.earlier}
    pairs: list[int | None] = [None] * len(rows)
    for at, (run, cell) in enumerate(rows):
        other = number.get((run - 1, cell.former, cell.index)) if cell.former is not None else None
        if other is not None:
            pairs[at], pairs[other] = other, at
    return pairs


def _run_values(run: GalleryRun) -> dict[str, Any]:
    values = {
        "name": run.name,
        "title": run.title or run.name,
        "charged_usd": run.charged_usd,
        "reserved_usd": run.reserved_usd,
        "play_money": run.play_money or None,
        "left_out": run.left_out or None,
        "orphans": run.orphans or None,
    }
    return {name: value for name, value in values.items() if value is not None}


def _json_value(value: Any) -> Any:
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} has no place in a payload")


# ── The plain table ──


def state_name(state: str) -> str:
    """The word for a state; an unknown state is shown as it is."""
    return STATE_WORDS[state][1] if state in STATE_WORDS else state.replace("_", " ")


def html_text(text: str) -> str:
    """Text for HTML, in an element or an attribute; characters that HTML does not allow become U+FFFD."""
    return escape(_NOT_IN_HTML.sub("\ufffd", text), quote=True)


def _plain_table(
    runs: Sequence[GalleryRun],
    rows: Sequence[tuple[GalleryRun, GalleryCell]],
    axes: Sequence[PageAxis],
    pictures: Iterable[str],
) -> str:
    """One table, a row per image, in the same order as the script's data.

    :param rows: those of the runs that stand on this page
    :param pictures: for each row the markup of its image, empty without one
    """
    left_out = sum(run.left_out for run in runs)
    more = f"; {left_out:,} more requests that are not sent are not on this page" if left_out else ""
    if orphans := sum(run.orphans for run in runs):
        more += f"; {orphans:,} images that the job file no longer makes are shown by gallery --with-orphans"
    heads = ["Image", *(axis.name for axis in axes), "State", "Prompt"]
    cells = "".join(f'<th scope="col">{html_text(head)}</th>' for head in heads)
    body = "\n".join(_plain_row(run, cell, axes, picture) for (run, cell), picture in zip(rows, pictures, strict=True))
    return (
        f'<table class="plain">\n<caption>One row per image, in the order of the job{more}</caption>\n'
        f"<thead><tr>{cells}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>"
    )


def _plain_row(run: GalleryRun, cell: GalleryCell, axes: Sequence[PageAxis], picture: str) -> str:
    own = {"repeat": str(cell.repeat), "image": str(cell.index), "run": run.title or run.name}
    own["generation"] = str(cell.generation)
    labels = (cell.axes.get(axis.name, "–") if axis.kind == "axis" else own[axis.kind] for axis in axes)
    sign = STATE_WORDS[cell.state][0] if cell.state in STATE_WORDS else "·"
    said = [cell.error, cell.change, "submitted again since" if cell.earlier else None]
    note = "".join(f"<br><small>{html_text(text)}</small>" for text in said if text)
    return (
        f'<tr><th scope="row">{picture}<small>{html_text(cell.address)}</small></th>'
        f"{''.join(f'<td>{html_text(label)}</td>' for label in labels)}"
        f"<td>{html_text(f'{sign} {state_name(cell.state)}')}{note}</td><td>{html_text(cell.prompt)}</td></tr>"
    )


def _picture(cell: GalleryCell, source: str | None) -> str:
    if source is None:
        return ""
    return f'<img src="{source}" alt="{html_text(cell.prompt or cell.address)}" loading="lazy" decoding="async">'


def _linked_picture(cell: GalleryCell, up: int) -> str:
    """The thumbnail, linked to the whole image where there is one.

    :param up: how many folders below the page's folder the table stands
    """
    shown = cell.thumbnail or cell.image
    picture = _picture(cell, href(shown, up=up) if shown else None)
    return f'<a href="{href(cell.image, up=up)}">{picture}</a>' if cell.image else picture


def _page_links(current: int, count: int) -> str:
    """Links to all plain pages, numbered from 1; the first is the gallery itself."""
    if count == 1:
        return ""
    items = []
    for number in range(1, count + 1):
        prefix = "" if current == 1 else "../"
        target = f"{prefix}index.html" if number == 1 else f"{prefix}pages/{number}.html"
        here = ' aria-current="page"' if number == current else ""
        items.append(f'<li><a href="{target}"{here}>{number}</a></li>')
    return f'<nav class="pages" aria-label="Pages of the table"><ol>{"".join(items)}</ol></nav>'


# ── The files ──


def write_gallery(
    folder: Path,
    runs: Sequence[GalleryRun],
    *,
    single_file: bool = False,
    language: str | None = None,
    live: Live | None = None,
) -> Path:
    """Write the page of ``runs`` into ``folder`` and return the path of its ``index.html``.

    Thumbnails and images are not copied: their paths are relative to ``folder``. Every file appears whole,
    ``index.html`` last.

    :param language: of the page, such as ``zh``; that of the browser by default. The plain table is in English
    :param live: of a run that is under way; a single file has none
    :param single_file: one file that stands alone, with the thumbnails inside and no link to the whole images
    :raises UsageError: for a page that would be larger than ``SINGLE_FILE_LIMIT``
    :raises ValueError: for an image that is not a path relative to the page
    :raises OSError: as the file system does
    """
    heading = " · ".join(dict.fromkeys(run.name for run in runs)) or "Gallery"
    for name in ("assets", "pages", "thumbnails", "images"):  # a commit may bring links of these names
        check_folder(folder, folder / name)
    if single_file:
        page = _single_file(folder, runs, heading, language)
    else:
        page = _folder(folder, runs, heading, language, live)
    index = folder / "index.html"
    update_file(index, page.encode())
    return index


def _folder(folder: Path, runs: Sequence[GalleryRun], heading: str, language: str | None, live: Live | None) -> str:
    """Write everything but ``index.html``, and return that."""
    axes = page_axes(runs)
    rows = [(run, cell) for run in runs for cell in run.cells]
    pages = [rows[start : start + PAGE_SIZE] for start in range(0, len(rows), PAGE_SIZE)] or [[]]
    data = data_script(runs, axes, title=heading, language=language, live=live)
    update_file(folder / "data.js", data.encode())
    for name in ("gallery.css", *(f"{script}.js" for script in SCRIPTS)):
        update_file(folder / "assets" / name, _asset(name).encode())

    def table(number: int) -> str:
        shown = pages[number - 1]
        return _plain_table(runs, shown, axes, (_linked_picture(cell, up=int(number > 1)) for _, cell in shown))

    policy = _policy({**_FOLDER_SOURCES, "script-src": "'none'"})
    for number in range(2, len(pages) + 1):
        page = _fill("plain.html", heading, policy=policy, table=table(number) + _page_links(number, len(pages)))
        update_file(folder / "pages" / f"{number}.html", page.encode())
    _remove_stale_pages(folder / "pages", len(pages))
    links = _page_links(1, len(pages))
    return _fill(
        "index.html",
        heading,
        policy=_policy(_FOLDER_SOURCES),
        style='<link rel="stylesheet" href="assets/gallery.css">',
        table=links + table(1) + links,
        again=f'<template id="again">{_DATA}</template>\n',
        scripts="\n".join((_DATA, *(f'<script src="assets/{name}.js"></script>' for name in SCRIPTS))),
    )


def _single_file(folder: Path, runs: Sequence[GalleryRun], heading: str, language: str | None) -> str:
    # The plain table has the thumbnails; the script takes them from there, so that the file has each only once.
    rows = [(run, cell) for run in runs for cell in run.cells]
    too_large = UsageError(
        f"{len(rows)} images are too many for one file of at most {SINGLE_FILE_LIMIT // 1024**2} MiB",
        hint="leave out --single-file: the folder has no such bound",
    )
    pictures = []
    room = SINGLE_FILE_LIMIT
    for _, cell in rows:
        uri = _data_uri(folder / cell.thumbnail) if cell.thumbnail else None
        pictures.append(_picture(cell, uri))
        room -= len(uri or "")
        if room < 0:  # before the rest is read into memory
            raise too_large
    axes = page_axes(runs)
    style = _asset("gallery.css")
    sources = [data_script(runs, axes, title=heading, language=language, images=False)]
    sources += [_asset(f"{name}.js") for name in SCRIPTS]
    script_hashes = " ".join(_hash(source) for source in sources)
    page = _fill(
        "index.html",
        heading,
        policy=_policy({"script-src": script_hashes, "style-src": _hash(style), "img-src": "data: blob:"}),
        style=f"<style>{style}</style>",
        table=_plain_table(runs, rows, axes, pictures),
        again="",
        scripts="\n".join(f"<script>{source}</script>" for source in sources),
    )
    if len(page.encode()) > SINGLE_FILE_LIMIT:
        raise too_large
    return page


def _fill(asset: str, heading: str, **values: str) -> str:
    return Template(_asset(asset)).substitute(title=html_text(heading), **values)


def _policy(sources: dict[str, str]) -> str:
    # Nothing is loaded but from these sources, and no text can become markup.
    parts = ["default-src 'none'", *(f"{name} {value}" for name, value in sources.items())]
    parts += ["base-uri 'none'", "form-action 'none'", "require-trusted-types-for 'script'", "trusted-types 'none'"]
    return "; ".join(parts)


def _hash(source: str) -> str:
    return "'sha256-" + base64.b64encode(hashlib.sha256(source.encode()).digest()).decode() + "'"


def _data_uri(path: Path) -> str | None:
    """A thumbnail as a data URI; None where the file is gone or is no image."""
    try:
        data = read_regular(path)
    except OSError:
        return None
    kind = sniff(data[:12])
    return None if kind is None else f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def _remove_stale_pages(folder: Path, count: int) -> None:
    for page in folder.glob("*.html"):
        if page.stem.isdecimal() and page.stem == str(int(page.stem)) and int(page.stem) > count:
            page.unlink(missing_ok=True)


def _asset(name: str) -> str:
    return (_ASSETS / name).read_text("utf-8")
