"""Output names: such as every file system takes, in their folder, and no two requests with the same one."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from seedream_jobs.job.template import TemplateProblem

MAX_NAME_BYTES = 200
"""The longest single file or folder name, in bytes; file systems take 255, and suffixes follow."""

_PLAIN = re.compile(r"\w[\w,=~+-]{0,48}(?:/\w[\w,=~+-]{0,48})*")  # fine without a closer look: at most 4 bytes each
_SPECIAL = '\\:*?"<>|\x7f'
_KEPT = frozenset({".git", ".seedream"})
_RESERVED = frozenset(
    ("con", "prn", "aux", "nul", *(f"{port}{number}" for port in ("com", "lpt") for number in range(1, 10)))
)
_HINT = "the filter 'slug' makes any text a file name"


def checked_name(name: str) -> str:
    """An output name that stays in its folder and that file systems take.

    :raises TemplateProblem: if it does not
    """
    if _PLAIN.fullmatch(name):
        return name
    if not name.strip():
        raise TemplateProblem("the output name is empty", hint=_HINT)
    for part in name.split("/"):
        if part in ("", ".", "..") or part != part.strip() or part.startswith(".") or part.endswith("."):
            raise TemplateProblem(f"{name[:80]!r} can't be an output name: a part of it is {part!r}", hint=_HINT)
        if len(part.encode()) > MAX_NAME_BYTES:
            raise TemplateProblem(
                f"an output name has {len(part.encode())} bytes: at most {MAX_NAME_BYTES}", hint=_HINT
            )
        if any(map(_is_special, part)):
            raise TemplateProblem(f"{name[:80]!r} can't be an output name on every system", hint=_HINT)
    return name


def checked_folder(written: str) -> None:
    """See that each part of an output folder, relative to the job file, is one that every file system takes.

    :raises TemplateProblem: if one is not
    """
    for part in PurePosixPath(written).parts:
        if part.startswith("~"):
            hint = "images stay in the campaign: write a folder relative to the job file"
            raise TemplateProblem(f"the folder {written[:80]!r} begins a part with ~, which is not expanded", hint=hint)
        if part.casefold() in _KEPT:
            raise TemplateProblem(
                f"the folder {written[:80]!r} is no place for images: {part}", hint="name another one"
            )
        if part.casefold().partition(".")[0] in _RESERVED:
            raise TemplateProblem(
                f"the folder {written[:80]!r} has a part {part!r}, which Windows keeps for itself",
                hint="name another one",
            )
        if len(part.encode()) > MAX_NAME_BYTES:
            raise TemplateProblem(
                f"a part of the folder has {len(part.encode())} bytes: at most {MAX_NAME_BYTES}", hint="shorten it"
            )
        if part != ".." and (part != part.strip() or part.endswith(".") or any(map(_is_special, part))):
            raise TemplateProblem(
                f"{part[:80]!r} can't be a folder on every system",
                hint='leave out spaces and dots at its ends, control characters and any of \\ : * ? " < > |',
            )


def _is_special(character: str) -> bool:
    return ord(character) < 32 or character in _SPECIAL


def shortened(text: str, limit: int) -> str:
    """The beginning of a text in at most ``limit`` bytes of UTF-8, no character cut in two."""
    return text if len(text) * 4 <= limit else text.encode()[:limit].decode("utf-8", "ignore")


def fingerprint(name: str) -> int:
    """64 bits that two names share if a file system may take them for one: case and composition of letters ignored."""
    folded = name.casefold()
    if not name.isascii():
        from unicodedata import normalize

        folded = normalize("NFC", folded)
    return hash(folded) % 2**64  # never leaves this process
