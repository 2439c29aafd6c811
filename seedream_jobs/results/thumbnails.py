"""This module decodes images in separate processes: to check that they are whole, and for their thumbnails.

Called by ``image_steps`` for each downloaded image. Invariant: images come from the network, so no image is decoded in
the process that holds the ledger and the API key; a decoder that crashes, or passes a limit, costs one image.

A thumbnail is kept by its image's content, ``thumbnails/<2 hex>/<sha256>.webp``. The cache can be deleted at any time.
Jobs go to a process as JSON lines on stdin and are answered on stdout; it ends with its stdin.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
import warnings
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from seedream_jobs import confinement
from seedream_jobs.results.processes import start_helper
from seedream_jobs.run.images import EXTENSIONS, Examined

if confinement.POSSIBLE:
    import resource

if TYPE_CHECKING:
    from PIL.Image import Image as PillowImage

THUMBNAIL_SIDE = 384
"""Pixels of a thumbnail's longest side."""

MAX_PIXELS = 100_000_000
"""The most pixels (width times height) that are decoded; the largest documented image has 16.8 million."""

DECODE_SECONDS = 30
"""Processor time for one image: a JPEG of 64 MiB may have hundreds of thousands of passes over all its pixels."""

DECODE_MEMORY = 1536 << 20
"""Bytes of a decoding process: ``MAX_PIXELS`` of four bytes, converted once, and room."""

DECODE_PATIENCE = 300
"""Seconds for one image on the clock, whatever it waits for."""

_QUALITY = 80


def thumbnail_path(cache: Path, sha256: str) -> Path:
    """Where the thumbnail of the image with this content is kept.

    :param cache: the campaign's ``.seedream/thumbnails``
    """
    return cache / sha256[:2] / f"{sha256}.webp"


def move_thumbnail(cache: Path, before: str, after: str) -> None:
    """Keep a thumbnail under the hash that its image has now; an image without one has none."""
    made, path = thumbnail_path(cache, before), thumbnail_path(cache, after)
    with suppress(FileNotFoundError):
        path.parent.mkdir(exist_ok=True)
        if not path.parent.is_symlink():
            made.replace(path)


def open_image(file: Path) -> PillowImage:
    """The image in ``file``, its header read and its pixels not yet.

    :raises OSError: if it is no image of a known format, or has more than ``MAX_PIXELS``
    """
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


def decode(file: Path, thumbnail: Path | None) -> Examined:
    """Decode ``file`` whole and, if asked to, write its thumbnail on the way.

    For a thumbnail a JPEG is decoded at a fraction of its size; its compressed data is read to the end all the same.

    :param thumbnail: where the thumbnail belongs; it appears whole or not at all
    """
    from PIL import UnidentifiedImageError

    try:
        with open_image(file) as image:
            size = image.size
            if thumbnail is not None:
                image.draft("RGB", (THUMBNAIL_SIDE * 2, THUMBNAIL_SIDE * 2))
            image.load()
    except (OSError, SyntaxError, ValueError, MemoryError, EOFError, IndexError) as error:
        why = str(error) or "it takes too much memory"
        whole = "" if isinstance(error, UnidentifiedImageError) else f" whole: {why}"  # its words name the temp file
        return Examined(width=0, height=0, problem=f"the image can not be decoded{whole}")
    if thumbnail is not None:
        with suppress(OSError, ValueError):  # an image without a thumbnail is still an image
            _write_thumbnail(image, thumbnail)
    return Examined(width=size[0], height=size[1])


def _write_thumbnail(image: PillowImage, path: Path) -> None:
    """Write a decoded image as WebP of at most ``THUMBNAIL_SIDE`` pixels, upright, with its colour profile."""
    from PIL import ImageOps

    profile = image.info.get("icc_profile")
    if image.mode not in ("RGB", "RGBA"):
        profile = None if image.mode in ("CMYK", "L", "LA") else profile
        see_through = image.mode in ("LA", "PA") or "transparency" in image.info
        image = image.convert("RGBA" if see_through else "RGB")
    image.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE), reducing_gap=2.0)
    ImageOps.exif_transpose(image, in_place=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.parent.is_symlink():
        return
    temp = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        image.save(temp, "WEBP", quality=_QUALITY, method=4, icc_profile=profile or b"", exif=b"", xmp=b"")
        temp.replace(path)
    finally:
        temp.unlink(missing_ok=True)


def serve_decoder(seconds: int = DECODE_SECONDS, memory: int = DECODE_MEMORY, patience: int = DECODE_PATIENCE) -> None:
    """The program of a decoding process: answer each line ``["file", "thumbnail" or null]`` until stdin ends.

    An image that passes a limit ends it; the parameters are the limits for one image.
    """
    if confinement.POSSIBLE:
        confinement.lower(resource.RLIMIT_DATA, memory)
        for number in (signal.SIGALRM, signal.SIGXCPU):  # the kernel ends it, also within Pillow's C
            signal.signal(number, signal.SIG_DFL)
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints is not an answer
    with suppress(BrokenPipeError):
        for line in sys.stdin.buffer:
            file, thumbnail = json.loads(line)
            if confinement.POSSIBLE:
                confinement.lower(resource.RLIMIT_CPU, int(time.process_time()) + 1 + seconds)
                signal.alarm(patience)
            found = decode(Path(file), None if thumbnail is None else Path(thumbnail))
            answers.write(json.dumps(asdict(found)).encode() + b"\n")
            answers.flush()
            if confinement.POSSIBLE:
                signal.alarm(0)


class Decoders:
    """A few processes that decode images. Safe to use from several threads; processes start when they are needed.

    :param workers: how many; the number of CPUs by default
    """

    def __init__(self, workers: int | None = None) -> None:
        self.workers: int = workers or max(1, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2)
        self._idle: queue.LifoQueue[subprocess.Popen[bytes] | None] = queue.LifoQueue()
        for _ in range(self.workers):
            self._idle.put(None)  # a place for a process that is not started yet
        self._all: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()
        self._closed = False

    def __enter__(self) -> Decoders:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def decode(self, file: Path, thumbnail: Path | None = None) -> Examined:
        """Decode ``file`` whole in one of the processes; blocks until it is done.

        :param thumbnail: where to write its thumbnail, if one is wanted
        """
        process = self._idle.get()
        try:
            process = process or self._start()
            assert process.stdin is not None
            assert process.stdout is not None
            job = [str(file), None if thumbnail is None else str(thumbnail)]
            process.stdin.write(json.dumps(job).encode() + b"\n")
            process.stdin.flush()
            answer = process.stdout.readline()
        except (OSError, ValueError):  # its pipes broke, or were closed with all the others
            answer = b""
        if not answer.endswith(b"\n"):
            if process is not None:
                self._drop(process)
            self._idle.put(None)
            return Examined(width=0, height=0, problem="the image can not be decoded: the decoder stopped over it")
        self._idle.put(process)
        return Examined(**json.loads(answer))

    def close(self) -> None:
        """End the processes at once, in the middle of an image too. A later ``decode`` returns a problem."""
        with self._lock:
            self._closed = True
            processes = list(self._all)
        for process in processes:
            process.kill()
        for process in processes:
            self._drop(process)

    def _start(self) -> subprocess.Popen[bytes]:
        with self._lock:
            if self._closed:
                raise OSError("the decoders are closed")
            process = start_helper(__name__, serve_decoder.__name__)
            self._all.add(process)
            return process

    def _drop(self, process: subprocess.Popen[bytes]) -> None:
        process.kill()
        process.wait()
        with self._lock:
            if process not in self._all:
                return
            self._all.discard(process)
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()
