"""This module says what an image is: by its first bytes, by the life of its link, by the file that is on record.

Called by ``fetch``, ``poll``, ``report``, and by ``results``, which implements ``ImageSteps``. Invariant: a file's
name and a reply's ``Content-Type`` are hearsay; first bytes are evidence and a full decode is proof. Neither Pillow nor
anyio is imported here: the processes that decode images and the commands that print start faster.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from seedream_jobs.atomic_file import confined, find_damage
from seedream_jobs.errors import UsageError
from seedream_jobs.ledger.state import Entry, Image, State
from seedream_jobs.model_profile import Profile

MIN_BYTES = 1000
"""A smaller body is a failure in disguise: the service's image hosts are known to answer errors with status 200."""

EXTENSIONS: Mapping[str, str] = {"jpeg": ".jpeg", "png": ".png", "webp": ".webp", "gif": ".gif", "avif": ".avif"}
"""The formats that are kept, and the extension of each."""

DAMAGED = ".damaged"
"""The extension under which bytes that can't be decoded are kept."""

NO_IMAGE = "the body does not begin like an image"


# -- by its bytes ------------------------------------------------------------------------------------------------------


def sniff(head: bytes) -> str | None:
    """The image format that a file's first bytes announce, a key of ``EXTENSIONS``; None if it is none of them."""
    if head.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "webp"
    if head.startswith((b"GIF87a", b"GIF89a")):
        return "gif"
    if head[4:12] in (b"ftypavif", b"ftypavis"):
        return "avif"
    return None


def disguise(head: bytes, size: int) -> str | None:
    """Why a body of ``size`` bytes that begins with ``head`` is no image; None if it may be one."""
    if size == 0:
        return "the body was empty"
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype", b"<html", b"<head", b"<body", b"<script")):
        return "an HTML page came instead of an image"
    if text.startswith((b"{", b"[", b"<?xml", b"<error")):
        return "an error message came instead of an image"
    if sniff(head) is None:
        return NO_IMAGE
    if size < MIN_BYTES:
        return f"the body has only {size} bytes"
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Examined:
    """What decoding an image file found.

    :param width: pixels as stored in the file (an EXIF orientation is not applied), 0 with a problem
    :param height: pixels, likewise
    :param problem: why the file is no whole image; None if it is one
    """

    width: int
    height: int
    problem: str | None = None


def find_departures(request: Mapping[str, Any], format: str, found: Examined, profile: Profile) -> tuple[str, ...]:
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


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptBytes:
    """The bytes that will be kept: other than what came only where metadata was asked to be embedded."""

    sha256: str
    bytes: int
    warnings: tuple[str, ...] = ()


class ImageSteps:
    """What is done with an image between its last byte and its record, in this order.

    ``results`` adds sidecars, thumbnails, metadata and the store. All steps block and are called in a thread.
    """

    local = True
    """Whether images get a name on this disk."""

    def find_stored(self, entry: Entry, index: int) -> Image | None:
        """The image, if an interrupted command has put it on disk whole and has not come to record it.

        :raises UnfinishedError: the store does not take it
        """
        return None

    def examine(self, temp: Path, sha256: str) -> Examined:
        """Decode the file whole, once, as it came."""
        raise NotImplementedError

    def prepare(self, temp: Path, entry: Entry, came: KeptBytes) -> KeptBytes:
        """May change the file's metadata, never its pixels, before it is named."""
        return came

    def keep(self, temp: Path, image: Image) -> str | None:
        """Put the file into a store, before it gets its name; the object's name, None where there is no store.

        :raises UnfinishedError: the store does not take it
        """
        return None

    def describe(self, entry: Entry, index: int, image: Image, came_sha256: str) -> tuple[str, ...]:
        """Write down beside the named file what it is; the warnings that come of it.

        :raises UnfinishedError: as ``keep``
        """
        return ()


# -- by its link -------------------------------------------------------------------------------------------------------


def without_data(images: Iterable[Image]) -> tuple[Image, ...]:
    """Images as they go on record. A ``data:`` link is the image itself, megabytes of it: fetching asks again."""
    return tuple(
        replace(image, url=None) if image.url is not None and image.url[:5].lower() == "data:" else image
        for image in images
    )


def is_missing(image: Image) -> bool:
    """Whether an image is still to be fetched. One with an error never came, or came damaged."""
    return image.file is None and image.error is None


def dies_at(entry: Entry, image: Image, profile: Profile) -> float | None:
    """When the link of ``image`` dies, in Unix seconds: what the reply said, else the model's link life.

    None where nothing is known that it could be counted from.
    """
    if image.expires_at is not None:
        return image.expires_at
    begun = entry.since if entry.since is not None else entry.submitted_at
    return None if begun is None else begun + profile.link_life


def time_left(entry: Entry, now: float, profile: Profile) -> float | None:
    """Seconds until the first unfetched image is lost, negative if it is; None if there is none to lose."""
    dies: list[float | None] = []
    if entry.state is State.ACCEPTED and entry.submitted_at is not None:
        dies = [entry.submitted_at + profile.link_life]  # not yet seen to be done: its images may be there already
    elif entry.state is State.COMPLETED:
        dies = [dies_at(entry, image, profile) for image in entry.images if is_missing(image)]
    return min((at - now for at in dies if at is not None), default=None)


# -- by its record -----------------------------------------------------------------------------------------------------

Damage = Literal["missing", "changed", "unreadable", "outside", "undecodable", "unkept"]
"""What is wrong with a stored image; ``unkept``: it is whole on disk, and not in the store that the policy names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Repair:
    """A stored request with images to fetch again: their position among its images, and what is wrong with each."""

    entry: Entry
    damage: Mapping[int, Damage]


DamageOf = Callable[[Image], "Damage | None"]


def find_damaged(
    entries: Iterable[Entry], folder: Path, *, root: Path, in_store: DamageOf | None = None
) -> Iterator[Repair]:
    """The requests of which an image is missing or damaged, on disk or in the store, came damaged, or is unkept.

    Reads every stored file whole; writes nothing. An image that is whole in the store need not be on disk.

    :param folder: the manifest's folder, to which the images' paths are relative
    :param root: the campaign's root, which no path may leave
    :param in_store: asks the store after an image that lies there; None where there is no store
    """
    for entry in entries:
        if entry.state in (State.STORED, State.COMPLETED):
            damage = {
                index: found
                for index, image in enumerate(entry.images)
                if (found := _damage_of(image, folder, root, in_store)) is not None
            }
            if damage:
                yield Repair(entry=entry, damage=damage)


def _damage_of(image: Image, folder: Path, root: Path, in_store: DamageOf | None) -> Damage | None:
    if image.file is None:  # with an error and a link it came as bytes that can't be decoded
        return "undecodable" if image.error is not None and image.url is not None else None
    try:
        path = confined(root, folder, image.file)
    except UsageError:
        return "outside"
    found = find_damage(path, size=image.bytes, sha256=image.sha256)
    here = None if found is None else found[0]
    if in_store is None:
        return here
    if image.object is None:  # fetched before the policy named a store
        return here or "unkept"
    there = in_store(image)
    return there if here == "missing" else here or there
