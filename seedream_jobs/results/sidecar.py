"""``name.json`` beside each image: all that is known of how it came to be, for people and for other programs.

The same image, request and provenance give the same bytes. A sidecar is also how an interrupted fetch knows its own:
an image with a matching sidecar is not downloaded again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

from seedream_jobs.errors import UsageError
from seedream_jobs.ledger.state import ID, Entry, Image
from seedream_jobs.results.labels import Labels
from seedream_jobs.run.atomic_file import Sink, confined, digest, refusal, sync
from seedream_jobs.run.images import EXTENSIONS

FORMAT = "seedream-jobs/sidecar/1"
MAX_BYTES = 4 * 1024 * 1024
MOST_READ = 10_000
"""How many sidecars of a folder are read in search of those that no record knows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """Where a request comes from, as far as it is known.

    :param job: the job file, POSIX, relative to the campaign's root
    :param template: the prompt's template as it stands in the job file
    :param commit: the commit that was checked out, 40 or 64 hex digits
    """

    job: str | None = None
    template: str | None = None
    commit: str | None = None


def sidecar(
    entry: Entry, index: int, image: Image, *, provenance: Provenance, labels: Labels, came_sha256: str, stored_at: int
) -> bytes:
    """The sidecar's bytes: JSON, sorted keys, two spaces, no field without a value.

    :param index: the image's place among the request's images, from 0; written from 1
    :param came_sha256: of the bytes that were downloaded, which differs from the image's where metadata was embedded
    :param stored_at: Unix seconds
    """
    content: dict[str, Any] = {
        "format": FORMAT,
        "address": entry.address,
        "cell": dict(entry.cell),
        "generation": entry.generation,
        "key": entry.key,
        "model": entry.request.get("model"),
        "request": dict(entry.request),
        "repeat": entry.repeat,
        "task_id": entry.task_id,
        "request_id": entry.request_id,
        "submitted_at": _time(entry.submitted_at),
        "stored_at": _time(stored_at),
        **{name: value for name, value in asdict(provenance).items() if value is not None},
        "image": {
            "file": Path(image.file or "").name,
            "number": index + 1,
            "sha256": image.sha256,
            "downloaded_sha256": came_sha256 if came_sha256 != image.sha256 else None,
            "bytes": image.bytes,
            "width": image.width,
            "height": image.height,
            "format": image.format,
            "expires_at": image.expires_at,
            "warnings": list(image.warnings),
        },
        "ai_labels": {"c2pa": labels.c2pa, "aigc": labels.aigc, "iptc_source_type": labels.source_type},
    }
    return (json.dumps(_present(content), ensure_ascii=False, indent=2, sort_keys=True) + "\n").encode(
        "utf-8", "backslashreplace"
    )


def _present(content: Mapping[str, Any]) -> dict[str, Any]:
    """Without the values that are not known, two levels deep; what the user wrote is below that."""
    inner = {name: content[name] for name in ("image", "ai_labels")}
    kept = {name: {k: v for k, v in part.items() if v is not None} for name, part in inner.items()}
    return {name: kept.get(name, value) for name, value in content.items() if value is not None}


def _time(at: int | None) -> str | None:
    return None if at is None else datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def sidecar_path(image: Path) -> Path:
    """``heron.json`` for ``heron.jpeg``."""
    return image.with_suffix(".json")


def write_sidecar(image: Path, content: bytes, key: str, temp: Path) -> tuple[str, ...]:
    """Write ``content`` beside ``image``, whole or not at all; a warning if another's file is in the way.

    A sidecar of the same request is replaced. Any other file is left alone, and so the image has no sidecar.

    :param temp: the temporary name, which nobody else writes to: two images may have come to the same file
    :raises SeedreamError: if the disk is full or failing
    """
    path = sidecar_path(image)
    if path.exists() or path.is_symlink():
        there = read_sidecar(path)
        if there is None or there.get("key") != key:
            return (f"no sidecar was written: {path.name} was there and is not this image's",)
    sink = Sink(temp)
    try:
        sink.write(content)
        sink.finish(durable=True)
        sink.path.replace(path)
        sync(path.parent)
    except OSError as error:
        raise refusal(error, path) from error
    finally:
        sink.discard()
    return ()


def read_sidecar(path: Path) -> dict[str, Any] | None:
    """The content of a sidecar; None if it is missing, damaged or another program's file."""
    try:
        with path.open("rb") as file:
            content = json.loads(file.read(MAX_BYTES))
    except (OSError, ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) and content.get("format") == FORMAT else None


def found(entry: Entry, index: int, folder: Path, root: Path) -> Image | None:
    """The image of ``entry`` that an interrupted fetch left whole on disk: its sidecar matches and so does its hash.

    :param folder: the manifest's folder
    """
    try:
        stem = confined(root, folder, entry.output_of(index))
    except UsageError:
        return None
    content = read_sidecar(stem.with_name(stem.name + ".json"))
    image = None if content is None else _described(content, entry, index)
    try:
        if image is None or image.file is None or digest(stem.with_name(image.file)) != image.sha256:
            return None
    except OSError:
        return None
    return replace(image, file=str(PurePosixPath(entry.output).with_name(image.file)))


def _described(content: Mapping[str, Any], entry: Entry, index: int) -> Image | None:
    """The image that a sidecar describes, ``file`` being its bare name; None if it is not this one."""
    said = content.get("image")
    if not isinstance(said, dict):
        return None
    same = (content.get("key"), content.get("generation"), content.get("task_id"), said.get("number"))
    return _image_of(said) if same == (entry.key, entry.generation, entry.task_id, index + 1) else None


def _image_of(said: Mapping[str, Any]) -> Image | None:
    """The image that the ``image`` of a sidecar is; None where that is damaged."""
    name, warnings = said.get("file"), said.get("warnings", [])
    if not isinstance(name, str) or not name or "/" in name:
        return None
    numbers = {field: said.get(field) for field in ("expires_at", "bytes", "width", "height")}
    if not all(value is None or type(value) is int for value in numbers.values()):
        return None
    if not isinstance(warnings, list) or said.get("format") not in EXTENSIONS:
        return None
    return Image(
        file=name,
        sha256=str(said.get("sha256")),
        format=said["format"],
        warnings=tuple(str(warning) for warning in warnings),
        **numbers,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """What a sidecar says of one image, for a record that was lost.

    :param number: the image's place among the request's, from 1
    :param submitted_at: Unix seconds
    :param image: its ``file`` relative to the manifest's folder
    """

    key: str
    generation: int
    task_id: str | None
    number: int
    submitted_at: int | None
    path: Path
    image: Image

    def is_whole(self, folder: Path) -> bool:
        """Whether the image lies there as it was stored."""
        try:
            return self.image.file is not None and digest(folder / self.image.file) == self.image.sha256
        except OSError:
            return False


def by_key(output: Path, folder: Path) -> dict[str, list[Described]]:
    """The sidecars below a job's output folder, by the request they are of; links are not followed.

    At most ``MOST_READ`` files are looked at.

    :param folder: the manifest's folder
    """
    found: dict[str, list[Described]] = {}
    left = MOST_READ
    for there, folders, files in os.walk(output):
        folders.sort()
        for name in sorted(files):
            if name.endswith(".json"):
                left -= 1
                if left < 0:
                    return found
                one = _any_image(Path(there, name), folder)
                if one is not None:
                    found.setdefault(one.key, []).append(one)
    return found


def _any_image(path: Path, folder: Path) -> Described | None:
    content = None if path.is_symlink() else read_sidecar(path)
    said = None if content is None else content.get("image")
    if content is None or not isinstance(said, dict):
        return None
    key, generation, task_id, number = (
        content.get("key"),
        content.get("generation"),
        content.get("task_id"),
        said.get("number"),
    )
    if not isinstance(key, str) or type(generation) is not int or type(number) is not int:
        return None
    image = _image_of(said)
    if image is None or image.file is None:
        return None
    try:
        at = int(datetime.fromisoformat(str(content.get("submitted_at"))).timestamp())
    except ValueError:
        at = None
    file = Path(os.path.relpath(path.with_name(image.file), folder)).as_posix()
    return Described(
        key=key,
        generation=generation,
        task_id=task_id if isinstance(task_id, str) and ID.fullmatch(task_id) else None,
        number=number,
        submitted_at=at,
        path=path,
        image=replace(image, file=file),
    )
