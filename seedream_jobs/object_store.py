"""This module opens object stores and creates, reads and lists objects: S3, Google Cloud Storage, Azure, a folder.

Loaded by ``results.image_store`` and ``claims.objects`` where a policy names a store, since it imports obstore, an
optional extra. Invariant: nothing is replaced and nothing removed; credentials and endpoints are the environment's.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import obstore
from obstore import exceptions
from obstore.store import from_url

from seedream_jobs.atomic_file import sync
from seedream_jobs.errors import CredentialsError, SeedreamError, UnfinishedError, UsageError
from seedream_jobs.foreign_text import client_words

_TRIES, _PATIENCE = 5, 30.0
"""How often an object is tried to be created, and the seconds after which that is not begun again."""
_ADDRESSES = {
    "s3": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"),
    "gs": ("GOOGLE_BASE_URL",),
    "az": ("AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT"),
}
"""The variables with a store's address, by the scheme of its URL."""
_WORDS = {"s3": ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_REGION", "AWS_DEFAULT_REGION")}
_ADDRESS = re.compile(
    r"https?://(?:[\w.~%!$&'()*+,;:=-]*@)?(?:[\w.-]+|\[[0-9a-f:]+\])(?::(?P<port>[0-9]{1,5}))?(?:/[!#-~]*)?",
    re.ASCII | re.IGNORECASE,
)
_ONE_WORD = re.compile(r"[!#-~]*")
_ALLOW_HTTP = ("AWS_ALLOW_HTTP", "GOOGLE_ALLOW_HTTP", "AZURE_ALLOW_HTTP")


def _check_environment(scheme: str) -> None:
    """The client panics at some words of the environment, once it is asked for the first object.

    :raises UsageError: names the variable
    """
    for name in _WORDS.get(scheme, ()):
        if not _ONE_WORD.fullmatch(os.environ.get(name, "")):
            raise UsageError(
                f"{name} has blanks, quotes, line breaks or letters beyond ASCII in it", hint="write it without them"
            )
    for name in _ADDRESSES.get(scheme, ()):
        value = os.environ.get(name)
        if value == "":
            raise UsageError(f"{name} is empty", hint="give it a value, or unset it")
        found = _ADDRESS.fullmatch(value or "")
        if value is not None and (found is None or int(found["port"] or 1) > 65535):
            raise UsageError(
                f"{name} is no address of a store", hint="write https://HOST or http://HOST:PORT, no quotes"
            )


def open_objects(url: str, *, seconds: int) -> Any:
    """The client of the store that a URL names; nothing is asked of it yet.

    :param seconds: for one request
    :raises UsageError: the client does not take the URL, or what the environment says
    """
    plain = any(os.environ.get(name, "").lower() in ("true", "1") for name in _ALLOW_HTTP)
    options: dict[str, Any] = {}
    if folder_of(url) is None:
        _check_environment(urlsplit(url).scheme)
        # Its own retries are few: whether an object was created is read back here, not guessed there.
        options = {
            "client_options": {"timeout": f"{seconds}s", "connect_timeout": "5s", "allow_http": plain},
            "retry_config": {"max_retries": 2, "retry_timeout": timedelta(seconds=10)},
        }
    try:
        return from_url(url, **options)
    except (exceptions.BaseError, ValueError) as error:
        raise UsageError(f"{url} can't be opened: {client_words(error)}") from None


def folder_of(url: str) -> Path | None:
    """The folder of a ``file:`` URL; None for any other."""
    parts = urlsplit(url)
    return Path(unquote(parts.path)) if parts.scheme == "file" else None


class Objects:
    """The objects below a URL. Its calls wait for the network; they may be made from several threads.

    Every method raises ``UnfinishedError`` where the store can't be reached or does not say what became of a call, and
    ``CredentialsError`` where it refuses.
    """

    def __init__(self, url: str, *, seconds: int) -> None:
        self.url: str = url
        self._seconds, self._folder = seconds, folder_of(url)
        self._client: Any = None
        if self._folder is None:
            self._store()  # refuses what the client does not take

    def _store(self) -> Any:
        # The folder is never made here: where it is missing, a disk is not mounted, or a stranger has named it.
        if self._folder is not None and not self._folder.is_dir():
            raise UnfinishedError(f"{self.url} can't be reached: there is no such folder", hint="mount it, or make it")
        if self._client is None:
            self._client = open_objects(self.url, seconds=self._seconds)
        return self._client

    def create(self, path: str, body: bytes) -> bool:
        """Create an object; whether these bytes stand under its name now, whoever put them there.

        "It exists" is no answer: the client's own retry meets the object of its first try, and HTTP 409 has been said
        of nothing. So what stands there is read: nothing, try again; these bytes; or others.
        """
        failure, begun = Exception(), time.monotonic()
        for number in range(_TRIES):
            time.sleep(0.1 * (2**number - 1))
            if time.monotonic() - begun > _PATIENCE:
                break
            try:
                # One request: a multipart upload has no precondition.
                obstore.put(self._store(), path, body, mode="create", use_multipart=False)
                self._sync(path)
                return True
            except (exceptions.BaseError, FileNotFoundError) as error:
                failure = self._failure(error)
            try:
                standing = self.get(path, most=len(body))
            except UnfinishedError:
                continue
            if standing is not None:
                self._sync(path)
                return standing == body
        raise self._unreachable(failure)

    def get(self, path: str, *, most: int) -> bytes | None:
        """The bytes of an object, none of one with more than ``most``; None where there is no such object."""
        try:
            found = obstore.get(self._store(), path)
            return b"" if found.meta["size"] > most else bytes(found.bytes())
        except FileNotFoundError:
            return None
        except exceptions.BaseError as error:
            raise self._unreachable(self._failure(error)) from None

    def list(self, prefix: str) -> Iterator[str]:
        """The paths of the objects below a prefix that ends at a slash."""
        try:
            for page in obstore.list(self._store(), prefix):
                yield from (one["path"] for one in page)
        except exceptions.BaseError as error:
            raise self._unreachable(self._failure(error)) from None

    def _sync(self, path: str) -> None:
        # A folder's client renames without it: after a power cut a record could name what is not there.
        if self._folder is not None:
            try:
                sync(self._folder / path)
                sync((self._folder / path).parent)
            except OSError as error:
                raise self._unreachable(error) from None

    def _failure(self, error: Exception) -> Exception:
        if isinstance(error, exceptions.PermissionDeniedError | exceptions.UnauthenticatedError):
            hint = "its credentials are read from the environment, as the store's own tools read them"
            raise CredentialsError(f"{self.url} refuses: {client_words(error)}", hint=hint)
        return error

    def _unreachable(self, why: object) -> SeedreamError:
        return UnfinishedError(f"{self.url} can't be reached: {client_words(why)}", hint=_HINT)


_HINT = "see that the store is there and has room, then run the same command again"
