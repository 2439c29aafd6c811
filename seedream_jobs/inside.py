"""This module opens the files that a tree names: inside the tree's root, or not at all.

Called by everything that reads or writes a path which a job file, a record or a checkout brings. Invariants: a file is
opened part by part from its root's descriptor, so that no link is followed which was not there when the path was
resolved; only a regular file is opened; nothing is opened in git's own folder, and no ``.env``.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from pathlib import Path, PurePosixPath
from unicodedata import category, is_normalized

_READ = os.O_RDONLY | getattr(os, "O_BINARY", 0)
# A pipe would wait for a writer without O_NONBLOCK, and a terminal could become this process' own.
_LAST = _READ | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0)
# A folder need not be readable to be passed through. With O_PATH (Linux) a link is no folder, and refused all the same.
_FOLDER = getattr(os, "O_PATH", os.O_RDONLY) | getattr(os, "O_DIRECTORY", 0)
_PIECE = 1 << 20
_HAS_DIR_FD = os.open in os.supports_dir_fd  # Windows has none


STATE_FOLDER = ".seedream"
"""Where a campaign keeps what is not committed: locks, journals, thumbnails, the records of rehearsals."""


class OutsideRoot(Exception):
    """A path that leaves the campaign's root, by ``..``, by being absolute or through a symbolic link."""


class Withheld(OSError):
    """A file of the campaign that no job may read; ``strerror`` says why.

    :param hint: the next step
    """

    def __init__(self, reason: str, path: str, hint: str) -> None:
        super().__init__(errno.EACCES, reason, path)
        self.hint = hint


# -- names -------------------------------------------------------------------------------------------------------------

# macOS leaves these characters out of a name when it compares it (HFS+): ".g\u200cit" is ".git" there.
_LEFT_OUT = re.compile("[\u200c-\u200f\u202a-\u202e\u206a-\u206f\ufeff]")
# ``git~1`` is the short name that Windows gives to ``.git``; what follows a colon there names a stream of it.
_GIT = frozenset({".git", "git~1"})


def is_gits(part: str) -> bool:
    """Whether a part of a path names git's own folder on some system, as git itself guards against (CVE-2014-9390)."""
    if part.isascii() and part[:1] not in ".gG":  # of a million names most
        return False
    plain = _LEFT_OUT.sub("", part).casefold().partition(":")[0]
    return plain.rstrip(" .") in _GIT


def check_open_to_jobs(path: PurePosixPath) -> None:
    """See that a path, its links followed, is in no folder of git's and names no file of the environment's.

    :raises Withheld: it is
    """
    for part in path.parts:
        if (why := find_closed(part)) is not None:
            raise Withheld(why, str(path), "copy what the job needs to a file of its own")


def find_closed(part: str) -> str | None:
    """Why no job reads what has this name, or lies in a folder of this name; None where one may."""
    if is_gits(part):
        return "it is in git's own folder"
    name = part.casefold()
    return f"{part} may hold keys, and no job reads it" if name == ".env" or name.startswith(".env.") else None


MAX_NAME_BYTES = 200
"""The longest part of a path that is written, in bytes; room is left for endings and numbers."""

_PLAIN = re.compile(r"\w[\w,=~+. -]{0,48}(?<![. ])", re.ASCII)
_SPECIAL = frozenset('\\:*?"<>|')
_RESERVED = frozenset(
    (
        "con",
        "prn",
        "aux",
        "nul",
        "conin$",
        "conout$",
        *(f"{port}{number}" for port in ("com", "lpt") for number in "0123456789¹²³"),
    )
)


def is_device(part: str) -> bool:
    """Whether Windows takes a part of a path for a device, whatever ending it has."""
    return part.partition(".")[0].rstrip(" ").casefold() in _RESERVED


def can_be_a_name(path: str) -> bool:
    """Whether a file can have such a name or path at all: JSON can spell a NUL, and half a character."""
    try:
        return b"\0" not in os.fsencode(path)
    except UnicodeEncodeError:
        return False


def find_misread(part: str) -> str | None:
    """Why a part of a path is misread by some system or shell; None where all agree on it."""
    if part in ("", ".", ".."):
        return "is only dots" if part else "is empty"
    if is_device(part):
        return "is a name that Windows keeps for a device"
    if _PLAIN.fullmatch(part):
        return None
    if part[0] in "-~":
        return f"begins with {part[0]}, which a shell or a command takes for something else"
    if part != part.strip() or part.endswith("."):
        return "begins or ends with a space, or ends with a dot, which Windows leaves out"
    if any(character in _SPECIAL for character in part):
        return 'has one of \\ : * ? " < > |, which Windows takes for something else'
    for character in part:
        if category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp"):
            return f"has the invisible character U+{ord(character):04X}"
    if not is_normalized("NFC", part):
        return "has letters and accents as separate characters, which macOS joins (write it in NFC)"
    if len(part.encode()) > MAX_NAME_BYTES:
        return f"has {len(part.encode())} bytes: at most {MAX_NAME_BYTES}"
    return None


# -- opening -----------------------------------------------------------------------------------------------------------


def locate(root: Path, path: PurePosixPath | str) -> PurePosixPath:
    """Where a path ends, links followed, relative to ``root``.

    :param root: absolute, without links
    :raises OutsideRoot: it does not end below the root
    """
    try:
        found = Path(os.path.realpath(root / path))
    except ValueError:  # a NUL, or half a character: no file has such a name
        raise OutsideRoot(str(path)) from None
    if not found.is_relative_to(root):
        raise OutsideRoot(str(path))
    return PurePosixPath(found.relative_to(root).as_posix())


def open_in(root: Path, path: PurePosixPath | str) -> int:
    """Open a regular file below ``root`` for reading; links that end below it are followed. Returns a descriptor.

    :param root: absolute, without links
    :raises OutsideRoot: the path does not end below the root
    :raises Withheld: no job may read what is there
    :raises IsADirectoryError: it is a folder
    :raises OSError: as ``open`` does, or it is no regular file
    """
    inside = locate(root, path)
    check_open_to_jobs(inside)
    if not inside.parts:
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    # Without dir_fd (Windows) a link that is put into the path from here on is followed.
    if not _HAS_DIR_FD:
        return _regular(os.open(root / inside, _LAST), path)
    folder = open_folder(root, inside.parent)
    try:
        return _regular(os.open(inside.name, _LAST, dir_fd=folder), path)
    finally:
        os.close(folder)


def open_folder(root: Path, folder: PurePosixPath) -> int:
    """A descriptor of a folder below ``root``, no link followed on the way; only to open by, as ``dir_fd``.

    :raises OSError: as ``open`` does; a link is no folder
    """
    at = os.open(root, _FOLDER)
    for part in folder.parts:
        try:
            below = os.open(part, _FOLDER | os.O_NOFOLLOW, dir_fd=at)
        finally:
            os.close(at)
        at = below
    return at


def read_start(file: Path | int, limit: int) -> bytes:
    """The first ``limit`` bytes of a regular file, by its path (links are followed) or an open one, which is closed.

    :raises OSError: as ``open`` does, or it is no regular file
    """
    opened = file if isinstance(file, int) else _regular(os.open(file, _LAST & ~getattr(os, "O_NOFOLLOW", 0)), file)
    try:
        pieces, left = [], limit
        while left > 0 and (piece := os.read(opened, min(left, _PIECE))):
            pieces.append(piece)
            left -= len(piece)
        return b"".join(pieces)
    finally:
        os.close(opened)


def open_record(path: Path) -> int:
    """Open a file of the record, or another that is never a link, for reading. Returns a descriptor.

    :raises OSError: as ``open`` does, or it is a link, or no regular file
    """
    try:
        return _regular(os.open(path, _LAST), path)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise OSError(errno.ELOOP, _A_LINK, str(path)) from None
        raise


def check_no_link(path: Path) -> None:
    """See that a file that is about to be written is no link, nor anything else but a regular file, where it is there.

    :raises OSError: it is
    """
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if stat.S_ISLNK(mode):
        raise OSError(errno.ELOOP, _A_LINK, str(path))
    # A folder is left to ``open``, whose error says that it is one.
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise OSError(errno.EINVAL, _IRREGULAR, str(path))


_A_LINK = "it is a symbolic link, which is not followed here"
_IRREGULAR = "it is no regular file"


def _regular(descriptor: int, path: object) -> int:
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return descriptor
    os.close(descriptor)
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    raise OSError(errno.EINVAL, _IRREGULAR, str(path))
