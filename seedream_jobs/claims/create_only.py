"""This module asks an object store for the one thing that claims need of it: to create an object only where none is.

Called by ``claims.objects``. Invariant: an answer is never guessed. "It exists" is none: the client's own retry meets
the object of its first try, and HTTP 409 has been said of nothing. So the object is read: nothing is there, try again;
it is ours, we made it; it is another's.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import obstore
from obstore import exceptions

from seedream_jobs.claims.store import unreachable
from seedream_jobs.errors import CredentialsError, UsageError
from seedream_jobs.foreign_text import without_credentials
from seedream_jobs.object_store import folder_of, open_objects

_TRIES = 6
PREPARED = "format.json"
"""The object that says that a store was prepared, and for which layout; the first one that is made."""


class CreateOnly:
    """An object store; credentials and endpoint are the environment's.

    :raises UsageError: the client does not take the URL or what the environment says
    :raises UnfinishedError: it is a folder that is not there
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._client: Any = None
        self._store()

    def _store(self, path: str = PREPARED) -> Any:
        # A folder is never made here: where it is missing, a disk is not mounted, and what others claimed is on that.
        folder = folder_of(self.url)
        if folder is not None and not folder.is_dir():
            raise unreachable(self.url, "there is no such folder; mount it, or make it")
        # A mount point stays when its disk goes.
        if folder is not None and path != PREPARED and not (folder / PREPARED).is_file():
            raise unreachable(self.url, "it holds nothing any more; see that it is mounted")
        if self._client is None:
            self._client = open_objects(self.url, seconds=10)
        return self._client

    def create(self, path: str, body: bytes) -> bytes | None:
        """Create an object, or read the one that stands there; None where the store said that it was created."""
        failure: object = ""
        for number in range(_TRIES):
            time.sleep(0.05 * (2**number - 1))
            try:
                obstore.put(self._store(path), path, body, mode="create")
                return None
            except (exceptions.BaseError, FileNotFoundError) as error:
                failure = self._failure(error)
            if (standing := self.get(path, patient=True)) is not None:
                return standing
        if isinstance(failure, exceptions.AlreadyExistsError):
            raise UsageError(
                f"{self.url} can't hold claims: it says that {path} exists, and nothing is there",
                hint="seedream-jobs doctor --shared says what else it does",
            )
        raise unreachable(self.url, failure)

    def get(self, path: str, *, patient: bool = False) -> bytes | None:
        """An object; None where there is none, and with ``patient`` also where it can't be read now."""
        try:
            return bytes(obstore.get(self._store(path), path).bytes())
        except FileNotFoundError:
            return None
        except exceptions.BaseError as error:
            failure = self._failure(error)
        if patient:
            return None
        raise unreachable(self.url, failure)

    def list(self, prefix: str, after: str = "") -> Iterator[tuple[str, int]]:
        """(path, Unix seconds) of the objects below a prefix whose names come after another."""
        try:
            for page in obstore.list(self._store(prefix), prefix, offset=after or None):
                yield from ((one["path"], int(one["last_modified"].timestamp())) for one in page)
        except exceptions.BaseError as error:
            raise unreachable(self.url, self._failure(error)) from None

    def _failure(self, error: Exception) -> Exception:
        if isinstance(error, exceptions.PermissionDeniedError | exceptions.UnauthenticatedError):
            said = without_credentials(str(error).partition("\n")[0][:200])
            hint = "its credentials are read from the environment, as the store's own tools read them"
            raise CredentialsError(f"{self.url} refuses: {said}", hint=hint)
        return error
