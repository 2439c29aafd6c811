"""This module makes the images of a task: real JPEG and PNG files of exact pixels, with the prompt on a landscape.

Called by ``service.py``, in a worker thread. Invariant: the same picture gives the same bytes each time.
"""

from __future__ import annotations

import colorsys
import math
import struct
import textwrap
import zlib
from dataclasses import dataclass
from functools import cache, lru_cache
from hashlib import sha256
from io import BytesIO
from random import Random

from PIL import Image, ImageDraw, ImageFont

_MOODS = 24
_LAYERS = 5
_LONGEST_TEXT = 2000
_INK = (255, 255, 255)
_SHADOW = (12, 14, 22)
_TYPEWRITER = str.maketrans({"–": "-", "—": "-", "×": "x"})  # signs that the bundled font lacks
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_AFTER_IHDR = len(_PNG_SIGNATURE) + 25
_XMP_HEAD = b"http://ns.adobe.com/xap/1.0/\0"


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """What an image shows.

    :param text: the prompt
    :param instead: shown where the font has no glyphs for the prompt: the task's id
    :param footer: one line of parameters
    :param references: how many reference images there were
    :param watermark: whether to draw the service's mark
    """

    width: int
    height: int
    format: str
    text: str
    instead: str
    footer: str
    references: int
    watermark: bool


def paint(picture: Picture) -> bytes:
    """The encoded image."""
    image = _landscape(picture.width, picture.height, mood=sha256(picture.text.encode()).digest()[0] % _MOODS)
    draw = ImageDraw.Draw(image)
    short = min(image.size)
    margin = short // 18
    bottom = picture.height - margin
    footer_font = _font(max(short // 48, 9))
    _write(draw, (margin, bottom), picture.footer, footer_font, anchor="lb")
    text = picture.text.translate(_TYPEWRITER)
    text = " ".join((text if drawable(text) else picture.instead).split())[:_LONGEST_TEXT]
    room = (picture.width - 2 * margin, picture.height * 0.46)
    font, lines = _fit(text, room, largest=max(short / 13, 8), smallest=max(short / 56, 8))
    _write(draw, (margin, bottom - footer_font.size * 2), "\n".join(lines), font, anchor="ld")
    side, gap = short // 14, short // 60
    for number in range(picture.references):
        left = margin + number * (side + gap)
        box = (left, margin, left + side, margin + side)
        draw.rounded_rectangle(box, radius=side // 6, outline=_INK, width=max(side // 14, 2))
    if picture.watermark:
        _write(draw, (picture.width - margin, margin), "AI generated", _font(max(short // 28, 10)), anchor="rt")
    return _encode(image, picture.format)


@cache
def plain(width: int, height: int, form: str) -> bytes:
    """An image without text, encoded once; ``comment`` makes a copy unique."""
    return _encode(_landscape(width, height, mood=0), form)


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


def drawable(text: str) -> bool:
    """Whether the bundled font has a glyph for every character of the text."""
    return all(map(_has_glyph, set(text) - {"\n", "\t", "\r", " "}))


def _landscape(width: int, height: int, *, mood: int) -> Image.Image:
    """Hills below a sky, the same for the same mood."""
    random, hue = Random(mood), mood / _MOODS
    sky = Image.new("RGB", (1, 3))
    sky.putdata([_colour(hue, 0.62, 0.62), _colour(hue + 0.03, 0.42, 0.86), _colour(hue + 0.1, 0.24, 1.0)])
    column = sky.resize((1, height), Image.Resampling.BICUBIC)
    image = column.resize((width, height), Image.Resampling.NEAREST)  # any other filter takes as long as all the rest
    draw = ImageDraw.Draw(image)
    x, y = image.width * random.uniform(0.55, 0.85), image.height * random.uniform(0.22, 0.42)
    radius = min(image.size) * random.uniform(0.06, 0.09)
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=_colour(hue + 0.12, 0.1, 1.0))
    for layer in range(_LAYERS):
        depth = layer / (_LAYERS - 1)  # 0 far, 1 near
        fill = _colour(hue + 0.05 - 0.1 * depth, 0.3 + 0.35 * depth, 0.8 - 0.66 * depth)
        draw.polygon(_ridge(image.size, depth, random), fill=fill)
    return image


def _ridge(size: tuple[int, int], depth: float, random: Random) -> list[tuple[float, float]]:
    width, height = size
    base = height * (0.5 + 0.28 * depth)
    waves = [
        (height * share, random.uniform(0.6, 1.4) * count, random.uniform(0, math.tau))
        for share, count in ((0.06, 1.0), (0.025, 2.7), (0.008, 7.0))
    ]
    points = 96
    ridge = [
        (
            width * step / points,
            base + sum(lift * math.sin(math.tau * turns * step / points + phase) for lift, turns, phase in waves),
        )
        for step in range(points + 1)
    ]
    return [*ridge, (width, height), (0, height)]


def _colour(hue: float, saturation: float, value: float) -> tuple[int, int, int]:
    red, green, blue = colorsys.hsv_to_rgb(hue % 1.0, saturation, value)
    return round(red * 255), round(green * 255), round(blue * 255)


def _encode(image: Image.Image, form: str) -> bytes:
    target = BytesIO()
    if form == "png":
        image.save(target, "PNG", compress_level=1)  # the default level takes five times as long
    else:
        image.save(target, "JPEG", quality=84)
    return target.getvalue()


def _with_chunk(png: bytes, kind: bytes, data: bytes) -> bytes:
    chunk = struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    return b"".join((png[:_AFTER_IHDR], chunk, png[_AFTER_IHDR:]))  # IHDR must come first


def _with_segment(jpeg: bytes, marker: int, data: bytes) -> bytes:
    place = 2
    if jpeg[2:4] == b"\xff\xe0":  # the JFIF segment must come first
        place = 4 + int.from_bytes(jpeg[4:6], "big")
    segment = bytes((0xFF, marker)) + struct.pack(">H", len(data) + 2) + data
    return b"".join((jpeg[:place], segment, jpeg[place:]))


@lru_cache(maxsize=4096)
def _has_glyph(character: str) -> bool:
    return bytes(_font(24).getmask(character)) != _missing_glyph()


@cache
def _missing_glyph() -> bytes:
    return bytes(_font(24).getmask("\U0010ffff"))


@lru_cache(maxsize=64)
def _font(size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size)
    assert isinstance(font, ImageFont.FreeTypeFont)
    return font


def _write(
    draw: ImageDraw.ImageDraw, place: tuple[float, float], text: str, font: ImageFont.FreeTypeFont, *, anchor: str
) -> None:
    away = max(font.size / 18, 1)  # white over a shadow can be read on any background
    spacing = font.size * 0.28
    draw.text((place[0] + away, place[1] + away), text, _SHADOW, font, anchor, spacing)
    draw.text(place, text, _INK, font, anchor, spacing)


def _fit(
    text: str, room: tuple[float, float], *, largest: float, smallest: float
) -> tuple[ImageFont.FreeTypeFont, list[str]]:
    """The largest font at which the text fits into ``room``, and its lines; what is too long at the smallest is cut."""
    letter = _font(100).getlength(text) / 100 / max(len(text), 1) or 1.0  # its mean width, of the font's size
    size = largest
    while True:
        font = _font(int(size))
        columns = max(int(room[0] / (letter * font.size) * 0.93), 1)  # some lines have wider letters than others
        lines = textwrap.wrap(text, columns)
        most = max(int(room[1] / (font.size * 1.45)), 1)
        if len(lines) <= most:
            return font, lines
        if size <= smallest:
            return font, [*lines[: most - 1], f"{lines[most - 1][:-3]}..."]
        size = max(size * 0.88, smallest)
