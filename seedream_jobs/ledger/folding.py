"""Manifest and journal on the disk: begun, folded and removed in the one order that survives a crash at any step.

Folding: the new manifest is written beside the old one; a ``fold`` record with its digest is made durable in the
journal; the new manifest takes the old one's name; the journal is removed. A crash before the rename leaves a journal
that builds on the manifest there is: it is folded once more. A crash after it leaves a journal whose last ``fold``
record names the manifest there is: it is only removed. A journal that is neither is another manifest's, and is never
applied.

A run that pays says so in the manifest first (``begin_marked``): the marked manifest is written beside the old one, the
journal that builds on it is begun, the marked one takes the old one's name. A crash before the rename leaves a journal
without an intent, which also names the manifest of before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from hashlib import sha256
from pathlib import Path

from seedream_jobs.ledger import journal
from seedream_jobs.ledger.filesystem import FileSystem, write_all, write_whole


class Pair:
    """The two files of a record. Every method raises ``OSError`` where the disk refuses; its caller holds the lock.

    :param manifest: where its bytes are, links followed
    """

    def __init__(self, fs: FileSystem, manifest: Path, journal: Path) -> None:
        self._fs, self._manifest, self._journal = fs, manifest, journal

    def begin_journal(self, header: bytes) -> int:
        """A new journal, durable with its header.

        :param header: its record 0
        :return: its descriptor, open for appending
        """
        descriptor = self._fs.create(self._journal)
        try:
            self._append(descriptor, header)
            self._fs.sync_folder(self._journal.parent)
        except OSError:
            self._fs.close(descriptor)
            raise
        return descriptor

    def begin_marked(self, chunks: Iterable[bytes], header: Callable[[str], bytes]) -> tuple[int, str]:
        """A manifest that says that a run is open, and the journal that builds on it.

        :param header: from the digest of that manifest to the journal's record 0
        :return: the journal's descriptor, open for appending, and the digest
        """
        begun: list[int] = []
        try:
            digest = self.write_manifest(chunks, lambda digest: begun.append(self.begin_journal(header(digest))))
        except BaseException:
            for descriptor in begun:
                self._fs.close(descriptor)
            raise
        return begun[0], digest

    def write_manifest(self, chunks: Iterable[bytes], announce: Callable[[str], None] = lambda digest: None) -> str:
        """A new manifest in the old one's place, whole or not at all; its digest.

        :param announce: gets the digest once the bytes are durable, before they take the old manifest's name
        """
        summed = sha256()

        def summing() -> Iterator[bytes]:
            for chunk in chunks:
                summed.update(chunk)
                yield chunk

        def digest() -> str:
            return f"sha256:{summed.hexdigest()}"

        write_whole(self._fs, self._manifest, summing(), lambda: announce(digest()))
        return digest()

    def fold(self, chunks: Iterable[bytes], seq: int, append: Callable[[bytes], None]) -> str:
        """Everything known becomes the manifest, and the journal goes; the manifest's digest.

        :param seq: the ``fold`` record's number in the journal
        :param append: makes a record durable in the journal
        """
        digest = self.write_manifest(chunks, lambda digest: append(journal.record(seq, {"fold": digest})))
        self.remove_journal()
        return digest

    def fold_left_behind(self, contents: journal.Contents, chunks: Iterable[bytes]) -> str:
        """As ``fold``, into which goes what a crash left in the journal; a torn end of it is cut off."""
        descriptor = self._fs.append(self._journal)
        try:
            if contents.torn:
                self._fs.truncate(descriptor, contents.size)
            if not contents.complete:
                write_all(self._fs, descriptor, b"\n")
            return self.fold(chunks, journal.count(contents), lambda record: self._append(descriptor, record))
        finally:
            self._fs.close(descriptor)

    def remove_journal(self) -> None:
        """The journal is folded, or never began."""
        self._fs.remove(self._journal)
        self._fs.sync_folder(self._journal.parent)

    def _append(self, descriptor: int, record: bytes) -> None:
        write_all(self._fs, descriptor, record)
        self._fs.sync(descriptor)
