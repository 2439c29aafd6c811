"""This module says whether a path fits a pattern of ``*``, ``?``, ``[…]`` and ``**``, in time linear in both.

Called by the policy, for waivers and ignored files. Invariant: no pattern is tried in
more than one way. A regular expression of nested stars would go back over the path without end.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase


def fits(path: Iterable[str], pattern: Sequence[str]) -> bool:
    """Whether a file's path fits, both given in parts, as ``Path.glob`` has it.

    ``**`` stands for any folders, also for none; as the last part it names folders only, so that no file fits.
    """
    last = len(pattern)
    if not last or pattern[-1] == "**":
        return False
    # How many parts of the pattern may be matched so far: a set, so that each is tried once.
    begun = _opened({0}, pattern)
    for part in path:
        going = {at for at in begun if at < last and pattern[at] == "**"}
        past = {at + 1 for at in begun - going if at < last and fnmatchcase(part, pattern[at])}
        begun = _opened(going | past, pattern)
        if not begun:
            return False
    return last in begun


def _opened(begun: set[int], pattern: Sequence[str]) -> set[int]:
    found = set(begun)
    for at in begun:
        while at < len(pattern) and pattern[at] == "**":
            at += 1
            found.add(at)
    return found
