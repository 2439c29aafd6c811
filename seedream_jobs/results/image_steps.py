"""This module stores what belongs to a fetched image: sidecar, thumbnail and, if asked for, embedded metadata.

Called by ``run.fetch`` through ``run.images.ImageSteps``. Invariants: an image is in the store before it has a name
here; a sidecar is written only once its image has its final name, in the store before on disk.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from seedream_jobs.api.credentials import without_keys
from seedream_jobs.atomic_file import confined, digest, find_damage, read_regular, refusal
from seedream_jobs.errors import UsageError
from seedream_jobs.inside import STATE_FOLDER
from seedream_jobs.job.git import run_git
from seedream_jobs.ledger.ledger import Ledger
from seedream_jobs.ledger.paths import keep_private
from seedream_jobs.ledger.state import Entry, Image
from seedream_jobs.records import Record
from seedream_jobs.results.image_metadata import embed_in_file, read_labels
from seedream_jobs.results.image_store import ImageStore
from seedream_jobs.results.sidecar import MAX_BYTES, Provenance, find_stored_image, sidecar, write_sidecar
from seedream_jobs.results.thumbnails import Decoders, move_thumbnail, thumbnail_path
from seedream_jobs.run.fetch import temporary
from seedream_jobs.run.images import Examined, ImageSteps, KeptBytes
from seedream_jobs.run.options import RunOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class CampaignImageSteps(ImageSteps):
    """The steps for an image of a campaign: metadata, decoding in a process of its own, thumbnail, sidecar.

    :param decoders: the processes that decode; the caller closes them
    :param folder: the manifest's folder
    :param root: the campaign's root
    :param cache: where thumbnails are kept; None for none
    :param embed_metadata: put the digital source type and the prompt into the files
    :param now: Unix seconds
    :param token: of temporary names, as the fetcher's
    :param store: where images are kept beside, or with ``local=False`` instead of, this disk
    :param record: the id of the manifest, and the origin of its service
    """

    decoders: Decoders
    folder: Path
    root: Path
    cache: Path | None
    now: Callable[[], float]
    provenance: Provenance = field(default_factory=Provenance)
    embed_metadata: bool = False
    token: str = ""
    store: ImageStore | None = None
    local: bool = True
    record: Callable[[], tuple[str, str]] = lambda: ("", "")

    def find_stored(self, entry: Entry, index: int) -> Image | None:
        recorded = entry.images[index]
        found = recorded if self._is_whole(recorded) else find_stored_image(entry, index, self.folder, self.root)
        if found is None or self.store is None:
            return found
        assert found.file is not None
        assert found.sha256 is not None
        path = confined(self.root, self.folder, found.file)
        sha256, found = found.sha256, replace(found, object=self.keep(path, found))
        try:
            self._describe_in_store(entry, found, read_regular(path.with_suffix(".json"), MAX_BYTES))
        except FileNotFoundError:
            self.describe(entry, index, found, sha256)
        except OSError as error:
            raise refusal(error, path) from error
        return found

    def _is_whole(self, image: Image) -> bool:
        if image.file is None or image.sha256 is None:
            return False
        try:
            path = confined(self.root, self.folder, image.file)
        except UsageError:
            return False
        return find_damage(path, size=image.bytes, sha256=image.sha256) is None

    def keep(self, temp: Path, image: Image) -> str | None:
        return None if self.store is None else self.store.keep(temp, image)

    def examine(self, temp: Path, sha256: str) -> Examined:
        return self.decoders.decode(temp, None if self.cache is None else thumbnail_path(self.cache, sha256))

    def prepare(self, temp: Path, entry: Entry, came: KeptBytes) -> KeptBytes:
        if not self.embed_metadata:
            return came
        try:
            warnings = embed_in_file(temp, entry.request.get("prompt"))
            kept = KeptBytes(sha256=digest(temp), bytes=temp.stat().st_size, warnings=warnings)
            if self.cache is not None and kept.sha256 != came.sha256:
                move_thumbnail(self.cache, came.sha256, kept.sha256)
            return kept
        except OSError as error:
            raise refusal(error, temp) from error

    def describe(self, entry: Entry, index: int, image: Image, came_sha256: str) -> tuple[str, ...]:
        assert image.file is not None
        path = confined(self.root, self.folder, image.file)
        temp = temporary(path, entry, index, self.token)
        try:
            labels = read_labels(path if self.local else temp)
            if labels.aigc is not None:  # words of the service
                labels = replace(labels, aigc=without_keys(labels.aigc))
            content = sidecar(
                entry,
                index,
                image,
                provenance=self.provenance,
                labels=labels,
                came_sha256=came_sha256,
                stored_at=int(self.now()),
            )
            self._describe_in_store(entry, image, content)
            return write_sidecar(path, content, entry.key, temp) if self.local else ()  # the image has left ``temp``
        except OSError as error:
            raise refusal(error, path) from error

    def _describe_in_store(self, entry: Entry, image: Image, content: bytes) -> None:
        if self.store is not None:
            manifest, origin = self.record()
            self.store.describe(entry, image, content, manifest=manifest, origin=origin)


def image_steps(
    record: Record, ledger: Ledger, decoders: Decoders, options: RunOptions, store: ImageStore | None
) -> CampaignImageSteps:
    """The steps for the images of one job.

    :param decoders: the processes that decode; the caller closes them
    :raises SeedreamError: the campaign's state folder can't be made
    """
    root = record.root
    try:
        keep_private(root / STATE_FOLDER)  # thumbnails will lie there
    except OSError as error:
        raise refusal(error, root / STATE_FOLDER) from error
    provenance = Provenance()
    if record.job is not None:
        spec = record.job.expansion.spec
        provenance = Provenance(
            job=str(spec.folder / record.job.file.name),
            template=spec.prompt.source if spec.prompt else None,
            commit=_commit(root),
        )
    return CampaignImageSteps(
        decoders=decoders,
        folder=record.paths.manifest.parent,
        root=root,
        cache=root / STATE_FOLDER / "thumbnails",
        now=time.time,
        provenance=provenance,
        embed_metadata=options.embed_metadata,
        store=store,
        local=options.local,
        record=lambda: (ledger.id, "" if ledger.header is None else ledger.header.origin),
    )


def _commit(root: Path) -> str | None:
    """The commit that is checked out, None outside git."""
    try:
        ended = run_git(root, "rev-parse", "--verify", "--quiet", "HEAD")
    except UsageError:
        return None
    return ended.stdout.decode().strip() if ended.returncode == 0 else None
