"""This module reads the header of a JPEG or PNG with Pillow.

Called by ``expand/references.py`` for the client and by ``emulator/submit.py`` for the service.
Invariant: no pixel is decoded, and foreign bytes raise nothing. Pillow is imported on the first call.
"""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO

_PNG_END = b"\0\0\0\0IEND\xaeB`\x82"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageHeader:
    """What an image file announces.

    :param format: ``jpeg`` or ``png``, by content
    :param width: pixels, as ``height``
    :param is_cut_short: the file ends before its end: a download that broke off, a full disk
    """

    format: str
    width: int
    height: int
    is_cut_short: bool


def read_header(data: bytes) -> ImageHeader | None:
    """The header of a JPEG or PNG; None for anything else."""
    from PIL.JpegImagePlugin import JpegImageFile  # not Image.open: it takes a phone's JPEG of two pictures for an MPO
    from PIL.PngImagePlugin import PngImageFile

    is_jpeg = data.startswith(b"\xff")
    file = BytesIO(data)
    try:
        with (JpegImageFile if is_jpeg else PngImageFile)(file) as image:
            # Pillow stops at the first scan, in which no other bytes look like the end; a thumbnail stands before it.
            end = data.find(b"\xff\xd9", file.tell()) if is_jpeg else data.find(_PNG_END)
            form = "jpeg" if is_jpeg else "png"
            return ImageHeader(format=form, width=image.width, height=image.height, is_cut_short=end < 0)
    except (OSError, SyntaxError, ValueError):
        return None
