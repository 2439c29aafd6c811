"""Whether a manifest's line is an entry, as fast as it can be told: the quick twin of ``codec.decode_entry``.

Lines of one manifest have a handful of shapes (which fields, of which types). The first line of a shape is decoded in
full; for the others only what varies within the shape is looked at. Whatever the quick look does not vouch for is
decoded in full, and ``tests/ledger/test_check.py`` holds the two against each other.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from operator import itemgetter
from pathlib import PurePosixPath
from typing import Any

from seedream_jobs.job.files import within
from seedream_jobs.ledger.codec import Json, decode_entry
from seedream_jobs.ledger.state import Earlier, Entry, State

_STATES = frozenset(state.value for state in State)
_TIME = r"20\d\d-(?:0[1-9]|1[0-2])-(?:0[1-9]|1\d|2[0-8])T(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\dZ"
_MONEY = r"\d{1,9}(?:\.\d{1,9})?"
_INSIDE = r"(?!/)(?!.*\.\.)[^\\\x00\n]+"
_PATTERNS = {
    "key": r"v1:[0-9a-f]{1,64}",
    "task_id": r"[A-Za-z0-9_-]{1,128}",
    "submitted_at": _TIME,
    "since": _TIME,
    "cost_usd": _MONEY,
    "max_cost_usd": _MONEY,
    "output": _INSIDE,
    "file": _INSIDE,
    "sha256": r"[0-9a-f]{64}",
}
_COUNTS = ("generation", "max_images", "repeat", "width", "height", "bytes", "expires_at", "replays")
_RARE = ("earlier", "doubt", "error")

Look = Callable[[Json], bool]


class EntryCheck:
    """Checks the lines of one manifest.

    :param folder: the manifest's folder, relative to the campaign's root: no path may lead out of that
    """

    def __init__(self, folder: PurePosixPath) -> None:
        self._folder = folder
        self._looks: dict[tuple[Any, ...], Look] = {}
        self._image_looks: dict[tuple[Any, ...], Look] = {}

    def check(self, raw: Json) -> None:
        """Vouch for an entry's line.

        :raises Malformed: it is none
        :raises OutsideRoot: a path in it leads out of the campaign's root
        """
        shape = (*raw, *map(type, raw.values()))
        look = self._looks.get(shape)
        if look is not None and look(raw) and raw["state"] in _STATES and self._images(raw):
            return
        self.confine(decode_entry(raw))
        if look is None and not any(name in raw for name in _RARE):
            self._looks[shape] = _look(raw)
            for image in raw.get("images", ()):
                if "error" not in image and "warnings" not in image:
                    self._image_looks.setdefault((*image, *map(type, image.values())), _look(image))

    def confine(self, entry: Entry) -> None:
        """:raises OutsideRoot: a path of the entry leads out of the campaign's root"""
        within(self._folder, entry.output)
        attempts: tuple[Entry | Earlier, ...] = (entry, *entry.earlier)
        for attempt in attempts:
            for image in attempt.images:
                if image.file is not None:
                    within(self._folder, image.file)

    def _images(self, raw: Json) -> bool:
        images = raw.get("images")
        if images is None:
            return True
        for image in images:
            if type(image) is not dict:
                return False
            look = self._image_looks.get((*image, *map(type, image.values())))
            if look is None or not look(image):
                return False
        return True


def _look(sample: Json) -> Look:
    """What is looked at in lines of the sample's shape: one pattern over the texts, one minimum over the counts."""
    texts = [name for name in _PATTERNS if name in sample]
    counts = [name for name in _COUNTS if name in sample]
    pattern = re.compile("\n".join(_PATTERNS[name] for name in texts), re.ASCII).fullmatch
    written, numbers = _picker(texts), _picker(counts)

    def look(raw: Json) -> bool:
        return pattern("\n".join(written(raw))) is not None and min(numbers(raw), default=1) > 0

    return look


def _picker(names: list[str]) -> Callable[[Json], tuple[Any, ...]]:
    if len(names) > 1:
        return itemgetter(*names)
    if names:
        name = names[0]
        return lambda raw: (raw[name],)
    return lambda raw: ()
