"""What a downloaded file is, by its content: magic bytes, pixels, and whether it decodes whole.

The name of a file and the ``Content-Type`` of a reply are hearsay; the first bytes are evidence and a full decode is
proof. Pillow is imported where it is needed only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image as PillowImage

MIN_BYTES = 1000
"""A smaller body is a failure in disguise: the service's image hosts are known to answer errors with status 200."""

MAX_BYTES = 64 * 1024 * 1024
"""The largest file that is fetched."""

MAX_PIXELS = 100_000_000
"""The most pixels (width times height) that are decoded; the largest documented image has 16.8 million."""

EXTENSIONS: Mapping[str, str] = {"jpeg": ".jpeg", "png": ".png", "webp": ".webp", "gif": ".gif", "avif": ".avif"}
"""The formats that are kept, and the extension of each."""

NO_IMAGE = "the body does not begin like an image"

DAMAGED = ".damaged"
"""The extension under which bytes that can't be decoded are kept."""

HEAD_BYTES = 512
"""So much of a body's beginning is needed by ``sniff`` and ``disguise``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Examined:
    """What a look inside an image file found.

    :param width: pixels as stored in the file (an EXIF orientation is not applied), 0 with a problem
    :param height: pixels, likewise
    :param problem: why the file is no whole image; None if it is one
    """

    width: int
    height: int
    problem: str | None = None


def sniff(head: bytes) -> str | None:
    """The image format that a file's first bytes announce, a key of ``EXTENSIONS``; None if it is none of them."""
    if head.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "webp"
    if head.startswith((b"GIF87a", b"GIF89a")):
        return "gif"
    if head[4:12] in (b"ftypavif", b"ftypavis"):
        return "avif"
    return None


def disguise(head: bytes, size: int) -> str | None:
    """Why a body of ``size`` bytes that begins with ``head`` is no image; None if it may be one."""
    if size == 0:
        return "the body was empty"
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype", b"<html", b"<head", b"<body", b"<script")):
        return "an HTML page came instead of an image"
    if text.startswith((b"{", b"[", b"<?xml", b"<error")):
        return "an error message came instead of an image"
    if sniff(head) is None:
        return NO_IMAGE
    if size < MIN_BYTES:
        return f"the body has only {size} bytes"
    return None


def open_image(file: Path) -> PillowImage:
    """The image in ``file``, its header read and its pixels not yet.

    :raises OSError: if it is no image of a known format, or has more than ``MAX_PIXELS``
    """
    import warnings

    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's own bomb warning; the bound below is the one that holds
        try:
            image = Image.open(file, formats=[name.upper() for name in EXTENSIONS])
        except Image.DecompressionBombError as error:
            raise OSError(f"it has more pixels than the bound of {MAX_PIXELS}") from error
        except (SyntaxError, ValueError) as error:
            raise OSError(str(error)) from error
    width, height = image.size
    if width * height > MAX_PIXELS:
        image.close()
        raise OSError(f"it has more pixels than the bound of {MAX_PIXELS}: {width}×{height}")
    return image


def examine(file: Path) -> Examined:
    """Decode ``file`` whole, once, and say what it is. Takes CPU time: not for the event loop."""
    try:
        with open_image(file) as image:
            size = image.size
            image.load()
    except (OSError, SyntaxError, ValueError, MemoryError, EOFError, IndexError) as error:
        return not_whole(error)
    return Examined(width=size[0], height=size[1])


def not_whole(error: BaseException) -> Examined:
    """The finding for a file on which the decoder stopped with ``error``."""
    from PIL import UnidentifiedImageError

    if isinstance(error, UnidentifiedImageError):  # its own words name the temp file
        return Examined(width=0, height=0, problem="the image can not be decoded")
    return Examined(width=0, height=0, problem=f"the image can not be decoded whole: {error}")
