"""This module reads reference images from the campaign's folder, and finds what the service would refuse.

Called by ``expand.request_builder`` for each distinct reference, and again before one is sent. Invariants: no path
leads out of the campaign; an image is known by its content, not by its name; what is sent is what was planned.
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from dataclasses import dataclass
from hashlib import sha256
from pathlib import PurePosixPath

from seedream_jobs.diagnostics import Problem
from seedream_jobs.errors import UsageError
from seedream_jobs.image_header import read_header
from seedream_jobs.inside import OutsideRoot, Withheld
from seedream_jobs.job.files import LFS_POINTER, Files, within
from seedream_jobs.model_profile import ReferenceLimits

_DATA_URI = re.compile(r"data:image/(jpeg|png);base64,", re.ASCII)
_BARE = (("/9j/", "jpeg"), ("iVBORw0KGgo", "png"))
"""How an image in base64 begins."""
MAX_KNOWN = 100_000
"""References that are known at a time: so many take 50 MiB. A job with more reads some files again."""
_SHOWN = 80
"""Characters of a reference that a message repeats."""


class ReferenceProblem(Problem):
    """A reference image that the service would refuse."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """A reference image from the campaign's own files.

    :param path: POSIX, relative to the campaign's root; or the data URI that the job file holds
    :param sha256: hex digest of its bytes
    :param format: ``jpeg`` or ``png``, by content
    """

    path: str
    sha256: str
    format: str
    bytes: int
    width: int
    height: int


def is_remote(url: str) -> bool:
    """Whether the service fetches the image itself."""
    return url.startswith(("http://", "https://"))


class References:
    """Reads and checks local references, each file once."""

    def __init__(self, files: Files, folder: PurePosixPath, limits: ReferenceLimits) -> None:
        self._files, self._folder, self._limits = files, folder, limits
        self._known: dict[str | bytes, Reference | tuple[str, str | None]] = {}

    def look(self, url: str) -> Reference:
        """The reference that a path or a data URI names.

        :raises ReferenceProblem: where the service would refuse it
        """
        # A data URI may have megabytes, and is made anew for each request by a template.
        key = url if len(url) <= _SHOWN else sha256(url.encode("utf-8", "surrogatepass")).digest()
        found = self._known.get(key)  # a bad one, too: many requests share it
        if found is None:
            try:
                found = self._inspect(url)
            except ReferenceProblem as problem:  # kept by its words: its frames hold the image
                found = problem.message, problem.hint
            if len(self._known) >= MAX_KNOWN:
                self._known.clear()
            self._known[key] = found
        if isinstance(found, tuple):
            raise ReferenceProblem(found[0], hint=found[1])
        return found

    def _inspect(self, url: str) -> Reference:
        if url[:5].casefold() == "data:":  # of any case: ``_inline`` says how it must begin
            return self._checked(_inline(url), url, "the data URI")
        _check_path(url)  # before the disk, which would only say that there is no such file
        return self._checked(*self._read(url), _shown(url))

    def _read(self, url: str) -> tuple[bytes, str]:
        try:
            path = within(self._folder, url)
            data = self._files.read(path, limit=self._limits.max_bytes + 1)
        except OutsideRoot:
            raise ReferenceProblem(
                f"the reference {_shown(url)} is outside the campaign's folder", hint="move the image into it"
            ) from None
        except FileNotFoundError:
            raise ReferenceProblem(
                f"there is no reference image {_shown(url)}", hint="the path is relative to the job file"
            ) from None
        except IsADirectoryError:
            raise ReferenceProblem(f"the reference {_shown(url)} is a folder", hint="name an image in it") from None
        except OSError as error:
            hint = error.hint if isinstance(error, Withheld) else None
            raise ReferenceProblem(f"the reference {_shown(url)} can't be read: {error.strerror}", hint=hint) from None
        return data, str(path)

    def _checked(self, data: bytes, path: str, shown: str) -> Reference:
        limits = self._limits
        if data.startswith(LFS_POINTER):
            raise ReferenceProblem(f"{shown} is a Git LFS pointer, not an image", hint="git lfs pull")
        if len(data) > limits.max_bytes:
            raise ReferenceProblem(
                f"{shown} is larger than {limits.max_bytes // 1024 // 1024} MiB", hint="make it smaller"
            )
        header = read_header(data)
        if header is None or header.format not in limits.formats:
            raise ReferenceProblem(
                f"{shown} is no JPEG or PNG image", hint="convert it; the name's ending does not count"
            )
        if header.is_cut_short:
            raise ReferenceProblem(f"{shown} is cut short: its end is missing", hint="copy or download it again")
        width, height = header.width, header.height
        if min(width, height) <= limits.min_side_exclusive:
            raise ReferenceProblem(
                f"{shown} has {width}×{height} pixels: each side must exceed {limits.min_side_exclusive}"
            )
        if width * height > limits.max_pixels:
            raise ReferenceProblem(
                f"{shown} has {width}×{height} pixels: at most {limits.max_pixels:,} in all", hint="scale it down"
            )
        # The bounds are fractions: both sides are multiplied out, so that no quotient is rounded.
        (low, low_of), (high, high_of) = limits.min_ratio, limits.max_ratio
        if width * low_of < height * low or width * high_of > height * high:
            raise ReferenceProblem(
                f"{shown} has {width}×{height} pixels: width / height must be from {low}/{low_of} to {high}",
                hint="crop it",
            )
        return Reference(
            path=path,
            sha256=sha256(data).hexdigest(),
            format=header.format,
            bytes=len(data),
            width=width,
            height=height,
        )


def _shown(url: str) -> str:
    return repr(url if len(url) <= _SHOWN else url[:_SHOWN] + "…")


def _check_path(url: str) -> None:
    """See that what is no link and no data URI was meant as a path.

    :raises ReferenceProblem: with what it looks like instead
    """
    if not url.strip():
        raise ReferenceProblem("a reference is empty", hint="leave the row out (where:), or name an image")
    for begin, format in _BARE:
        if url.startswith(begin) and len(url) > _SHOWN:  # a short one may be a path that begins so
            hint = f"write data:image/{format};base64, before it"
            raise ReferenceProblem(f"the reference {_shown(url)} is an image in base64 without its prefix", hint=hint)
    if re.match(r"(?:image/\w+;)?base64,|image/\w+,", url):
        hint = "it begins with data:image/jpeg;base64, or data:image/png;base64,"
        raise ReferenceProblem(f"the reference {_shown(url)} is a data URI without its beginning", hint=hint)
    if "\\" in url:
        raise ReferenceProblem(f"the reference {_shown(url)} has backslashes", hint="write / between folder and file")
    if "://" in url:
        hint = "a link is http:// or https://; a local image is a path relative to the job file"
        raise ReferenceProblem(f"the reference {_shown(url)} is no link that the service reads", hint=hint)


def _inline(uri: str) -> bytes:
    head = _DATA_URI.match(uri)
    if head is None:
        found = uri[: uri.find(",") + 1] if 0 < uri.find(",") < _SHOWN else uri[:20] + "…"
        raise ReferenceProblem(
            f"a data URI must begin with data:image/jpeg;base64, or data:image/png;base64,; found {found!r}",
            hint="keep the whole prefix; other formats are converted first",
        )
    try:
        return b64decode(uri[head.end() :], validate=True)
    except ValueError:
        spaced = any(map(str.isspace, uri))
        hint = "remove the white space and line breaks in it" if spaced else "copy it again: a part may be missing"
        raise ReferenceProblem("the data URI is no valid base64", hint=hint) from None


def read_reference(reference: Reference, files: Files) -> bytes:
    """The bytes of a reference that was planned.

    :raises UsageError: if the file is gone, or no longer the one that was planned
    """
    if reference.path.startswith("data:"):
        return _inline(reference.path)
    try:
        # One byte more than was planned: a file that has grown must not have the same digest.
        data = files.read(PurePosixPath(reference.path), limit=reference.bytes + 1)
    except OutsideRoot:
        raise UsageError(f"the reference {reference.path!r} is outside the campaign's folder") from None
    except OSError as error:
        raise UsageError(f"the reference {reference.path!r} can't be read: {error.strerror}") from None
    if sha256(data).hexdigest() != reference.sha256:
        raise UsageError(f"the reference {reference.path!r} changed since it was planned", hint="plan again")
    return data


def data_uri(reference: Reference, files: Files) -> str:
    """The reference as the service takes it inline.

    :raises UsageError: as ``read_reference``
    """
    data = b64encode(read_reference(reference, files)).decode("ascii")
    return f"data:image/{reference.format};base64,{data}"
