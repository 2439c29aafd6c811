"""This module holds the service's replies and the emulator's end of a connection, which sends them or breaks off.

Called by every route. The messages are Chinese, as the service's are.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from starlette.requests import Request
from starlette.types import Receive, Scope, Send

RESPONSE_VERSION = "2026-07-27"
"""The value of X-APIMart-Response-Version that selects the other shape of the reply to a submit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """A reply to be sent; ``content_type`` None sends no such header."""

    status: int = 200
    body: bytes = b""
    content_type: str | None = "application/json; charset=utf-8"
    headers: Mapping[str, str] = field(default_factory=dict)

    def marked(self, request_id: str) -> Response:
        """The reply with the service's handle for a support ticket."""
        return replace(self, headers={**self.headers, "X-Oneapi-Request-Id": request_id})


_to_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def json_response(content: object, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A reply whose body is ``content`` as JSON."""
    return Response(status=status, body=_to_json(content).encode(), headers=headers or {})


_KINDS: Mapping[int, tuple[str, str]] = {
    400: ("invalid_request_error", "请求参数无效"),
    401: ("authentication_error", "身份验证失败，请检查您的API密钥"),
    402: ("payment_required", "账户余额不足，请充值后再试"),
    403: ("permission_error", "访问被禁止，您没有权限访问此资源"),
    404: ("invalid_request_error", "请求的资源不存在"),
    405: ("invalid_request_error", "请求方法不被允许"),
    408: ("invalid_request_error", "请求超时"),
    409: ("idempotency_error", "幂等键冲突"),
    413: ("invalid_request_error", "请求体过大"),
    429: ("rate_limit_error", "请求过于频繁，请稍后再试"),
    500: ("server_error", "服务器内部错误，请稍后重试"),
    502: ("bad_gateway", "网关错误，服务器暂时不可用"),
    503: ("service_unavailable", "服务暂时不可用，请稍后重试"),
    504: ("gateway_timeout", "网关超时，请稍后重试"),
}


def error(
    status: int,
    detail: str | None = None,
    *,
    code: int | str | None = None,
    message: str | None = None,
    headers: Mapping[str, str] | None = None,
    extra: Mapping[str, object] | None = None,
) -> Response:
    """The error reply of this HTTP status.

    :param detail: what exactly is wrong, appended to the status's own message
    :param code: ``error.code`` where it is not the status
    :param message: in place of the status's own message
    :param extra: further members of the body
    """
    kind, usual = _KINDS[status]
    message = message or (f"{usual}：{detail}" if detail else usual)
    content = {"error": {"code": status if code is None else code, "message": message, "type": kind}}
    return json_response({**content, **(extra or {})}, status=status, headers=headers)


IN_PROGRESS = error(
    409, code="idempotency_in_progress", message="使用相同幂等键的请求正在处理中", headers={"Retry-After": "1"}
)
"""The first POST with this idempotency key has not been answered yet."""

KEY_REUSED = error(409, code="idempotency_key_reused", message="幂等键已被用于不同的请求")
"""The idempotency key came before, with another body."""

TASK_GONE = error(400, message="任务不存在或已过期 (task does not exist or has expired)")
"""There is no such task, or it was forgotten after its days."""

EXPIRED = Response(
    status=403,
    body=b'<?xml version="1.0"?><Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>',
    content_type="application/xml",
)
"""The link to an image is too old."""


def submitted(*tasks: str, other_shape: bool, replayed: bool = False) -> Response:
    """Accepted tasks: a list with their ids, or of one (HTTP 202) one object of the newer response version."""
    headers = {"Idempotency-Replayed": "true"} if replayed else None
    if other_shape:
        data: Any = {"id": tasks[0], "object": "generation.task", "status": "submitted"}
        return json_response({"code": 200, "data": data}, status=202, headers=headers)
    data = [{"status": "submitted", "task_id": task} for task in tasks]
    return json_response({"code": 200, "data": data}, headers=headers)


class Exchange:
    """One request and the way to answer it."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.request: Request = Request(scope, receive)
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self._headers: Mapping[bytes, bytes] = dict(scope["headers"])
        self._scope, self._receive, self._send = scope, receive, send

    def header(self, name: bytes) -> str | None:
        """A header by its lower-case name."""
        value = self._headers.get(name)
        return None if value is None else value.decode("latin-1")

    @property
    def origin(self) -> str:
        """Scheme and host as the client named them."""
        return f"{self._scope['scheme']}://{self.header(b'host') or '127.0.0.1'}"

    def unauthorised(self) -> Response | None:
        """The 401 for a missing token or one that begins with ``invalid``; None where the token is accepted."""
        scheme, _, token = (self.header(b"authorization") or "").partition(" ")
        if scheme.lower() != "bearer" or not token.strip() or token.strip().startswith("invalid"):
            return error(401)
        return None

    async def body(self, limit: int) -> bytes | None:
        """The request's body; None as soon as it has more than ``limit`` bytes, the rest unread."""
        announced = self.header(b"content-length") or "0"
        if announced.isdecimal() and (len(announced) > 18 or int(announced) > limit):
            return None
        found = bytearray()
        async for block in self.request.stream():
            found += block
            if len(found) > limit:
                return None
        return bytes(found)

    async def reply(self, response: Response) -> None:
        """Send a whole reply."""
        await self._start(response)
        await self._send({"type": "http.response.body", "body": response.body})

    async def reply_half(self, response: Response) -> None:
        """Announce the whole reply, send half of it and close the connection."""
        await self._start(response)
        half = response.body[: len(response.body) // 2]
        await self._send({"type": "http.response.body", "body": half, "more_body": True})
        await self.close()

    async def trickle(self, response: Response, *, seconds: float) -> None:
        """Send the reply in ten pieces over ``seconds``."""
        await self._start(response)
        length = len(response.body)
        piece = max(length // 10, 1)
        for start in range(0, length, piece):
            await asyncio.sleep(seconds / 10)
            block = response.body[start : start + piece]
            await self._send({"type": "http.response.body", "body": block, "more_body": start + piece < length})

    async def close(self) -> None:
        """Close the connection without another byte."""
        self._transport.close()
        await self.wait_for_client()  # an app that ends without a reply has uvicorn answer with a 500

    async def reset(self) -> None:
        """Close the connection with a TCP reset."""
        connection = self._transport.get_extra_info("socket")
        # Closing a socket that lingers for 0 seconds sends RST in place of FIN.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()
        await self.wait_for_client()

    async def wait_for_client(self) -> None:
        """Say nothing until the client has gone."""
        while (await self._receive())["type"] != "http.disconnect":
            pass

    @property
    def _transport(self) -> Any:
        # ASGI has no way to close a connection without a reply, so ``server.py`` puts the transport into the scope.
        return self._scope["state"]["transport"]

    async def _start(self, response: Response) -> None:
        headers = [(b"content-length", str(len(response.body)).encode())]
        if response.content_type is not None:
            headers.append((b"content-type", response.content_type.encode()))
        headers += [(name.lower().encode(), value.encode("latin-1")) for name, value in response.headers.items()]
        await self._send({"type": "http.response.start", "status": response.status, "headers": headers})
