"""The routes: an ASGI app that answers what the service answers, below any path prefix, with or without ``/v1``."""

from __future__ import annotations

import asyncio
import re

from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from seedream_jobs.emulator import account, replies
from seedream_jobs.emulator.downloads import download
from seedream_jobs.emulator.replies import Reply
from seedream_jobs.emulator.service import Service
from seedream_jobs.emulator.submit import submit, unauthorised
from seedream_jobs.emulator.tasks import task
from seedream_jobs.emulator.uploads import upload
from seedream_jobs.emulator.wire import Exchange

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
            await exchange.reply(account.books(service))
        else:
            reply = await self._account(exchange, route, base)
            if service.settings.latency:
                await asyncio.sleep(service.settings.latency)
            await exchange.reply(reply.marked(service.new_request_id()))

    async def _account(self, exchange: Exchange, route: re.Match[str], base: str) -> Reply:
        service, denied = self.service, unauthorised(exchange)
        if route["balance"] is not None:
            return account.balance(service, denied)
        if denied is not None:
            return denied
        if route["models"] is not None:
            return account.models(service)
        if route["upload"] is not None:
            return await upload(service, exchange.request, base=base)
        query = exchange.request.query_params
        return account.model_schema(service, query.get("model", ""), query.get("operation", "image_generation"))
