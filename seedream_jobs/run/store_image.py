"""What is done about an image between its last byte and its record, and whether it is still what was stored.

Called by ``fetch`` and ``fetch --verify``. ``results`` implements the steps with sidecars and thumbnails.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from anyio import to_thread

from seedream_jobs.errors import UsageError
from seedream_jobs.ledger.state import Entry, Image, State
from seedream_jobs.model_profile import Profile
from seedream_jobs.plan.job import Job
from seedream_jobs.run.atomic_file import Sink, confined, digest, place
from seedream_jobs.run.images import EXTENSIONS, Examined, examine, sniff
from seedream_jobs.run.links import damaged


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """The bytes that will be kept: other than what came only where metadata was asked to be embedded."""

    sha256: str
    bytes: int
    warnings: tuple[str, ...] = ()


class Finishing:
    """The steps around an image's final name, in this order: here the decode check, and nothing else.

    ``results`` adds sidecars, thumbnails and metadata. All but ``examine`` block and are called in a thread.
    """

    def already(self, entry: Entry, index: int) -> Image | None:
        """The image, if an interrupted command has put it on disk whole and has not come to record it."""
        return None

    def prepare(self, temp: Path, entry: Entry, index: int, came: Prepared) -> Prepared:
        """May change the file's metadata, never its pixels, before it is examined and named."""
        return came

    async def examine(self, temp: Path, sha256: str) -> Examined:
        """Decode the file whole, once, somewhere else than on the event loop."""
        return await to_thread.run_sync(examine, temp, abandon_on_cancel=True)

    def describe(self, entry: Entry, index: int, image: Image, came_sha256: str) -> tuple[str, ...]:
        """Write down beside the named file what it is; the warnings that come of it."""
        return ()


Finish = Callable[[Path, Path, Job | None], Finishing]
"""Makes what is done with each image, for a manifest's folder, its campaign's root and its job if that is at hand."""


async def store_image(
    sink: Sink,
    entry: Entry,
    index: int,
    *,
    stem: Path,
    expires_at: int | None,
    finishing: Finishing,
    profile: Profile,
) -> Image | str:
    """Examine, name and describe a file that was downloaded; why it can't be decoded where that is so.

    :param stem: its final path without extension
    :param expires_at: Unix seconds when its link dies
    """
    format = sniff(sink.head)
    assert format is not None  # whoever downloaded it has looked
    came = Prepared(sha256=sink.sha256, bytes=sink.size)
    kept = await to_thread.run_sync(finishing.prepare, sink.path, entry, index, came)
    seen = await finishing.examine(sink.path, kept.sha256)
    if seen.problem is not None:
        return seen.problem
    placed = await to_thread.run_sync(place, sink.path, stem, EXTENSIONS[format], kept.sha256)
    name, warnings = placed.name, (*departures(entry.request, format, seen, profile), *kept.warnings)
    if name != stem.name + EXTENSIONS[format]:
        warnings += (f"kept as {name}, because {stem.name + EXTENSIONS[format]} was there with other content",)
    image = Image(
        expires_at=expires_at,
        file=str(PurePosixPath(entry.output).with_name(name)),
        sha256=kept.sha256,
        bytes=kept.bytes,
        width=seen.width,
        height=seen.height,
        format=format,
        warnings=warnings,
    )
    said = await to_thread.run_sync(finishing.describe, entry, index, image, came.sha256)
    return replace(image, warnings=image.warnings + said)


def departures(request: Mapping[str, Any], format: str, found: Examined, profile: Profile) -> tuple[str, ...]:
    """How an image differs from what ``request`` (a payload) asked for, a sentence each; it is kept all the same."""
    said: list[str] = []
    asked = request.get("output_format", profile.defaults.get("output_format"))
    if asked in profile.output_formats and asked != format:
        said.append(f"{format} came where {asked} was asked for")
    size = str(request.get("size", profile.defaults.get("size")))
    resolution = str(request.get("resolution", profile.defaults.get("resolution")))
    pixels = profile.pixels.get(resolution, {}).get(size)  # "auto" has no row: any pixels will do
    if pixels is not None and pixels != (found.width, found.height):
        said.append(
            f"{found.width}×{found.height} pixels came where {pixels[0]}×{pixels[1]} were asked for "
            f"({size} at {resolution})"
        )
    return tuple(said)


Damage = Literal["missing", "changed", "unreadable", "outside", "undecodable"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Repair:
    """A stored request with images to fetch again: their position among its images, and what is wrong with each."""

    entry: Entry
    damage: Mapping[int, Damage]


def verify(entries: Iterable[Entry], folder: Path, *, root: Path) -> Iterator[Repair]:
    """The requests of which an image is missing or damaged on disk, or came damaged. Reads every stored file whole;
    writes nothing.

    :param folder: the manifest's folder, to which the images' paths are relative
    :param root: the campaign's root, which no path may leave
    """
    for entry in entries:
        if entry.state not in (State.STORED, State.COMPLETED):
            continue
        damage: dict[int, Damage] = {}
        for index, image in enumerate(entry.images):
            found = damage_of(image, folder, root)
            if found is not None:
                damage[index] = found
        if damage:
            yield Repair(entry=entry, damage=damage)


def damage_of(image: Image, folder: Path, root: Path) -> Damage | None:
    """What is wrong with the file of an image; None if it is as it was recorded, or never came. Reads it whole."""
    if image.file is None:
        return "undecodable" if damaged(image) else None
    try:
        path = confined(root, folder, image.file)
        if image.bytes is not None and path.stat().st_size != image.bytes:
            return "changed"
        return None if image.sha256 is None or digest(path) == image.sha256 else "changed"
    except UsageError:
        return "outside"
    except (FileNotFoundError, NotADirectoryError):
        return "missing"
    except OSError:
        return "unreadable"
