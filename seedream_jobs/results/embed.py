"""Puts "made by a trained model, from this prompt" into a JPEG or PNG by splicing bytes: no pixel is encoded again.

An image that carries a C2PA manifest is left as it came: any change would break its signature.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from seedream_jobs.results import xmp
from seedream_jobs.results.containers import (
    JPEG_MAX_PAYLOAD,
    JPEG_START,
    PNG_START,
    Malformed,
    jpeg_segment,
    parts,
    png_chunk,
)
from seedream_jobs.results.labels import is_c2pa
from seedream_jobs.run.atomic_file import Sink

_ROOM = JPEG_MAX_PAYLOAD - len(xmp.JPEG_HEADER)


@dataclass(frozen=True, slots=True, kw_only=True)
class Embedded:
    """An image with metadata. ``data`` is the very object that was given where nothing was changed."""

    data: bytes
    warnings: tuple[str, ...] = ()


def embed(data: bytes, description: str | None) -> Embedded:
    """``data`` with an XMP packet that names its digital source type and, if given, the prompt. Pure.

    Metadata that is there is kept; what is added to a packet stands beside what it says already.
    """
    try:
        everything = list(parts(data))
        if any(is_c2pa(part, data) for part in everything):
            return _unchanged(data, "it carries a C2PA manifest, whose signature a change would break")
        if data.startswith(JPEG_START):
            return _into_jpeg(data, description)
        if data.startswith(PNG_START):
            return _into_png(data, description)
    except (Malformed, xmp.NotMergeable) as error:
        return _unchanged(data, str(error))
    return _unchanged(data, "its format is neither JPEG nor PNG")


def _unchanged(data: bytes, why: str) -> Embedded:
    return Embedded(data=data, warnings=(f"no metadata was embedded: {why}",))


def _into_jpeg(data: bytes, description: str | None) -> Embedded:
    found = xmp.find(data)
    xml, said = (xmp.packet(description), ()) if found is None else xmp.merged(found.xml, description)
    if len(xml) > _ROOM:
        xml, said = (xmp.packet(None), ()) if found is None else xmp.merged(found.xml, None)
        said += ("the prompt was not embedded: it does not fit into a JPEG segment",)
        if len(xml) > _ROOM:
            return _unchanged(data, "its XMP packet is full")
    segment = jpeg_segment("APP1", xmp.JPEG_HEADER + xml)
    if found is not None:
        start, end = found.part.start, found.part.end
    else:  # behind JFIF and EXIF, which readers want first
        first = [2]
        for part in parts(data):
            if part.name not in ("APP0", "APP1"):
                break
            first.append(part.end)
        start = end = first[-1]
    return Embedded(data=data[:start] + segment + data[end:], warnings=said)


def _into_png(data: bytes, description: str | None) -> Embedded:
    found = xmp.find(data)
    xml, said = (xmp.packet(description), ()) if found is None else xmp.merged(found.xml, description)
    chunk = png_chunk("iTXt", xmp.PNG_KEYWORD + b"\0\0\0\0\0" + xml)  # not compressed, no language, no translation
    if found is not None:
        start, end = found.part.start, found.part.end
    else:
        header = next(iter(parts(data)), None)
        if header is None or header.name != "IHDR":
            raise Malformed("the PNG does not begin with its header")
        start = end = header.end
    return Embedded(data=data[:start] + chunk + data[end:], warnings=said)


def embed_file(file: Path, description: str | None) -> tuple[str, ...]:
    """``embed`` for a temporary file, in place; its warnings. It is the old file or the new one at any moment.

    :raises SeedreamError: if the disk is full or failing
    """
    before = file.read_bytes()
    after = embed(before, description)
    if after.data is not before:
        sink = Sink(file.with_name(file.name + ".embed"))
        try:
            sink.write(after.data)
            sink.finish()
            sink.path.replace(file)
        finally:
            sink.discard()
    return after.warnings
