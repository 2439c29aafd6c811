"""This module serves ``/files/…`` and takes ``POST /v1/uploads/images``.

Called by ``app.py``. Invariant: a link to a file needs no key and must not be sent one; an upload is kept for 72 hours.
"""

from __future__ import annotations

import re
from dataclasses import replace
from email import policy
from email.parser import BytesParser
from hashlib import sha256
from pathlib import Path

from seedream_jobs.emulator.replies import EXPIRED, Exchange, Response, error, json_response
from seedream_jobs.emulator.service import Charge, Service

UPLOAD_LIMIT = 20 << 20
"""Bytes that an uploaded image may have."""

UPLOAD_LIFE = 72 * 3600
"""Seconds for which an uploaded image can be fetched."""

_ENVELOPE = 64 << 10  # bytes of the form around the file
_KINDS = (
    (re.compile(rb"\xff\xd8\xff"), "jpeg", "image/jpeg"),
    (re.compile(rb"\x89PNG\r\n\x1a\n"), "png", "image/png"),
    (re.compile(rb"RIFF....WEBP", re.DOTALL), "webp", "image/webp"),
    (re.compile(rb"GIF8[79]a"), "gif", "image/gif"),
)
# A name comes out of a URL: nothing but what ``upload`` named is opened.
_NAME = re.compile(r"[0-9a-f]{64}\.(?:jpeg|png|webp|gif)")


async def download(service: Service, exchange: Exchange, folder: str, name: str) -> None:
    """Answer one GET of ``/files/{folder}/{name}``: an uploaded file, or ``{index}.{format}`` of a task."""
    service.downloads[folder] += 1
    if exchange.header(b"authorization") is not None:
        service.leaks += 1  # GET /emulator/books shows it: a client must never send its key here
        await exchange.reply(error(400, "下载链接不需要 Authorization，请勿发送密钥"))
        return
    if folder == "uploads":
        await exchange.reply(_serve_upload(service, name))
        return
    charge = service.books.find(folder)
    stem = name.partition(".")[0]
    index = int(stem) if stem.isdecimal() else -1
    if charge is None or not 0 <= index < charge.delivered or service.clock() < charge.done:
        await exchange.reply(error(404))
    elif service.clock() >= charge.expires:
        await exchange.reply(EXPIRED)
    else:
        await _send(service, exchange, charge, index)


async def _send(service: Service, exchange: Exchange, charge: Charge, index: int) -> None:
    drawn = service.faults.draw("image")
    if drawn is not None and (instead := drawn.response(now=service.clock())) is not None:
        await exchange.reply(instead)
        return
    fault = drawn.name if drawn is not None else None
    if fault == "image-redirect":
        location = {"Location": f"{exchange.path}?again=1"}
        await exchange.reply(Response(status=302, content_type=None, headers=location))
        return
    other_format = fault == "image-wrong-format"
    shrink = 2 if fault == "image-wrong-pixels" else 1
    body = await service.image(charge, index, shrink=shrink, other_format=other_format)
    kind = "png" if (charge.format == "png") != other_format else "jpeg"
    reply = Response(body=body, content_type=f"image/{kind}")
    match fault:
        case "image-truncated":
            await exchange.reply(replace(reply, body=body[: len(body) // 2]))
        case "image-drop":
            await exchange.reply_half(reply)
        case "image-slow":
            await exchange.trickle(reply, seconds=service.settings.slow)
        case _:
            await exchange.reply(reply)


async def upload(service: Service, exchange: Exchange, *, base: str) -> Response:
    """Keep the file of field ``file`` and say where it can be fetched.

    :param base: the URL below which the emulator serves files
    """
    body = await exchange.body(UPLOAD_LIMIT + _ENVELOPE)
    if body is None:
        return error(413)
    found = _file(exchange.request.headers.get("content-type", ""), body)
    if found is None:
        return error(400, "缺少 multipart 字段 file")
    filename, data = found
    if len(data) > UPLOAD_LIMIT:
        return error(413)
    kind = next((kind for kind in _KINDS if kind[0].match(data)), None)
    if kind is None:
        return error(400, "只支持 JPEG、PNG、WebP、GIF 图片")
    name = f"{sha256(data).hexdigest()}.{kind[1]}"
    folder = service.settings.state / "uploads"
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(data)
    return json_response(
        {
            "url": f"{base}/files/uploads/{name}",
            "filename": filename,
            "content_type": kind[2],
            "bytes": len(data),
            "created_at": int(service.clock()),
        }
    )


def uploaded(state: Path, url: str) -> bytes | None:
    """The bytes of an image that was uploaded here, by its URL; None for any other URL."""
    head, _, name = url.rpartition("/")
    if not head.endswith("/files/uploads") or not _NAME.fullmatch(name):
        return None
    path = state / "uploads" / name
    return path.read_bytes() if path.exists() else None


def _serve_upload(service: Service, name: str) -> Response:
    path = service.settings.state / "uploads" / name
    if not _NAME.fullmatch(name) or not path.exists():
        return error(404)
    if service.clock() >= path.stat().st_mtime + UPLOAD_LIFE:
        return error(403)
    kind = next(kind for kind in _KINDS if kind[1] == path.suffix[1:])
    return Response(body=path.read_bytes(), content_type=kind[2])


def _file(content_type: str, body: bytes) -> tuple[str, bytes] | None:
    """Name and bytes of the field ``file``; a multipart body is a MIME message without its head."""
    if not content_type.lower().startswith("multipart/form-data"):
        return None
    head = b"Content-Type: " + content_type.encode("latin-1") + b"\r\nMIME-Version: 1.0\r\n\r\n"
    message = BytesParser(policy=policy.HTTP).parsebytes(head + body)
    for part in message.iter_parts() if message.is_multipart() else ():
        if part.get_param("name", header="content-disposition") == "file":
            data = part.get_payload(decode=True)
            return (part.get_filename() or "image", data) if isinstance(data, bytes) else None
    return None
