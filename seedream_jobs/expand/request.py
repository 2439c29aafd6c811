"""One request: its payload, its identity, its address."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """A reference image from the campaign's own files.

    :param path: POSIX, relative to the campaign's root
    :param sha256: hex digest of its bytes
    :param format: ``jpeg`` or ``png``, by content
    """

    path: str
    sha256: str
    format: str
    bytes: int
    width: int
    height: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One submission to be made.

    :param key: ``v1:`` and 64 hex digits; what makes two requests the same request
    :param address: for people, such as ``garden/subject=a-heron,size=16-9#1``; may change freely
    :param payload: what the user set, plus ``model``; a local reference stands as ``sha256:<hex>``
    :param references: the local references by their ``sha256:<hex>``
    :param cell: axis name to the label of its value
    :param max_images: the most images the service can deliver and charge
    :param output: the images' path without extension, POSIX, relative to the job file's folder
    """

    key: str
    address: str
    payload: Mapping[str, Any]
    references: Mapping[str, Reference]
    cell: Mapping[str, Any]
    repeat: int
    max_images: int
    output: str
