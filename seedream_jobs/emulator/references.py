"""Looks into the reference images of an order: format by content, bytes, pixels, ratio."""

from __future__ import annotations

import base64
from collections.abc import Callable

from seedream_jobs.emulator.rules import Refused
from seedream_jobs.image_header import read_header
from seedream_jobs.profile import ReferenceLimits

Local = Callable[[str], bytes | None]
"""The bytes behind a URL that was uploaded to this emulator; None for any other URL, which is never opened."""


def check_references(
    references: tuple[str, ...], limits: ReferenceLimits, local: Local
) -> tuple[tuple[int, int] | None, ...]:
    """The (width, height) in pixels of each reference; None for a URL elsewhere, which is taken on trust.

    Decodes and opens images: call it in a worker thread.

    :raises Refused: for the first reference that breaks a rule
    """
    return tuple(_check(number, reference, limits, local) for number, reference in enumerate(references, start=1))


def _check(number: int, reference: str, limits: ReferenceLimits, local: Local) -> tuple[int, int] | None:
    which = f"第 {number} 张参考图"
    if reference.startswith("data:"):
        head, _, text = reference.partition(",")
        declared = head.removeprefix("data:image/").removesuffix(";base64")
        try:
            data = base64.b64decode(text, validate=True)
        except ValueError:  # not of the alphabet, or not even ASCII
            raise Refused(f"{which}不是有效的 Base64 数据") from None
    else:
        found = local(reference)
        if found is None:
            return None
        data, declared = found, None
    if len(data) > limits.max_bytes:
        raise Refused(f"{which}超过 {limits.max_bytes // (1 << 20)}MB")
    header = read_header(data)
    if header is None or header.format not in limits.formats or declared not in (None, header.format):
        raise Refused(f"{which}不是可识别的图片：格式必须是 {'、'.join(limits.formats)}，且与声明一致")
    width, height = header.width, header.height
    if min(width, height) <= limits.min_side_exclusive:
        raise Refused(f"{which}的宽和高必须大于 {limits.min_side_exclusive} 像素")
    if width * height > limits.max_pixels:
        raise Refused(f"{which}的总像素不能超过 6000×6000")
    (low, below), (high, above) = limits.min_ratio, limits.max_ratio
    if width * below < height * low or width * above > height * high:
        raise Refused(f"{which}的宽高比必须在 [1/3, 3] 范围内")
    return width, height
