"""This module finds the images without a thumbnail, and makes those of images that lie in the store, not on disk.

Called by ``cli.gallery`` before the page is built, and by ``engines``. Invariant: what comes from the store is decoded
only if it has the recorded sha256, and by a process of its own.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

from seedream_jobs.atomic_file import confined
from seedream_jobs.errors import SeedreamError, UsageError
from seedream_jobs.inside import STATE_FOLDER
from seedream_jobs.ledger.ledger import Ledger
from seedream_jobs.ledger.paths import keep_private
from seedream_jobs.ledger.state import Image, State
from seedream_jobs.records import Record
from seedream_jobs.results.image_store import ImageStore
from seedream_jobs.results.thumbnails import Decoders, thumbnail_path


def without_thumbnail(record: Record, ledger: Ledger, *, on_disk: bool) -> Iterator[Image]:
    """The stored images that have no thumbnail here: those on disk, or those that are not.

    A path that leads out of the campaign's root is left out: a record may be a stranger's.
    """
    folder, cache = record.paths.manifest.parent, record.root / STATE_FOLDER / "thumbnails"
    for key in ledger.entries.keys_in(State.STORED, State.COMPLETED):
        for image in ledger.entries[key].images:
            if image.sha256 is None or image.file is None:
                continue
            try:
                here = os.path.lexists(confined(record.root, folder, image.file))
            except UsageError:
                continue
            if here is on_disk and not os.path.lexists(thumbnail_path(cache, image.sha256)):
                yield image


def make_thumbnails(store: ImageStore | None, images: Sequence[Image], record: Record) -> list[tuple[str, str]]:
    """Make a thumbnail of each; the file and the reason of those where it can't be made."""
    if store is None:
        return [(image.file or "", "it is in a store, and the policy names none") for image in images]
    keep_private(state := record.root / STATE_FOLDER)
    with TemporaryDirectory(prefix="gallery-", dir=state) as folder, Decoders() as decoders:

        def make(image: Image) -> str | None:
            assert image.sha256 is not None
            temp = Path(folder) / image.sha256
            try:
                temp.write_bytes(store.read(image))
            except SeedreamError as error:
                return error.message
            try:
                return decoders.decode(temp, thumbnail_path(state / "thumbnails", image.sha256)).problem
            finally:
                temp.unlink(missing_ok=True)

        with ThreadPoolExecutor(2 * decoders.workers) as pool:
            whys = list(pool.map(make, images))
    return [(image.file or "", why) for image, why in zip(images, whys, strict=True) if why is not None]
