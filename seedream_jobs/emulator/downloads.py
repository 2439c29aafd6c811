"""``GET /files/…``: the images behind the links, which need no key and must not be sent one."""

from __future__ import annotations

from dataclasses import replace

from seedream_jobs.emulator import replies
from seedream_jobs.emulator.books import Charge
from seedream_jobs.emulator.replies import Reply
from seedream_jobs.emulator.service import Service
from seedream_jobs.emulator.uploads import serve_upload
from seedream_jobs.emulator.wire import Exchange

_PAGE = (
    b"<!doctype html><html><head><title>Sign in</title></head><body>"
    + b"<p>Please sign in.</p>" * 80
    + b"</body></html>"
)
_EXPIRED = b'<?xml version="1.0"?><Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>'


async def download(service: Service, exchange: Exchange, folder: str, name: str) -> None:
    """Answer one GET of ``/files/{folder}/{name}``: an uploaded file, or ``{index}.{format}`` of a task."""
    service.downloads[folder] += 1
    if exchange.header(b"authorization") is not None:
        service.leaks += 1
        await exchange.reply(replies.error(400, "下载链接不需要 Authorization，请勿发送密钥"))
        return
    if folder == "uploads":
        await exchange.reply(serve_upload(service, name))
        return
    charge = service.books.find(folder)
    stem = name.partition(".")[0]
    index = int(stem) if stem.isdecimal() else -1
    if charge is None or not 0 <= index < charge.delivered or service.clock() < charge.done:
        await exchange.reply(replies.error(404))
    elif service.clock() >= charge.expires:
        await exchange.reply(_expired())
    else:
        await _send(service, exchange, charge, index)


async def _send(service: Service, exchange: Exchange, charge: Charge, index: int) -> None:
    fault = service.faults.draw("image")
    early = _without_image(fault, exchange)
    if early is not None:
        await exchange.reply(early)
        return
    other_format = fault == "image-wrong-format"
    shrink = 2 if fault == "image-wrong-pixels" else 1
    body = await service.image(charge, index, shrink=shrink, other_format=other_format)
    kind = "png" if (charge.format == "png") != other_format else "jpeg"
    reply = Reply(body=body, content_type=f"image/{kind}")
    match fault:
        case "image-truncated":
            await exchange.reply(replace(reply, body=body[: len(body) // 2]))
        case "image-drop":
            await exchange.reply_half(reply)
        case "image-slow":
            await exchange.trickle(reply, seconds=service.settings.slow)
        case _:
            await exchange.reply(reply)


def _without_image(fault: str | None, exchange: Exchange) -> Reply | None:
    """The replies that need no image to be made; None for the rest."""
    match fault:
        case "image-html":
            return Reply(body=_PAGE, content_type="text/html")
        case "image-tiny":
            return Reply(body=b"\xff\xd8\xff\xd9", content_type="image/jpeg")
        case "image-403":
            return _expired()
        case "image-404":
            return replies.error(404)
        case "image-500":
            return replies.error(500)
        case "image-redirect":
            return Reply(status=302, content_type=None, headers={"Location": f"{exchange.path}?again=1"})
        case _:
            return None


def _expired() -> Reply:
    return Reply(status=403, body=_EXPIRED, content_type="application/xml")
