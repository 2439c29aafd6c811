"""``GET /v1/tasks/{id}``: a task as its charge and the clock have it."""

from __future__ import annotations

import asyncio
import base64
import math
from dataclasses import replace
from typing import Any

from seedream_jobs.emulator import replies
from seedream_jobs.emulator.books import Charge
from seedream_jobs.emulator.replies import Exchange, Reply
from seedream_jobs.emulator.service import Service
from seedream_jobs.emulator.submit import unauthorised

TASK_LIFE = 7 * 86400
"""Seconds after which a task is forgotten: the service keeps them "for days"."""

_LATE_REPLIES = 3
_ENDS = {"task-cancelled": "cancelled", "task-expired": "expired"}
_ERRORS: dict[str, Any] = {
    "task-failed": {"code": 500, "message": "图像生成失败，请稍后重试", "type": "server_error"},
    "task-failed-charged": {"code": 500, "message": "图像生成失败，请稍后重试", "type": "server_error"},
    "task-failed-string": "图像生成失败，请稍后重试",
    "task-failed-code": {"code": "500", "message": "图像生成失败，请稍后重试", "type": "server_error"},
    "task-failed-empty": {"code": "", "message": "图像生成失败，请稍后重试", "type": "server_error"},
    "task-moderation": {"code": 400, "message": "生成的图片可能包含不允许的内容", "type": "invalid_request_error"},
    "task-expired": {"code": 408, "message": "任务已超时", "type": "expired"},
    "task-cancelled": {"code": 499, "message": "任务已取消", "type": "cancelled"},
}


async def task(service: Service, exchange: Exchange, identity: str, *, base: str) -> None:
    """Answer one GET of a task.

    :param base: the URL below which the emulator serves files
    """
    service.gets[identity] += 1
    fault = service.faults.draw("poll")
    if service.settings.latency:
        await asyncio.sleep(service.settings.latency)
    if fault == "poll-drop":
        await exchange.close()
        return
    if fault == "poll-slow":
        await asyncio.sleep(service.settings.slow)
    reply = unauthorised(exchange)
    if reply is None and fault not in (None, "poll-slow", "poll-event-stream", "poll-gone"):
        reply = replies.refusal(str(fault).removeprefix("poll-"), now=service.clock())
    if reply is None:
        charge = service.books.find(identity)
        gone = fault == "poll-gone" or charge is None or service.clock() > charge.created + TASK_LIFE
        reply = replies.task_gone() if gone or charge is None else await _report(service, charge, base)
    if fault == "poll-event-stream":
        reply = replace(reply, content_type="text/event-stream")
    await exchange.reply(reply.marked(service.new_request_id()))


async def _report(service: Service, charge: Charge, base: str) -> Reply:
    now = service.clock()
    created, ended = int(charge.created), int(charge.done)
    data: dict[str, Any] = {"id": charge.id, "status": "pending", "progress": 0, "created": created}
    data["estimated_time"] = max(math.ceil(min(charge.done - charge.created, 60.0)), 1)
    if now < charge.done:
        if charge.fate == "task-unknown-status":
            data["status"] = "waiting_for_capacity"
        elif now - charge.created > (charge.done - charge.created) / 4:
            data["status"] = "processing"
        return replies.json_reply({"code": 200, "data": data})
    data |= {"progress": 100, "completed": ended, "actual_time": max(ended - created, 1)}
    if charge.fate != "task-no-cost" and (charge.fate not in _ERRORS or charge.cost):
        data |= {"cost": float(charge.cost), "credits_cost": float(charge.cost * 10)}
    if charge.fate in _ERRORS:
        data |= {"status": _ENDS.get(charge.fate, "failed"), "error": _ERRORS[charge.fate]}
        return replies.json_reply({"code": 200, "data": data})
    data["status"] = "success" if charge.fate == "task-success" else "completed"
    data["result"] = {"images": await _images(service, charge, base)}
    return replies.json_reply({"code": 200, "data": data})


async def _images(service: Service, charge: Charge, base: str) -> list[dict[str, Any]]:
    """The image objects, in the shape that the task's fate gives them."""
    if charge.fate == "task-images-late":
        service.late[charge.id] += 1
        if service.late[charge.id] <= _LATE_REPLIES:
            return []
    if charge.fate == "task-base64":
        pictures = [await service.image(charge, index) for index in range(charge.delivered)]
        return [{"b64_json": base64.b64encode(picture).decode()} for picture in pictures]
    urls = [await _url(service, charge, index, base) for index in range(charge.delivered)]
    expiry = {} if charge.fate == "task-no-expiry" else {"expires_at": int(charge.expires)}
    if charge.fate == "task-shared-urls":
        return [{"url": [*urls, urls[0]], **expiry}]
    images: list[dict[str, Any]] = [
        {"url": url if charge.fate == "task-string-url" else [url], **expiry} for url in urls
    ]
    if charge.fate == "task-image-error":
        images.append({"error": {"code": 500, "message": "该图片生成失败", "type": "server_error"}})
    return images


async def _url(service: Service, charge: Charge, index: int, base: str) -> str:
    if charge.fate == "task-data-url":
        image = await service.image(charge, index)
        return f"data:image/{charge.format};base64,{base64.b64encode(image).decode()}"
    path = f"/files/{charge.id}/{index}.{charge.format}?expires={int(charge.expires)}"
    return path if charge.fate == "task-relative-url" else base + path
