"""XMP packets: where an image keeps one, what it says about an AI's part in the image, and how ours is added to it.

Sources: ISO 16684-1 (XMP), XMP specification part 3 (where files keep it), IPTC Photo Metadata Standard 2023.2
(``Iptc4xmpExt:DigitalSourceType``).
"""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass
from xml.sax.saxutils import escape, quoteattr

from seedream_jobs.results.containers import Data, Malformed, Part, parts

JPEG_HEADER = b"http://ns.adobe.com/xap/1.0/\0"
PNG_KEYWORD = b"XML:com.adobe.xmp"
SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
"""IPTC's name for media made by a trained model."""

_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_IPTC = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
_DC = "http://purl.org/dc/elements/1.1/"
_MAX_PACKET = 4 * 1024 * 1024
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class NotMergeable(ValueError):
    """The packet that is there can't be added to without risk to what it says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Packet:
    """An XMP packet and the part of the file that holds it."""

    part: Part
    xml: bytes


def find(data: Data) -> Packet | None:
    """The XMP packet of a JPEG, PNG or WebP file, inflated if need be.

    :raises Malformed: if the file's structure breaks off before one is found, or the packet is out of bounds
    """
    for part in parts(data):
        if part.name == "APP1" and data[part.body : part.body + len(JPEG_HEADER)] == JPEG_HEADER:
            return Packet(part=part, xml=part.payload(data)[len(JPEG_HEADER) :])
        if part.name == "XMP ":
            return Packet(part=part, xml=part.payload(data))
        if part.name == "iTXt" and data[part.body : part.body + len(PNG_KEYWORD) + 1] == PNG_KEYWORD + b"\0":
            return Packet(part=part, xml=international_text(part.payload(data)))
    return None


def international_text(payload: bytes) -> bytes:
    """The text of a PNG ``iTXt`` chunk, inflated if need be.

    :raises Malformed: if it is no such chunk or larger than an image's metadata has a right to be
    """
    keyword, _, rest = payload.partition(b"\0")
    packed, tail = rest[:1], rest[2:].split(b"\0", 2)
    if not keyword or len(rest) < 2 or len(tail) != 3:
        raise Malformed("an iTXt chunk is malformed")
    return inflate(tail[2]) if packed == b"\1" else tail[2]


def inflate(packed: bytes) -> bytes:
    """zlib data, unpacked within bounds.

    :raises Malformed: if it is damaged or unpacks to more than 4 MiB
    """
    unpacker = zlib.decompressobj()
    try:
        text = unpacker.decompress(packed, _MAX_PACKET)
    except zlib.error as error:
        raise Malformed("compressed metadata is damaged") from error
    if unpacker.unconsumed_tail:
        raise Malformed("compressed metadata is too large")
    return text


def packet(description: str | None) -> bytes:
    """A packet of its own: made by a trained model, and if given, from this prompt."""
    body = _description("", description)
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n'
        f'<x:xmpmeta xmlns:x="adobe:ns:meta/">\n<rdf:RDF xmlns:rdf="{_RDF}">\n{body}</rdf:RDF>\n</x:xmpmeta>\n'
        '<?xpacket end="w"?>'
    ).encode()


def merged(existing: bytes, description: str | None) -> tuple[bytes, tuple[str, ...]]:
    """``existing`` with our statements added and nothing of it changed, and what was left out because it was there.

    :raises NotMergeable: if it is no UTF-8 XMP that stays well-formed with an addition
    """
    try:
        text = existing.decode("utf-8")
    except UnicodeDecodeError as error:
        raise NotMergeable("it is not UTF-8") from error
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise NotMergeable("it declares entities")
    _well_formed(text)
    said: list[str] = []
    if _IPTC in text and "DigitalSourceType" in text:
        said.append("its XMP names a digital source type already, which was kept")
    source = not said
    if _DC in text and re.search(r"<[\w.-]+:description\b", text):
        if description is not None:
            said.append("its XMP has a description already, which was kept")
        description = None
    if not source and description is None:
        return existing, tuple(said)
    end = list(re.finditer(r"</([\w.-]+):RDF\s*>", text))
    if len(end) != 1:
        raise NotMergeable("it has no single rdf:RDF element")
    about = re.search(r"\b" + re.escape(end[0][1]) + r":about\s*=\s*(?:\"([^\"]*)\"|'([^']*)')", text)
    subject = (about[1] if about[1] is not None else about[2]) if about else ""
    grown = text[: end[0].start()] + _description(subject, description, source=source) + text[end[0].start() :]
    _well_formed(grown)
    return grown.encode(), tuple(said)


def _description(about: str, description: str | None, *, source: bool = True) -> str:
    """One ``rdf:Description``; ``about`` is taken from XML as it stands there, so it is escaped already."""
    lines = [f'<rdf:Description xmlns:rdf="{_RDF}" rdf:about="{about.replace(chr(34), "&quot;")}"']
    lines += [f" xmlns:dc={quoteattr(_DC)} xmlns:Iptc4xmpExt={quoteattr(_IPTC)}>\n"]
    if source:
        lines += [f"<Iptc4xmpExt:DigitalSourceType>{SOURCE_TYPE}</Iptc4xmpExt:DigitalSourceType>\n"]
    if description is not None:
        text = escape(_NOT_XML.sub("\ufffd", description), {"\r": "&#13;"})
        lines += [f'<dc:description><rdf:Alt><rdf:li xml:lang="x-default">{text}</rdf:li></rdf:Alt></dc:description>\n']
    return "".join([*lines, "</rdf:Description>\n"])


def _well_formed(text: str) -> None:
    from xml.parsers import expat

    parser = expat.ParserCreate(namespace_separator=" ")
    try:
        parser.Parse(text.removeprefix("\ufeff").rstrip("\0 \r\n\t").encode(), True)
    except expat.ExpatError as error:
        raise NotMergeable(f"it is not well-formed: {error}") from error
