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

_TIME = r"20\d\d-(?:0[1-9]|1[0-2])-(?:0[1-9]|1\d|2[0-8])T(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\dZ"
_MONEY = r"\d{1,9}(?:\.\d{1,9})?"
_INSIDE = r"(?!/)[^\\\x00\n]+"
_PATTERNS = {
    "state": "|".join(state.value for state in State).join(("(?:", ")")),
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
_RARE = frozenset({"earlier", "doubt", "error", "warnings"})

Look = Callable[[Json, Json], bool]
_NO_IMAGE: Json = {}


class EntryCheck:
    """Checks the lines of one manifest.

    :param folder: the manifest's folder, relative to the campaign's root: no path may lead out of that
    """

    def __init__(self, folder: PurePosixPath) -> None:
        self._folder = folder
        self._looks: dict[tuple[Any, ...], Look] = {}

    def check(self, raw: Json) -> None:
        """Vouch for an entry's line.

        :raises Malformed: it is none
        :raises OutsideRoot: a path in it leads out of the campaign's root
        """
        images = raw.get("images")
        image = images[0] if type(images) is list and len(images) == 1 else _NO_IMAGE
        if type(image) is dict and (images is None or image):
            shape = (*raw, *map(type, raw.values()), *image, *map(type, image.values()))
            look = self._looks.get(shape)
            if look is not None and look(raw, image):
                return
            self.confine(decode_entry(raw))
            if look is None and _RARE.isdisjoint(raw) and _RARE.isdisjoint(image):
                self._looks[shape] = _look(raw, image)
            return
        self.confine(decode_entry(raw))

    def confine(self, entry: Entry) -> None:
        """:raises OutsideRoot: a path of the entry leads out of the campaign's root"""
        within(self._folder, entry.output)
        attempts: tuple[Entry | Earlier, ...] = (entry, *entry.earlier)
        for attempt in attempts:
            for image in attempt.images:
                if image.file is not None:
                    within(self._folder, image.file)


def _look(sample: Json, sample_image: Json) -> Look:
    """What is looked at in lines of the sample's shape: one pattern over the texts, one minimum over the counts."""
    texts = [name for name in _PATTERNS if name in sample]
    image_texts = [name for name in _PATTERNS if name in sample_image]
    pattern = re.compile("\n".join(_PATTERNS[name] for name in (*texts, *image_texts)), re.ASCII).fullmatch
    written, image_written = _picker(texts), _picker(image_texts)
    numbers = _picker([name for name in _COUNTS if name in sample])
    image_numbers = _picker([name for name in _COUNTS if name in sample_image])

    def look(raw: Json, image: Json) -> bool:
        joined = "\n".join(written(raw) + image_written(image))
        return pattern(joined) is not None and ".." not in joined and min(numbers(raw) + image_numbers(image)) > 0

    return look


def _picker(names: list[str]) -> Callable[[Json], tuple[Any, ...]]:
    if len(names) > 1:
        return itemgetter(*names)
    if names:
        name = names[0]
        return lambda raw: (raw[name],)
    return lambda raw: ()
