"""This module finds the key and the service's address, and keeps the key out of what is shown or recorded.

Called by ``run.access``, which finds them, by ``client.py`` and ``downloads.py``, which use them, and by ``cli``, which
keeps the key out of the log.
Invariant: ``reveal()`` alone shows a key. The environment is passed in.

The process that submits reads the key once, after everything is planned, rendered and agreed to (``take_key``); before
that it only sees that there is one (``check_key``).

The key: ``APIMART_API_KEY``, then the file named by ``APIMART_API_KEY_FILE``, then that one name in ``.env`` of the
campaign's root, unless git tracks it. The base URL: an argument or ``APIMART_BASE_URL``, never a file in the
repository, so that a pull request cannot send the operator's key elsewhere.

Of a reply only words are masked, and only once they were read. Ids, links, numbers and JSON names are left alone: the
text of a short key can occur in them by chance, and a task id that was changed is a paid task that nobody finds again.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, MutableMapping
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from threading import Thread
from urllib.parse import SplitResult, unquote, urlsplit

from seedream_jobs.api.masking import PIECE, RANDOM, SHORTEST, Spellings
from seedream_jobs.errors import CredentialsError, UsageError
from seedream_jobs.job.git import is_tracked

DEFAULT_BASE_URL = "https://api.apimart.ai"
KEY_VARIABLE = "APIMART_API_KEY"
KEY_FILE_VARIABLE = "APIMART_API_KEY_FILE"
BASE_URL_VARIABLE = "APIMART_BASE_URL"
_HINT = (
    f"get a key at https://apimart.ai/keys and set {KEY_VARIABLE} (or {KEY_FILE_VARIABLE}), "
    "or rehearse without one: --emulator"
)
_KEY = re.compile(r"[\x21-\x7e]{1,512}", re.ASCII)
_ENV_LINE = re.compile(rf"\s*(?:export\s+)?{KEY_VARIABLE}\s*=\s*(.*?)\s*")
_PROXY = re.compile(r"[\w.:%\[\]-]+", re.ASCII)
PIPE_SECONDS = 30.0
"""How long a key is waited for that comes out of a pipe: its owner may have to be asked."""
_MAX_KEY_FILE = 64 * 1024  # bytes


class ApiKey:
    """The operator's key. Only ``reveal()`` shows it, to the client and to what keeps it out of the log.

    :raises CredentialsError: if it is empty or holds what cannot stand in a header
    """

    __slots__ = ("_secret", "_spellings")

    def __init__(self, secret: str, *, source: str = KEY_VARIABLE) -> None:
        if not _KEY.fullmatch(secret):
            reason = "is empty" if not secret else "holds blanks, control or non-ASCII characters, or is too long"
            raise CredentialsError(f"the API key from {source} {reason}", hint=_HINT)
        self._secret = secret
        self._spellings = Spellings(secret)

    def reveal(self) -> str:
        """The key itself, for the Authorization header."""
        return self._secret

    def mask(self, words: str) -> str:
        """The service's words with ``***`` in place of the key, or of a piece of it, which they may quote."""
        return self._spellings.mask(words)

    def stands_in(self, text: str) -> bool:
        """Whether a text that is about to be sent or recorded holds the key, or much of it."""
        return len(self._secret) >= PIECE and self._spellings.stand_in(text)

    def is_quoted_by(self, reference: str | None) -> bool:
        """Whether an id or a link, in which nothing may be masked, holds the key; never where it may be by chance."""
        return reference is not None and len(self._secret) >= RANDOM and self._spellings.stand_in(reference)

    def __repr__(self) -> str:
        return "ApiKey('***')"

    __str__ = __repr__

    def __reduce__(self) -> str:
        raise TypeError("an ApiKey is not pickled")


_secrets: dict[str, Spellings] = {}


def keep_out(secret: str) -> None:
    """Mask a key in all that goes through ``without_keys`` from now on: the log, and tracebacks."""
    if len(secret) >= SHORTEST and secret.isascii():
        _secrets.setdefault(secret, Spellings(secret))


def without_keys(words: str) -> str:
    """Words without any key that this process has read."""
    for spellings in _secrets.values():
        words = spellings.mask(words)
    return words


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """The service's address.

    :param base: without a trailing slash or ``/v1``, such as ``https://api.apimart.ai``; the same for every spelling of
        one address, so that a manifest can be tied to it
    :param loopback: the API itself runs on this machine (the emulator)
    """

    base: str
    loopback: bool

    def url(self, path: str) -> str:
        """The address of one call, such as ``tasks/task_1``."""
        return f"{self.base}/v1/{path}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Where the service is, and the key that opens it."""

    endpoint: Endpoint
    key: ApiKey


def check_key(environment: Mapping[str, str], root: Path) -> None:
    """See that there is a key, early; of what is read nothing is kept, and a pipe is left to the one reading.

    :raises CredentialsError: as ``find_key``, as far as it can be told
    """
    if not environment.get(KEY_VARIABLE, "").strip():
        named = environment.get(KEY_FILE_VARIABLE, "").strip()
        with suppress(OSError, RuntimeError):  # whoever reads it says what is wrong with it
            # A pipe gives its key once, and ``take_key`` needs it.
            if (Path(named).expanduser() if named else root / ".env").is_fifo():
                return
    find_key(environment, root)


def take_key(environment: MutableMapping[str, str], root: Path) -> ApiKey:
    """The API key, once; it leaves the environment, so that no process started from now on inherits it.

    :raises CredentialsError: as ``find_key``
    """
    key = find_key(environment, root)
    keep_out(key.reveal())
    for name in (KEY_VARIABLE, KEY_FILE_VARIABLE):
        # Before it is popped: ``unsetenv`` makes ``getenv`` forget the place, not the text there.
        if environment is os.environ:
            _blot_out(name)
        environment.pop(name, None)
    return key


def find_key(environment: Mapping[str, str], root: Path) -> ApiKey:
    """The API key, by the order in this module's head. ``root`` is the campaign's root folder.

    :raises CredentialsError: there is none, it is unreadable, ``.env`` is tracked by git, or git can't say
    """
    if environment.get(KEY_VARIABLE, "").strip():
        return ApiKey(environment[KEY_VARIABLE].strip())
    named = environment.get(KEY_FILE_VARIABLE, "").strip()
    if named:
        return ApiKey(_read(Path(named)).strip(), source=named)
    dotenv = root / ".env"
    found = _from_dotenv(dotenv) if dotenv.is_file() or dotenv.is_fifo() else None
    if found is None:
        raise CredentialsError("no API key", hint=_HINT)
    try:
        tracked = is_tracked(dotenv)
    except UsageError as error:  # a key that may be in every clone is not used because git is silent
        hint = f"{error.hint}; or set {KEY_VARIABLE} or {KEY_FILE_VARIABLE}"
        raise CredentialsError(f"{dotenv} holds a key, and {error.message}", hint=hint) from None
    if tracked:
        raise CredentialsError(
            f"{dotenv} holds a key and is tracked by git",
            hint=f"git rm --cached .env, add it to .gitignore, and replace the key; or set {KEY_VARIABLE}",
        )
    return ApiKey(found, source=str(dotenv))


def find_endpoint(argument: str | None, environment: Mapping[str, str]) -> Endpoint:
    """The service's address from ``--base-url``, else ``APIMART_BASE_URL``, else the vendor's own.

    An empty variable is unset; an empty argument is a script's mistake, and must not lead to the vendor's own.

    :raises UsageError: empty, not https (http is for loopback only), or with user info, query or fragment
    """
    if argument is not None and not argument.strip():
        raise UsageError("--base-url is empty", hint=f"name the service, such as {DEFAULT_BASE_URL}, or leave it out")
    return endpoint(argument or environment.get(BASE_URL_VARIABLE, "").strip() or DEFAULT_BASE_URL)


def endpoint(url: str) -> Endpoint:
    """Check and normalise a base URL: lower-case host, no default port, no trailing ``/`` or ``/v1``.

    :raises UsageError: see ``find_endpoint``
    """
    parts, port = _split(url)
    host = (parts.hostname or "").rstrip(".")
    loopback = is_loopback(host)
    if parts.scheme != "https" and not (parts.scheme == "http" and loopback):
        raise UsageError(f"the base URL {_shown(parts)} is not https", hint="http is only for a loopback address")
    if "@" in parts.netloc:
        raise UsageError("the base URL holds a user name or password", hint=f"the key belongs in {KEY_VARIABLE}")
    if parts.query or parts.fragment or "?" in url or "#" in url:
        raise UsageError("the base URL has a query or a fragment", hint=f"such as {DEFAULT_BASE_URL}")
    path = parts.path.rstrip("/")
    if path.endswith("/v1"):
        path = path[: -len("/v1")].rstrip("/")
    if any(segment in (".", "..") for segment in unquote(path).split("/")) or "//" in path or "\\" in path:
        raise UsageError(f"the base URL's path {path} is not plain", hint=f"such as {DEFAULT_BASE_URL}")
    default = 443 if parts.scheme == "https" else 80
    shown_host = f"[{host}]" if ":" in host else host
    authority = shown_host if port in (None, default) else f"{shown_host}:{port}"
    return Endpoint(base=f"{parts.scheme}://{authority}{path}", loopback=loopback)


def is_loopback(host: str) -> bool:
    """Whether a host is this machine by its very name; no name is looked up."""
    if host.lower().rstrip(".") == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def proxy_for(where: Endpoint, environment: Mapping[str, str]) -> str | None:
    """The HTTP proxy for the API by ``HTTPS_PROXY``, ``ALL_PROXY`` and ``NO_PROXY`` (either case); never for loopback.

    :raises UsageError: a proxy of a kind that is not spoken here
    """
    if where.loopback:
        return None
    parts = urlsplit(where.base)
    host = parts.hostname or ""
    for exception in _either(environment, "NO_PROXY").split(","):
        name = exception.strip().lower().lstrip(".").removeprefix("*.")
        if name == "*" or (name and (name in (host, parts.netloc) or host.endswith("." + name))):
            return None
    proxy = _either(environment, "HTTPS_PROXY") or _either(environment, "ALL_PROXY")
    if not proxy:
        return None
    if "://" not in proxy:
        proxy = f"http://{proxy}"
    try:
        parts = urlsplit(proxy)
        kind, address = parts.scheme, parts.netloc.rpartition("@")[2]
        named = bool(parts.hostname) and parts.port != 0 and _PROXY.fullmatch(address) is not None
    except ValueError:
        kind, named = "http", False
    if kind not in ("http", "https") or not named:  # its text is not shown: a password may stand in it
        reason = "has no readable address" if kind in ("http", "https") else f"of kind {kind} is not supported"
        raise UsageError(f"the proxy in the environment {reason}", hint="set HTTPS_PROXY to an http:// proxy")
    return proxy


def _either(environment: Mapping[str, str], name: str) -> str:
    return (environment.get(name.lower()) or environment.get(name) or "").strip()


def _split(url: str) -> tuple[SplitResult, int | None]:
    if not url.isascii() or re.search(r"[\x00-\x20\x7f<>\"^`{|}]", url):
        raise UsageError("the base URL holds blanks or characters that do not belong there", hint=DEFAULT_BASE_URL)
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise UsageError(f"the base URL cannot be read: {error}", hint=f"such as {DEFAULT_BASE_URL}") from None
    if not parts.scheme or not parts.hostname:
        raise UsageError("the base URL is not an address", hint=f"such as {DEFAULT_BASE_URL}")
    return parts, port


def _shown(parts: SplitResult) -> str:
    # without a password that may stand in it
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _read(path: Path) -> str:
    try:
        opened = path.expanduser()
        return (_from_pipe(opened) if opened.is_fifo() else _bytes_of(opened)).decode("utf-8-sig")
    except (OSError, UnicodeDecodeError, RuntimeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        if isinstance(error, RuntimeError):
            reason = "its ~ leads to no home folder"
        raise CredentialsError(f"the key file {path} cannot be read: {reason}", hint=_HINT) from None


def _bytes_of(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_MAX_KEY_FILE)


def _from_pipe(path: Path) -> bytes:
    # A password manager writes once somebody opens the pipe; a thread waits, because perhaps nobody ever writes.
    came: list[bytes] = []
    reader = Thread(target=lambda: came.append(_bytes_of(path)), daemon=True)
    reader.start()
    reader.join(PIPE_SECONDS)
    if not came:
        raise OSError(0, f"nothing came out of this pipe within {PIPE_SECONDS:g} s")
    return came[0]


def _blot_out(name: str) -> None:
    """Overwrite a variable where the process found it: other programs of the same user can read that place.

    On Linux it is ``/proc/PID/environ``, which ``unsetenv`` leaves as it was.
    """
    if os.name != "posix":
        return
    import ctypes  # only who submits needs it

    with suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        library.getenv.restype = ctypes.c_void_p
        place = library.getenv(name.encode())
        if place:
            ctypes.memset(place, 0, len(ctypes.string_at(place)))


def _from_dotenv(path: Path) -> str | None:
    """The last value of that one variable; quotes around it are taken off, nothing is expanded."""
    found = None
    for line in _read(path).splitlines():
        match = _ENV_LINE.fullmatch(line)
        if match:
            value = match.group(1)
            quoted = len(value) >= 2 and value[0] == value[-1] and value[0] in "\"'"
            found = value[1:-1] if quoted else re.sub(r"\s+#.*", "", value)
    return found or None
