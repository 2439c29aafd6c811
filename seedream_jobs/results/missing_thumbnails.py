"""This module finds the images without a thumbnail, and lets the workers of an engine make those.

Called by ``cli.gallery`` before the page is built, and on a worker by ``engines.work_shard``. Invariant: an image is
decoded only if it has the recorded sha256, and by a process of its own.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from seedream_jobs.atomic_file import confined, digest
from seedream_jobs.errors import SeedreamError, UsageError
from seedream_jobs.inside import STATE_FOLDER
from seedream_jobs.ledger.codec import Json, decode, encode
from seedream_jobs.ledger.ledger import Ledger
from seedream_jobs.ledger.paths import keep_private
from seedream_jobs.ledger.state import Image, State
from seedream_jobs.records import Record
from seedream_jobs.results.engines import SHARD, Engine, decoders, in_order
from seedream_jobs.results.image_store import ImageStore, open_at
from seedream_jobs.results.thumbnails import thumbnail_path


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


def make_thumbnails(
    images: Sequence[Image], record: Record, engine: Engine, store: ImageStore | None = None
) -> list[tuple[str, str]]:
    """Make a thumbnail of each, on disk or in the store; the file and the reason of those where it can't be made."""
    url = None if store is None else store.objects.url
    with engine.campaign(record) as campaign:
        plain = {**campaign, "work": "thumbnails", "store": url}
        shards = (
            {**plain, "images": list(map(encode, images[at : at + SHARD]))} for at in range(0, len(images), SHARD)
        )
        return [
            (str(file), str(why))
            for _, answer in in_order(engine.work, shards)
            for file, why in answer.get("problems", ())
        ]


# -- a worker ----------------------------------------------------------------------------------------------------------


def sweep(shard: Mapping[str, Any], token: str) -> None:
    """Nothing: what a lost try leaves has the name of its process, and the cache can be deleted at any time."""


def work(asked: Json) -> Json:
    """Make thumbnails of images that have the recorded sha256."""
    root, folder, made = Path(asked["root"]), Path(asked["folder"]), decoders()
    images = [decode(Image, raw, "an image") for raw in asked["images"]]
    store = None if asked["store"] is None else open_at(asked["store"])
    keep_private(state := root / STATE_FOLDER)
    with TemporaryDirectory(prefix="gallery-", dir=state) as scratch, ThreadPoolExecutor(2 * made.workers) as threads:

        def make(image: Image) -> str | None:
            assert image.file is not None
            assert image.sha256 is not None
            thumbnail = thumbnail_path(state / "thumbnails", image.sha256)
            path = confined(root, folder, image.file)
            try:
                if os.path.lexists(path):
                    same = not path.is_symlink() and digest(path) == image.sha256
                    return made.decode(path, thumbnail).problem if same else "it is not the image on record"
                if store is None:
                    return "it is in a store, and the policy names none"
                temp = Path(scratch, image.sha256)
                temp.write_bytes(store.read(image))
                try:
                    return made.decode(temp, thumbnail).problem
                finally:
                    temp.unlink(missing_ok=True)
            except OSError as error:
                return error.strerror or str(error)
            except SeedreamError as error:
                return error.message

        whys = list(threads.map(make, images))
    return {"problems": [[image.file, why] for image, why in zip(images, whys, strict=True) if why is not None]}
