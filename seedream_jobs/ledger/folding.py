"""Manifest and journal on the disk: begun, folded and removed in the one order that survives a crash at any step.

Folding: the new manifest is written beside the old one; a ``fold`` record with its digest is made durable in the
journal; the new manifest takes the old one's name; the journal is removed. A crash before the rename leaves a journal
that builds on the manifest there is: it is folded once more. A crash after it leaves a journal whose last ``fold``
record names the manifest there is: it is only removed. A journal that is neither is another manifest's, and is never
applied.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from hashlib import sha256

from seedream_jobs.ledger import journal
from seedream_jobs.ledger.filesystem import FileSystem, write_all, write_whole
from seedream_jobs.ledger.paths import LedgerPaths


class Pair:
    """The two files of a record. Every method raises ``OSError`` where the disk refuses; its caller holds the lock."""

    def __init__(self, fs: FileSystem, paths: LedgerPaths) -> None:
        self._fs, self._paths = fs, paths

    def begin_journal(self, manifest: str, base: str) -> int:
        """A new journal, durable with its header.

        :param manifest: the id of the manifest it belongs to
        :param base: the digest of the manifest it builds on
        :return: its descriptor, open for appending
        """
        descriptor = self._fs.create(self._paths.journal)
        try:
            self._append(descriptor, journal.header(manifest, base))
            self._fs.sync_folder(self._paths.journal.parent)
        except OSError:
            self._fs.close(descriptor)
            raise
        return descriptor

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

        write_whole(self._fs, self._paths.manifest, summing(), lambda: announce(digest()))
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
        descriptor = self._fs.append(self._paths.journal)
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
        self._fs.remove(self._paths.journal)
        self._fs.sync_folder(self._paths.journal.parent)

    def _append(self, descriptor: int, record: bytes) -> None:
        write_all(self._fs, descriptor, record)
        self._fs.sync(descriptor)
