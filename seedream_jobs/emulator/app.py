"""This module is the ASGI app: its routes, and the answers to GETs of tasks, of the account and of the models.

Called by ``server.py``. It answers what the service answers, below any path prefix, with or without ``/v1``.
"""

from __future__ import annotations

import asyncio
import base64
import math
import re
from dataclasses import replace
from typing import Any

from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from seedream_jobs.emulator.files import download, upload
from seedream_jobs.emulator.replies import TASK_GONE, Exchange, Response, error, json_response
from seedream_jobs.emulator.service import KEY_RETENTION, Charge, Service
from seedream_jobs.emulator.submit import submit
from seedream_jobs.model_profile import Profile

TASK_LIFE = 7 * 86400
"""Seconds after which a task is forgotten: the service keeps them "for days"."""

_ROUTE = re.compile(
    r"(?P<prefix>.*?)(?:/v1)*/(?:"
    r"(?P<submit>images/generations)"
    r"|tasks/(?P<task>[^/]+)"
    r"|files/(?P<folder>[^/]+)/(?P<name>[^/]+)"
    r"|(?P<balance>(?:user/)?balance)"
    r"|(?P<models>models)"
    r"|(?P<schema>model-schema)"
    r"|(?P<upload>uploads/images)"
    r"|(?P<books>emulator/books)"
    r")/?"
)
_LATE_REPLIES = 3  # the client asks as often before it believes that no image will come
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


class App:
    """The ASGI application; one instance serves one event loop."""

    def __init__(self, service: Service) -> None:
        self.service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = Exchange(scope, receive, send)
        try:
            await self._route(exchange)
        except (ClientDisconnect, asyncio.CancelledError):
            return  # the client left in the middle of its own body, or the server is being stopped

    async def _route(self, exchange: Exchange) -> None:
        service = self.service
        route = _ROUTE.fullmatch(exchange.path)
        if route is None:
            await exchange.reply(error(404))
            return
        posted = route["submit"] is not None or route["upload"] is not None
        if exchange.method not in (("POST",) if posted else ("GET", "HEAD")):
            allow = {"Allow": "POST" if posted else "GET, HEAD"}
            await exchange.reply(error(405, headers=allow))
            return
        base = exchange.origin + route["prefix"]
        if route["submit"] is not None:
            await submit(service, exchange)
        elif route["task"] is not None:
            await _task(service, exchange, route["task"], base=base)
        elif route["folder"] is not None:
            await download(service, exchange, route["folder"], route["name"])
        elif route["books"] is not None:
            await exchange.reply(_books(service))
        else:
            reply = await self._account(exchange, route, base)
            if service.settings.latency:
                await asyncio.sleep(service.settings.latency)
            await exchange.reply(reply.marked(service.new_request_id()))

    async def _account(self, exchange: Exchange, route: re.Match[str], base: str) -> Response:
        service, denied = self.service, exchange.unauthorised()
        if route["balance"] is not None:
            return _balance(service, denied)
        if denied is not None:
            return denied
        if route["models"] is not None:
            return _models(service)
        if route["upload"] is not None:
            return await upload(service, exchange, base=base)
        query = exchange.request.query_params
        return _model_schema(service, query.get("model", ""), query.get("operation", "image_generation"))


async def _task(service: Service, exchange: Exchange, identity: str, *, base: str) -> None:
    """Answer one GET of a task.

    :param base: the URL below which the emulator serves files
    """
    service.gets[identity] += 1
    fault = service.faults.draw("poll")
    name = fault.name if fault is not None else None
    if service.settings.latency:
        await asyncio.sleep(service.settings.latency)
    if name == "poll-drop":
        await exchange.close()
        return
    if name == "poll-slow":
        await asyncio.sleep(service.settings.slow)
    response = exchange.unauthorised()
    if response is None and fault is not None:
        response = fault.response(now=service.clock())
    if response is None:
        charge = service.books.find(identity)
        if charge is None or service.clock() > charge.created + TASK_LIFE:
            response = TASK_GONE
        else:
            response = await _report(service, charge, base)
    if name == "poll-event-stream":
        response = replace(response, content_type="text/event-stream")
    await exchange.reply(response.marked(service.new_request_id()))


async def _report(service: Service, charge: Charge, base: str) -> Response:
    now = service.clock()
    created, ended = int(charge.created), int(charge.done)
    data: dict[str, Any] = {"id": charge.id, "status": "pending", "progress": 0, "created": created}
    # Bounded: the estimate of a task that never ends must not tell so.
    data["estimated_time"] = max(math.ceil(min(charge.done - charge.created, 60.0)), 1)
    if now < charge.done:
        if charge.fate == "task-unknown-status":
            data["status"] = "waiting_for_capacity"
        elif now - charge.created > (charge.done - charge.created) / 4:
            data["status"] = "processing"
        return json_response({"code": 200, "data": data})
    data |= {"progress": 100, "completed": ended, "actual_time": max(ended - created, 1)}
    if charge.fate != "task-no-cost" and (charge.fate not in _ERRORS or charge.cost):
        data |= {"cost": float(charge.cost), "credits_cost": float(charge.cost * 10)}
    if charge.fate in _ERRORS:
        data |= {"status": _ENDS.get(charge.fate, "failed"), "error": _ERRORS[charge.fate]}
        return json_response({"code": 200, "data": data})
    data["status"] = "success" if charge.fate == "task-success" else "completed"
    data["result"] = {"images": await _images(service, charge, base)}
    return json_response({"code": 200, "data": data})


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
    if charge.fate == "task-shared-urls":  # one link twice: the client must count it once
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


def _balance(service: Service, denied: Response | None) -> Response:
    """What is left and what was used, USD; a failure is HTTP 200 with ``success: false``."""
    if denied is not None:
        return json_response({"success": False, "message": "身份验证失败，请检查您的API密钥"})
    now = service.clock()
    fault = service.faults.draw("account")
    if fault is not None and (failure := fault.response(now=now)) is not None:
        return failure
    return json_response(
        {
            "success": True,
            "message": "",
            "remain_balance": float(service.books.remaining(now=now)),
            "used_balance": float(service.books.used(now=now)),
            "unlimited_quota": False,
        }
    )


def _models(service: Service) -> Response:
    """The models by id and alias, as OpenAI lists them."""
    entries = [
        {"id": name, "object": "model", "created": 1700000000, "owned_by": "doubao"} for name in service.profiles
    ]
    return json_response({"object": "list", "data": entries})


def _model_schema(service: Service, model: str, operation: str) -> Response:
    """The input schema of a model, and how it treats idempotency keys where it honours them."""
    profile = service.profiles.get(model)
    if profile is None:
        return error(404, f"模型 {model} 不存在")
    if operation != "image_generation":
        return error(400, f"模型 {model} 不支持操作 {operation}")
    content: dict[str, Any] = {"model": model, "operation": operation, "input_schema": _input_schema(profile)}
    if service.settings.idempotency == "honours":
        content["idempotency"] = {
            "header": "Idempotency-Key",
            "replay_header": "Idempotency-Replayed",
            "retention_seconds": KEY_RETENTION,
            "scope": "account",
        }
    return json_response(content)


def _books(service: Service) -> Response:
    """The emulator's own record: not part of the API. Counts are of this process, charges of the state folder."""
    now = service.clock()
    return json_response(
        {
            "charges": [charge.fields() for charge in service.books],
            "posts": {name: service.posts[name] for name in ("accepted", "refused", "replayed")},
            "gets": dict(service.gets),
            "downloads": dict(service.downloads),
            "authorization_leaks": service.leaks,
            "used": str(service.books.used(now=now)),
            "remaining": str(service.books.remaining(now=now)),
        }
    )


def _input_schema(profile: Profile) -> dict[str, Any]:
    return {
        "type": "object",
        "required": ["model", "prompt"],
        "properties": {
            "model": {"type": "string", "enum": [profile.id, *profile.aliases]},
            "prompt": {"type": "string", "minLength": 1},
            "size": {"type": "string", "enum": list(profile.sizes)},
            "resolution": {"type": "string", "enum": list(profile.resolutions)},
            "n": {"type": "integer", "minimum": 1, "maximum": profile.max_images},
            "image_urls": {"type": "array", "items": {"type": "string"}},
            "output_format": {"type": "string", "enum": list(profile.output_formats)},
            "sequential_image_generation": {"type": "string", "enum": ["disabled", "auto"]},
            "sequential_image_generation_options": {
                "type": "object",
                "properties": {"max_images": {"type": "integer", "minimum": 1, "maximum": profile.max_images}},
            },
            "watermark": {"type": "boolean"},
        },
    }
