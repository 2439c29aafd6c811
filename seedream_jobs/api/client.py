"""This module calls the service: every call goes through ``Client``, which reads the replies and masks the key in them.

Called by ``run``, which submits and asks for tasks, and by the commands that ask for the balance or the models.
Invariants: a submission is one POST; nothing is raised for what the network does to a POST or to a GET of a task; no
word that leaves this module holds the key.

Each worker has one connection of its own, and all share one TLS context: one pool of 64 connections spends its time
scanning itself and reaches 6 % of what the workers could do; 64 connections of one reach 70–90 % (bench/submit.py).
"""

from __future__ import annotations

import logging
import re
import ssl
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from typing import Self

import anyio
import httpx

from seedream_jobs import __version__
from seedream_jobs.api.account import Balance, parse_balance, parse_models, parse_upload, upload_form
from seedream_jobs.api.connection import (
    KEEPALIVE,
    TASK_LIMIT,
    Connection,
    Headers,
    Timeouts,
    TraceProof,
    encode_url,
    header_text,
    new_pool,
    tls_context,
)
from seedream_jobs.api.credentials import Access, ApiKey, Endpoint, endpoint, proxy_for
from seedream_jobs.api.downloads import Downloads
from seedream_jobs.api.outcomes import Flight, Observation, Outcome, Sent, judge
from seedream_jobs.api.replies import is_task_id
from seedream_jobs.api.tasks import TaskReport, parse_task, unreachable
from seedream_jobs.errors import SeedreamError
from seedream_jobs.ledger.state import Image, ServiceError

_log = logging.getLogger(__name__)
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
        self.endpoint: Endpoint = endpoint(base_url)
        self._key = key if isinstance(key, ApiKey) else ApiKey(key)
        self._timeouts = timeouts or Timeouts()
        self._proxy = proxy
        self._tls = tls
        self._proof = TraceProof()
        self._size = workers
        self._workers: list[Connection] = []
        self._readers: list[Connection] = []  # those that are idle
        self._reading = anyio.Semaphore(READERS)
        # A task's images may stand inside its reply: of up to 64 MiB one is in memory at a time.
        self._large_reply = anyio.Semaphore(1)
        self._submit_url = encode_url(httpx.URL(self.endpoint.url("images/generations")))
        self._headers = [
            (b"Host", httpx.URL(self.endpoint.base).netloc),
            (b"Authorization", b"Bearer " + self._key.reveal().encode("ascii")),
            (b"User-Agent", header_text(user_agent)),
            (b"Accept", b"application/json"),
            (b"Accept-Encoding", b"identity"),
        ]

    async def __aenter__(self) -> Self:
        tls = self._tls or tls_context(self.endpoint.base)
        opener = new_pool(tls, self._proxy, keepalive_expiry=KEEPALIVE)  # it never holds a connection
        connections = [
            Connection(opener, timeouts=self._timeouts, proof=self._proof, proxied=self._proxy is not None)
            for _ in range(self._size + READERS)
        ]
        self._workers, self._readers = connections[: self._size], connections[self._size :]
        # Before the first POST: without the proof every failure counts as in doubt.
        await self._proof.prove()
        return self

    async def __aexit__(self, *_: object) -> None:
        with anyio.CancelScope(shield=True):
            for connection in [*self._workers, *self._readers]:
                await connection.aclose()

    async def submit(self, worker: int, body: bytes, *, idempotency_key: str, flight: Flight) -> Outcome:
        """POST one request body (JSON, UTF-8), once, and judge what came of it. Never raises for what the network does.

        :param worker: which connection; one submission at a time on each
        :param idempotency_key: 1–191 visible ASCII characters
        :param flight: what a canceller looks at: it is up to date whenever this coroutine is suspended
        """
        begun = time.monotonic()
        if _IDEMPOTENCY_KEY.fullmatch(idempotency_key):
            headers = [
                *self._headers,
                (b"Content-Type", b"application/json"),
                (b"Content-Length", b"%d" % len(body)),
                (b"Idempotency-Key", idempotency_key.encode("ascii")),
            ]
            seen = await self._workers[worker].exchange("POST", self._submit_url, headers, body, flight)
        else:
            detail = "the idempotency key is not 1 to 191 visible ASCII characters"
            seen = Observation(sent=Sent.NO, failure="refused-before-sending", detail=detail)
        outcome = self._without_key(judge(seen))
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
        """Ask for one task. Never raises for anything the network does: that is ``unavailable``."""
        if not is_task_id(task_id):
            return unreachable("refused-before-sending", f"{task_id!r} is not a task id")
        seen = await self._call("GET", f"tasks/{task_id}")
        if seen.failure is not None or seen.status is None:
            report = unreachable(seen.failure or "other", seen.detail)
        else:
            report = parse_task(seen.status, seen.headers, seen.body)
        images = tuple(map(self._image_without_key, report.images))
        _log.debug("GET %s: %s, %d bytes: %s", task_id, seen.status or seen.failure, len(seen.body), report.status)
        return replace(report, problem=self._masked(report.problem), images=images)

    async def balance(self) -> Balance:
        """What is left of the key's quota.

        :raises SeedreamError: refused, unreachable or unreadable
        """
        with self._masked_errors():
            return parse_balance(await self._call("GET", "balance"))

    async def models(self) -> tuple[str, ...]:
        """The ids of the models the key may use. :raises SeedreamError: as ``balance``"""
        with self._masked_errors():
            return parse_models(await self._call("GET", "models"))

    async def upload(self, image: bytes, filename: str, content_type: str) -> str:
        """Upload a reference image (JPEG or PNG, at most 20 MB); the link that comes back lives 72 hours.

        :raises UsageError: another format, or too large
        :raises SeedreamError: as ``balance``
        """
        form, form_type = upload_form(image, filename, content_type)
        with self._masked_errors():
            return parse_upload(await self._call("POST", "uploads/images", body=form, content_type=form_type))

    async def _call(self, method: str, path: str, *, body: bytes = b"", content_type: str | None = None) -> Observation:
        """Make a call that is no submission; ``path`` is relative to ``/v1/``."""
        headers: Headers = self._headers
        if content_type is not None:
            headers = [
                *headers,
                (b"Content-Type", content_type.encode("ascii")),
                (b"Content-Length", b"%d" % len(body)),
            ]
        url = encode_url(httpx.URL(self.endpoint.url(path)))
        async with self._reading:
            connection = self._readers.pop()
            try:
                seen = await connection.exchange(
                    method, url, headers, body, Flight(), limit=TASK_LIMIT, large=self._large_reply
                )
            finally:
                self._readers.append(connection)
        # A reply that was cut off at the limit can't be read: it is no answer, and megabytes are not kept.
        return replace(seen, failure="too-long", body=b"") if seen.detail and not seen.failure else seen

    def _without_key(self, outcome: Outcome) -> Outcome:
        """What came of a POST as it may be recorded. Its words are masked; an id is kept as it is, or not at all."""
        outcome = replace(outcome, problem=self._masked(outcome.problem), detail=self._key.mask(outcome.detail))
        if self._key.is_quoted_by(outcome.request_id):
            outcome = replace(outcome, request_id=None)
        ids = [one for one in (outcome.task_id, *outcome.more_task_ids) if one is not None]
        kept = [one for one in ids if not self._key.is_quoted_by(one)]
        if len(kept) == len(ids):
            return outcome
        # It may have been charged, and a changed id would be none: a person looks for it in the console.
        return replace(
            outcome,
            row=9,
            verdict="in_doubt",
            doubt="unreadable",
            task_id=next(iter(kept), None),
            more_task_ids=tuple(kept[1:]),
            detail="the service's task id quotes the API key, and is not recorded",
        )

    def _image_without_key(self, image: Image) -> Image:
        if self._key.is_quoted_by(image.url):
            return Image(error="the service's link quotes the API key, and is not recorded")
        return replace(image, error=self._key.mask(image.error)) if image.error else image

    def _masked(self, problem: ServiceError | None) -> ServiceError | None:
        if problem is None:
            return None
        return replace(problem, code=self._key.mask(problem.code), message=self._key.mask(problem.message))

    @contextmanager
    def _masked_errors(self) -> Iterator[None]:
        try:
            yield
        except SeedreamError as error:
            error.message = self._key.mask(error.message)
            error.args = (error.message,)  # what a traceback shows
            raise


@asynccontextmanager
async def connect(
    access: Access, *, workers: int, environment: Mapping[str, str]
) -> AsyncIterator[tuple[Client, Downloads]]:
    """Open the client of the API and that of the image hosts; nothing is sent before something is asked.

    :param workers: how many submissions, and downloads, may be under way
    :raises UsageError: as ``tls_context`` and ``proxy_for``
    """
    proxy = proxy_for(access.endpoint, environment)
    agent = f"seedream-jobs/{__version__}"
    # One for both: reading the authorities takes 40 ms. Behind plain HTTP, on this machine, hardly a link needs it.
    tls = tls_context(access.endpoint.base) if access.endpoint.base.startswith("https:") else None
    async with (
        Client(access.endpoint.base, access.key, workers=workers, user_agent=agent, proxy=proxy, tls=tls) as client,
        Downloads(access.endpoint.base, user_agent=agent, connections=workers, proxy=proxy, tls=tls) as downloads,
    ):
        yield client, downloads
