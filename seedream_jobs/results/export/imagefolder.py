"""A folder that ``datasets.load_dataset("imagefolder", data_dir=…)`` reads: images, ``metadata.jsonl``, a card.

``metadata.jsonl`` is written last, so that it only ever names images that are there. An export into the same folder
links what is missing and removes the images that the earlier ``metadata.jsonl`` named and the new one does not; other
files in it (``.git``, a card that somebody wrote) are left alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

from seedream_jobs.errors import UsageError
from seedream_jobs.results.export.files import place, whole_file
from seedream_jobs.results.export.rows import AXIS, Exported, Row, Rows
from seedream_jobs.results.export.tables import json_line
from seedream_jobs.run.atomic_file import digest

METADATA = "metadata.jsonl"
CARD = "README.md"
IMAGES = "images"
_MARK = "<!-- Written by seedream-jobs export; remove this line to keep your changes. -->"
_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))


def write_imagefolder(rows: Rows, folder: Path, told: Callable[[int], None]) -> Exported:
    """Make or renew the folder.

    :raises UsageError: it holds something that is not an earlier export
    :raises OSError: as the file system does; the same command continues
    """
    metadata = folder / METADATA
    _hold_ours(folder, metadata)
    folder.mkdir(parents=True, exist_ok=True)
    count = 0
    with whole_file(metadata) as out:
        for row in rows:
            name, wrong = IMAGES / row.name, row.wrong
            if wrong is None:
                place(row.source, folder / name)
            elif not _have(folder / name, row):  # an earlier export may be the last to have it
                rows.leave_out(row, wrong)
                continue
            out.write(json_line({"file_name": name.as_posix()} | dict(row.values)))
            count += 1
            told(count)
        out.flush()
        _remove_stale(folder, old=metadata, new=Path(out.name))
    card = folder / CARD
    if not card.exists() or _MARK in card.read_text(encoding="utf-8", errors="replace"):
        with whole_file(card) as file:
            file.write(_card(rows, count).encode())
    return rows.exported(count)


def _have(target: Path, row: Row) -> bool:
    return target.is_file() and digest(target) == row.values["sha256"]


def _hold_ours(folder: Path, metadata: Path) -> None:
    if not folder.exists():
        return
    if not folder.is_dir():
        raise UsageError(f"{folder} is a file", hint="imagefolder is a folder: name another")
    unfinished = (folder / f".{METADATA}.part").exists()
    foreign = [file for file in folder.iterdir() if not file.name.startswith(".") and file.name != CARD]
    if foreign and not metadata.exists() and not unfinished and foreign != [folder / IMAGES]:
        raise UsageError(f"{folder} holds other files, such as {foreign[0].name}", hint="name a new or an empty folder")


def _remove_stale(folder: Path, *, old: Path, new: Path) -> None:
    """Images of the earlier export that this one does not have, before its metadata takes the earlier one's place."""
    if not old.exists():
        return
    kept = set(_names(new))
    for name in _names(old):
        if name not in kept and PurePosixPath(name).parts[:1] == (IMAGES,) and ".." not in PurePosixPath(name).parts:
            (folder / name).unlink(missing_ok=True)


def _names(metadata: Path) -> Iterator[str]:
    with metadata.open("rb") as lines:
        for line in lines:
            yield str(json.loads(line)["file_name"])


def _card(rows: Rows, count: int) -> str:
    """The dataset card, with the front matter the hub reads (huggingface.co/docs/hub/datasets-cards)."""
    size = next((word for limit, word in _SIZES if count < limit), "n>1M")
    columns = "\n".join(f"| `{name}` | {_ABOUT.get(name, 'label of an axis of the job')} |" for name in rows.columns)
    return f"""\
---
pretty_name: {json.dumps(rows.job)}
task_categories:
- text-to-image
tags:
- synthetic
size_categories:
- {size}
---
{_MARK}

# {rows.job}

{count:,} generated images, each with the prompt and the parameters it was requested with.

```python
from datasets import load_dataset
data = load_dataset("imagefolder", data_dir=".", split="train")
```

| column | meaning |
| --- | --- |
| `image` | the image, by `file_name` |
{columns}

The images are made by a model. Say so where you publish them, and check the model's terms for the use you have in mind.
"""


_ABOUT = {
    "job": "the job's name",
    "address": "the request, for people",
    "key": "the request's identity; with `number`, the image's",
    "repeat": "number of the repetition, from 1",
    "number": "number among the request's images, from 1",
    "prompt": "the prompt as it was sent",
    "references": "reference images: URLs, or `sha256:…` of local files",
    "other_fields": "further fields that were sent, as JSON",
    "width": "pixels",
    "height": "pixels",
    "format": "of the file, by its content",
    "bytes": "size of the file",
    "sha256": "of the file",
    "task_id": "the service's id; several, with spaces between them, where a group had one task for each image",
    "cost_usd": "this image's share of what its request was charged",
    "submitted_at": "UTC",
    "warnings": "what was unexpected about the image",
    **dict.fromkeys(
        ("model", "size", "resolution", "n", "output_format", "watermark", "sequential_image_generation"),
        "as it was sent; empty where it was not",
    ),
}

assert not any(name.startswith(AXIS) for name in _ABOUT)
