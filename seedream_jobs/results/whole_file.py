"""This module writes files that appear whole or not at all, and gives files a second name.

Called by the gallery, the exports and the ratings. Invariant: whatever fails, an earlier file of that name is still
whole. (Images of a campaign are stored by ``run.atomic_file``, which never replaces a file.)
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from seedream_jobs.run.atomic_file import sync


@contextmanager
def whole_file(path: Path, part: Path | None = None) -> Iterator[BinaryIO]:
    """A file under a temporary name that gets its final one when the block ends without an exception.

    :param part: the temporary name; by default the same every time, so that a crash leaves at most one behind
    :raises OSError: as the file system does
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = part or path.with_name(f".{path.name}.part")
    try:
        with part.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    sync(path.parent)


def write_whole(path: Path, data: bytes) -> None:
    """Replace ``path`` by ``data``. Equal bytes are left alone.

    :raises OSError: as the file system does
    """
    with suppress(FileNotFoundError):
        if path.stat().st_size == len(data) and path.read_bytes() == data:
            return
    with whole_file(path, path.with_name(f".{path.name}.{os.getpid()}.part")) as file:  # two commands may build a page
        file.write(data)


def link_or_copy(source: Path, target: Path) -> None:
    """Put ``source`` at ``target``: a hard link, or a copy where the file system has none. Nothing if it is there.

    :raises FileNotFoundError: there is no ``source``
    :raises OSError: it can be neither linked nor copied
    """
    there = source.stat()
    with suppress(FileNotFoundError):
        found = target.stat()
        same_file = os.path.samestat(there, found)
        if same_file or (found.st_size, found.st_mtime_ns) == (there.st_size, there.st_mtime_ns):
            return
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.part")
    part.unlink(missing_ok=True)
    try:
        try:
            os.link(source, part)
        except OSError:
            shutil.copy2(source, part)  # with its time: that is how a later export knows its own copy
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
