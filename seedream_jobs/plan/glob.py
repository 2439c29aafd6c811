"""Patterns over the paths of a tree that is not on disk, meaning what they mean to ``Path.glob``."""

from __future__ import annotations

import re
from pathlib import PurePosixPath


def glob_pattern(pattern: PurePosixPath) -> re.Pattern[str]:
    """A pattern of ``*``, ``?``, ``[…]`` and ``**`` over whole POSIX paths, matching as ``Path.glob`` does.

    :raises ValueError: ``**`` is only a part of a component
    """
    parts: list[str] = []
    for number, part in enumerate(pattern.parts):
        last = number == len(pattern.parts) - 1
        if part == "**":
            parts.append(r"(?!)" if last else r"(?:[^/]+/)*")  # a last ** names folders only
        elif "**" in part:
            raise ValueError("Invalid pattern: '**' can only be an entire path component")
        else:
            parts.append(_component(part) + ("" if last else "/"))
    return re.compile("".join(parts), re.DOTALL)


def _component(part: str) -> str:
    """One component's regular expression; brackets as ``fnmatch`` reads them."""
    out, at = "", 0
    while at < len(part):
        character = part[at]
        at += 1
        if character == "*":
            out += "[^/]*"
        elif character == "?":
            out += "[^/]"
        elif character == "[" and (end := part.find("]", at + 1 + (part[at : at + 1] == "!"))) >= 0:
            inner = part[at:end]
            negated = inner.startswith("!")
            inner = re.sub(r"([\\\[\]^&~|])", r"\\\1", inner[negated:])
            out += f"(?!/)[{'^' if negated else ''}{inner}]"
            at = end + 1
        else:
            out += re.escape(character)
    return out
