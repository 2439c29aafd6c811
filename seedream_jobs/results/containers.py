"""The outer structure of image files: JPEG segments, PNG chunks, WebP chunks, as places in their bytes.

Just enough to find metadata and to put some in without touching a pixel. Sources: ITU-T T.81 annex B, the PNG
specification (third edition) §5, RFC 9649.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from mmap import mmap

Data = bytes | mmap

JPEG_START = b"\xff\xd8"
PNG_START = b"\x89PNG\r\n\x1a\n"
JPEG_MAX_PAYLOAD = 65533
"""The most bytes that one JPEG segment holds."""


class Malformed(ValueError):
    """The file's structure ends early or contradicts itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A segment or chunk: ``start`` to ``end`` is all of it, ``body`` to ``body_end`` its payload. Byte offsets.

    :param name: ``APP1`` … for JPEG, ``0xDA`` and the like for other markers; the chunk's four characters elsewhere
    """

    name: str
    start: int
    body: int
    body_end: int
    end: int

    def payload(self, data: Data) -> bytes:
        """The part's content, copied."""
        return data[self.body : self.body_end]


def parts(data: Data) -> Iterator[Part]:
    """The parts of a JPEG, PNG or WebP file in order; of a JPEG those before its first scan. Nothing for other files.

    :raises Malformed: where the structure breaks off, after the parts before it
    """
    if data[:2] == JPEG_START:
        return _jpeg(data)
    if data[:8] == PNG_START:
        return _png(data)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return _webp(data)
    return iter(())


def _jpeg(data: Data) -> Iterator[Part]:
    at = 2
    while True:
        start = at
        if data[at : at + 1] != b"\xff":
            raise Malformed(f"no JPEG marker at byte {at}")
        while data[at : at + 1] == b"\xff":  # any number of fill bytes
            at += 1
        marker = data[at : at + 1]
        if not marker:
            raise Malformed("the JPEG ends before its first scan")
        code = marker[0]
        if code in (0xDA, 0xD9):  # start of scan, end of image
            return
        if code == 0x01 or 0xD0 <= code <= 0xD8:  # markers that stand alone
            at += 1
            continue
        length = int.from_bytes(data[at + 1 : at + 3], "big")
        end = at + 1 + length
        if length < 2 or end > len(data):
            raise Malformed(f"the JPEG segment at byte {start} is cut off")
        name = f"APP{code - 0xE0}" if 0xE0 <= code <= 0xEF else f"0x{code:02X}"
        yield Part(name=name, start=start, body=at + 3, body_end=end, end=end)
        at = end


def _png(data: Data) -> Iterator[Part]:
    at = len(PNG_START)
    while at < len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        end = at + 12 + length
        if end > len(data):
            raise Malformed(f"the PNG chunk at byte {at} is cut off")
        name = data[at + 4 : at + 8].decode("latin-1")
        yield Part(name=name, start=at, body=at + 8, body_end=at + 8 + length, end=end)
        if name == "IEND":
            return
        at = end


def _webp(data: Data) -> Iterator[Part]:
    at = 12
    while at + 8 <= len(data):
        length = int.from_bytes(data[at + 4 : at + 8], "little")
        body_end = at + 8 + length
        if body_end > len(data):
            raise Malformed(f"the WebP chunk at byte {at} is cut off")
        end = body_end + length % 2
        yield Part(name=data[at : at + 4].decode("latin-1"), start=at, body=at + 8, body_end=body_end, end=end)
        at = end


def jpeg_segment(name: str, payload: bytes) -> bytes:
    """The bytes of an ``APPn`` segment.

    :raises ValueError: if the payload is larger than ``JPEG_MAX_PAYLOAD``
    """
    if len(payload) > JPEG_MAX_PAYLOAD:
        raise ValueError(f"{len(payload)} bytes do not fit into a JPEG segment")
    return bytes((0xFF, 0xE0 + int(name.removeprefix("APP")))) + (len(payload) + 2).to_bytes(2, "big") + payload


def png_chunk(name: str, payload: bytes) -> bytes:
    """The bytes of a PNG chunk, its checksum included."""
    import zlib

    typed = name.encode("ascii") + payload
    return len(payload).to_bytes(4, "big") + typed + zlib.crc32(typed).to_bytes(4, "big")
