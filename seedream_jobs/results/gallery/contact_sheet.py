"""This module draws one picture of a whole run, a labelled grid of thumbnails, for a pull request or a mail.

Called by ``build_gallery`` with the cells that ``cells`` collected. Invariant: the same cells give the same bytes.
"""

from __future__ import annotations

import io
import os
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from PIL import Image, ImageDraw, ImageFont, ImageOps

from seedream_jobs.atomic_file import update_file
from seedream_jobs.confinement import allow_images
from seedream_jobs.errors import UsageError
from seedream_jobs.inside import open_record
from seedream_jobs.results.gallery.cells import GalleryCell, href
from seedream_jobs.results.gallery.page import state_name

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

TALLEST = 8_000
"""Pixels. WebP ends at 16,383, and browsers draw pictures of that size slowly."""

_MARGIN, _GAP, _LINE, _APART = 28, 10, 20, 40  # pixels
_SMALLEST = 96
"""Pixels: as long as images stay that wide, lines are folded into further columns before a further picture is begun."""
_PAPER, _WELL, _INK, _SOFT = (251, 250, 248), (239, 237, 232), (29, 28, 26), (98, 95, 88)
_MOST_COLUMNS = 8
_DECODED = 2_000_000
"""Decoding an image for a slot costs as much processor time as reading and checking so many bytes."""
# The font inside Pillow has Latin letters only; these are tried, by name, for everything else.
_WIDER_FONTS = (
    "NotoSansCJK-Regular.ttc",
    "NotoSansSC-Regular.otf",
    "wqy-microhei.ttc",
    "PingFang.ttc",
    "DejaVuSans.ttf",
)


Line = tuple[str, tuple[GalleryCell | None, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class SheetLayout:
    """How the cells are laid out: lines of slots, a slot may be empty."""

    heads: tuple[str, ...]  # over the columns; empty where each image has its own caption
    lines: tuple[Line, ...]  # the label left of a line, and its slots
    captions: bool


def contact_sheet(cells: Sequence[GalleryCell], images_root: Path, out: Path, *, max_width: int = 1600) -> list[Path]:
    """Draw ``cells`` into ``out`` (``.webp`` or ``.png``), at most ``max_width`` pixels wide.

    The last axis that varies and has at most eight values makes the columns, the other axes the lines. Without one
    the images follow one another, each with its caption. A missing or damaged image is shown as such.

    :param images_root: the folder that the cells' paths are relative to
    :return: the files: what one picture does not hold is in ``sheet-2.webp``, and so on
    :raises UsageError: for another suffix, or no cells
    :raises ValueError: for an image that is not a relative path
    """
    kind = out.suffix.lower()
    if kind not in (".webp", ".png"):
        raise UsageError(f"a contact sheet is .webp or .png, not {out.suffix or out.name!r}", hint="name it sheet.webp")
    if not cells:
        raise UsageError("there is nothing to put on a contact sheet", hint="choose other requests with --select")

    def load(cell: GalleryCell, size: tuple[int, int]) -> Image.Image | None:
        shown = cell.thumbnail or cell.image
        return _load(images_root, shown, size) if shown else None

    return draw_sheets(arrange(cells), load, out, max_width=max_width)


Load = Callable[[GalleryCell, tuple[int, int]], "Image.Image | None"]
"""A cell's image, scaled to fit; None where there is none that can be read."""


def draw_sheets(
    sheet: SheetLayout, load: Load, out: Path, *, max_width: int = 1600, tallest: int | None = None
) -> list[Path]:
    """Draw a layout into ``out`` and, where it does not fit into one picture, ``sheet-2.webp`` and so on.

    Lines that one picture can't hold below each other are first folded into several columns of lines.

    :param tallest: pixels of a picture's height, ``TALLEST`` by default
    """
    fold = _fold(sheet, max(320, max_width), tallest or TALLEST)
    page = fold.lines * fold.columns
    files = []
    for number, start in enumerate(range(0, len(sheet.lines), page), 1):
        picture = _draw(sheet, sheet.lines[start : start + page], fold, load)
        data = io.BytesIO()
        if out.suffix.lower() == ".webp":
            picture.save(data, "WEBP", quality=86, method=4)
        else:
            picture.save(data, "PNG", optimize=True)
        file = out if number == 1 else out.with_name(f"{out.stem}-{number}{out.suffix}")
        update_file(file, data.getvalue())
        files.append(file)
    return files


def arrange(cells: Sequence[GalleryCell]) -> SheetLayout:
    """The layout of the sheet; see :func:`contact_sheet`. Cells that share a place stand side by side."""
    labels: dict[str, dict[str, None]] = {}
    for cell in cells:
        for name, label in cell.axes.items():
            labels.setdefault(name, {})[label] = None
    varying = [name for name, values in labels.items() if len(values) > 1]
    short = [name for name in varying if len(labels[name]) <= _MOST_COLUMNS]
    if not short or any(short[-1] not in cell.axes for cell in cells):
        return _flow(cells, varying)
    across = short[-1]
    heads = tuple(labels[across])
    grid: dict[str, dict[str, list[GalleryCell]]] = {}
    for cell in cells:
        line = " · ".join(cell.axes[axis] for axis in varying if axis != across and axis in cell.axes)
        grid.setdefault(line, {}).setdefault(cell.axes[across], []).append(cell)
    deepest = max(len(slot) for slots in grid.values() for slot in slots.values())
    beside = max(1, min(deepest, _MOST_COLUMNS // len(heads)))  # further ones go into lines of their own
    lines = []
    for label, slots in grid.items():
        for turn in range(-(-max(len(slot) for slot in slots.values()) // beside)):
            places = [(slots.get(head, []), turn * beside + n) for head in heads for n in range(beside)]
            row = [slot[at] if at < len(slot) else None for slot, at in places]
            lines.append((label if turn == 0 else "", tuple(row)))
    spread = tuple(head if n == 0 else "" for head in heads for n in range(beside))
    return SheetLayout(heads=spread, lines=tuple(lines), captions=False)


def _flow(cells: Sequence[GalleryCell], varying: Sequence[str]) -> SheetLayout:
    columns = min(_MOST_COLUMNS - 2, len(cells))
    lines = []
    for start in range(0, len(cells), columns):
        part = cells[start : start + columns]
        lines.append(("", (*part, *[None] * (columns - len(part)))))
    return SheetLayout(heads=("",) * columns, lines=tuple(lines), captions=bool(varying) or len(cells) > 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Fold:
    """How lines are folded into columns of a picture; in pixels but for the two counts.

    :param columns: of lines, side by side
    :param lines: of each column
    :param left: room for the label of a line
    """

    columns: int
    lines: int
    slot: int
    tall: int
    left: int
    top: int


def _fold(sheet: SheetLayout, width: int, tallest: int) -> _Fold:
    """As few columns of lines as one picture needs; where it can't hold all, as many as stay readable."""
    slots = len(sheet.heads)
    left = 150 if any(label for label, _ in sheet.lines) else 0
    top = _MARGIN + (_LINE + 6 if any(sheet.heads) else 0)
    aspect = _aspect(sheet)
    found: _Fold | None = None
    for columns in range(1, len(sheet.lines) + 1):
        room = (width - 2 * _MARGIN - (columns - 1) * _APART) // columns - left
        slot = min(420, (room - _GAP * (slots - 1)) // slots)
        if found is not None and slot < _SMALLEST:
            break
        slot = max(24, slot)  # a narrow picture of many slots grows wider than was asked for
        tall = max(16, round(slot / aspect))
        step = tall + _GAP + (_LINE if sheet.captions else 0)
        most = max(1, (tallest - top - _MARGIN + _GAP) // step)
        even = -(-len(sheet.lines) // columns)
        found = _Fold(columns=columns, lines=min(most, even), slot=slot, tall=tall, left=left, top=top)
        if even <= most:
            break
    assert found is not None
    return found


def _draw(sheet: SheetLayout, lines: Sequence[Line], fold: _Fold, load: Load) -> Image.Image:
    """Paint the lines of one picture."""
    slot, tall = fold.slot, fold.tall
    step = tall + _GAP + (_LINE if sheet.captions else 0)
    parts = [lines[start : start + fold.lines] for start in range(0, len(lines), fold.lines)]
    wide = fold.left + len(sheet.heads) * (slot + _GAP) - _GAP
    height = fold.top + step * len(parts[0]) - _GAP + _MARGIN
    size = (2 * _MARGIN + len(parts) * (wide + _APART) - _APART, height)
    picture = Image.new("RGB", size, _PAPER)
    pen = ImageDraw.Draw(picture)
    for part, column in enumerate(parts):
        first = _MARGIN + part * (wide + _APART)
        left = first + fold.left
        for at, head in enumerate(sheet.heads):
            _write(pen, (left + at * (slot + _GAP), _MARGIN), head, 15, _INK, slot)
        for row, (label, line) in enumerate(column):
            y = fold.top + row * step
            _write_block(pen, (first, y), label, fold.left - 12, max(1, tall // _LINE))
            for at, cell in enumerate(line):
                if cell is None:
                    continue
                x = left + at * (slot + _GAP)
                _place(picture, pen, cell, load, (x, y, slot, tall))
                if sheet.captions:
                    caption = " · ".join(cell.axes.values()) or cell.prompt or cell.address
                    _write(pen, (x, y + tall + 3), caption, 12, _SOFT, slot)
    return picture


def _aspect(sheet: SheetLayout) -> float:
    """The middle of the images' ratios of width to height, kept from extremes; square where none is known."""
    cells = [cell for _, line in sheet.lines for cell in line if cell is not None]
    ratios = sorted(cell.width / cell.height for cell in cells if cell.width and cell.height)
    return min(1.78, max(0.56, ratios[len(ratios) // 2])) if ratios else 1.0


def _place(
    picture: Image.Image, pen: ImageDraw.ImageDraw, cell: GalleryCell, load: Load, box: tuple[int, int, int, int]
) -> None:
    """One image in the middle of its slot, or a word that says why there is none."""
    x, y, width, height = box
    pen.rectangle((x, y, x + width - 1, y + height - 1), fill=_WELL)
    image = load(cell, (width, height))
    if image is None:
        word = "image not readable" if cell.thumbnail or cell.image else state_name(cell.state)
        font = _font(13, word)
        pen.text((x + width / 2, y + height / 2), _cut(pen, word, font, width - 12), fill=_SOFT, font=font, anchor="mm")
        return
    picture.paste(image, (x + (width - image.width) // 2, y + (height - image.height) // 2))


def _load(root: Path, path: str, size: tuple[int, int]) -> Image.Image | None:
    href(path)  # refuses what is not relative
    try:
        with os.fdopen(open_record(root / path), "rb") as file:
            return scaled(file, size)
    except OSError:
        return None


def scaled(file: BinaryIO, size: tuple[int, int]) -> Image.Image | None:
    """An image, scaled to fit; None where it is damaged."""
    allow_images(0, _DECODED)
    try:
        with Image.open(file) as opened:
            opened.draft("RGB", size)  # a JPEG is decoded small at once
            return ImageOps.contain(opened.convert("RGB"), size, Image.Resampling.LANCZOS)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None


def _font(size: int, text: str) -> Font:
    if not text.isascii() and any(ord(c) > 0xFF for c in text):
        for name in _WIDER_FONTS:
            try:
                return ImageFont.truetype(name, size)
            except OSError:
                continue
    return ImageFont.load_default(size)


def _write(
    pen: ImageDraw.ImageDraw, place: tuple[int, int], text: str, size: int, fill: tuple[int, int, int], width: int
) -> None:
    line = " ".join(text.split())
    if line:
        font = _font(size, line)
        pen.text(place, _cut(pen, line, font, width), fill=fill, font=font)


def _write_block(pen: ImageDraw.ImageDraw, place: tuple[int, int], text: str, width: int, most: int) -> None:
    """Words wrapped into ``width`` pixels and at most ``most`` lines."""
    font = _font(14, text)
    letter = pen.textlength(text, font=font) / max(len(text), 1) or 1.0
    for number, line in enumerate(textwrap.wrap(text, max(int(width / letter), 1))[:most]):
        pen.text((place[0], place[1] + number * _LINE), _cut(pen, line, font, width), fill=_INK, font=font)


def _cut(pen: ImageDraw.ImageDraw, text: str, font: Font, width: int) -> str:
    """As much of the text as fits into ``width`` pixels, dots after the rest."""
    text = text[:400]
    if pen.textlength(text, font=font) <= width:
        return text
    while text and pen.textlength(text + "...", font=font) > width:
        text = text[:-1]
    return text + "..."
