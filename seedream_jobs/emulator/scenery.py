"""The pleasant background of a drawn image: hills, a sky and a sun, in one of a few colour moods."""

from __future__ import annotations

import colorsys
import math
from random import Random

from PIL import Image, ImageDraw

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
