"""This module writes data sets that are folders: ``imagefolder`` for Hugging Face, and WebDataset shards.

Called by ``export``. Invariant: after an interruption the same command continues; only files of an earlier export are
changed or removed.

``imagefolder`` is what ``datasets.load_dataset("imagefolder", data_dir=…)`` reads: images, ``metadata.jsonl``, a card.
``metadata.jsonl`` is written last, so that it only ever names images that are there.

A WebDataset shard is a plain tar file of ``KEY.jpeg``, ``KEY.txt`` (the prompt) and ``KEY.json`` (the row). It is
closed before it would exceed its bound. The same images give the same bytes: members have no owner, no time and no
other mode than 0644. ``.index.json`` says what each finished shard holds and is renewed after each one.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import tarfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from seedream_jobs.atomic_file import check_folder, read_regular, temporary, whole_file
from seedream_jobs.errors import UsageError
from seedream_jobs.foreign_text import one_line
from seedream_jobs.inside import open_record
from seedream_jobs.results.export.rows import BOOLEANS, IMAGES, INTEGERS, LISTS, NUMBERS, ExportRow, ExportRows
from seedream_jobs.results.export.tables import json_line

METADATA = "metadata.jsonl"
CARD = "README.md"
INDEX = ".index.json"
"""Hidden: ``datasets`` takes every other file of the folder for a shard."""
MAX_SAMPLES = 10_000
"""Of one shard, whatever its size: so many rows are held at once."""

_MAX_CARD = 1 << 20  # bytes
_BLOCK = tarfile.BLOCKSIZE
_MARK = "<!-- Written by seedream-jobs export; remove this line to keep your changes. -->"
_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
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
    "rating": "the mean of the reviewers' ratings, 1 to 5; empty where nobody gave one",
    "ratings": "how many gave one",
    "stars": "how many reviewers gave it a star",
    "wins": "blind votes that it won; a tie is half a win",
    "votes": "blind votes that it was in",
    "notes": "the reviewers' notes, each with its name",
    "choice": "`chosen` or `rejected`; empty where nobody said",
    "choice_by": "who says so",
    "choice_why": "their reasons",
    **dict.fromkeys(
        ("model", "size", "resolution", "n", "output_format", "watermark", "sequential_image_generation"),
        "as it was sent; empty where it was not",
    ),
}


def _foreign_files(folder: Path, form: str) -> list[Path]:
    """The files in a folder that is to be exported into, hidden ones left out.

    :raises UsageError: it is a file
    """
    if not folder.exists():
        return []
    if not folder.is_dir():
        raise UsageError(f"{folder} is a file", hint=f"{form} is a folder: name another")
    return [file for file in folder.iterdir() if not file.name.startswith(".")]


def _holds_other_files(folder: Path, foreign: list[Path]) -> UsageError:
    return UsageError(f"{folder} holds other files, such as {foreign[0].name}", hint="name a new or an empty folder")


# ── imagefolder ──


def write_imagefolder(rows: ExportRows, folder: Path, *, license_id: str) -> None:
    """Make or renew the folder: missing images are linked, images that only the earlier export named are removed.

    :param license_id: for the dataset card, as the hub names licenses
    :raises UsageError: it holds something that is not an earlier export
    :raises OSError: as the file system does; the same command continues
    """
    metadata = folder / METADATA
    card = folder / CARD
    foreign = [file for file in _foreign_files(folder, "imagefolder") if file.name != CARD]
    unfinished = temporary(metadata).exists()
    # An export that was interrupted may have left nothing but images.
    if foreign and not metadata.exists() and not unfinished and foreign != [folder / IMAGES]:
        raise _holds_other_files(folder, foreign)
    earlier = _image_names(metadata)
    ours = _is_ours(card)
    folder.mkdir(parents=True, exist_ok=True)
    kept: set[str] = set()
    with whole_file(metadata) as out:
        for row in rows.intact(folder):
            name = (IMAGES / row.name).as_posix()
            out.write(json_line({"file_name": name} | dict(row.values)))
            kept.add(name)
        for stale in earlier - kept:
            parts = PurePosixPath(stale).parts
            if parts[:1] == (str(IMAGES),) and ".." not in parts:
                check_folder(folder, (folder / stale).parent)
                (folder / stale).unlink(missing_ok=True)
    if ours:
        with whole_file(card) as file:
            file.write(_card(rows, license_id).encode())


def _image_names(metadata: Path) -> set[str]:
    """The images that an earlier export named; none where there was none.

    :raises UsageError: the file is no export's
    """
    try:
        with os.fdopen(open_record(metadata), "rb") as lines:
            return {str(json.loads(line)["file_name"]) for line in lines}
    except FileNotFoundError:
        return set()
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        raise UsageError(f"{metadata} is not an earlier export's", hint="name a new folder") from None


def _is_ours(card: Path) -> bool:
    """Whether the card may be written: nobody has put another one there, nor taken our mark out of it."""
    try:
        return _MARK.encode() in read_regular(card, _MAX_CARD)
    except FileNotFoundError:
        return True
    except OSError:  # a link, say
        return False


def _card(rows: ExportRows, license_id: str) -> str:
    """The dataset card, with the front matter the hub reads (huggingface.co/docs/hub/datasets-cards)."""
    size = next((word for limit, word in _SIZES if rows.images < limit), "n>1M")
    columns = "\n".join(f"| {_in_table(name)} | {_ABOUT.get(name) or _about_axis(name)} |" for name in rows.columns)
    features = "\n".join(f"  - name: {json.dumps(name)}\n    {_feature(name)}" for name in rows.columns)
    return f"""\
---
pretty_name: {json.dumps(rows.job)}
license: {license_id}
task_categories:
- text-to-image
tags:
- synthetic
size_categories:
- {size}
configs:
- config_name: default
  data_files:
  - split: train
    path:
    - {METADATA}
    - {IMAGES}/**
  features:
  - name: image
    dtype: image
{features}
---
{_MARK}

# {rows.job}

{rows.images:,} generated images, each with the prompt and the parameters it was requested with.

```python
from datasets import load_dataset
data = load_dataset(".", split="train")
```

| column | meaning |
| --- | --- |
| `image` | the image, by `file_name` |
{columns}

The images are made by a model. Say so where you publish them, and check the model's terms for the use you have in mind.
"""


def _feature(column: str) -> str:
    """A column's type as the front matter has it: without one ``datasets`` takes that of the first thousand rows."""
    if column in LISTS:
        return "sequence: string"
    kinds = {"int64": INTEGERS, "float64": NUMBERS, "bool": BOOLEANS}
    return "dtype: " + next((dtype for dtype, columns in kinds.items() if column in columns), "string")


def _in_table(column: str) -> str:
    # The columns of an axis' file are named by whoever wrote it.
    shown = one_line(column).replace("`", "'").replace("|", "\\|")
    return f"`{shown}`"


def _about_axis(column: str) -> str:
    return "field of an axis' values, in the job file as it is now" if "." in column else "label of an axis of the job"


# ── webdataset ──


@dataclass(slots=True, kw_only=True)
class _Sample:
    """One image (of ``length`` bytes) with its texts; ``row`` is JSON."""

    key: str
    suffix: str
    source: Path
    length: int
    prompt: bytes
    row: bytes

    @property
    def size(self) -> int:
        """Bytes that it adds to a tar: each member has a header and is filled up to whole blocks."""
        return sum(_BLOCK + -(-length // _BLOCK) * _BLOCK for length in (self.length, len(self.prompt), len(self.row)))


@dataclass(slots=True, kw_only=True)
class _Shard:
    """Images of one format: ``datasets`` takes the columns of the first sample for those of all.

    :param name: without the ending
    """

    name: str
    samples: list[_Sample] = field(default_factory=list)
    size: int = 2 * _BLOCK  # a tar ends with two empty blocks

    def recipe(self) -> str:
        """What the shard is made of, without reading an image: a changed image has another sha256 in its row."""
        recipe = hashlib.sha256()
        for sample in self.samples:
            recipe.update(f"{sample.key}.{sample.suffix} {sample.length}\n".encode())
            recipe.update(sample.prompt + b"\0" + sample.row + b"\0")
        return recipe.hexdigest()


def write_webdataset(rows: ExportRows, folder: Path, *, shard_bytes: int) -> None:
    """Write the shards ``JOB-000000.tar`` …, of a further format ``JOB-png-000000.tar`` …, and ``.index.json``.

    :param shard_bytes: the most bytes of a shard; one image alone may exceed it
    :raises UsageError: the folder holds something that is not an earlier export
    :raises OSError: as the file system does; the same command continues
    """
    before = _read_index(folder, rows.job)
    folder.mkdir(parents=True, exist_ok=True)
    _write_index(folder, list(before.values()))  # first, so that after a crash the folder is known as an export
    done: dict[str, dict[str, Any]] = {}
    for shard in _shards(rows, shard_bytes):
        path = folder / f"{shard.name}.tar"
        content = {"file": path.name, "samples": len(shard.samples), "recipe": shard.recipe()}
        old = before.get(path.name, {})
        there = path.is_file() and path.stat().st_size == old.get("bytes")
        if not there or old.get("recipe") != content["recipe"]:
            with whole_file(path) as out, tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
                for sample in shard.samples:
                    _add_sample(tar, sample)
        for sample in shard.samples:
            rows.drop(sample.source)
        done[path.name] = content | {"bytes": path.stat().st_size}
        _write_index(folder, [*done.values(), *(before[name] for name in before if name not in done)])
    for name in before.keys() - done.keys():
        (folder / name).unlink(missing_ok=True)
    _write_index(folder, list(done.values()))


def _shards(rows: ExportRows, shard_bytes: int) -> Iterator[_Shard]:
    filling: dict[str, _Shard] = {}
    made: Counter[str] = Counter()

    def begun(suffix: str) -> _Shard:
        middle = "" if suffix == next(iter(filling), suffix) else f"-{suffix}"
        filling[suffix] = _Shard(name=f"{rows.job}{middle}-{made[suffix]:06d}")
        made[suffix] += 1
        return filling[suffix]

    for row in rows.intact():
        sample = _sample(row)
        shard = filling.get(sample.suffix) or begun(sample.suffix)
        size = -(-(shard.size + sample.size) // tarfile.RECORDSIZE) * tarfile.RECORDSIZE  # a tar is filled up to that
        if shard.samples and (size > shard_bytes or len(shard.samples) == MAX_SAMPLES):
            yield shard
            shard = begun(sample.suffix)
        shard.samples.append(sample)
        shard.size += sample.size
    yield from filling.values()


def _sample(row: ExportRow) -> _Sample:
    """The key is the request's and the image's number; it has no dot, since a reader takes a key up to the first."""
    key = str(row.values["key"]).rpartition(":")[2]
    return _Sample(
        key=f"{key[:32]}-i{row.values['number']}",
        suffix=row.source.suffix.lstrip(".").lower() or "bin",
        source=row.source,
        length=os.lstat(row.source).st_size,
        prompt=str(row.values["prompt"] or "").encode("utf-8", "backslashreplace"),
        row=json.dumps(dict(row.values), ensure_ascii=False, sort_keys=True).encode("utf-8", "backslashreplace"),
    )


def _add_sample(tar: tarfile.TarFile, sample: _Sample) -> None:
    with os.fdopen(open_record(sample.source), "rb") as image:
        tar.addfile(_member(f"{sample.key}.{sample.suffix}", sample.length), image)
    for suffix, text in (("json", sample.row), ("txt", sample.prompt)):
        tar.addfile(_member(f"{sample.key}.{suffix}", len(text)), io.BytesIO(text))


def _member(name: str, size: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size, member.mode = size, 0o644
    return member


def _read_index(folder: Path, job: str) -> dict[str, dict[str, Any]]:
    """The shards that an earlier export finished, by name.

    :raises UsageError: the folder is a file, holds files but no index, or an index of anything but shards of this job
    """
    foreign = _foreign_files(folder, "webdataset")
    index = folder / INDEX
    try:
        shards = {one["file"]: one for one in json.loads(read_regular(index))["shards"]}
    except FileNotFoundError:
        if foreign:
            raise _holds_other_files(folder, foreign) from None
        return {}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        raise UsageError(f"{index} is not an earlier export's", hint="name a new folder") from None
    # What it names is written over and removed.
    shard = re.compile(rf"{re.escape(job)}(?:-[a-z]+)?-[0-9]{{6,}}\.tar")
    for name in shards:
        if not isinstance(name, str) or not shard.fullmatch(name):
            raise UsageError(f"{index} names {name}, which is no shard of {job}", hint="name a new folder")
    return shards


def _write_index(folder: Path, shards: list[dict[str, Any]]) -> None:
    with whole_file(folder / INDEX) as out:
        out.write((json.dumps({"format": 1, "shards": shards}, indent=1, sort_keys=True) + "\n").encode())
