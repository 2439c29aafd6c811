"""The worker process that decodes images: each once, for the check that it is whole and for its thumbnail.

Images come from the network, so they are decoded outside the process that holds the ledger and the API key: a decoder
that crashes costs one image. Jobs come as JSON lines on stdin and are answered on stdout; at the end of stdin, which
is also how the death of the parent shows, the process ends.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from seedream_jobs.run.images import Examined, not_whole, open_image

if TYPE_CHECKING:
    from PIL.Image import Image as PillowImage

THUMBNAIL_SIDE = 384
"""Pixels of a thumbnail's longest side."""

_QUALITY = 80


def decode(file: Path, thumbnail: Path | None) -> Examined:
    """Decode ``file`` whole and, if asked to, write its thumbnail on the way.

    For a thumbnail a JPEG is decoded at a fraction of its size; its compressed data is read to the end all the same.

    :param thumbnail: where the thumbnail belongs; it appears whole or not at all
    """
    try:
        with open_image(file) as image:
            size = image.size
            if thumbnail is None:
                image.load()
            else:
                image.draft("RGB", (THUMBNAIL_SIDE * 2, THUMBNAIL_SIDE * 2))
                image.load()
    except (OSError, SyntaxError, ValueError, MemoryError, EOFError, IndexError) as error:
        return not_whole(error)
    if thumbnail is not None:
        with suppress(OSError, ValueError):  # a picture without thumbnail is a picture
            write_thumbnail(image, thumbnail)
    return Examined(width=size[0], height=size[1])


def write_thumbnail(image: PillowImage, path: Path) -> None:
    """Write a decoded image as WebP of at most ``THUMBNAIL_SIDE`` pixels, upright, with its colour profile.

    :raises OSError: if it can't be written
    """
    from PIL import ImageOps

    profile = image.info.get("icc_profile")
    if image.mode not in ("RGB", "RGBA"):
        profile = None if image.mode in ("CMYK", "L", "LA") else profile
        see_through = image.mode in ("LA", "PA") or "transparency" in image.info
        image = image.convert("RGBA" if see_through else "RGB")
    image.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE), reducing_gap=2.0)
    ImageOps.exif_transpose(image, in_place=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    temp = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        image.save(temp, "WEBP", quality=_QUALITY, method=4, icc_profile=profile or b"", exif=b"", xmp=b"")
        temp.replace(path)
    finally:
        temp.unlink(missing_ok=True)


def serve(jobs: BinaryIO, answers: BinaryIO) -> None:
    """Answer jobs, ``["file", "thumbnail" or null]`` a line, until there are no more."""
    for line in jobs:
        file, thumbnail = json.loads(line)
        found = decode(Path(file), None if thumbnail is None else Path(thumbnail))
        answers.write(json.dumps(asdict(found)).encode() + b"\n")
        answers.flush()


def main() -> None:
    """The process. Ctrl-C reaches the whole group: what to do about it is the parent's to say."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints is not an answer
    with suppress(BrokenPipeError):
        serve(sys.stdin.buffer, answers)
