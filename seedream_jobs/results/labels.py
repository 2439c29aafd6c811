"""Finds the marks by which an image says that it was made by AI. Reads only; nothing here is ever stripped.

Looked for: a C2PA manifest (JUMBF boxes in JPEG APP11, a ``caBX`` chunk in PNG, a ``C2PA`` chunk in WebP; C2PA 2.1
§A.3), the ``AIGC`` element of GB 45438-2025 (in XMP as ``TC260:AIGC``, in EXIF UserComment, in a PNG text chunk), and
the IPTC digital source type.
"""

from __future__ import annotations

import html
import mmap
import re
from dataclasses import dataclass
from pathlib import Path

from seedream_jobs.results import xmp
from seedream_jobs.results.containers import Data, Malformed, Part, parts

_AIGC = re.compile(rb'^AIGC=|:AIGC\s*[=>]|"AIGC"\s*:')
_AIGC_JSON = re.compile(rb'\{\s*"(?:AIGC|Label)"[^\x00<]{0,4000}\}', re.DOTALL)
_SOURCE = re.compile(rb"newscodes/digitalsourcetype/(\w+)")
_TEXTS = ("tEXt", "zTXt", "iTXt")


@dataclass(frozen=True, slots=True, kw_only=True)
class Labels:
    """The marks of an image.

    :param c2pa: it carries a C2PA manifest (whose signature is not checked)
    :param aigc: the content of its GB 45438 element as it stands there, shortened to 1000 characters; None without one
    :param source_type: the last word of its IPTC digital source type, such as ``trainedAlgorithmicMedia``
    """

    c2pa: bool = False
    aigc: str | None = None
    source_type: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """For people: the kinds of marks that are there."""
        kinds = (("C2PA", self.c2pa), ("AIGC", self.aigc is not None), ("IPTC", self.source_type is not None))
        return tuple(name for name, there in kinds if there)


def labels_of(file: Path) -> Labels:
    """The marks of an image file. Of a JPEG only the beginning is read.

    :raises OSError: as opening does
    """
    with file.open("rb") as opened:
        if file.stat().st_size == 0:
            return Labels()
        with mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return labels_in(data)


def labels_in(data: Data) -> Labels:
    """The marks in an image's bytes. A malformed file has those that are found before it breaks off."""
    c2pa, aigc, source = False, None, None
    try:
        for part in parts(data):
            c2pa = c2pa or is_c2pa(part, data)
            text = _metadata(part, data)
            if text is None:
                continue
            aigc = aigc if aigc is not None else _aigc(text)
            found = _SOURCE.search(text)
            source = source or (found[1].decode("ascii", "replace") if found else None)
    except Malformed:
        pass
    return Labels(c2pa=c2pa, aigc=aigc, source_type=source)


def is_c2pa(part: Part, data: Data) -> bool:
    """Is this part (a piece of) a C2PA manifest?"""
    if part.name == "APP11":
        body = part.payload(data)
        return body.startswith(b"JP") and b"jum" in body[:64]
    return part.name in ("caBX", "C2PA")


def _metadata(part: Part, data: Data) -> bytes | None:
    """The text in which marks may stand; None for a part that holds pixels or the like."""
    if part.name in ("APP1", "eXIf", "EXIF", "XMP "):
        body = part.payload(data)
        return body if part.name == "XMP " or body.startswith(xmp.JPEG_HEADER) else _exif_text(body)
    if part.name not in _TEXTS:
        return None
    body = part.payload(data)
    keyword, _, rest = body.partition(b"\0")
    try:
        if part.name == "iTXt":
            rest = xmp.international_text(body)
        elif part.name == "zTXt":
            rest = xmp.inflate(rest[1:])
        return keyword + b"=" + rest
    except Malformed:
        return keyword + b"="


def _exif_text(body: bytes) -> bytes:
    """EXIF with UTF-16 comments made readable beside the rest (UserComment's ``UNICODE`` prefix)."""
    at = body.find(b"UNICODE\0")
    return body if at < 0 else body + b"\n" + body[at + 8 :].replace(b"\0", b"")


def _aigc(text: bytes) -> str | None:
    readable = html.unescape(text.decode("utf-8", "replace")).encode()
    if not _AIGC.search(readable):
        return None
    found = _AIGC_JSON.search(readable)
    return (found[0] if found else b"").decode("utf-8", "replace")[:1000]
