"""Two texts compared word by word, the differing words marked as git's word diff does: ``[-old-]``, ``{+new+}``."""

from __future__ import annotations

import re
from difflib import SequenceMatcher

MAX_WORDS = 1_500
"""Longer texts are shown without marks: comparing takes time that grows with the square."""

# A word; a single character of a script without spaces; a run of white space; or one other character.
_WORD = (  # it takes Python 3 ms to compile: not at every start
    r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|[^\W\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]+|\s+|[^\w\s]"
)


def marked(before: str, after: str) -> tuple[str, str]:
    """Both texts, with what only the first has as ``[-…-]`` and what only the second has as ``{+…+}``."""
    old, new = re.findall(_WORD, before), re.findall(_WORD, after)
    if len(old) > MAX_WORDS or len(new) > MAX_WORDS:
        return before, after
    start = _alike(old, new)
    stop = _alike(old[start:][::-1], new[start:][::-1])
    head, tail = "".join(old[:start]), "".join(old[len(old) - stop :])
    old, new = old[start : len(old) - stop], new[start : len(new) - stop]
    left, right = head, head
    for kind, a, b, c, d in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        was, now = "".join(old[a:b]), "".join(new[c:d])
        if kind == "equal":
            left, right = left + was, right + now
        else:
            left += f"[-{was}-]" if was else ""
            right += f"{{+{now}+}}" if now else ""
    return left + tail, right + tail


def _alike(left: list[str], right: list[str]) -> int:
    """How many words both begin with."""
    return next((at for at, (a, b) in enumerate(zip(left, right, strict=False)) if a != b), min(len(left), len(right)))
