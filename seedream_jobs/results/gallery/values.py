"""What the gallery shows: plain values that know nothing of ledgers, plans or files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import quote


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One image slot of one request, or its placeholder while there is no image.

    :param key: the request's identity; with ``index`` it is what a rating belongs to
    :param address: for people, such as ``garden/subject=a-heron,size=16-9#1``
    :param axes: axis name to the label of its value, in axis order; an axis a cell lacks is left out
    :param repeat: the request's repeat number, from 1
    :param index: the image's number within the request, from 1
    :param state: a ledger state (``new``, ``accepted``, ``stored``, …) or a word of a plan (``planned``)
    :param payload: what is sent; ``prompt`` may be among it and is shown once
    :param image: the whole image, a POSIX path relative to the page's folder, not percent-encoded
    :param thumbnail: a small image, likewise
    :param width: pixels
    :param height: pixels
    :param cost_usd: what this slot cost, in USD
    :param submitted_at: Unix seconds
    """

    key: str
    address: str
    axes: Mapping[str, str] = field(default_factory=dict)
    repeat: int = 1
    index: int = 1
    state: str = "planned"
    prompt: str = ""
    payload: Mapping[str, Any] = field(default_factory=dict)
    image: str | None = None
    thumbnail: str | None = None
    width: int | None = None
    height: int | None = None
    sha256: str | None = None
    task_id: str | None = None
    cost_usd: Decimal | None = None
    error: str | None = None
    warnings: tuple[str, ...] = ()
    submitted_at: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One column of the story: a job at one moment. Two of them on one page can be held against each other.

    :param name: the job's name; ratings are filed under it
    :param title: what tells this run from another of the same job, such as a revision; the name where it is empty
    :param axes: axis name to the labels of its values, both in the job's order
    :param cost_usd: spent so far, in USD
    :param max_cost_usd: the most it can cost, in USD
    """

    name: str
    axes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    cells: Sequence[Cell] = ()
    title: str = ""
    cost_usd: Decimal | None = None
    max_cost_usd: Decimal | None = None


def href(path: str, *, up: int = 0) -> str:
    """A relative path as a URL reference that can only be a relative one.

    Every character that could begin a scheme, a host, a query or a fragment is percent-encoded.

    :param up: how many folders below the page's folder the reference stands
    :raises ValueError: for an absolute path, a backslash or a control character
    """
    if not path or PurePosixPath(path).is_absolute() or "\\" in path or any(ord(c) < 32 or ord(c) == 127 for c in path):
        raise ValueError(f"not a path relative to the page: {path!r}")
    return "../" * up + quote(path, safe="/-._~", errors="surrogateescape")
