"""The seam to the network: every call to the service goes through ``Client``; a run submits and asks by it.

One connection per worker, all sharing one TLS context: one pool of 64 connections spends its time scanning itself and
reaches 6 % of what the workers could do; 64 pools of one reach 70–90 % (bench/submit.py).
"""

from __future__ import annotations

import logging
import os
import re
import ssl
import time
from dataclasses import replace
from types import TracebackType
from typing import Self

import anyio
import httpx

from seedream_jobs.api.account import Balance, parse_balance, parse_models, parse_upload, upload_form
from seedream_jobs.api.client_lane import TASK_LIMIT, Headers, Hook, Lane, Timeouts, target_of
from seedream_jobs.api.credentials import ApiKey, endpoint
from seedream_jobs.api.masking import Mask
from seedream_jobs.api.outcomes import Flight, Observation, Outcome, Sent, judge
from seedream_jobs.api.replies import is_task_id
from seedream_jobs.api.tasks import TaskReport, parse_task, unreachable
from seedream_jobs.errors import UsageError

_log = logging.getLogger(__name__)
TLS_VARIABLES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "SSLKEYLOGFILE")
READERS = 16  # connections for everything that is not a submission
_IDEMPOTENCY_KEY = re.compile(r"[\x21-\x7e]{1,191}", re.ASCII)


class Client:
    """The service behind a base URL. An async context manager; connections open when they are needed.

    :param base_url: as ``credentials.endpoint`` takes it
    :param workers: how many submissions may be under way; ``worker`` of ``submit`` is below it
    :param proxy: an HTTP proxy, from ``credentials.proxy_for``; None goes straight there
    :param tls: a TLS context of the caller's own, such as one that trusts a private authority
    """

    def __init__(
        self,
        base_url: str,
        key: ApiKey | str,
        *,
        workers: int,
        user_agent: str,
        timeouts: Timeouts | None = None,
        proxy: str | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.endpoint = endpoint(base_url)
        self._key = key if isinstance(key, ApiKey) else ApiKey(key)
        self.mask = Mask(self._key.reveal())
        self._timeouts = timeouts or Timeouts()
        self._proxy = proxy
        self._tls = tls
        self._hook = Hook()
        self._lanes: list[Lane | None] = [None] * workers
        self._idle: list[Lane] = []
        self._reading = anyio.Semaphore(READERS)
        self._large_reply = anyio.Semaphore(1)
        self._submit_url = target_of(self.endpoint.url("images/generations"))
        self._headers = [
            (b"Host", httpx.URL(self.endpoint.base).netloc),
            (b"Authorization", b"Bearer " + self._key.reveal().encode("ascii")),
            (b"User-Agent", re.sub(r"[^ -~]", "?", user_agent).encode("ascii")),
            (b"Accept", b"application/json"),
            (b"Accept-Encoding", b"identity"),
        ]
        self._post_headers = [*self._headers, (b"Content-Type", b"application/json")]

    async def __aenter__(self) -> Self:
        if self._tls is None:
            self._tls = tls_context(self.endpoint.base)
        await self._hook.prove()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with anyio.CancelScope(shield=True):
            for lane in [*self._lanes, *self._idle]:
                if lane is not None:
                    await lane.aclose()

    async def submit(
        self, worker: int, body: bytes, *, idempotency_key: str, flight: Flight | None = None
    ) -> Observation:
        """POST one request body (JSON, UTF-8), once. Never raises for anything the network does.

        What comes back is as it was on the wire: its words may quote the key until ``Judged`` has read them.

        :param worker: which connection; one submission at a time on each
        :param idempotency_key: 1–191 visible ASCII characters
        :param flight: what a canceller looks at: it is up to date whenever this coroutine is suspended
        """
        flight = flight if flight is not None else Flight()
        if not _IDEMPOTENCY_KEY.fullmatch(idempotency_key):
            detail = "the idempotency key is not 1 to 191 visible ASCII characters"
            return Observation(sent=Sent.NO, failure="refused-before-sending", detail=detail)
        lane = self._lanes[worker]
        if lane is None:
            lane = self._lanes[worker] = self._open()
        headers = [
            *self._post_headers,
            (b"Content-Length", b"%d" % len(body)),
            (b"Idempotency-Key", idempotency_key.encode("ascii")),
        ]
        return await lane.exchange("POST", self._submit_url, headers, body, flight)

    async def task(self, task_id: str) -> TaskReport:
        """Ask for one task. Never raises for anything the network does: that is ``unavailable``."""
        if not is_task_id(task_id):
            return unreachable("refused-before-sending", f"{task_id!r} is not a task id")
        seen = await self.request("GET", f"tasks/{task_id}")
        if seen.failure is not None or seen.status is None:
            report = self.mask.report(unreachable(seen.failure or "other", seen.detail))
        else:
            report = self.mask.report(parse_task(seen.status, seen.headers, seen.body))
        _log.debug("GET %s: %s, %d bytes: %s", task_id, seen.status or seen.failure, len(seen.body), report.status)
        return report

    async def request(
        self, method: str, path: str, *, body: bytes = b"", content_type: str | None = None
    ) -> Observation:
        """One call that may be repeated freely, on a reader's connection; ``path`` is relative to ``/v1/``."""
        headers: Headers = self._headers
        if content_type is not None:
            headers = [
                *headers,
                (b"Content-Type", content_type.encode("ascii")),
                (b"Content-Length", b"%d" % len(body)),
            ]
        async with self._reading:
            lane = self._idle.pop() if self._idle else self._open()
            try:
                url = target_of(self.endpoint.url(path))
                seen = await lane.exchange(
                    method, url, headers, body, Flight(), limit=TASK_LIMIT, large=self._large_reply
                )
                # what is cut off can't be read: it is no answer, and not kept
                return replace(seen, failure="too-long", body=b"") if seen.detail and not seen.failure else seen
            finally:
                self._idle.append(lane)

    async def balance(self, *, account: bool = False) -> Balance:
        """What is left of the key's quota, or with ``account`` of the account's money.

        :raises SeedreamError: refused, unreachable or unreadable
        """
        with self.mask.refusals():
            return parse_balance(await self.request("GET", "user/balance" if account else "balance"))

    async def models(self) -> tuple[str, ...]:
        """The ids of the models the key may use. :raises SeedreamError: as ``balance``"""
        with self.mask.refusals():
            return parse_models(await self.request("GET", "models"))

    async def upload(self, image: bytes, filename: str, content_type: str) -> str:
        """Upload a reference image (JPEG or PNG, at most 20 MB); the link that comes back lives 72 hours.

        :raises UsageError: another format, or too large
        :raises SeedreamError: as ``balance``
        """
        form, form_type = upload_form(image, filename, content_type)
        with self.mask.refusals():
            return parse_upload(await self.request("POST", "uploads/images", body=form, content_type=form_type))

    def _open(self) -> Lane:
        assert self._tls is not None, "the client is used outside its context"
        return Lane(verify=self._tls, proxy=self._proxy, timeouts=self._timeouts, hook=self._hook)


class Judged:
    """The client as the submitter sees it: ``submit`` already judged by table 1, its words without the key."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def submit(self, worker: int, body: bytes, *, idempotency_key: str, flight: Flight) -> Outcome:
        """One POST and what it means; see ``Client.submit`` and ``outcomes.judge``."""
        begun = time.monotonic()
        seen = await self._client.submit(worker, body, idempotency_key=idempotency_key, flight=flight)
        outcome = self._client.mask.outcome(judge(seen))
        if _log.isEnabledFor(logging.INFO):
            _log.info(
                "reply to worker %d after %.3f s: %s, %d bytes, request id %s: row %d, %s",
                worker,
                time.monotonic() - begun,
                f"no reply, {seen.failure}" if seen.status is None else f"HTTP {seen.status}",
                len(seen.body),
                outcome.request_id,
                outcome.row,
                outcome.verdict.replace("_", " "),
            )
        return outcome

    async def task(self, task_id: str) -> TaskReport:
        """See ``Client.task``."""
        return await self._client.task(task_id)


def tls_context(base: str) -> ssl.SSLContext:
    """The TLS context for an address. Reading the authorities takes 40 ms: plain HTTP gets one that trusts nobody.

    :raises UsageError: the environment names certificates, or a log of TLS keys, where none can be
    """
    if not base.startswith("https:"):
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    named = {name: value for name in TLS_VARIABLES if (value := os.environ.get(name))}  # httpx and ssl read them
    folders = named.get("SSL_CERT_DIR", "").split(os.pathsep)
    try:
        if "SSL_CERT_FILE" not in named and "SSL_CERT_DIR" in named and not any(map(os.path.isdir, folders)):
            raise FileNotFoundError(2, "No such folder")
        return httpx.create_ssl_context()
    except (OSError, ssl.SSLError) as error:
        words = error.reason.lower().replace("_", " ") if isinstance(error, ssl.SSLError) else error.strerror
        what = ", ".join(f"{name}={value}" for name, value in named.items()) or "the installed certificates"
        hint = f"unset {' or '.join(named)}, or name what is there" if named else "install certifi anew"
        raise UsageError(f"TLS can't be set up with {what}: {words}", hint=hint) from None
