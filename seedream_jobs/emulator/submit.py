"""``POST /v1/images/generations``: check, charge, answer; in this order, whatever happens to the connection."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256

from seedream_jobs.emulator import replies
from seedream_jobs.emulator.books import Charge
from seedream_jobs.emulator.files import uploaded
from seedream_jobs.emulator.replies import Exchange, Reply
from seedream_jobs.emulator.rules import Order, Refused, check_references, read_order
from seedream_jobs.emulator.service import Service

_LARGE = 256 << 10
_FOREVER = 10 * 365 * 86400.0
_REFUNDED = ("task-failed", "task-moderation", "task-cancelled", "task-expired", "task-without-images")
_BILLED_ALL_THE_SAME = ("task-failed-charged", "task-without-images-charged")
Pixels = tuple[int, int]


async def submit(service: Service, exchange: Exchange) -> None:
    """Answer one POST."""
    fault = service.faults.draw("submit")
    if fault == "drop-before-read":
        service.posts["refused"] += 1
        await exchange.close()
        return
    if (denied := unauthorised(exchange)) is not None:
        await _refuse(service, exchange, denied)
        return
    body = await exchange.request.body()
    if fault is not None:
        await _refuse(service, exchange, replies.refusal(fault, now=service.clock()))
        return
    key = exchange.header(b"idempotency-key")
    if key is None or service.settings.idempotency == "ignores":
        await _take(service, exchange, body, key)
        return
    if not (1 <= len(key) <= 191 and all("!" <= character <= "~" for character in key)):
        await _refuse(service, exchange, replies.error(400, "Idempotency-Key 必须是 1 到 191 个可见 ASCII 字符"))
        return
    if (again := _repeated(service, exchange, key, body)) is not None:
        service.posts["replayed" if again.status < 300 else "refused"] += 1
        await _answer(service, exchange, again)
        return
    service.open_keys.add(key)
    try:
        await _take(service, exchange, body, key)
    finally:
        service.open_keys.discard(key)


def unauthorised(exchange: Exchange) -> Reply | None:
    """The 401 for a missing token or one that begins with ``invalid``; any other is accepted."""
    scheme, _, token = (exchange.header(b"authorization") or "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip() or token.strip().startswith("invalid"):
        return replies.error(401)
    return None


def _repeated(service: Service, exchange: Exchange, key: str, body: bytes) -> Reply | None:
    """What a key gets that came before; None for one that is new, or counts as new."""
    if key in service.open_keys:
        return replies.idempotency_in_progress()
    before = service.books.find_key(key, now=service.clock())
    if before is None:
        return None
    honest = service.settings.idempotency == "honours"
    if before.reply is not None and not honest:
        return None
    if before.body_sha256 != sha256(body).hexdigest():
        return replies.idempotency_key_reused()
    return replies.submitted(before.id, other_shape=_wants_other_shape(exchange), replayed=honest)


async def _take(service: Service, exchange: Exchange, body: bytes, key: str | None) -> None:
    try:
        order, sizes = await _read(service, body)
    except Refused as refused:
        await _refuse(service, exchange, replies.error(400, str(refused)))
        return
    charge = _charge(service, order, sizes, key, sha256(body).hexdigest())
    if service.books.remaining(now=charge.created) < charge.reserved:
        await _refuse(service, exchange, replies.error(402))
        return
    charges = _one_each(service, charge) if charge.reply == "task-per-image" else [charge]
    for one in charges:
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

    def local(url: str) -> bytes | None:
        return uploaded(service.settings.state, url)

    return order, await asyncio.to_thread(check_references, order.references, profile.references, local)


def _charge(
    service: Service, order: Order, sizes: Sequence[Pixels | None], key: str | None, body_sha256: str
) -> Charge:
    now, price = service.clock(), service.price(order.model)
    fate = service.faults.draw("task")
    good = _delivered(service, order)
    if fate is not None and fate.startswith(_REFUNDED):
        good = 0
    elif fate == "task-image-error":
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
        reply=service.faults.draw("accepted"),
        key=key,
        body_sha256=body_sha256,
    )


def _one_each(service: Service, charge: Charge) -> list[Charge]:
    """A task for each image of a group, each with a fate and a price of its own."""
    price = charge.reserved / max(charge.requested, 1)
    tasks = [charge]
    for _ in range(1, charge.requested):
        tasks.append(replace(charge, id=service.new_task_id(), fate=service.faults.draw("task")))
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
    return min(table.values(), key=lambda pixels: max(ratio * pixels[1] / pixels[0], pixels[0] / pixels[1] / ratio))


async def _tell(service: Service, exchange: Exchange, charge: Charge, ids: Sequence[str]) -> None:
    """Answer an accepted POST, or fail to."""
    if service.settings.latency:
        await asyncio.sleep(service.settings.latency)
    other = _wants_other_shape(exchange) or charge.reply == "other-shape"
    reply = replies.submitted(*ids, other_shape=other).marked(service.new_request_id())
    match charge.reply:
        case None | "other-shape" | "task-per-image":
            await exchange.reply(reply)
        case "drop-after-accept":
            await exchange.close()
        case "reset-after-accept":
            await exchange.reset()
        case "hang-after-accept":
            await exchange.wait_for_client()
        case "drop-mid-body":
            await exchange.reply_half(reply)
        case "slow-reply":
            await asyncio.sleep(service.settings.slow)
            await exchange.reply(reply)
        case "event-stream":
            await exchange.reply(replace(reply, content_type="text/event-stream"))
        case fault:
            await exchange.reply(_unreadable(fault, charge.id).marked(service.new_request_id()))


def _unreadable(fault: str, task: str) -> Reply:
    """A reply to an accepted POST from which no client can learn the task's id as documented."""
    match fault:
        case "500-after-accept":
            return replies.error(500)
        case "502-after-accept":
            return replies.error(502)
        case "garbage":
            return Reply(body=b"OK", content_type="text/plain")
        case "garbage-with-id":
            return Reply(body=f'{{"code":200,"data":[{{"status":"submitted","task_id":"{task}"'.encode())
        case "429-with-id":
            return replies.error(429, extra={"data": [{"status": "submitted", "task_id": task}]})
        case "no-id":
            return replies.json_reply({"code": 200, "data": [{"status": "submitted"}]})
        case _:
            raise AssertionError(f"no reply for the fault {fault}")


def _wants_other_shape(exchange: Exchange) -> bool:
    return exchange.header(b"x-apimart-response-version") == replies.RESPONSE_VERSION


async def _refuse(service: Service, exchange: Exchange, reply: Reply) -> None:
    service.posts["refused"] += 1
    await _answer(service, exchange, reply)


async def _answer(service: Service, exchange: Exchange, reply: Reply) -> None:
    if service.settings.latency:
        await asyncio.sleep(service.settings.latency)
    await exchange.reply(reply.marked(service.new_request_id()))
