"""Puts a chunk of text into an encoded JPEG or PNG without encoding it again: a unique mark, an AI label."""

from __future__ import annotations

import struct
import zlib

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_AFTER_IHDR = len(_PNG_SIGNATURE) + 25
_XMP_HEAD = b"http://ns.adobe.com/xap/1.0/\0"


def comment(image: bytes, text: str) -> bytes:
    """The image with ``text`` (ASCII) as a JPEG comment or a PNG tEXt chunk."""
    data = text.encode("ascii")
    if image.startswith(_PNG_SIGNATURE):
        return _with_chunk(image, b"tEXt", b"Comment\0" + data)
    return _with_segment(image, 0xFE, data)


def ai_label(image: bytes, *, produced: str) -> bytes:
    """The image with an XMP packet that declares it AI-generated, as China's labelling standard GB 45438-2025 has it.

    :param produced: the id of the task that made it
    """
    label = (
        '{"Label":"1","ContentProducer":"seedream-emulator","ProduceID":"' + produced + '",'
        '"ReservedCode1":"","ContentPropagator":"","PropagateID":"","ReservedCode2":""}'
    )
    packet = (
        '<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" '
        'xmlns:TC260="http://www.tc260.org.cn/ns/AIGC/1.0/"><TC260:AIGC>'
        + label.replace('"', "&quot;")
        + '</TC260:AIGC></rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="r"?>'
    ).encode("ascii")
    if image.startswith(_PNG_SIGNATURE):
        return _with_chunk(image, b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + packet)
    return _with_segment(image, 0xE1, _XMP_HEAD + packet)


def _with_chunk(png: bytes, kind: bytes, data: bytes) -> bytes:
    """After IHDR, which must come first."""
    chunk = struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    return b"".join((png[:_AFTER_IHDR], chunk, png[_AFTER_IHDR:]))


def _with_segment(jpeg: bytes, marker: int, data: bytes) -> bytes:
    """After the JFIF segment, which must come first."""
    place = 2
    if jpeg[2:4] == b"\xff\xe0":
        place = 4 + int.from_bytes(jpeg[4:6], "big")
    segment = bytes((0xFF, marker)) + struct.pack(">H", len(data) + 2) + data
    return b"".join((jpeg[:place], segment, jpeg[place:]))
