"""This module reads and adds metadata in image files: AI labels are found, an XMP packet is spliced in.

Called by ``image_steps`` for each stored image. Invariant: no pixel is encoded again and no metadata is removed; an
image with a C2PA manifest is never changed, since that would break its signature.

Sources: ITU-T T.81 annex B (JPEG), the PNG specification (third edition) §5, RFC 9649 (WebP), ISO 16684-1 and XMP
specification part 3, IPTC Photo Metadata Standard 2023.2 (``Iptc4xmpExt:DigitalSourceType``), C2PA 2.1 §A.3,
GB 45438-2025 (the ``AIGC`` element: in XMP as ``TC260:AIGC``, in EXIF UserComment, in a PNG text chunk).
"""

from __future__ import annotations

import html
import mmap
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.parsers import expat
from xml.sax.saxutils import escape, quoteattr

from seedream_jobs.atomic_file import Sink

ImageData = bytes | mmap.mmap

JPEG_START = b"\xff\xd8"
PNG_START = b"\x89PNG\r\n\x1a\n"
JPEG_MAX_PAYLOAD = 65533
"""The most bytes that one JPEG segment holds."""
XMP_JPEG_HEADER = b"http://ns.adobe.com/xap/1.0/\0"
XMP_PNG_KEYWORD = b"XML:com.adobe.xmp"
SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
"""IPTC's name for media made by a trained model."""

_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_IPTC = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
_DC = "http://purl.org/dc/elements/1.1/"
_MAX_PACKET = 4 * 1024 * 1024
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_AIGC = re.compile(rb'^AIGC=|:AIGC\s*[=>]|"AIGC"\s*:')
_AIGC_JSON = re.compile(rb'\{\s*"(?:AIGC|Label)"[^\x00<]{0,4000}\}', re.DOTALL)
_SOURCE = re.compile(rb"newscodes/digitalsourcetype/(\w+)")


class MalformedImage(ValueError):
    """The file's structure ends early or is contradictory."""


class UnmergeablePacket(ValueError):
    """Adding to the XMP packet that is there could change what it says."""


# ── The outer structure: JPEG segments, PNG chunks and WebP chunks, as places in the file's bytes ──


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagePart:
    """A segment or chunk: ``start`` to ``end`` is all of it, ``body`` to ``body_end`` its payload. Byte offsets.

    :param name: ``APP1`` … for JPEG, ``0xDA`` and the like for other markers; the chunk's four characters elsewhere
    """

    name: str
    start: int
    body: int
    body_end: int
    end: int

    def payload(self, data: ImageData) -> bytes:
        return data[self.body : self.body_end]


def image_parts(data: ImageData) -> Iterator[ImagePart]:
    """The parts of a JPEG, PNG or WebP file in order; of a JPEG those before its first scan. Nothing for other files.

    :raises MalformedImage: where the structure breaks off, after the parts before it
    """
    if data[:2] == JPEG_START:
        return _jpeg_parts(data)
    if data[:8] == PNG_START:
        return _chunks(data, "PNG", len(PNG_START))
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return _chunks(data, "WebP", 12)
    return iter(())


def _jpeg_parts(data: ImageData) -> Iterator[ImagePart]:
    at = 2
    while True:
        start = at
        if data[at : at + 1] != b"\xff":
            raise MalformedImage(f"no JPEG marker at byte {at}")
        while data[at : at + 1] == b"\xff":  # any number of fill bytes
            at += 1
        marker = data[at : at + 1]
        if not marker:
            raise MalformedImage("the JPEG ends before its first scan")
        code = marker[0]
        if code in (0xDA, 0xD9):  # start of scan, end of image
            return
        if code == 0x01 or 0xD0 <= code <= 0xD8:  # markers that stand alone
            at += 1
            continue
        length = int.from_bytes(data[at + 1 : at + 3], "big")
        end = at + 1 + length
        if length < 2 or end > len(data):
            raise MalformedImage(f"the JPEG segment at byte {start} is cut off")
        name = f"APP{code - 0xE0}" if 0xE0 <= code <= 0xEF else f"0x{code:02X}"
        yield ImagePart(name=name, start=start, body=at + 3, body_end=end, end=end)
        at = end


def _chunks(data: ImageData, format: str, at: int) -> Iterator[ImagePart]:
    """PNG has length, name, payload, checksum; WebP has name, length, payload, padding to an even length."""
    png = format == "PNG"
    while at < len(data) if png else at + 8 <= len(data):
        first, second = data[at : at + 4], data[at + 4 : at + 8]
        name, length = (second, int.from_bytes(first, "big")) if png else (first, int.from_bytes(second, "little"))
        body_end = at + 8 + length
        end = body_end + (4 if png else length % 2)
        if (end if png else body_end) > len(data):
            raise MalformedImage(f"the {format} chunk at byte {at} is cut off")
        yield ImagePart(name=name.decode("latin-1"), start=at, body=at + 8, body_end=body_end, end=end)
        if name == b"IEND":
            return
        at = end


def jpeg_segment(name: str, payload: bytes) -> bytes:
    """The bytes of an ``APPn`` segment, whose payload is at most ``JPEG_MAX_PAYLOAD`` long."""
    return bytes((0xFF, 0xE0 + int(name.removeprefix("APP")))) + (len(payload) + 2).to_bytes(2, "big") + payload


def png_chunk(name: str, payload: bytes) -> bytes:
    """The bytes of a PNG chunk, its checksum included."""
    typed = name.encode("ascii") + payload
    return len(payload).to_bytes(4, "big") + typed + zlib.crc32(typed).to_bytes(4, "big")


# ── AI labels ──


@dataclass(frozen=True, slots=True, kw_only=True)
class AiLabels:
    """The marks by which an image says that it was made by AI.

    :param c2pa: it carries a C2PA manifest (whose signature is not checked)
    :param aigc: the content of its GB 45438 element as it stands there, shortened to 1000 characters; None without one
    :param source_type: the last word of its IPTC digital source type, such as ``trainedAlgorithmicMedia``
    """

    c2pa: bool = False
    aigc: str | None = None
    source_type: str | None = None


def read_labels(file: Path) -> AiLabels:
    """The AI labels of an image file. Of a JPEG only the beginning is read.

    :raises OSError: as opening does
    """
    with file.open("rb") as opened:
        if file.stat().st_size == 0:  # an empty file can't be mapped
            return AiLabels()
        with mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return labels_in(data)


def labels_in(data: ImageData) -> AiLabels:
    """The AI labels in an image's bytes. A malformed file has those that are found before it breaks off."""
    c2pa, aigc, source = False, None, None
    try:
        for part in image_parts(data):
            c2pa = c2pa or _is_c2pa(part, data)
            text = _label_text(part, data)
            if text is None:
                continue
            aigc = aigc if aigc is not None else _aigc(text)
            found = _SOURCE.search(text)
            source = source or (found[1].decode("ascii", "replace") if found else None)
    except MalformedImage:
        pass
    return AiLabels(c2pa=c2pa, aigc=aigc, source_type=source)


def _is_c2pa(part: ImagePart, data: ImageData) -> bool:
    if part.name == "APP11":
        body = part.payload(data)
        return body.startswith(b"JP") and b"jum" in body[:64]
    return part.name in ("caBX", "C2PA")


def _label_text(part: ImagePart, data: ImageData) -> bytes | None:
    """The text in which labels may stand; None for a part that holds pixels or the like."""
    if part.name in ("APP1", "eXIf", "EXIF", "XMP "):
        body = part.payload(data)
        at = -1 if part.name == "XMP " or body.startswith(XMP_JPEG_HEADER) else body.find(b"UNICODE\0")
        # An EXIF UserComment may be UTF-16, in which the search would miss a label: its zero bytes are taken out.
        return body if at < 0 else body + b"\n" + body[at + 8 :].replace(b"\0", b"")
    if part.name not in ("tEXt", "zTXt", "iTXt"):
        return None
    body = part.payload(data)
    keyword, _, rest = body.partition(b"\0")
    try:
        if part.name == "iTXt":
            rest = _international_text(body)
        elif part.name == "zTXt":
            rest = _inflate(rest[1:])
        return keyword + b"=" + rest
    except MalformedImage:
        return keyword + b"="


def _aigc(text: bytes) -> str | None:
    readable = html.unescape(text.decode("utf-8", "replace")).encode()
    if not _AIGC.search(readable):
        return None
    found = _AIGC_JSON.search(readable)
    return (found[0] if found else b"").decode("utf-8", "replace")[:1000]


def _international_text(payload: bytes) -> bytes:
    """The text of a PNG ``iTXt`` chunk, inflated if need be.

    :raises MalformedImage: if it is no such chunk, or is out of bounds
    """
    keyword, _, rest = payload.partition(b"\0")
    packed, tail = rest[:1], rest[2:].split(b"\0", 2)
    if not keyword or len(rest) < 2 or len(tail) != 3:
        raise MalformedImage("an iTXt chunk is malformed")
    return _inflate(tail[2]) if packed == b"\1" else tail[2]


def _inflate(packed: bytes) -> bytes:
    """zlib data, unpacked within bounds: a few kilobytes could otherwise fill the memory.

    :raises MalformedImage: if it is damaged or unpacks to more than 4 MiB
    """
    unpacker = zlib.decompressobj()
    try:
        text = unpacker.decompress(packed, _MAX_PACKET)
    except zlib.error as error:
        raise MalformedImage("compressed metadata is damaged") from error
    if unpacker.unconsumed_tail:
        raise MalformedImage("compressed metadata is too large")
    return text


# ── XMP packets ──


@dataclass(frozen=True, slots=True, kw_only=True)
class XmpPacket:
    """An XMP packet and the part of the file that holds it."""

    part: ImagePart
    xml: bytes


def find_xmp(data: ImageData) -> XmpPacket | None:
    """The XMP packet of a JPEG, PNG or WebP file, inflated if need be.

    :raises MalformedImage: if the file's structure breaks off before one is found, or the packet is out of bounds
    """
    for part in image_parts(data):
        if part.name == "APP1" and data[part.body : part.body + len(XMP_JPEG_HEADER)] == XMP_JPEG_HEADER:
            return XmpPacket(part=part, xml=part.payload(data)[len(XMP_JPEG_HEADER) :])
        if part.name == "XMP ":
            return XmpPacket(part=part, xml=part.payload(data))
        if part.name == "iTXt" and data[part.body : part.body_end].startswith(XMP_PNG_KEYWORD + b"\0"):
            return XmpPacket(part=part, xml=_international_text(part.payload(data)))
    return None


def _new_packet(prompt: str | None) -> bytes:
    body = _rdf_description("", prompt)
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n'
        f'<x:xmpmeta xmlns:x="adobe:ns:meta/">\n<rdf:RDF xmlns:rdf="{_RDF}">\n{body}</rdf:RDF>\n</x:xmpmeta>\n'
        '<?xpacket end="w"?>'
    ).encode()


def _merged_packet(existing: bytes, prompt: str | None) -> tuple[bytes, tuple[str, ...]]:
    """``existing`` with our statements added, and a warning for each statement that it already makes itself.

    :raises UnmergeablePacket: if it is no UTF-8 XMP that stays well-formed with an addition
    """
    try:
        text = existing.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UnmergeablePacket("it is not UTF-8") from error
    if "<!DOCTYPE" in text or "<!ENTITY" in text:  # an entity could change what the added text says
        raise UnmergeablePacket("it declares entities")
    _check_well_formed(text)
    warnings: list[str] = []
    if _IPTC in text and "DigitalSourceType" in text:
        warnings.append("its XMP names a digital source type already, which was kept")
    source = not warnings
    if _DC in text and re.search(r"<[\w.-]+:description\b", text):
        if prompt is not None:
            warnings.append("its XMP has a description already, which was kept")
        prompt = None
    if not source and prompt is None:
        return existing, tuple(warnings)
    end = list(re.finditer(r"</([\w.-]+):RDF\s*>", text))
    if len(end) != 1:
        raise UnmergeablePacket("it has no single rdf:RDF element")
    about = re.search(r"\b" + re.escape(end[0][1]) + r":about\s*=\s*(?:\"([^\"]*)\"|'([^']*)')", text)
    subject = (about[1] if about[1] is not None else about[2]) if about else ""
    grown = text[: end[0].start()] + _rdf_description(subject, prompt, source=source) + text[end[0].start() :]
    _check_well_formed(grown)
    return grown.encode(), tuple(warnings)


def _rdf_description(about: str, prompt: str | None, *, source: bool = True) -> str:
    # ``about`` was copied from XML, so it is escaped already.
    lines = [f'<rdf:Description xmlns:rdf="{_RDF}" rdf:about="{about.replace(chr(34), "&quot;")}"']
    lines += [f" xmlns:dc={quoteattr(_DC)} xmlns:Iptc4xmpExt={quoteattr(_IPTC)}>\n"]
    if source:
        lines += [f"<Iptc4xmpExt:DigitalSourceType>{SOURCE_TYPE}</Iptc4xmpExt:DigitalSourceType>\n"]
    if prompt is not None:
        text = escape(_NOT_XML.sub("\ufffd", prompt), {"\r": "&#13;"})
        lines += [f'<dc:description><rdf:Alt><rdf:li xml:lang="x-default">{text}</rdf:li></rdf:Alt></dc:description>\n']
    return "".join([*lines, "</rdf:Description>\n"])


def _check_well_formed(text: str) -> None:
    parser = expat.ParserCreate(namespace_separator=" ")
    try:
        parser.Parse(text.removeprefix("\ufeff").rstrip("\0 \r\n\t").encode(), True)
    except expat.ExpatError as error:
        raise UnmergeablePacket(f"it is not well-formed: {error}") from error


# ── Embedding ──


def embed(data: bytes, prompt: str | None) -> tuple[bytes, tuple[str, ...]]:
    """``data`` with an XMP packet that names its digital source type and, if given, the prompt; and warnings.

    Existing metadata is kept; an existing packet is extended. If nothing changes, the same object is returned.
    """
    try:
        if any(_is_c2pa(part, data) for part in image_parts(data)):
            raise UnmergeablePacket("it carries a C2PA manifest, whose signature a change would break")
        if data.startswith(JPEG_START):
            return _embed_in_jpeg(data, prompt)
        if data.startswith(PNG_START):
            return _embed_in_png(data, prompt)
        raise UnmergeablePacket("its format is neither JPEG nor PNG")
    except (MalformedImage, UnmergeablePacket) as error:
        return data, (f"no metadata was embedded: {error}",)


def _packet(found: XmpPacket | None, prompt: str | None) -> tuple[bytes, tuple[str, ...]]:
    return (_new_packet(prompt), ()) if found is None else _merged_packet(found.xml, prompt)


def _embed_in_jpeg(data: bytes, prompt: str | None) -> tuple[bytes, tuple[str, ...]]:
    room = JPEG_MAX_PAYLOAD - len(XMP_JPEG_HEADER)
    found = find_xmp(data)
    xml, warnings = _packet(found, prompt)
    if len(xml) > room:
        xml, warnings = _packet(found, None)
        warnings += ("the prompt was not embedded: it does not fit into a JPEG segment",)
        if len(xml) > room:
            raise UnmergeablePacket("its XMP packet is full")
    segment = jpeg_segment("APP1", XMP_JPEG_HEADER + xml)
    if found is not None:
        return data[: found.part.start] + segment + data[found.part.end :], warnings
    at = 2
    for part in image_parts(data):
        if part.name not in ("APP0", "APP1"):  # JFIF and EXIF, which readers want first
            break
        at = part.end
    return data[:at] + segment + data[at:], warnings


def _embed_in_png(data: bytes, prompt: str | None) -> tuple[bytes, tuple[str, ...]]:
    found = find_xmp(data)
    xml, warnings = _packet(found, prompt)
    chunk = png_chunk("iTXt", XMP_PNG_KEYWORD + b"\0\0\0\0\0" + xml)  # not compressed, no language, no translation
    if found is not None:
        return data[: found.part.start] + chunk + data[found.part.end :], warnings
    header = next(iter(image_parts(data)), None)
    if header is None or header.name != "IHDR":
        raise MalformedImage("the PNG does not begin with its header")
    return data[: header.end] + chunk + data[header.end :], warnings


def embed_in_file(file: Path, prompt: str | None) -> tuple[str, ...]:
    """``embed`` for a file, in place; its warnings. At any moment it is the old file or the new one.

    :raises SeedreamError: if the disk is full or failing
    """
    before = file.read_bytes()
    after, warnings = embed(before, prompt)
    if after is not before:
        sink = Sink(file.with_name(file.name + ".embed"))
        try:
            sink.write(after)
            sink.finish()
            sink.path.replace(file)
        finally:
            sink.discard()
    return warnings
