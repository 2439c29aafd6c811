"""How exports appear on disk: whole or not at all, and images as second names of the files there are."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """A file under a temporary name that gets its final one when the block ends without an exception.

    The temporary name is the same every time: a crash leaves at most one behind, and the next export replaces it.

    :raises OSError: as the file system does; an earlier file of that name is then still whole
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    try:
        with part.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def place(source: Path, target: Path) -> bool:
    """Put ``source`` at ``target``: a hard link, or a copy where the file system has none; False if it was there.

    :raises FileNotFoundError: there is no ``source``
    :raises OSError: it can be neither linked nor copied
    """
    there = source.stat()
    with contextlib.suppress(FileNotFoundError):
        found = target.stat()
        same_file = os.path.samestat(there, found)
        if same_file or (found.st_size, found.st_mtime_ns) == (there.st_size, there.st_mtime_ns):
            return False
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
    return True


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
