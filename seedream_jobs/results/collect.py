"""From a ledger, and its job where that is at hand, to the cells of a gallery."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

from seedream_jobs.expand.expansion import Expansion
from seedream_jobs.job.document import spoken
from seedream_jobs.ledger.ledger import Ledger
from seedream_jobs.ledger.state import Entry, Image
from seedream_jobs.ledger.steps import charged_usd, in_shares, spent_usd
from seedream_jobs.results.gallery.values import Cell, Run
from seedream_jobs.results.thumbnails import thumbnail_path

PLACEHOLDERS = 20_000
"""How many requests that were never sent get a place on the page; a page of a million cells helps nobody."""


def collect(
    ledger: Ledger, *, expansion: Expansion | None, name: str, page: Path, folder: Path, cache: Path, title: str = ""
) -> Run:
    """One job at this moment.

    :param page: the page's folder, to which the paths of images are made relative
    :param folder: the manifest's folder
    :param cache: where thumbnails lie
    """
    place = _Place(page, folder, cache)
    found = list(_in_file(ledger, expansion, place) if expansion else _in_manifest(ledger, place))
    paired = _paired(found)
    cells = [replace(cell, axes={n: label for n, label in cell.axes.items() if n not in paired}) for cell in found]
    costs = [cost for key in ledger.entries if (cost := spent_usd(ledger.entries[key])) is not None]
    return Run(
        name=name,
        title=title,
        axes={name: labels for name, labels in _axes(expansion, cells).items() if name not in paired},
        cells=cells,
        cost_usd=sum(costs) if costs else None,  # type: ignore[arg-type]  # a sum of decimals
    )


class _Place:
    """Turns a recorded file into links of the page."""

    def __init__(self, page: Path, folder: Path, cache: Path) -> None:
        self.page, self.folder, self.cache = page, folder, cache

    def image(self, image: Image | None) -> str | None:
        if image is None or image.file is None or not (self.folder / image.file).is_file():
            return None
        return self._relative(self.folder / image.file)

    def thumbnail(self, image: Image | None) -> str | None:
        if image is None or image.sha256 is None:
            return None
        made = thumbnail_path(self.cache, image.sha256)
        if not made.is_file():
            return None
        own = self.page / "thumbnails" / made.name  # the page is a folder that can be handed on, cache and all
        if not own.exists():
            own.parent.mkdir(parents=True, exist_ok=True)
            _link(made, own)
        return self._relative(own)

    def _relative(self, file: Path) -> str:
        return Path(os.path.relpath(file, self.page)).as_posix()


def _link(source: Path, target: Path) -> None:
    """The same file under a second name, or a copy where the file system has no such thing."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _in_file(ledger: Ledger, expansion: Expansion, place: _Place) -> Iterator[Cell]:
    """The job file's requests in its order, known or not; what is only in the manifest is not shown."""
    planned = 0
    for at in expansion.places():
        entry = ledger.entries.standing(at.key)
        if entry is not None:
            yield from _cells(entry, place, labels=expansion.matrix.labels(at.cell))
        elif planned < PLACEHOLDERS:
            planned += 1
            request = expansion.request(at)
            yield Cell(
                key=request.key,
                address=request.address,
                axes={name: spoken(label) for name, label in request.cell.items()},
                repeat=request.repeat,
                prompt=str(request.payload["prompt"]),
                payload=request.payload,
            )


def _in_manifest(ledger: Ledger, place: _Place) -> Iterator[Cell]:
    for key in ledger.entries:
        entry = ledger.entries[key]
        yield from _cells(entry, place, labels=entry.cell)


def _cells(entry: Entry, place: _Place, *, labels: Mapping[str, Any]) -> Iterator[Cell]:
    images: tuple[Image | None, ...] = entry.images or (None,)
    cost = charged_usd(entry)
    paid = [index for index, image in enumerate(images, 1) if image is None or image.error is None] or [1]
    shares = {} if cost is None else dict(zip(paid, in_shares(cost, len(paid)), strict=True))
    for index, image in enumerate(images, 1):
        error = entry.error.message if entry.error else None
        yield Cell(
            key=entry.key,
            address=entry.address,
            axes={name: spoken(label) for name, label in labels.items()},
            repeat=entry.repeat,
            index=index,
            state=str(entry.state),
            prompt=str(entry.request.get("prompt", "")),
            payload=entry.request,
            image=place.image(image),
            thumbnail=place.thumbnail(image),
            width=image.width if image else None,
            height=image.height if image else None,
            sha256=image.sha256 if image else None,
            task_id=" ".join(entry.task_ids) or None,
            cost_usd=None if cost is None else shares.get(index, Decimal(0)),
            error=(image.error if image and image.error else error),
            warnings=image.warnings if image else (),
            submitted_at=entry.submitted_at,
        )


def _paired(cells: list[Cell]) -> set[str]:
    """Axes that always move together with an earlier one, as the names of a zip do: a grid over both is a diagonal."""
    names = list(dict.fromkeys(name for cell in cells for name in cell.axes))
    dropped: set[str] = set()
    for index, name in enumerate(names):
        for other in names[:index]:
            pairs = {(cell.axes.get(other), cell.axes.get(name)) for cell in cells}
            if other not in dropped and 1 < len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs}):
                dropped.add(name)
    return dropped


def _axes(expansion: Expansion | None, cells: list[Cell]) -> dict[str, tuple[str, ...]]:
    """Axis names and labels in the job's order; from a manifest alone in the order of first appearance."""
    found: dict[str, dict[str, None]] = {}
    if expansion is not None:
        for axis in expansion.spec.axes:
            for position, name in enumerate(axis.names):
                found[name] = dict.fromkeys(spoken(value.labels[position]) for value in axis.values)
    for cell in cells:
        for name, label in cell.axes.items():
            found.setdefault(name, {}).setdefault(label)
    return {name: tuple(labels) for name, labels in found.items()}
