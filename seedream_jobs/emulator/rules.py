"""This module enforces the contract of a submit: a payload becomes an order, or a refusal with the service's words.

Called by ``submit.py``. Invariant: it is written from the vendor's page, apart from the schema the client checks with,
so that each can show the other wrong. Models with a profile are held to every rule; other models of the vendor are
taken as they come.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from seedream_jobs.image_header import read_header
from seedream_jobs.model_profile import Profile, ReferenceLimits

_PIXELS = re.compile(r"([1-9]\d{1,3})[x×*]([1-9]\d{1,3})", re.IGNORECASE)
_SQUARE = (1024, 1024)


class Refused(Exception):
    """The payload breaks a rule; the message is Chinese, as the service's are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What a valid payload asks for.

    :param pixels: (width, height); None where ``size: auto`` leaves it to the references
    :param n: images charged in advance
    :param asked: images asked for
    :param maximum: the most images that may be delivered
    """

    model: str
    prompt: str
    size: str
    resolution: str
    pixels: tuple[int, int] | None
    format: str
    watermark: bool
    references: tuple[str, ...]
    n: int
    asked: int
    maximum: int


def read_order(payload: object, profiles: Mapping[str, Profile]) -> Order:
    """The order in a decoded body.

    :param profiles: the known models, by id and alias
    :raises Refused: for the first rule that is broken
    """
    if not isinstance(payload, dict):
        raise Refused("请求体必须是 JSON 对象")
    model, prompt = payload.get("model"), payload.get("prompt")
    if not isinstance(model, str) or not model:
        raise Refused("缺少必填参数 model")
    if not isinstance(prompt, str) or not prompt:
        raise Refused("缺少必填参数 prompt，且必须是非空字符串")
    profile = profiles.get(model)
    if profile is None:
        return _lenient(model, prompt, payload)
    return _strict(profile, prompt, payload)


def _strict(profile: Profile, prompt: str, payload: Mapping[str, Any]) -> Order:
    defaults = profile.defaults
    size = _choice(payload, "size", profile.sizes, defaults["size"])
    resolution = _choice(payload, "resolution", profile.resolutions, defaults["resolution"])
    output = _choice(payload, "output_format", profile.output_formats, defaults["output_format"])
    references = _references(payload)
    n = payload.get("n", defaults["n"])
    if not _is_integer(n) or not 1 <= n <= profile.max_images:
        raise Refused(f"n 必须是 1 到 {profile.max_images} 的整数，不要加引号")
    group, limit = _group(payload, n, profile)
    asked = max(n, limit or 0)
    ceiling = profile.references.max_references_and_images
    if len(references) + asked > ceiling:
        raise Refused(f"参考图数量 + 最终生成图片数量必须 ≤ {ceiling} 张")
    if size == "auto" and not references:
        raise Refused("size 为 auto 时必须提供 image_urls")
    watermark = payload.get("watermark", defaults["watermark"])
    if not isinstance(watermark, bool):
        raise Refused("watermark 必须是布尔值")
    by_itself = group and n == 1 and limit is None  # `auto` alone: the model decides how many
    return Order(
        model=profile.id,
        prompt=prompt,
        size=size,
        resolution=resolution,
        pixels=None if size == "auto" else profile.pixels[resolution][size],
        format=output,
        watermark=watermark,
        references=references,
        n=n,
        asked=asked,
        maximum=ceiling - len(references) if by_itself else asked,
    )


def _choice(payload: Mapping[str, Any], field: str, allowed: tuple[str, ...], default: str) -> str:
    value = payload.get(field, default)
    if not isinstance(value, str) or value not in allowed:
        raise Refused(f"{field} 只支持 {'、'.join(allowed)}")
    return value


def _references(payload: Mapping[str, Any]) -> tuple[str, ...]:
    references = payload.get("image_urls", [])
    if not isinstance(references, list):
        raise Refused("image_urls 必须是数组")
    for reference in references:
        if not isinstance(reference, str):
            raise Refused("image_urls 的每一项必须是字符串")
        if not re.match(r"https?://[^/\s]|data:image/(jpeg|png);base64,", reference):
            raise Refused("image_urls 只支持 http(s) 链接或完整的 data:image/{jpeg,png};base64, 格式")
    return tuple(references)


def _group(payload: Mapping[str, Any], n: int, profile: Profile) -> tuple[bool, int | None]:
    """Whether several images may come, and the ``max_images`` given."""
    field = "sequential_image_generation"
    mode = _choice(payload, field, ("disabled", "auto"), profile.defaults[field])
    group = mode == "auto" or n > 1
    options = payload.get("sequential_image_generation_options")
    if options is None and "sequential_image_generation_options" not in payload:
        return group, None
    if not isinstance(options, dict):
        raise Refused("sequential_image_generation_options 必须是对象")
    if "max_images" not in options:
        return group, None
    limit = options["max_images"]
    if not _is_integer(limit) or not 1 <= limit <= profile.max_images:
        raise Refused(f"max_images 必须是 1 到 {profile.max_images} 的整数")
    if not group:
        raise Refused("max_images 只在 sequential_image_generation 为 auto 时可用")
    return group, int(limit)


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _lenient(model: str, prompt: str, payload: Mapping[str, Any]) -> Order:
    size, resolution = str(payload.get("size") or "1:1"), str(payload.get("resolution") or "1k")
    pixels = _PIXELS.fullmatch(size)
    n = str(payload.get("n", 1))
    images = min(max(int(n), 1), 15) if n.isdecimal() else 1
    references = payload.get("image_urls")
    return Order(
        model=model,
        prompt=prompt,
        size=size,
        resolution=resolution,
        pixels=(int(pixels[1]), int(pixels[2])) if pixels else _SQUARE,
        format="png" if payload.get("output_format") == "png" else "jpeg",
        watermark=False,
        references=tuple(map(str, references)) if isinstance(references, list) else (),
        n=images,
        asked=images,
        maximum=images,
    )


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
