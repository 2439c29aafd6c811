"""The gallery as plain, linked HTML tables: what a reader without JavaScript sees."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from seedream_jobs.results.gallery.data import PageAxis
from seedream_jobs.results.gallery.values import Cell, Run, href

PAGE_SIZE = 500
"""Cells on one plain page: small enough for a phone, and for the script's page that carries the first of them."""

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
}


def state_name(state: str) -> str:
    """What people call a state; one this page does not know is shown as it is."""
    return STATE_WORDS[state][1] if state in STATE_WORDS else state.replace("_", " ")


def state_word(state: str) -> str:
    """A state as a sign and a word: never by colour alone."""
    return f"{STATE_WORDS[state][0] if state in STATE_WORDS else '·'} {state_name(state)}"


def pages_of(runs: Sequence[Run]) -> list[list[tuple[Run, Cell]]]:
    """All cells in order, cut into plain pages; one empty page when there are none."""
    rows = [(run, cell) for run in runs for cell in run.cells]
    return [rows[start : start + PAGE_SIZE] for start in range(0, len(rows), PAGE_SIZE)] or [[]]


def plain_table(
    rows: Sequence[tuple[Run, Cell]],
    axes: Sequence[PageAxis],
    *,
    up: int = 0,
    thumbnails: Sequence[str | None] | None = None,
) -> str:
    """One table, a row per image, in the same order as the script's data.

    :param up: how many folders below the page's folder the table stands
    :param thumbnails: data URIs that take the place of all files, for a page that stands alone
    """
    heads = ["Image", *(axis.name for axis in axes), "State", "Prompt"]
    cells = "".join(f'<th scope="col">{html_text(head)}</th>' for head in heads)
    body = "\n".join(
        _row(run, cell, axes, up, None if thumbnails is None else thumbnails[number], files=thumbnails is None)
        for number, (run, cell) in enumerate(rows)
    )
    return (
        '<table class="plain">\n<caption>One row per image, in the order of the job</caption>\n'
        f"<thead><tr>{cells}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>"
    )


def page_links(current: int, count: int) -> str:
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


def _row(run: Run, cell: Cell, axes: Sequence[PageAxis], up: int, inline: str | None, *, files: bool) -> str:
    labels = "".join(f"<td>{html_text(_label(run, cell, axis))}</td>" for axis in axes)
    note = f"<br><small>{html_text(cell.error)}</small>" if cell.error else ""
    return (
        f'<tr><th scope="row">{_picture(cell, up, inline, files=files)}<small>{html_text(cell.address)}</small></th>'
        f"{labels}<td>{html_text(state_word(cell.state))}{note}</td><td>{html_text(cell.prompt)}</td></tr>"
    )


def _picture(cell: Cell, up: int, inline: str | None, *, files: bool) -> str:
    """The thumbnail, linked to the whole image where there is one."""
    shown = cell.thumbnail or cell.image
    source = inline if not files else (href(shown, up=up) if shown else None)
    if source is None:
        return ""
    picture = f'<img src="{source}" alt="{html_text(cell.prompt or cell.address)}" loading="lazy" decoding="async">'
    if not files or not cell.image:
        return picture
    return f'<a href="{href(cell.image, up=up)}">{picture}</a>'


def _label(run: Run, cell: Cell, axis: PageAxis) -> str:
    match axis.kind:
        case "axis":
            return cell.axes.get(axis.name, "–")
        case "repeat":
            return str(cell.repeat)
        case "image":
            return str(cell.index)
        case "run":
            return run.title or run.name


def html_text(text: str) -> str:
    """Text for HTML, in an element or an attribute; what UTF-8 or HTML cannot hold becomes U+FFFD."""
    kept = "".join(c if c in "\t\n" or (ord(c) >= 32 and not 0xD800 <= ord(c) <= 0xDFFF) else "\ufffd" for c in text)
    return escape(kept, quote=True)
