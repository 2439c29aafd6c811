"""This module says which files a manifest is: one, or a small first one and parts by the first hex digits of a key.

Called by everything that opens, names or compares a manifest. ``garden.manifest.jsonl`` is always there: it has the
header, and with it the number of parts, the plans and the resolutions. Split, the lines of requests lie in
``garden.manifest/0.jsonl`` to ``f.jsonl`` (``00`` to ``ff``). Invariant: a request's line has one place; whoever reads
a manifest reads all of its files, and joins what lies elsewhere by the rule of ``merge``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from pathlib import Path, PurePath
from typing import TypeVar

from seedream_jobs.atomic_file import FileSystem, Snapshot, make_folder, sync, update_file

P = TypeVar("P", bound=PurePath)

MANIFEST_SUFFIX = ".manifest.jsonl"
FOLDER_SUFFIX = ".manifest"
PARTS = (16, 256)
"""How many parts a manifest may have: by one hex digit of the key, or by two."""
LARGE_PART = 48 << 20
"""Bytes of a part from which 256 are made of 16: forges warn of files of 50 MB, and refuse those of 100."""
MANY = 50_000
"""Requests from which a plan warns: at 600 to 900 bytes each a forge refuses the file at about 120,000."""
FIRST = ""
"""Stands for the manifest's own file among the names of its parts."""

_NAME = re.compile(r"[0-9a-f]{1,2}")
_ATTRIBUTES = ".gitattributes"
_RULES = b"# Parts of two branches are merged line by line, as the manifest is.\n*.jsonl merge=union text eol=lf\n"


def part_names(parts: int) -> tuple[str, ...]:
    """The names of so many parts, in the order of the keys in them."""
    digits = len(f"{parts - 1:x}")
    return tuple(f"{number:0{digits}x}" for number in range(parts))


ALL_NAMES = tuple(name for parts in PARTS for name in part_names(parts))


def part_of(key: str, digits: int) -> str:
    """The part that the line of a request belongs in, of parts named by so many digits."""
    return key[3 : 3 + digits].ljust(digits, "0")  # after ``v1:``


def parts_folder(manifest: P) -> P:
    """The folder of a manifest's parts, whether it is split or not."""
    return manifest.with_name(manifest.name.removesuffix(".jsonl"))


def file_of(manifest: P, name: str) -> P:
    """The file of a part; of ``FIRST`` the manifest itself."""
    return manifest if name == FIRST else parts_folder(manifest) / f"{name}.jsonl"


def shown_part(shown: str, name: str) -> str:
    """How findings name a part of a manifest that they name ``shown``: a path, and maybe a word behind it."""
    head, _, word = shown.rpartition(".jsonl")
    return shown if name == FIRST else f"{head}/{name}.jsonl{word}"


def manifest_of(path: P) -> P | None:
    """The manifest that some file system takes a file for, or for a part of; None where it is neither."""
    name, folder = path.name.casefold(), path.parent.name
    if name.endswith(MANIFEST_SUFFIX):
        return path
    if folder.casefold().endswith(FOLDER_SUFFIX) and name.endswith(".jsonl") and _NAME.fullmatch(name[:-6]):
        return path.parent.with_name(f"{folder}.jsonl")
    return None


def is_spelled_well(path: PurePath) -> bool:
    """Whether every file system takes a file for the same record, or part of one."""
    found = manifest_of(path)
    return found is not None and (found.name.endswith(MANIFEST_SUFFIX) and path in (found, file_of(found, path.stem)))


@dataclass(frozen=True)
class ManifestFiles:
    """The bytes of a manifest at one moment.

    :param files: by the part's name, sorted, so that the manifest itself comes first
    """

    files: Mapping[str, Snapshot] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(one.size for one in self.files.values())

    @property
    def version(self) -> object:
        """Equal for two moments exactly where no file was put in another's place between them."""
        return {name: one.version for name, one in self.files.items()}

    @cached_property
    def digests(self) -> Mapping[str, str]:
        """The digest of each file.

        :raises OSError: one can't be read
        """
        return {name: one.digest() for name, one in self.files.items()}


def digest_of(digests: Mapping[str, str], absent: str = "none") -> str:
    """One digest for all files of a manifest; of a single file its own."""
    if set(digests) <= {FIRST}:
        return digests.get(FIRST, absent)
    lines = (f"{name} {digest}\n" for name, digest in sorted(digests.items()))
    return f"sha256:{sha256(''.join(lines).encode()).hexdigest()}"


@dataclass(frozen=True, slots=True, kw_only=True)
class NewFiles:
    """What a manifest is to be on the disk.

    :param files: the bytes of each file that is written; the parts first, the manifest itself last
    :param kept: the digests of the parts that stay as they are
    :param removed: parts that are not the manifest's any more
    """

    files: Mapping[str, Iterable[bytes]]
    kept: Mapping[str, str] = field(default_factory=dict)
    removed: Collection[str] = ()


def find_files(fs: FileSystem, manifest: Path) -> ManifestFiles | None:
    """The manifest's files as they are now; None where there is none.

    :param manifest: links followed
    :raises OSError: one of them can't be read
    """
    names = {name.removesuffix(".jsonl") for name in fs.list_folder(parts_folder(manifest)) if name.endswith(".jsonl")}
    found: dict[str, Snapshot] = {}
    for name in (FIRST, *sorted(names.intersection(ALL_NAMES))):
        with suppress(FileNotFoundError):
            found[name] = fs.snapshot(file_of(manifest, name))
    return ManifestFiles(found) if found else None


def make_parts_folder(manifest: Path) -> None:
    """Make the folder of parts, durably, with git's rules for merging them.

    :raises OSError: it can't be made
    """
    folder = parts_folder(manifest)
    if not (folder / _ATTRIBUTES).exists():
        make_folder(folder)
        update_file(folder / _ATTRIBUTES, _RULES)


def remove_parts_folder(manifest: Path) -> None:
    """Remove the folder of a manifest that has no parts any more; left alone where something else is in it."""
    folder = parts_folder(manifest)
    if not any(manifest_of(one) for one in folder.glob("*.jsonl")):
        with suppress(OSError):
            (folder / _ATTRIBUTES).unlink()
            folder.rmdir()
            sync(folder.parent)


def committed_files(manifest: Path, parts: int) -> list[Path]:
    """Every file of a record that belongs in git, whether it is there yet or not."""
    found = [manifest, *(file_of(manifest, name) for name in (part_names(parts) if parts else ()))]
    return found + ([parts_folder(manifest) / _ATTRIBUTES] if parts else [])


def largest_part(manifest: Path) -> int:
    """Bytes of the largest part on the disk."""
    with suppress(OSError), os.scandir(parts_folder(manifest)) as found:
        return max((one.stat().st_size for one in found if manifest_of(Path(one.path))), default=0)
    return 0
