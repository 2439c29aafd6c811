"""WebDataset shards: plain tar files of ``KEY.jpeg``, ``KEY.txt`` (the prompt) and ``KEY.json`` (the row).

A shard is closed before it would exceed its bound. The same images give the same bytes: members have no owner, no
time and no other mode than 0644. ``.index.json`` says what each finished shard holds, and is renewed after each one, so
that an export which was interrupted goes on with the first shard that is not as it should be.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from seedream_jobs.errors import UsageError
from seedream_jobs.results.export.files import whole_file
from seedream_jobs.results.export.rows import Exported, Row, Rows

INDEX = ".index.json"
"""Hidden: ``datasets`` takes every other file of the folder for a shard."""
FORMER_INDEX = "index.json"
MAX_SAMPLES = 10_000
"""Of one shard, whatever its size: so many rows are held at once."""

_BLOCK = 512


@dataclass(slots=True, kw_only=True)
class _Sample:
    """One image (of ``length`` bytes) with its texts; ``row`` is JSON, ``size`` is what it adds to a tar, in bytes."""

    key: str
    suffix: str
    source: Path
    length: int
    prompt: bytes
    row: bytes

    @property
    def size(self) -> int:
        return sum(_BLOCK + -(-length // _BLOCK) * _BLOCK for length in (self.length, len(self.prompt), len(self.row)))


@dataclass(slots=True, kw_only=True)
class _Shard:
    samples: list[_Sample] = field(default_factory=list)
    size: int = 2 * _BLOCK

    def recipe(self) -> str:
        """What the shard is made of, without reading an image: a changed image has another sha256 in its row."""
        digest = hashlib.sha256()
        for sample in self.samples:
            digest.update(f"{sample.key}.{sample.suffix} {sample.length}\n".encode())
            digest.update(sample.prompt + b"\0" + sample.row + b"\0")
        return digest.hexdigest()


def write_webdataset(rows: Rows, folder: Path, told: Callable[[int], None], *, shard_bytes: int) -> Exported:
    """Write the shards ``JOB-000000.tar`` … and ``.index.json``.

    :param shard_bytes: the most bytes of a shard; one image alone may exceed it
    :raises UsageError: the folder holds something that is not an earlier export
    :raises OSError: as the file system does; the same command continues
    """
    before = _index(folder)
    folder.mkdir(parents=True, exist_ok=True)
    _write_index(folder, list(before.values()))
    (folder / FORMER_INDEX).unlink(missing_ok=True)  # from here on the folder is known as ours, whenever we are killed
    done: list[dict[str, Any]] = []
    count = 0
    for number, shard in enumerate(_shards(rows, shard_bytes)):
        path = folder / f"{rows.job}-{number:06d}.tar"
        said = {"file": path.name, "samples": len(shard.samples), "recipe": shard.recipe()}
        old = before.get(path.name, {})
        there = path.is_file() and path.stat().st_size == old.get("bytes")
        if not there or old.get("recipe") != said["recipe"]:
            with whole_file(path) as out, tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
                for sample in shard.samples:
                    _add(tar, sample)
        done.append(said | {"bytes": path.stat().st_size})
        later = [before[name] for name in before if name not in {one["file"] for one in done}]
        _write_index(folder, done + later)
        count += len(shard.samples)
        told(count)
    for name in set(before) - {one["file"] for one in done}:
        (folder / name).unlink(missing_ok=True)
    _write_index(folder, done)
    return rows.exported(count)


def _shards(rows: Rows, shard_bytes: int) -> Iterator[_Shard]:
    shard = _Shard()
    for row in rows.sound():
        sample = _sample(row)
        size = -(-(shard.size + sample.size) // tarfile.RECORDSIZE) * tarfile.RECORDSIZE  # a tar is filled up to that
        full = size > shard_bytes or len(shard.samples) == MAX_SAMPLES
        if shard.samples and full:
            yield shard
            shard = _Shard()
        shard.samples.append(sample)
        shard.size += sample.size
    if shard.samples:
        yield shard


def _sample(row: Row) -> _Sample:
    """The key is the request's and the image's number; it has no dot, since a reader takes a key up to the first."""
    digest = str(row.values["key"]).rpartition(":")[2]
    return _Sample(
        key=f"{digest[:32]}-i{row.values['number']}",
        suffix=row.source.suffix.lstrip(".").lower() or "bin",
        source=row.source,
        length=row.source.stat().st_size,
        prompt=str(row.values["prompt"] or "").encode("utf-8", "backslashreplace"),
        row=json.dumps(dict(row.values), ensure_ascii=False, sort_keys=True).encode("utf-8", "backslashreplace"),
    )


def _add(tar: tarfile.TarFile, sample: _Sample) -> None:
    with sample.source.open("rb") as image:
        tar.addfile(_member(f"{sample.key}.{sample.suffix}", sample.length), image)
    for suffix, text in (("json", sample.row), ("txt", sample.prompt)):
        tar.addfile(_member(f"{sample.key}.{suffix}", len(text)), io.BytesIO(text))


def _member(name: str, size: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size, member.mode = size, 0o644
    return member


def _index(folder: Path) -> dict[str, dict[str, Any]]:
    """The shards that an earlier export finished, by name.

    :raises UsageError: the folder is a file, or holds files but no index
    """
    if not folder.exists():
        return {}
    if not folder.is_dir():
        raise UsageError(f"{folder} is a file", hint="webdataset is a folder: name another")
    index = folder / INDEX
    if not index.exists() and (folder / FORMER_INDEX).exists():
        index = folder / FORMER_INDEX
    try:
        shards = json.loads(index.read_bytes())["shards"]
        return {str(one["file"]): one for one in shards if Path(one["file"]).name == one["file"]}
    except FileNotFoundError:
        foreign = [file for file in folder.iterdir() if not file.name.startswith(".")]
        if foreign:
            raise UsageError(
                f"{folder} holds other files, such as {foreign[0].name}", hint="name a new or an empty folder"
            ) from None
        return {}
    except (ValueError, KeyError, TypeError):
        raise UsageError(f"{index} is not an earlier export's", hint="name a new folder") from None


def _write_index(folder: Path, shards: list[dict[str, Any]]) -> None:
    with whole_file(folder / INDEX) as out:
        out.write((json.dumps({"format": 1, "shards": shards}, indent=1, sort_keys=True) + "\n").encode())
