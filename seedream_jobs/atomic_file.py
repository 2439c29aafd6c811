"""This module reads files by pieces and writes files that appear whole or not at all.

Called by every part that writes a file which must survive a crash: ledger, saved plans, images, sidecars, gallery,
exports. Invariants: bytes are on the disk before they get their name, and the name before anybody is told; ``place``
never overwrites a file; ``confined`` lets no image out of the campaign's root.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import sys
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Literal

from seedream_jobs.confinement import allow_bytes, allow_images
from seedream_jobs.errors import LedgerError, SeedreamError, UsageError
from seedream_jobs.inside import check_no_link, is_gits, open_record, read_start

BUFFER = 1024 * 1024
"""Bytes that are written and hashed at a time; measured best (bench/fetch.py)."""

PIECE = 1 << 20
"""Bytes of a file that is kept whole in memory."""

_AT_ONCE = 1 << 18
"""Bytes that are looked at together: few enough to stay in a processor's cache from one look to the next."""

HEAD_BYTES = 512
"""Bytes of a download that are kept in memory: enough to tell its format."""

_WRITE = os.O_WRONLY | getattr(os, "O_NOFOLLOW", 0)
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
# What file systems answer that have no hard links, or allow none here.
_NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK, errno.EXDEV, errno.EACCES}


# Reading ------------------------------------------------------------------------------------------------------------


def read_regular(path: Path, limit: int = 1 << 62) -> bytes:
    """The bytes of a regular file, or its first ``limit``; no link is followed to it.

    :raises OSError: as the kernel reports it, or it is a link, or no regular file
    """
    raw = read_start(open_record(path), limit)
    allow_bytes(len(raw))
    return raw


def digest(file: Path) -> str:
    """The sha256 of a regular file, in hex; no link is followed to it.

    :raises OSError: as reading does
    """
    with os.fdopen(open_record(file), "rb", buffering=0) as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def find_damage(
    file: Path, *, size: int | None, sha256: str | None
) -> tuple[Literal["missing", "changed", "unreadable"], str] | None:
    """What is wrong with a file that was stored, and that in words; None if it is whole. Reads all of it.

    :param size: bytes it had, as ``sha256``; None where that is not known
    """
    try:
        found = os.lstat(file).st_size
        # The size shows most damage without reading the file. A link is left to ``digest``, which refuses it.
        if size is not None and found != size and not file.is_symlink():
            return "changed", f"{found} bytes where {size} were stored"
        allow_images(1, found)
        if sha256 is not None and digest(file) != sha256:
            return "changed", "changed since it was stored"
    except (FileNotFoundError, NotADirectoryError):
        return "missing", "not on disk"
    except OSError as error:
        return "unreadable", f"can't be read: {error.strerror or error}"
    return None


class Snapshot:
    """The bytes of a file at one moment, all of them in memory."""

    def __init__(self, data: bytes = b"") -> None:
        self._data = data
        self.size: int = len(data)
        allow_bytes(self.size)

    @property
    def version(self) -> object:
        """Equal for two snapshots of a path exactly where nothing was put in the file's place between them."""
        return self._data

    def read(self, at: int, size: int) -> bytes:
        """Up to ``size`` bytes from place ``at``; fewer only at the end."""
        return self._data[at : at + size]

    def pieces(self) -> Iterator[bytes]:
        """All of it in pieces of whole lines; only the last one may lack its newline.

        :raises OSError: it can't be read, or is shorter than it was
        """
        at, size = 0, _AT_ONCE
        while at < self.size:
            piece = self.read(at, size)
            if not piece:
                raise OSError(errno.EIO, "it was cut while it was being read")
            if at + len(piece) < self.size:
                end = piece.rfind(b"\n") + 1
                if not end:  # a line that is longer than that
                    size *= 2
                    continue
                piece = piece[:end]
            yield piece
            at, size = at + len(piece), _AT_ONCE

    def digest(self) -> str:
        """``sha256:`` and hex digits: how a journal names a manifest's bytes.

        :raises OSError: it can't be read
        """
        summed = hashlib.sha256()
        for piece in self.pieces():
            summed.update(piece)
        return f"sha256:{summed.hexdigest()}"


class OpenSnapshot(Snapshot):
    """The bytes of an open file, which may be larger than memory. A file that replaces it later is not seen."""

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor
        # Nobody closes a snapshot: its file stays open as long as somebody may read on.
        weakref.finalize(self, os.close, self._descriptor)
        found = os.fstat(self._descriptor)
        self.size: int = found.st_size
        allow_bytes(self.size)
        self._version = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)

    @property
    def version(self) -> object:
        return self._version

    def read(self, at: int, size: int) -> bytes:
        return os.pread(self._descriptor, min(size, self.size - at), at)


# Writing ------------------------------------------------------------------------------------------------------------


class FileSystem:
    """The system calls that durability rests on; tests replace it by one that fails or forgets.

    Every call raises ``OSError`` as the kernel reports it.
    """

    has_runs = True
    """Whether a run may be under way there; in the tree of a commit none is."""

    def snapshot(self, path: Path) -> Snapshot:
        """The file as it is now. A link is not followed, and what is no regular file is not read."""
        opened = open_record(path)
        if os.fstat(opened).st_size <= PIECE or not hasattr(os, "pread"):  # Windows has none
            return Snapshot(read_start(opened, 1 << 62))
        return OpenSnapshot(opened)

    def list_folder(self, folder: Path) -> list[str]:
        """The names in a folder; none where there is no such folder."""
        try:
            return [one.name for one in folder.iterdir()]
        except (FileNotFoundError, NotADirectoryError):
            return []

    def create(self, path: Path, mode: int = 0o644) -> int:
        """Open for appending, emptied; a new file where there is none. Returns a descriptor."""
        check_no_link(path)
        return os.open(path, _WRITE | os.O_CREAT | os.O_TRUNC | os.O_APPEND, mode)

    def append(self, path: Path) -> int:
        """Open an existing file for appending. Returns a descriptor."""
        check_no_link(path)
        return os.open(path, _WRITE | os.O_APPEND)

    def write(self, descriptor: int, data: bytes | memoryview) -> int:
        """Write some of ``data``; returns how many bytes were taken."""
        return os.write(descriptor, data)

    def truncate(self, descriptor: int, size: int) -> None:
        os.ftruncate(descriptor, size)

    def sync(self, descriptor: int) -> None:
        """Return once the file's content is on the disk."""
        if sys.platform == "darwin":  # fsync there only reaches the drive's cache
            import fcntl

            fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
        else:
            os.fsync(descriptor)

    def close(self, descriptor: int) -> None:
        os.close(descriptor)

    def rename(self, source: Path, target: Path) -> None:
        """Replace ``target`` by ``source`` in one step."""
        source.replace(target)

    def remove(self, path: Path) -> None:
        """Remove a file; no error where there is none."""
        path.unlink(missing_ok=True)

    def sync_folder(self, folder: Path) -> None:
        """Return once the folder's names are on the disk."""
        sync(folder)


DISK = FileSystem()


def sync(path: Path) -> None:
    """Make a file's bytes, or a folder's names, durable.

    :raises OSError: as ``FileSystem.sync`` does
    """
    handle = os.open(path, os.O_RDONLY)
    try:
        DISK.sync(handle)
    finally:
        os.close(handle)


def write_all(fs: FileSystem, descriptor: int, data: bytes) -> None:
    """Write every byte, however many calls it takes.

    :raises OSError: as the disk says; a disk that takes nothing and says nothing counts as full
    """
    rest = memoryview(data)
    while rest:
        taken = fs.write(descriptor, rest)
        if taken <= 0:
            raise OSError("the disk took no bytes")
        rest = rest[taken:]


def temporary(path: Path) -> Path:
    """The name under which a file is written. It is always the same, so that a crash leaves at most one behind."""
    return path.with_name(f".{path.name}.part")


def write_whole(
    path: Path, chunks: Iterable[bytes], *, fs: FileSystem = DISK, announce: Callable[[], object] = lambda: None
) -> None:
    """Write a file of these bytes in the place of an earlier one.

    :param announce: called once the bytes are durable, before they get their name; if it raises, they never do
    :raises OSError: as the disk says; an earlier file is still whole
    """
    write_together({path: chunks}, fs=fs, announce=announce)


def write_together(
    files: Mapping[Path, Iterable[bytes]], *, fs: FileSystem = DISK, announce: Callable[[], object] = lambda: None
) -> None:
    """Write files of these bytes in the place of earlier ones; none gets its name before all are durable.

    :param files: in the order in which they get their names; a file's name is durable before the next folder's
    :param announce: called once all bytes are durable, before any gets its name; if it raises, none ever does
    :raises OSError: as the disk says; each file is an earlier one or the new one, whole
    """
    left = [(path, temporary(path)) for path in files]
    try:
        for path, temp in left:
            if temp.is_symlink():  # a commit may bring one of this name: nothing of it leads anywhere
                fs.remove(temp)
            descriptor = fs.create(temp)
            try:
                for chunk in files[path]:
                    write_all(fs, descriptor, chunk)
                fs.sync(descriptor)
            finally:
                fs.close(descriptor)
        announce()
        while left:
            path, temp = left[0]
            fs.rename(temp, path)
            del left[0]
            # Without it a power cut may bring the old file back, and keep one of a later folder.
            if not left or left[0][0].parent != path.parent:
                fs.sync_folder(path.parent)
    except BaseException:
        for _, temp in left:
            with suppress(OSError):
                fs.remove(temp)
        raise


@contextmanager
def whole_file(path: Path, temp: Path | None = None) -> Iterator[BinaryIO]:
    """A file under a temporary name that gets its final one when the block ends without an exception.

    :param temp: a temporary name of its own, where two commands may write the file at once
    :raises OSError: as the disk says; an earlier file is still whole
    """
    make_folder(path.parent)
    temp = temp or temporary(path)
    if temp.is_symlink():  # a commit may bring one of this name: nothing of it leads anywhere
        DISK.remove(temp)
    descriptor = DISK.create(temp, 0o666)  # as ``open`` makes files: the umask says who may read and write them
    try:
        try:
            with os.fdopen(descriptor, "wb", closefd=False) as file:
                yield file
            DISK.sync(descriptor)
        finally:
            DISK.close(descriptor)
        DISK.rename(temp, path)
    except BaseException:
        with suppress(OSError):
            DISK.remove(temp)
        raise
    DISK.sync_folder(path.parent)  # without it a power cut may bring the old file back


def update_file(path: Path, data: bytes) -> None:
    """Replace ``path`` by ``data``. Equal bytes are left alone.

    :raises OSError: as the disk says
    """
    with suppress(FileNotFoundError):
        if path.is_file() and not path.is_symlink() and path.stat().st_size == len(data) and path.read_bytes() == data:
            return
    with whole_file(path, path.with_name(f".{path.name}.{os.getpid()}.part")) as file:  # two commands may build a page
        file.write(data)


def link_or_copy(source: Path, target: Path, temp: Path | None = None) -> None:
    """Put ``source`` at ``target``: a hard link, or a copy where the file system has none. Nothing if it is there.

    :param temp: a temporary name of its own, where two processes may put it there at once
    :raises FileNotFoundError: there is no ``source``
    :raises OSError: it can be neither linked nor copied
    """
    with os.fdopen(open_record(source), "rb", buffering=0) as opened:
        there = os.fstat(opened.fileno())
        with suppress(FileNotFoundError):
            found = os.lstat(target)
            same_file = os.path.samestat(there, found)
            if same_file or (found.st_size, found.st_mtime_ns) == (there.st_size, there.st_mtime_ns):
                return
        target.parent.mkdir(parents=True, exist_ok=True)
        part = temp or temporary(target)
        part.unlink(missing_ok=True)
        try:
            if not _linked(source, part, there):
                with part.open("xb") as copy:
                    shutil.copyfileobj(opened, copy, BUFFER)
                os.utime(part, ns=(there.st_atime_ns, there.st_mtime_ns))  # a later export knows its own copy by it
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)


def _linked(source: Path, part: Path, there: os.stat_result) -> bool:
    """Whether ``part`` is now a hard link to the very file that was opened."""
    try:
        os.link(source, part, follow_symlinks=False)
    except OSError:
        return False
    if os.path.samestat(os.lstat(part), there):
        return True
    part.unlink()
    return False


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, each durable in the one above.

    :raises OSError: they can't be made
    """
    if not folder.is_dir():
        make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        sync(folder.parent)


# Images: new files below the campaign's root ------------------------------------------------------------------------


def refusal(error: OSError, path: Path) -> SeedreamError:
    """The refusal that a failed write to ``path`` means: a full or failing disk stops the command with exit code 74."""
    words = os.strerror(error.errno) if error.errno else str(error)
    if error.errno in _NO_ROOM:
        return LedgerError(
            f"no room for {path}: {words}",
            hint="free some space and run the same command again; what was stored stays, and links live on",
        )
    if error.errno in (errno.EEXIST, errno.ENOTDIR) and (blocked := in_the_way(path.parent)) is not None:
        return blocked
    if error.errno in (errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP):
        return UsageError(f"{path} can not be written: {words}", hint="check output.dir, output.name and the folder")
    return LedgerError(f"{path} can not be written: {words}", hint="check the disk, then run the same command again")


def in_the_way(folder: Path) -> UsageError | None:
    """The refusal that a file means which stands where ``folder`` or one above it should be; None where none does."""
    for candidate in (folder, *folder.parents):
        if os.path.lexists(candidate):
            if candidate.is_dir():
                return None
            what = "a link that leads to no folder" if candidate.is_symlink() else "a file"
            return UsageError(f"{candidate} is {what} where a folder is needed", hint="move it out of the way")
    return None


def confined(root: Path, folder: Path, output: str) -> Path:
    """The absolute path that ``output`` (POSIX, relative to ``folder``) names, its folder's links followed.

    :raises UsageError: if it leaves ``root`` by ``..``, by being absolute or through a symbolic link
    """
    root = root.resolve()
    if output.startswith("/") or "\\" in output or "\0" in output or not output.strip("/."):
        raise _outside(output)
    written = Path(os.path.normpath(folder.resolve() / output))
    try:
        found = written.parent.resolve() / written.name
    except (OSError, RuntimeError) as error:  # a loop of links
        raise _outside(output) from error
    # It must stay inside both as it is written and where its links lead.
    if not found.is_relative_to(root) or not written.is_relative_to(root) or found == root:
        raise _outside(output)
    if any(map(is_gits, found.relative_to(root).parts)):
        raise UsageError(f"the output {output!r} is in git's own folder", hint="correct output in the job file")
    return found


def check_folder(root: Path, folder: Path) -> None:
    """See that a folder, as far as it is there, is one below ``root``, its links followed, and none of git's.

    :raises UsageError: it is not
    """
    if (blocked := in_the_way(folder)) is not None:
        raise blocked
    try:
        os.lstat(folder / ("x" * 64))  # an image in it needs room for a name
    except (FileNotFoundError, NotADirectoryError):
        pass
    except OSError as error:
        said = f"{os.path.relpath(folder, root)[:60]} … can't be made: {error.strerror}"
        raise UsageError(said, hint="name another folder") from None
    inside = Path(os.path.realpath(folder))
    if not inside.is_relative_to(top := Path(os.path.realpath(root))):
        raise UsageError(f"{folder} leads out of the campaign's folder through a symbolic link", hint="remove the link")
    if any(map(is_gits, inside.relative_to(top).parts)):
        raise UsageError(f"{folder} leads into git's own folder", hint="name another folder, or remove the link")


def _outside(output: str) -> UsageError:
    return UsageError(
        f"the output {output!r} leads out of the campaign's root",
        hint="images are only written below the campaign's root: correct output in the job file, or the manifest",
    )


class Folders:
    """The folders that images will lie in, each made and written to before anything is paid for what goes there.

    :param folder: the manifest's, to which outputs are relative
    :param root: the campaign's root, which no output leaves
    """

    def __init__(self, folder: Path, root: Path) -> None:
        self._folder, self._root = folder, root
        self._held: set[str] = set()

    def hold(self, output: str) -> None:
        """See that a file can be written where ``output`` (as in ``Request``) says.

        :raises UsageError: the folder can't be made or written to, or leads out of the root
        :raises LedgerError: the disk is full or failing
        """
        above = output.rpartition("/")[0]
        if above in self._held:
            return
        probe = confined(self._root, self._folder, output).with_name(f".seedream-probe-{os.getpid()}")
        try:
            make_folder(probe.parent)
            # A killed process that had the same id may have left one.
            probe.unlink(missing_ok=True)
            with probe.open("xb", buffering=0) as file:
                file.write(b"seedream-jobs sees whether images can be written here; safe to delete\n")
                DISK.sync(file.fileno())
        except OSError as error:
            raise refusal(error, probe.parent) from error
        finally:
            with suppress(OSError):
                probe.unlink()
        self._held.add(above)


class Sink:
    """A temporary file that is written and hashed on the way."""

    def __init__(self, path: Path) -> None:
        """:raises SeedreamError: if the file can not be made"""
        self.path = path
        self.size: int = 0
        self.head: bytes = b""
        self._hash = hashlib.sha256()
        self._file: BinaryIO | None = None
        try:
            make_folder(path.parent)
            path.unlink(missing_ok=True)  # never truncated: a killed process may have given it its final name already
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
            self._file = os.fdopen(os.open(path, flags, 0o666), "wb", buffering=BUFFER)
        except OSError as error:
            raise refusal(error, path) from error

    def write(self, data: bytes) -> None:
        """:raises SeedreamError: if the disk is full or failing"""
        assert self._file is not None
        try:
            self._file.write(data)
        except OSError as error:
            raise refusal(error, self.path) from error
        if len(self.head) < HEAD_BYTES:
            self.head += bytes(data[: HEAD_BYTES - len(self.head)])
        self._hash.update(data)
        self.size += len(data)

    @property
    def sha256(self) -> str:
        """Hex digest of all that was written."""
        return self._hash.hexdigest()

    def finish(self) -> None:
        """Hand the bytes to the operating system and close; ``place`` makes them durable.

        :raises SeedreamError: if the disk is full or failing
        """
        file, self._file = self._file, None
        if file is None:
            return
        try:
            file.close()
        except OSError as error:
            raise refusal(error, self.path) from error

    def discard(self) -> None:
        """Remove the temporary file, if it is still there."""
        if self._file is not None:
            with suppress(OSError):
                self._file.close()
            self._file = None
        with suppress(OSError):
            self.path.unlink()


def place(temp: Path, stem: Path, extension: str, sha256: str) -> Path:
    """Give ``temp`` its final name, durably; ``stem`` + ``extension``, or ``stem-2`` … where that is taken.

    A file with the same bytes is adopted and ``temp`` removed; one with other bytes is left alone. Blocks on the disk.

    :param temp: a file in the folder of ``stem``
    :raises SeedreamError: if the disk is full or failing
    """
    try:
        sync(temp)
        for candidate in names_for(stem, extension):
            if _claim(temp, candidate):
                sync(candidate.parent)
                return candidate
            # Such as the same image from a run that was killed between the name and its record.
            if candidate.is_file() and not candidate.is_symlink() and digest(candidate) == sha256:
                temp.unlink()
                # Whoever wrote it may have ended before its bytes were on the disk.
                sync(candidate)
                sync(candidate.parent)
                return candidate
    except OSError as error:
        raise refusal(error, stem) from error
    raise AssertionError("names never run out")


def place_as(temp: Path, final: Path) -> bool:
    """Give ``temp`` this very name, durably; False where another file has it, which is left alone.

    :raises SeedreamError: if the disk is full or failing
    """
    try:
        sync(temp)
        if _claim(temp, final):
            sync(final.parent)
            return True
    except OSError as error:
        raise refusal(error, final) from error
    return False


def free_name(temp: Path, stem: Path, extension: str, sha256: str) -> Path:
    """The name that ``place`` would give; ``temp`` stays as it is, and nothing gets the name."""
    try:
        for candidate in names_for(stem, extension):
            if not os.path.lexists(candidate):
                return candidate
            if candidate.is_file() and not candidate.is_symlink() and digest(candidate) == sha256:
                return candidate
    except OSError as error:
        raise refusal(error, stem) from error
    raise AssertionError("names never run out")


def names_for(stem: Path, extension: str) -> Iterator[Path]:
    """The names that ``place`` tries: ``stem`` + ``extension``, ``stem-2`` + ``extension`` …, without end."""
    yield stem.with_name(stem.name + extension)
    number = 2
    while True:
        yield stem.with_name(f"{stem.name}-{number}{extension}")
        number += 1


def _claim(temp: Path, final: Path) -> bool:
    """Rename ``temp`` to ``final`` unless that name is taken; a link does both in one step."""
    try:
        os.link(temp, final, follow_symlinks=False)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if os.path.lexists(final):  # no hard links here; the manifest's lock keeps other runs out of the gap
            return False
        temp.replace(final)
        return True
    temp.unlink()
    return True
