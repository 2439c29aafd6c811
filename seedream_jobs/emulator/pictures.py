"""This module makes the images of a task: real JPEG and PNG of exact pixels, with the prompt drawn on a landscape.

Called by ``service.py``. A background is made once for each size and mood and then copied; text is drawn for each
image. Invariant: a ``Painter`` belongs to one worker thread and is never called on the event loop.
"""

from __future__ import annotations

import colorsys
import math
import struct
import zlib
from collections import OrderedDict
from dataclasses import dataclass
from functools import cache, lru_cache
from hashlib import sha256
from io import BytesIO
from random import Random

from PIL import Image, ImageDraw, ImageFont

MOODS = 24
"""How many different backgrounds there are for one size."""

_LAYERS = 5
Colour = tuple[int, int, int]


def scenery(width: int, height: int, mood: int) -> Image.Image:
    """An RGB image of ``width`` × ``height`` pixels, the same for the same mood (0 to ``MOODS`` - 1)."""
    random = Random(mood)
    hue = mood / MOODS
    image = _sky(width, height, hue)
    _sun(image, random, hue)
    draw = ImageDraw.Draw(image)
    for layer in range(_LAYERS):
        depth = layer / (_LAYERS - 1)  # 0 far, 1 near
        draw.polygon(
            _ridge(image.size, depth, random),
            fill=_colour(hue + 0.05 - 0.1 * depth, 0.3 + 0.35 * depth, 0.8 - 0.66 * depth),
        )
    return image


def _sky(width: int, height: int, hue: float) -> Image.Image:
    stops = (_colour(hue, 0.62, 0.62), _colour(hue + 0.03, 0.42, 0.86), _colour(hue + 0.1, 0.24, 1.0))
    column = Image.new("RGB", (1, len(stops)))
    column.putdata(stops)
    column = column.resize((1, height), Image.Resampling.BICUBIC)
    return column.resize((width, height), Image.Resampling.NEAREST)


def _sun(image: Image.Image, random: Random, hue: float) -> None:
    width, height = image.size
    short = min(width, height)
    x, y = int(width * random.uniform(0.55, 0.85)), int(height * random.uniform(0.22, 0.42))
    light = _colour(hue + 0.12, 0.1, 1.0)
    reach = max(int(short * 0.5), 1)
    glow = (
        Image.radial_gradient("L").resize((2 * reach, 2 * reach)).point([max(0, 150 - level) for level in range(256)])
    )
    image.paste(light, (x - reach, y - reach), glow)
    radius = int(short * random.uniform(0.06, 0.09))
    ImageDraw.Draw(image).ellipse((x - radius, y - radius, x + radius, y + radius), fill=light)


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


def _colour(hue: float, saturation: float, value: float) -> Colour:
    red, green, blue = colorsys.hsv_to_rgb(hue % 1.0, saturation, value)
    return round(red * 255), round(green * 255), round(blue * 255)


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


_BACKGROUND_BYTES = 192 << 20
_LONGEST_TEXT = 2000
_INK = (255, 255, 255)
_SHADOW = (12, 14, 22)
_PLAINER = str.maketrans({"–": "-", "—": "-", "×": "x"})
"""The typographer's signs that the font lacks, as the typewriter writes them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """What is to be seen on an image.

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


class Painter:
    """Draws pictures, keeping the backgrounds it made."""

    def __init__(self) -> None:
        self._backgrounds: OrderedDict[tuple[int, int, int], Image.Image] = OrderedDict()
        self._kept = 0

    def paint(self, picture: Picture) -> bytes:
        """The encoded image; the same bytes for the same picture."""
        mood = sha256(picture.text.encode()).digest()[0] % MOODS
        image = self._background(picture.width, picture.height, mood).copy()
        draw = ImageDraw.Draw(image)
        short = min(image.size)
        margin = short // 18
        footer_font = _font(max(short // 48, 9))
        bottom = picture.height - margin
        text = picture.text.translate(_PLAINER)
        text = text if drawable(text) else picture.instead
        _write(draw, (margin, bottom), picture.footer, footer_font, anchor="lb")
        room = (picture.width - 2 * margin, int(picture.height * 0.46))
        font, lines = _fit(" ".join(text.split()), room, short)
        block = "\n".join(lines)
        _write(draw, (margin, bottom - footer_font.size * 2), block, font, anchor="ld")
        if picture.references:
            _references(draw, picture.references, margin, short)
        if picture.watermark:
            _write(draw, (picture.width - margin, margin), "AI generated", _font(max(short // 28, 10)), anchor="rt")
        return encode(image, picture.format)

    def _background(self, width: int, height: int, mood: int) -> Image.Image:
        key = (width, height, mood)
        found = self._backgrounds.get(key)
        if found is None:
            found = scenery(width, height, mood)
            self._backgrounds[key] = found
            self._kept += width * height * 3
            while self._kept > _BACKGROUND_BYTES and len(self._backgrounds) > 1:
                (old_width, old_height, _), _ = self._backgrounds.popitem(last=False)
                self._kept -= old_width * old_height * 3
        self._backgrounds.move_to_end(key)
        return found


def encode(image: Image.Image, form: str) -> bytes:
    """The image as ``jpeg`` or ``png``, quickly rather than small."""
    target = BytesIO()
    if form == "png":
        image.save(target, "PNG", compress_level=1)
    else:
        image.save(target, "JPEG", quality=84)
    return target.getvalue()


def plain(width: int, height: int, form: str) -> bytes:
    """An image without text, to be made unique by a chunk of its own."""
    return encode(scenery(width, height, 0), form)


def drawable(text: str) -> bool:
    """Whether the bundled font has a glyph for every character of the text."""
    return all(map(_has_glyph, set(text) - {"\n", "\t", "\r", " "}))


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
    """Text in white over its own soft shadow, readable on any mood."""
    away = max(font.size / 18, 1)
    spacing = font.size * 0.28
    draw.text((place[0] + away, place[1] + away), text, _SHADOW, font, anchor, spacing)
    draw.text(place, text, _INK, font, anchor, spacing)


def _fit(text: str, room: tuple[int, int], short: int) -> tuple[ImageFont.FreeTypeFont, list[str]]:
    """The largest font at which the text fits into ``room``, and its lines; the longest texts are cut."""
    text, smallest = text[:_LONGEST_TEXT], max(short / 56, 8)
    guess = math.sqrt(room[0] * room[1] / (max(len(text), 1) * 0.6))  # saves trying sizes that are far too large
    size = max(min(short / 13, guess), smallest)
    while True:
        font = _font(int(size))
        most = max(int(room[1] / (font.size * 1.45)), 1)
        lines = _wrap(text, font, room[0], most + 1)
        if len(lines) <= most:
            return font, lines
        if size <= smallest:
            return font, [*lines[: most - 1], lines[most - 1][:-3] + "..."]
        size = max(size * 0.88, smallest)


def _wrap(text: str, font: ImageFont.FreeTypeFont, width: int, enough: int) -> list[str]:
    """The text in lines of at most ``width`` pixels, the first ``enough`` of them."""
    lines: list[str] = []
    line, used, space = "", 0.0, font.getlength(" ")
    for word in text.split(" "):
        if len(lines) >= enough:
            return lines[:enough]
        rest, needs = word, font.getlength(word)
        if line and used + space + needs <= width:
            line, used = f"{line} {rest}", used + space + needs
            continue
        if line:
            lines.append(line)
        while needs > width and len(rest) > 1 and len(lines) < enough:  # a word longer than a line is broken
            cut = max(int(len(rest) * width / needs), 1)
            lines.append(rest[:cut])
            rest = rest[cut:]
            needs = font.getlength(rest)
        line, used = rest, needs
    return [*lines, line][:enough]


def _references(draw: ImageDraw.ImageDraw, count: int, margin: int, short: int) -> None:
    """A small frame per reference image, in the upper left corner."""
    side, gap = short // 14, short // 60
    for number in range(count):
        left = margin + number * (side + gap)
        box = (left, margin, left + side, margin + side)
        draw.rounded_rectangle(box, radius=side // 6, outline=_INK, width=max(side // 14, 2))
        _write(draw, (left + side / 2, margin + side / 2), f"R{number + 1}", _font(max(side // 3, 8)), anchor="mm")
