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
from email.utils import formatdate
from typing import Any

from starlette.requests import Request
from starlette.types import Receive, Scope, Send

RESPONSE_VERSION = "2026-07-27"
"""The value of X-APIMart-Response-Version that selects the other shape of the reply to a submit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A reply to be sent; ``content_type`` None sends no such header."""

    status: int = 200
    body: bytes = b""
    content_type: str | None = "application/json; charset=utf-8"
    headers: Mapping[str, str] = field(default_factory=dict)

    def marked(self, request_id: str) -> Reply:
        """The reply with the service's handle for a support ticket."""
        return replace(self, headers={**self.headers, "X-Oneapi-Request-Id": request_id})


_to_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def json_reply(content: object, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Reply:
    """A reply whose body is ``content`` as JSON."""
    return Reply(status=status, body=_to_json(content).encode(), headers=headers or {})


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
) -> Reply:
    """The error reply of this HTTP status.

    :param detail: what exactly is wrong, appended to the status's own message
    :param code: ``error.code`` where it is not the status
    :param message: in place of the status's own message
    :param extra: further members of the body
    """
    kind, usual = _KINDS[status]
    message = message or (f"{usual}：{detail}" if detail else usual)
    content = {"error": {"code": status if code is None else code, "message": message, "type": kind}}
    return json_reply({**content, **(extra or {})}, status=status, headers=headers)


GATEWAY_PAGE = (
    b"<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n<center><h1>502 Bad Gateway</h1></center>\r\n"
    b"</body>\r\n</html>\r\n"
)


def refusal(fault: str, *, now: float) -> Reply:
    """The reply of a fault that refuses before anything is charged (the ``submit`` faults and their ``poll-`` twins).

    :param now: Unix seconds, for a Retry-After that is a date
    """
    if fault.isdigit():
        return error(int(fault))
    match fault:
        case "429-retry-after":
            return error(429, headers={"Retry-After": "1"})
        case "429-retry-date":
            return error(429, headers={"Retry-After": formatdate(now + 1, usegmt=True)})
        case "build-request-failed":
            return error(500, message="build_request_failed: invalid parameter: size")
        case "moderation":
            return error(500, message="build_request_failed: 提示词包含不允许的内容，请修改后重试")
        case "get-channel-failed":
            return error(400, code="get_channel_failed", message="获取渠道失败，请稍后重试")
        case "html-gateway":
            return Reply(status=502, body=GATEWAY_PAGE, content_type="text/html")
        case "empty-reply":
            return Reply(status=502, content_type=None)
        case "error-in-200":
            return json_reply({"code": 500, "data": []})
        case "success-false":
            return json_reply({"success": False, "message": "请求失败，请稍后重试"})
        case "code-string":
            return error(400, code="400")
        case "code-empty":
            return error(400, code="")
        case "redirect":
            return Reply(status=307, content_type=None, headers={"Location": "/elsewhere/v1/images/generations"})
        case "idempotency-in-progress":
            return idempotency_in_progress()
        case "idempotency-indeterminate":
            return error(409, code="idempotency_result_indeterminate", message="原请求的结果无法确定")
        case "idempotency-unavailable":
            return error(503, code="idempotency_unavailable", message="幂等服务暂时不可用，请稍后重试")
        case _:
            raise AssertionError(f"no reply for the fault {fault}")


def idempotency_in_progress() -> Reply:
    """The first POST with this key has not been answered yet."""
    headers = {"Retry-After": "1"}
    return error(409, code="idempotency_in_progress", message="使用相同幂等键的请求正在处理中", headers=headers)


def idempotency_key_reused() -> Reply:
    """The key came before, with another body."""
    return error(409, code="idempotency_key_reused", message="幂等键已被用于不同的请求")


def submitted(*tasks: str, other_shape: bool, replayed: bool = False) -> Reply:
    """Accepted tasks: a list with their ids, or of one (HTTP 202) one object of the newer response version."""
    headers = {"Idempotency-Replayed": "true"} if replayed else None
    if other_shape:
        data: Any = {"id": tasks[0], "object": "generation.task", "status": "submitted"}
        return json_reply({"code": 200, "data": data}, status=202, headers=headers)
    data = [{"status": "submitted", "task_id": task} for task in tasks]
    return json_reply({"code": 200, "data": data}, headers=headers)


def task_gone() -> Reply:
    """No such task, or one that was forgotten after its days."""
    return error(400, message="任务不存在或已过期 (task does not exist or has expired)")


_SO_LINGER_RESET = struct.pack("ii", 1, 0)


class Exchange:
    """One request and the way to answer it.

    The connection's transport stands in ``scope["state"]["transport"]`` (see ``server``): ASGI itself has no way to
    close a connection without a reply.
    """

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.request = Request(scope, receive)
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.headers: Mapping[bytes, bytes] = dict(scope["headers"])
        self._scope, self._receive, self._send = scope, receive, send

    def header(self, name: bytes) -> str | None:
        """A header by its lower-case name."""
        value = self.headers.get(name)
        return None if value is None else value.decode("latin-1")

    @property
    def origin(self) -> str:
        """Scheme and host as the client named them."""
        return f"{self._scope['scheme']}://{self.header(b'host') or '127.0.0.1'}"

    async def reply(self, reply: Reply) -> None:
        """Send a whole reply."""
        await self._start(reply, len(reply.body))
        await self._send({"type": "http.response.body", "body": reply.body})

    async def reply_half(self, reply: Reply) -> None:
        """Announce the whole reply, send half of it and close the connection."""
        await self._start(reply, len(reply.body))
        half = reply.body[: len(reply.body) // 2]
        await self._send({"type": "http.response.body", "body": half, "more_body": True})
        await self.close()

    async def trickle(self, reply: Reply, *, seconds: float) -> None:
        """Send the reply in ten pieces over ``seconds``."""
        await self._start(reply, len(reply.body))
        piece = max(len(reply.body) // 10, 1)
        for start in range(0, len(reply.body), piece):
            await asyncio.sleep(seconds / 10)
            block = reply.body[start : start + piece]
            more = start + piece < len(reply.body)
            await self._send({"type": "http.response.body", "body": block, "more_body": more})

    async def close(self) -> None:
        """Close the connection without another byte."""
        self._transport.close()
        await self._gone()

    async def reset(self) -> None:
        """Close the connection with a TCP reset."""
        connection = self._transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _SO_LINGER_RESET)
        self._transport.abort()
        await self._gone()

    async def wait_for_client(self) -> None:
        """Say nothing until the client has gone."""
        await self._gone()

    @property
    def _transport(self) -> Any:
        return self._scope["state"]["transport"]

    async def _gone(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def _start(self, reply: Reply, length: int) -> None:
        headers = [(b"content-length", str(length).encode())]
        if reply.content_type is not None:
            headers.append((b"content-type", reply.content_type.encode()))
        headers += [(name.lower().encode(), value.encode("latin-1")) for name, value in reply.headers.items()]
        await self._send({"type": "http.response.start", "status": reply.status, "headers": headers})
