"""This module keeps a page from being written over the page of other jobs.

Called by whatever writes a page, before its first file. Invariant: a folder that has a page and is not known to be of
the same records is left as it is.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from seedream_jobs.atomic_file import read_regular, update_file
from seedream_jobs.errors import UsageError
from seedream_jobs.foreign_text import shell_word
from seedream_jobs.ledger.paths import job_beside

MARK = "made-from.json"
"""The file in a page's folder that names its records, by their paths from there."""
_LARGEST = 64 << 20
_HEADER = re.compile(rb"^header: '([^'\n]*)'", re.MULTILINE)


class PageTakenError(UsageError):
    """A folder has the page of other jobs, or one that nobody made with this program."""


def claim(folder: Path, manifests: Sequence[Path], *, names: Sequence[str], compared: bool = False) -> None:
    """Take a folder for the page of these records, and say so in it.

    A page that does not say whose it is (of an earlier version) is replaced by the jobs that it names, and one whose
    jobs are gone by any.

    :param names: of the jobs
    :param compared: the page shows two revisions: another one than the jobs' own
    :raises PageTakenError: the folder has another page
    :raises OSError: as the file system does
    """
    here = Path(os.path.realpath(folder))
    paths = sorted({Path(os.path.relpath(os.path.realpath(one), here)).as_posix() for one in manifests})
    own = {"manifests": paths, **({"compared": True} if compared else {})}
    mark, index = folder / MARK, folder / "index.html"
    if os.path.lexists(mark):
        found = _read(mark)
        # A job that was renamed with its record has its page under the name of before.
        if found != own and any(one.exists() or job_beside(one) for one in _named(folder, found) or [mark]):
            raise _taken(folder, f"has the page of {_shown(folder, found)}")
    # A link is not a page: it is replaced, and what it leads to stays.
    elif (
        os.path.lexists(index) and not index.is_symlink() and (compared or _names(folder) != list(dict.fromkeys(names)))
    ):
        shown = _names(folder)
        raise _taken(folder, f"has the page of {', '.join(map(repr, shown))}" if shown else "has another index.html")
    update_file(mark, (json.dumps(own, indent=1, sort_keys=True) + "\n").encode())


def _taken(folder: Path, what: str) -> PageTakenError:
    return PageTakenError(
        f"{folder} {what}: it is not written over",
        hint=f"choose another folder: gallery --out DIR, or output.dir in the job; or remove {shell_word(str(folder))}",
    )


def _named(folder: Path, found: Any) -> list[Path]:
    """The records that a mark names; none where it is damaged."""
    paths = found.get("manifests") if isinstance(found, dict) else None
    if not isinstance(paths, list) or not all(isinstance(path, str) and "\0" not in path for path in paths):
        return []
    here = Path(os.path.realpath(folder))
    return [Path(os.path.normpath(here / path)) for path in paths]


def _shown(folder: Path, found: Any) -> str:
    """The same, as one can find them from the current folder."""
    named = _named(folder, found)
    if not named:
        return "nobody knows what"
    more = f" and {len(named) - 3} more" if len(named) > 3 else ""
    revisions = " at two revisions" if found.get("compared") else ""
    return f"{', '.join(os.path.relpath(one) for one in named[:3])}{more}{revisions}"


def _read(mark: Path) -> Any:
    try:
        return json.loads(read_regular(mark, _LARGEST))
    except (OSError, ValueError, RecursionError):
        return None


def _names(folder: Path) -> list[str]:
    """The jobs that a page without a mark shows; empty where it is no page of ours."""
    for name in ("data.js", "index.html"):
        try:
            header = _HEADER.search(read_regular(folder / name, _LARGEST))
            if header is not None:
                runs = json.loads(header[1].replace(rb"\\", b"\\"))["runs"]
                return list(dict.fromkeys(str(run["name"]) for run in runs))
        except (OSError, ValueError, TypeError, KeyError, RecursionError):
            continue
    return []
