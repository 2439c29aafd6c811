"""This module keeps images in the store that the policy names, and reads them back by their content.

Called by ``image_steps`` for each fetched image, and by ``pull``, ``gallery``, ``export`` and ``plan``. Invariants:
only the policy's store is ever opened, whatever a record says; nothing that is read counts before its sha256 is the
record's; an object is created once and never replaced.

    images/<2 hex>/<sha256>.<ext>                  an image
    images/<2 hex>/<sha256>.json                   its sidecar
    keys/<service>/<2 hex>/<key>.<manifest>.json   that a record has paid a request, and its first image
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from seedream_jobs.atomic_file import (
    Sink,
    find_damage,
    place_as,
    refusal,
    temporary,
    whole_file,
)
from seedream_jobs.confinement import allow_images
from seedream_jobs.diagnostics import Diagnostic
from seedream_jobs.errors import SeedreamError, UnfinishedError, UsageError
from seedream_jobs.inside import open_record
from seedream_jobs.ledger.codec import canonical
from seedream_jobs.ledger.state import Entry, Header, Image
from seedream_jobs.plans.load import Target
from seedream_jobs.plans.plan import PlannedJob
from seedream_jobs.plans.policy import POLICY_FILE, Policy
from seedream_jobs.results.sidecar import FORMAT
from seedream_jobs.run.images import EXTENSIONS, Damage

if TYPE_CHECKING:  # it imports obstore, an optional extra
    from seedream_jobs.object_store import Objects

_SECONDS = 60
"""For one request: an image of 64 MiB on a slow line."""
_MOST = 128 << 20
_MOST_TEXT = 4 << 20
_NAMED = 3


def object_name(sha256: str, extension: str) -> str:
    """Where the image with this content lies in a store, or with ``.json`` its sidecar."""
    return f"images/{sha256[:2]}/{sha256}{extension}"


def open_images(policy: Policy | None, target: Target, *, needed: str = "") -> ImageStore | None:
    """The store of a campaign's images; None where its policy names none. Rehearsals stay on this machine.

    :param needed: what does not work without one
    :raises UsageError: obstore is not installed, or does not take the URL or what the environment says
    """
    if policy is None or policy.images is None or target.emulator:
        if needed:
            why = "a rehearsal has no store" if target.emulator else f"{POLICY_FILE} names no store of images"
            raise UsageError(f"{needed}: {why}", hint="shared: {images: s3://BUCKET/PREFIX} in the policy names one")
        return None
    return open_at(policy.images)


def open_at(url: str) -> ImageStore:
    """The store at a URL, on the word of a policy.

    :raises UsageError: as ``open_images``
    """
    try:
        objects: Objects = importlib.import_module("seedream_jobs.object_store").Objects(url, seconds=_SECONDS)
    except ImportError as error:
        raise UsageError(
            f"{url} needs {error.name}, which is not installed", hint='pip install "seedream-jobs[cloud]"'
        ) from None
    return ImageStore(objects)


@dataclass(slots=True)
class ImageStore:
    """The images below one URL.

    :ivar down: why it could not be reached; it is not asked for further images then
    """

    objects: Objects
    down: SeedreamError | None = None

    def keep(self, file: Path, image: Image) -> str:
        """Put an image into the store, by its digest and format; the name of its object.

        :raises UnfinishedError: the store can't be reached, or other bytes lie under the image's name
        """
        assert image.sha256 is not None
        assert image.format is not None
        name = object_name(image.sha256, EXTENSIONS[image.format])
        try:
            with os.fdopen(open_record(file), "rb", buffering=0) as opened:
                body = opened.read()
        except OSError as error:
            raise refusal(error, file) from error
        if not self.objects.create(name, body):
            raise UnfinishedError(
                f"{self.objects.url}: under {name} lie bytes that have another sha256",
                hint="nothing replaces it: look at it, remove it there, then run the same command again",
            )
        return name

    def describe(self, entry: Entry, image: Image, sidecar: bytes, *, manifest: str, origin: str) -> None:
        """Put what is known of a kept image beside it, and that its request was paid. What stands there stays."""
        assert image.sha256 is not None
        self.objects.create(object_name(image.sha256, ".json"), sidecar)
        told = {"address": entry.address, "image": image.object, "key": entry.key, "task_id": entry.task_id}
        self.objects.create(f"{_keys(origin, entry.key)}{_file(entry.key)}.{manifest}.json", canonical(told))

    def read(self, image: Image) -> bytes:
        """The bytes of a recorded image.

        :raises SeedreamError: the store can't be reached, does not have it, or has other bytes
        """
        if self.down is not None:
            raise self.down
        name, hint = image.object, "fetch --verify downloads it again while its link lives"
        if name is None or image.sha256 is None:
            raise UnfinishedError("the record does not say what it holds")
        try:
            raw = self.objects.get(name, most=_MOST if image.bytes is None else min(image.bytes, _MOST))
        except SeedreamError as error:
            self.down = error
            raise
        if raw is None:
            raise UnfinishedError(f"{name} is not in {self.objects.url}", hint=hint)
        allow_images(1, len(raw))  # what came, not what a record says
        if hashlib.sha256(raw).hexdigest() != image.sha256:
            raise UnfinishedError(f"{name} in {self.objects.url} has bytes of another sha256", hint=hint)
        return raw

    def damage(self, image: Image) -> Damage | None:
        """What is wrong with an image in the store; None if it is whole. Reads all of it.

        :raises SeedreamError: the store can't be reached
        """
        try:
            self.read(image)
        except SeedreamError:
            if self.down is not None:
                raise
            return "changed"
        return None

    def sidecar(self, image: Image) -> bytes | None:
        """The sidecar beside an image, which is anybody's word; None where there is none."""
        assert image.sha256 is not None
        return self.objects.get(object_name(image.sha256, ".json"), most=_MOST_TEXT)

    def paid(self, keys: Iterable[str], origin: str, own: frozenset[str]) -> dict[str, str]:
        """Which of these requests another record has paid: the name of the object that says so, by key.

        :param own: the ids of the record that asks
        """
        wanted = {_file(key): key for key in keys}
        found: dict[str, str] = {}
        with ThreadPoolExecutor(16) as pool:  # a listing for each of at most 256 folders
            folders = sorted({_keys(origin, key) for key in wanted.values()})
            for names in pool.map(lambda folder: list(self.objects.list(folder)), folders):
                for name in names:
                    file, _, manifest = name.rpartition("/")[2].removesuffix(".json").partition(".")
                    if file in wanted and manifest not in own:
                        found[wanted[file]] = name
        return found

    def told(self, name: str) -> Mapping[str, Any]:
        """What an object of ``paid`` says."""
        try:
            found = json.loads(self.objects.get(name, most=_MOST_TEXT) or b"")
        except (ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}


def bring_back(store: ImageStore, image: Image, path: Path, key: str) -> Literal["there", "brought"]:
    """Bring an image, and its sidecar if it is of this request, from the store to its name.

    :param path: inside the campaign's root
    :raises UsageError: another file has the name; nothing is written
    :raises SeedreamError: the store can't be reached, does not have it or has other bytes, or the disk takes nothing
    """
    found = find_damage(path, size=image.bytes, sha256=image.sha256)
    if found is None and image.sha256 is not None:
        return "there"
    if found is not None and found[0] == "missing":
        sink = Sink(temporary(path))
        try:
            sink.write(store.read(image))
            sink.finish()
            if place_as(sink.path, path):
                _bring_sidecar(store, image, path, key)
                return "brought"
        finally:
            sink.discard()
    raise UsageError(f"a file with other bytes has its name: {'it was just made' if found is None else found[1]}")


def _bring_sidecar(store: ImageStore, image: Image, path: Path, key: str) -> None:
    raw, beside = store.sidecar(image), path.with_suffix(".json")
    try:
        told = json.loads(raw or b"")
        own = (told["format"], told["key"], told["image"]["sha256"], told["image"]["file"])
    except (ValueError, TypeError, KeyError, RecursionError):
        return  # it is anybody's word, and not needed
    if own == (FORMAT, key, image.sha256, path.name) and raw is not None and not os.path.lexists(beside):
        with whole_file(beside) as file:
            file.write(raw)


def _keys(origin: str, key: str) -> str:
    # Two services are two campaigns, as with records.
    return f"keys/{hashlib.sha256(origin.encode()).hexdigest()[:8]}/{key.rpartition(':')[2][:2]}/"


def _file(key: str) -> str:
    return key.replace(":", "-")


def find_paid_in_store(
    planned: PlannedJob, policy: Policy | None, target: Target, own: Header | None
) -> list[Diagnostic]:
    """The warning that requests about to be paid were paid in another record of the same store, with their images.

    :param own: the job's record
    """
    ids = frozenset() if own is None else frozenset({own.id, *own.other_ids})
    submits = planned.submits if planned.changes is None else planned.changes.submits()  # those are not built
    try:
        store = open_images(policy, target) if planned.submit else None
        if store is None:
            return []
        found = store.paid((one.key for one in submits), target.origin, ids)
        named = [store.told(name) for _, name in sorted(found.items())[:_NAMED]]
    except SeedreamError as error:
        message = f"whether another record has paid these requests is not known: {error.message}"
        return [
            Diagnostic(code="store-unknown", severity="warning", message=message, path=planned.shown, hint=error.hint)
        ]
    if not found:
        return []
    said = ", ".join(f"{one.get('address', '?')} as {one.get('image', '?')}" for one in named)
    more = " …" if len(found) > _NAMED else ""
    return [
        Diagnostic(
            code="paid-in-store",
            severity="warning",
            message=f"{len(found)} of {planned.submit} requests to be submitted were paid in another record of the "
            f"same store, which has their images: {said}{more}",
            path=planned.shown,
            hint="they are paid again, unless their record is merged into this campaign, or the job leaves them out",
        )
    ]
