"""Are the stored images still what was stored? Hashes them again and names those that are missing or changed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from seedream_jobs.errors import UsageError
from seedream_jobs.ledger.state import Entry, Image, State
from seedream_jobs.run.links import damaged
from seedream_jobs.run.placing import confined, digest

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
