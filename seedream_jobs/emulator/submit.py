"""This module answers ``POST /v1/images/generations``: it checks the payload, charges it, and replies, in this order.

Called by ``app.py``. Invariant: the rules are written from the vendor's page, apart from the schema the client checks
with, so that each can show the other wrong. Models with a profile are held to every rule; other models of the vendor
are taken as they come.
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from seedream_jobs.emulator.faults import FAULTS, Fault
from seedream_jobs.emulator.files import uploaded
from seedream_jobs.emulator.replies import (
    IN_PROGRESS,
    KEY_REUSED,
    RESPONSE_VERSION,
    Exchange,
    Response,
    error,
    submitted,
)
from seedream_jobs.emulator.service import Charge, Service
from seedream_jobs.image_header import read_header
from seedream_jobs.model_profile import Profile, ReferenceLimits

BODY_LIMIT = 256 << 20
"""Bytes of a request's body: 14 reference images of 10 MB in base64, and room."""

_LARGE = 256 << 10  # bytes; the JSON of a larger body is read in a thread, so that the others are answered meanwhile
_FOREVER = 10 * 365 * 86400.0  # seconds
_REFUNDED = ("task-failed", "task-moderation", "task-cancelled", "task-expired", "task-without-images")
_BILLED_ALL_THE_SAME = ("task-failed-charged", "task-without-images-charged")
_PIXELS = re.compile(r"([1-9]\d{1,3})[x×*]([1-9]\d{1,3})", re.IGNORECASE)
_SQUARE = (1024, 1024)
Pixels = tuple[int, int]


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
    pixels: Pixels | None
    format: str
    watermark: bool
    references: tuple[str, ...]
    n: int
    asked: int
    maximum: int


async def submit(service: Service, exchange: Exchange) -> None:
    """Answer one POST."""
    fault = service.faults.draw("submit")
    if fault is not None and fault.name == "drop-before-read":
        service.posts["refused"] += 1
        await exchange.close()
        return
    if (denied := exchange.unauthorised()) is not None:
        await _refuse(service, exchange, denied)
        return
    body = await exchange.body(BODY_LIMIT)
    if body is None:
        await _refuse(service, exchange, error(413))
        return
    if fault is not None and (refusal := fault.response(now=service.clock())) is not None:
        await _refuse(service, exchange, refusal)
        return
    key = exchange.header(b"idempotency-key")
    if key is None or service.settings.idempotency == "ignores":
        await _take(service, exchange, body, key)
        return
    if not (1 <= len(key) <= 191 and all("!" <= character <= "~" for character in key)):
        await _refuse(service, exchange, error(400, "Idempotency-Key 必须是 1 到 191 个可见 ASCII 字符"))
        return
    if (again := _repeated(service, exchange, key, body)) is not None:
        service.posts["replayed" if again.status < 300 else "refused"] += 1
        await _answer(service, exchange, again)
        return
    service.open_keys.add(key)  # a repeat that comes before the reply is told to wait
    try:
        await _take(service, exchange, body, key)
    finally:
        service.open_keys.discard(key)


def _repeated(service: Service, exchange: Exchange, key: str, body: bytes) -> Response | None:
    """What a key gets that came before; None for one that is new, or counts as new."""
    if key in service.open_keys:
        return IN_PROGRESS
    before = service.books.find_key(key, now=service.clock())
    if before is None:
        return None
    honest = service.settings.idempotency == "honours"
    if before.reply is not None and not honest:  # ``half``: the first reply was lost, so it is charged again
        return None
    if before.body_sha256 != sha256(body).hexdigest():
        return KEY_REUSED
    return submitted(before.id, other_shape=_wants_other_shape(exchange), replayed=honest)


async def _take(service: Service, exchange: Exchange, body: bytes, key: str | None) -> None:
    try:
        order, sizes = await _read(service, body)
    except Refused as refused:
        await _refuse(service, exchange, error(400, str(refused)))
        return
    charge = _charge(service, order, sizes, key, sha256(body).hexdigest())
    if service.books.remaining(now=charge.created) < charge.reserved:
        await _refuse(service, exchange, error(402))
        return
    charges = _one_each(service, charge) if charge.reply == "task-per-image" else [charge]
    for one in charges:  # on record before anything is told, whatever becomes of the reply
        service.books.charge(one)
    service.posts["accepted"] += 1
    await _tell(service, exchange, charge, [one.id for one in charges])


async def _read(service: Service, body: bytes) -> tuple[Order, Sequence[Pixels | None]]:
    """:raises Refused: for a body that breaks a rule"""
    try:
        payload = await asyncio.to_thread(json.loads, body) if len(body) > _LARGE else json.loads(body)
    except (ValueError, RecursionError):
        raise Refused("请求体不是有效的 JSON") from None
    order = read_order(payload, service.profiles)
    profile = service.profiles.get(order.model)
    if profile is None or not order.references:
        return order, ()

    limits, state = profile.references, service.settings.state
    return order, await asyncio.to_thread(_check_references, order.references, limits, state)


def _charge(
    service: Service, order: Order, sizes: Sequence[Pixels | None], key: str | None, body_sha256: str
) -> Charge:
    now, price = service.clock(), service.price(order.model)
    fate = _name(service.faults.draw("task"))
    good = _delivered(service, order)
    if fate is not None and fate.startswith(_REFUNDED):
        good = 0
    elif fate == "task-image-error":  # one image has an error in place of its link, and is not billed
        good -= 1
    delay = _FOREVER if fate == "task-stuck" else service.delay()
    width, height = order.pixels or _matching(service, order, sizes)
    return Charge(
        id=service.new_task_id(),
        created=now,
        done=now + delay,
        expires=now + delay + service.link_life(order.model),
        model=order.model,
        prompt=order.prompt,
        size=order.size,
        resolution=order.resolution,
        width=width,
        height=height,
        format=order.format,
        watermark=order.watermark,
        references=len(order.references),
        requested=order.asked,
        delivered=good,
        reserved=price * order.n,
        cost=price * (order.asked if fate in _BILLED_ALL_THE_SAME else good),
        fate=fate,
        reply=_name(service.faults.draw("accepted")),
        key=key,
        body_sha256=body_sha256,
    )


def _name(fault: Fault | None) -> str | None:
    return None if fault is None else fault.name


def _one_each(service: Service, charge: Charge) -> list[Charge]:
    """A task for each image of a group, each with a fate and a price of its own."""
    price = service.price(charge.model)
    tasks = [charge]
    for _ in range(1, charge.requested):
        tasks.append(replace(charge, id=service.new_task_id(), fate=_name(service.faults.draw("task"))))
    return [
        replace(task, requested=1, delivered=int(good), reserved=price, cost=price * int(good))
        for task in tasks
        for good in (not (task.fate or "").startswith(_REFUNDED),)
    ]


def _delivered(service: Service, order: Order) -> int:
    match service.settings.deliver:
        case "n":
            return order.asked
        case "max":
            return order.maximum
        case "fewer":
            return max(order.asked - 1, 1)


def _matching(service: Service, order: Order, sizes: Sequence[Pixels | None]) -> Pixels:
    """For ``size: auto``, the pixels of the ratio nearest to the first reference; a square where it is unknown."""
    table = service.profiles[order.model].pixels[order.resolution]
    first = sizes[0] if sizes else None
    if first is None:
        return table["1:1"]
    ratio = first[0] / first[1]
    # The larger of the two quotients: half as wide is as far away as twice as wide.
    return min(table.values(), key=lambda pixels: max(ratio * pixels[1] / pixels[0], pixels[0] / pixels[1] / ratio))


async def _tell(service: Service, exchange: Exchange, charge: Charge, ids: Sequence[str]) -> None:
    """Answer an accepted POST, or fail to."""
    if service.settings.latency:
        await asyncio.sleep(service.settings.latency)
    other = _wants_other_shape(exchange) or charge.reply == "other-shape"
    response = submitted(*ids, other_shape=other)
    if charge.reply is not None:
        response = FAULTS[charge.reply].response(now=service.clock(), task=charge.id) or response
    response = response.marked(service.new_request_id())
    match charge.reply:
        case "drop-after-accept":
            await exchange.close()
        case "reset-after-accept":
            await exchange.reset()
        case "hang-after-accept":
            await exchange.wait_for_client()
        case "drop-mid-body":
            await exchange.reply_half(response)
        case "slow-reply":
            await asyncio.sleep(service.settings.slow)
            await exchange.reply(response)
        case "event-stream":
            await exchange.reply(replace(response, content_type="text/event-stream"))
        case _:
            await exchange.reply(response)


def _wants_other_shape(exchange: Exchange) -> bool:
    return exchange.header(b"x-apimart-response-version") == RESPONSE_VERSION


async def _refuse(service: Service, exchange: Exchange, reply: Response) -> None:
    service.posts["refused"] += 1
    await _answer(service, exchange, reply)


async def _answer(service: Service, exchange: Exchange, reply: Response) -> None:
    if service.settings.latency:
        await asyncio.sleep(service.settings.latency)
    await exchange.reply(reply.marked(service.new_request_id()))


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


def _check_references(references: Sequence[str], limits: ReferenceLimits, state: Path) -> list[Pixels | None]:
    """The (width, height) in pixels of each reference; None for a URL elsewhere, which is taken on trust.

    Decodes base64, of megabytes for each image: call it in a worker thread.

    :raises Refused: for the first reference that breaks a rule
    """
    return [_check_reference(number, reference, limits, state) for number, reference in enumerate(references, start=1)]


def _check_reference(number: int, reference: str, limits: ReferenceLimits, state: Path) -> Pixels | None:
    which = f"第 {number} 张参考图"
    if reference.startswith("data:"):
        head, _, text = reference.partition(",")
        declared = head.removeprefix("data:image/").removesuffix(";base64")
        try:
            data = base64.b64decode(text, validate=True)
        except ValueError:  # not of the alphabet, or not even ASCII
            raise Refused(f"{which}不是有效的 Base64 数据") from None
    else:
        found = uploaded(state, reference)
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
