"""This module writes and reads sidecars: ``name.json`` beside each image says how the image came to be.

Called by ``image_steps`` for each stored image, by ``pipeline`` and ``resolve --import`` to find images that no record
has. Invariant: the same image, request and provenance give the same bytes; an image with a matching sidecar and hash
is not downloaded again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from seedream_jobs.atomic_file import confined, find_damage, names_for, read_regular, refusal, whole_file
from seedream_jobs.diagnostics import Diagnostic
from seedream_jobs.errors import UsageError
from seedream_jobs.foreign_text import shell_word
from seedream_jobs.ledger.codec import Malformed, decode, encode, iso, moment
from seedream_jobs.ledger.state import ID, Entry, Image
from seedream_jobs.plans.diff import Action
from seedream_jobs.plans.load import Job
from seedream_jobs.plans.plan import PlannedJob
from seedream_jobs.run.images import EXTENSIONS

if TYPE_CHECKING:  # it imports ssl, through xml.sax.saxutils, and ``plan`` needs neither
    from seedream_jobs.results.image_metadata import AiLabels

FORMAT = "seedream-jobs/sidecar/1"
MAX_BYTES = 4 * 1024 * 1024
MOST_READ = 10_000
"""At most so many sidecars of a folder are read in search of images that no record has."""


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
    entry: Entry,
    index: int,
    image: Image,
    *,
    provenance: Provenance,
    labels: AiLabels,
    came_sha256: str,
    stored_at: int,
) -> bytes:
    """The sidecar's bytes: JSON, sorted keys, two spaces, no field without a value.

    :param index: the image's place among the request's images, from 0; written from 1
    :param came_sha256: of the bytes that were downloaded, which differs from the image's where metadata was embedded
    :param stored_at: Unix seconds
    """
    content = _known(
        {
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
            "submitted_at": None if entry.submitted_at is None else iso(entry.submitted_at),
            "stored_at": iso(stored_at),
            **asdict(provenance),
            "image": _known(
                {
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
                }
            ),
            "ai_labels": _known({"c2pa": labels.c2pa, "aigc": labels.aigc, "iptc_source_type": labels.source_type}),
        }
    )
    text = json.dumps(content, ensure_ascii=False, indent=2, sort_keys=True) + "\n"
    return text.encode("utf-8", "backslashreplace")  # half a surrogate pair, which YAML can spell, has no UTF-8


def _known(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def write_sidecar(image: Path, content: bytes, key: str, temp: Path) -> tuple[str, ...]:
    """Write ``content`` beside ``image``, whole or not at all; a warning if another's file is in the way.

    A sidecar of the same request is replaced. Any other file is left alone, and the image has no sidecar then.

    :param temp: a temporary name of its own: two images may have been stored under one name
    :raises SeedreamError: if the disk is full or failing
    """
    path = image.with_suffix(".json")
    if path.exists() or path.is_symlink():
        there = read_sidecar(path)
        if there is None or there.get("key") != key:
            return (f"no sidecar was written: {path.name} was there and is not this image's",)
    try:
        with whole_file(path, temp) as file:
            file.write(content)
    except OSError as error:
        raise refusal(error, path) from error
    return ()


def read_sidecar(path: Path) -> dict[str, Any] | None:
    """The content of a sidecar; None if it is missing, damaged or another program's file."""
    try:
        content = json.loads(read_regular(path, MAX_BYTES))
    except (OSError, ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) and content.get("format") == FORMAT else None


@dataclass(frozen=True, slots=True, kw_only=True)
class SidecarImage:
    """What a sidecar says of one image.

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
        """Whether the file is the image that was stored."""
        image = self.image
        if image.file is None or image.sha256 is None:
            return False
        return find_damage(folder / image.file, size=image.bytes, sha256=image.sha256) is None


def find_stored_image(entry: Entry, index: int, folder: Path, root: Path) -> Image | None:
    """The image of ``entry`` that an interrupted fetch left whole on disk, by its sidecar and its hash; else None.

    :param folder: the manifest's folder
    """
    try:
        stem = confined(root, folder, entry.output_of(index))
    except UsageError:
        return None
    # An image of an earlier generation belongs to another payment.
    wanted = (entry.key, entry.generation, entry.task_id, index + 1)
    for number, path in enumerate(names_for(stem, ".json")):
        described = _read_image(path, stem.parent)
        if described is None:
            if number:
                return None
            continue  # an image of somebody else's may have the first name, and ours the second
        found = (described.key, described.generation, described.task_id, described.number)
        if found == wanted and described.is_whole(stem.parent):
            return replace(described.image, file=str(PurePosixPath(entry.output).with_name(described.image.file or "")))
    return None


def read_sidecars(output: Path, folder: Path) -> dict[str, list[SidecarImage]]:
    """The sidecars below a job's output folder, by the request they are of; links are not followed.

    At most ``MOST_READ`` files are looked at.

    :param folder: the manifest's folder
    """
    found: dict[str, list[SidecarImage]] = {}
    left = MOST_READ
    for there, folders, files in os.walk(output):
        folders.sort()  # where there are too many, the same ones are read each time
        for name in sorted(files):
            if name.endswith(".json"):
                left -= 1
                if left < 0:
                    return found
                path = Path(there, name)
                one = None if path.is_symlink() else _read_image(path, folder)
                if one is not None:
                    found.setdefault(one.key, []).append(one)
    return found


def _read_image(path: Path, folder: Path) -> SidecarImage | None:
    # The file may be anybody's, so each field is checked before it is believed.
    content = read_sidecar(path)
    described = None if content is None else content.get("image")
    if content is None or not isinstance(described, dict):
        return None
    key, generation, task_id = (content.get(name) for name in ("key", "generation", "task_id"))
    number = described.get("number")
    # ``isinstance`` would let true pass for a number.
    if not isinstance(key, str) or type(generation) is not int or generation < 1 or type(number) is not int:
        return None
    name, format, warnings = described.get("file"), str(described.get("format")), described.get("warnings", [])
    if not isinstance(name, str) or not name or "/" in name or "\0" in name or format not in EXTENSIONS:
        return None
    numbers = {field: described.get(field) for field in ("expires_at", "bytes", "width", "height")}
    if not all(value is None or type(value) is int for value in numbers.values()) or not isinstance(warnings, list):
        return None
    try:
        submitted_at = moment("submitted_at", content.get("submitted_at"))
    except Malformed:
        submitted_at = None
    image = Image(
        file=Path(os.path.relpath(path.parent / name, folder)).as_posix(),
        sha256=str(described.get("sha256")),
        format=format,
        warnings=tuple(str(warning) for warning in warnings),
        **numbers,
    )
    try:
        decode(Image, encode(image), "an image")  # what the record takes in, it must be able to read again
    except Malformed:
        return None
    return SidecarImage(
        key=key,
        generation=generation,
        task_id=task_id if isinstance(task_id, str) and ID.fullmatch(task_id) else None,
        number=number,
        submitted_at=submitted_at,
        path=path,
        image=image,
    )


def find_unrecorded_images(job: Job, planned: PlannedJob) -> list[Diagnostic]:
    """The warning that images of requests about to be paid are there already, by their sidecars: a record was lost."""
    folder = job.paths.manifest.parent
    output = folder / job.expansion.spec.output_dir
    if planned.changes is None or not output.is_dir():
        return []
    found = read_sidecars(output, folder)
    new = (change.key for change in planned.changes.submits() if change.action is Action.NEW)
    there = [found[key][0] for key in new if key in found] if found else []
    if not there:
        return []
    shown = os.path.relpath(there[0].path, folder)
    message = (
        f"{len(there)} of {planned.submit} requests to be submitted have images already, by the sidecars beside "
        f"them ({shown}), and are on no record: they would be paid again"
    )
    hint = (
        f"bring the record back, or take it from the sidecars: seedream-jobs resolve {shell_word(job.shown)} --import"
    )
    return [Diagnostic(code="images-on-no-record", severity="warning", message=message, path=job.shown, hint=hint)]
