"""This module reads the replies of the service's other calls: balance, models, uploads.

Called by ``client``. The shapes were seen, not promised (docs/outcomes.md). Invariant: unknown fields are ignored; a
missing one is an error that names it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from seedream_jobs.api.outcomes import Observation
from seedream_jobs.api.replies import ReplyBody, as_decimal, read_reply
from seedream_jobs.errors import CredentialsError, MoneyError, SeedreamError, UnfinishedError, UsageError

UPLOAD_LIMIT = 20 * 1000 * 1000  # bytes
UPLOAD_TYPES = frozenset({"image/jpeg", "image/png"})  # the service takes more, a generation does not


@dataclass(frozen=True, slots=True, kw_only=True)
class Balance:
    """Money in USD; ``remaining_usd`` is None where the service did not say, ``unlimited`` where it does not count."""

    remaining_usd: Decimal | None
    used_usd: Decimal | None
    unlimited: bool


def parse_balance(seen: Observation) -> Balance:
    """Read a reply of ``GET /v1/balance``.

    :raises SeedreamError: refused (also as HTTP 200 with ``success: false``), unreachable, or unreadable
    """
    data = _object(seen, "the balance")
    inner = data.get("data")
    source = inner if isinstance(inner, dict) and "remain_balance" in inner else data
    unlimited = source.get("unlimited_quota") is True
    remaining = as_decimal(source.get("remain_balance"))
    if remaining is None and not unlimited:
        raise UnfinishedError("the balance cannot be read from the service's reply", hint="look at the console")
    return Balance(remaining_usd=remaining, used_usd=as_decimal(source.get("used_balance")), unlimited=unlimited)


def parse_models(seen: Observation) -> tuple[str, ...]:
    """Read the ids in a reply of ``GET /v1/models``.

    :raises SeedreamError: as ``parse_balance``
    """
    listed = _object(seen, "the list of models").get("data")
    items = listed if isinstance(listed, list) else []
    return tuple(item["id"] for item in items if isinstance(item, dict) and isinstance(item.get("id"), str))


def parse_upload(seen: Observation) -> str:
    """Read the link in a reply of ``POST /v1/uploads/images``.

    :raises SeedreamError: as ``parse_balance``
    """
    data = _object(seen, "the upload")
    inner = data.get("data")
    url = data.get("url") or (inner.get("url") if isinstance(inner, dict) else None)
    if not isinstance(url, str) or not url.startswith(("https://", "http://")):
        raise UnfinishedError("the upload's reply holds no link", hint="try again, or send references inline")
    return url


def upload_form(image: bytes, filename: str, content_type: str) -> tuple[bytes, str]:
    """The multipart body with one part named ``file``, and its content type.

    :raises UsageError: neither JPEG nor PNG, empty, or more than ``UPLOAD_LIMIT`` bytes
    """
    if content_type not in UPLOAD_TYPES:
        raise UsageError(f"{filename} is {content_type}; only JPEG and PNG can be a reference")
    if not 0 < len(image) <= UPLOAD_LIMIT:
        raise UsageError(f"{filename} has {len(image)} bytes; an upload has 1 to {UPLOAD_LIMIT}")
    boundary = hashlib.sha256(image).hexdigest()  # a body cannot hold its own digest
    escaped = filename.replace("\\", "_").replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")
    head = (
        f"--{boundary}\r\n"
        f'Content-Disposition: form-data; name="file"; filename="{escaped}"\r\n'
        f"Content-Type: {content_type}\r\n\r\n"
    )
    return head.encode() + image + f"\r\n--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}"


def _object(seen: Observation, what: str) -> Mapping[str, Any]:
    if seen.failure is not None or seen.status is None:
        if seen.failure == "certificate":
            raise UsageError(f"the service's certificate is not trusted: {seen.detail}", hint="check the base URL")
        raise UnfinishedError(f"{what}: the service cannot be reached ({seen.failure}: {seen.detail})", hint=_LATER)
    reply = read_reply(seen.body)
    status = reply.number if reply.failed and reply.number is not None else seen.status
    if not 200 <= status < 300 or reply.failed:
        raise _refusal(status, reply, what)
    if not isinstance(reply.data, dict):
        raise UnfinishedError(f"{what}: the service's reply cannot be read", hint=_LATER)
    return reply.data


_LATER = "try again later; seedream-jobs doctor checks the connection"


def _refusal(status: int, reply: ReplyBody, what: str) -> SeedreamError:
    said = f": {reply.message}" if reply.message else ""
    if status in (401, 403):
        return CredentialsError(f"{what}: the service refuses the key (HTTP {status}){said}", hint="check the key")
    if status == 402:
        return MoneyError(f"{what}: the balance is used up (HTTP 402){said}", hint="top up the account")
    if 300 <= status < 400:
        return UsageError(f"{what}: the service redirects (HTTP {status})", hint="check the base URL")
    if 400 <= status < 500 and status not in (408, 409, 425, 429):
        return UsageError(f"{what}: the service refuses the call (HTTP {status}){said}", hint="check the base URL")
    return UnfinishedError(f"{what}: the service is not able to answer (HTTP {status}){said}", hint=_LATER)
