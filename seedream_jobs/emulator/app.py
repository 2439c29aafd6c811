"""This module is the ASGI app: its routes, and the answers to questions about the account and the models.

Called by ``server.py``. It answers what the service answers, below any path prefix, with or without ``/v1``.
"""

from __future__ import annotations

import asyncio
import re
from typing import Any

from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from seedream_jobs.emulator import replies
from seedream_jobs.emulator.books import KEY_RETENTION
from seedream_jobs.emulator.files import download, upload
from seedream_jobs.emulator.replies import Exchange, Reply
from seedream_jobs.emulator.service import Service
from seedream_jobs.emulator.submit import submit, unauthorised
from seedream_jobs.emulator.tasks import task
from seedream_jobs.model_profile import Profile


def _balance(service: Service, denied: Reply | None) -> Reply:
    """What is left and what was used, USD; a failure is HTTP 200 with ``success: false``."""
    if denied is not None:
        return replies.json_reply({"success": False, "message": "身份验证失败，请检查您的API密钥"})
    if service.faults.draw("account") is not None:
        return replies.json_reply({"success": False, "message": "查询余额失败，请稍后重试"})
    now = service.clock()
    return replies.json_reply(
        {
            "success": True,
            "message": "",
            "remain_balance": float(service.books.remaining(now=now)),
            "used_balance": float(service.books.used(now=now)),
            "unlimited_quota": False,
        }
    )


def _models(service: Service) -> Reply:
    """The models by id and alias, as OpenAI lists them."""
    entries = [
        {"id": name, "object": "model", "created": 1700000000, "owned_by": "doubao"} for name in service.profiles
    ]
    return replies.json_reply({"object": "list", "data": entries})


def _model_schema(service: Service, model: str, operation: str) -> Reply:
    """The input schema of a model, and how it treats idempotency keys where it honours them."""
    profile = service.profiles.get(model)
    if profile is None:
        return replies.error(404, f"模型 {model} 不存在")
    if operation != "image_generation":
        return replies.error(400, f"模型 {model} 不支持操作 {operation}")
    content: dict[str, Any] = {"model": model, "operation": operation, "input_schema": _input_schema(profile)}
    if service.settings.idempotency == "honours":
        content["idempotency"] = {
            "header": "Idempotency-Key",
            "replay_header": "Idempotency-Replayed",
            "retention_seconds": KEY_RETENTION,
            "scope": "account",
        }
    return replies.json_reply(content)


def _books(service: Service) -> Reply:
    """The emulator's own record: not part of the API. Counts are of this process, charges of the state folder."""
    now = service.clock()
    return replies.json_reply(
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
            await exchange.reply(replies.error(404))
            return
        posted = route["submit"] is not None or route["upload"] is not None
        if exchange.method not in (("POST",) if posted else ("GET", "HEAD")):
            allow = {"Allow": "POST" if posted else "GET, HEAD"}
            await exchange.reply(replies.error(405, headers=allow))
            return
        base = exchange.origin + route["prefix"]
        if route["submit"] is not None:
            await submit(service, exchange)
        elif route["task"] is not None:
            await task(service, exchange, route["task"], base=base)
        elif route["folder"] is not None:
            await download(service, exchange, route["folder"], route["name"])
        elif route["books"] is not None:
            await exchange.reply(_books(service))
        else:
            reply = await self._account(exchange, route, base)
            if service.settings.latency:
                await asyncio.sleep(service.settings.latency)
            await exchange.reply(reply.marked(service.new_request_id()))

    async def _account(self, exchange: Exchange, route: re.Match[str], base: str) -> Reply:
        service, denied = self.service, unauthorised(exchange)
        if route["balance"] is not None:
            return _balance(service, denied)
        if denied is not None:
            return denied
        if route["models"] is not None:
            return _models(service)
        if route["upload"] is not None:
            return await upload(service, exchange.request, base=base)
        query = exchange.request.query_params
        return _model_schema(service, query.get("model", ""), query.get("operation", "image_generation"))
