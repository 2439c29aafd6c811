"""Words of strangers made harmless for where they are shown: terminals, CI logs, Markdown, XML.

A prompt, a file name or a service's message may hold anything: escape sequences, commands that a CI runner obeys
(``::error::`` at the start of a line, ``##[group]`` anywhere), mentions, links, HTML, fences.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable

from seedream_jobs.report.cells import visible

_RUNS = re.compile("`+")
_COMMAND = re.compile(r"^(\s*)::", re.MULTILINE)
_CUT = "…"


def defused(text: str) -> str:
    """``text`` without anything that a CI runner takes for a command when the line is printed to its log."""
    return _COMMAND.sub(r"\1: :", text).replace("##[", "# #[")


def one_line(text: str, limit: int | None = None) -> str:
    """``text`` on one line, white space as single spaces, what a terminal would obey as an escape; cut to ``limit``."""
    shown = visible(" ".join(text.split()))
    if limit is not None and len(shown) > limit:
        shown = shown[: limit - 1] + _CUT
    return shown.replace("##[", "# #[")


def code(text: str, limit: int | None = None) -> str:
    """``text`` as inline code of Markdown: in it there are no mentions, links, HTML or emphasis."""
    shown = one_line(text, limit) or " "
    ticks = "`" * (longest_run(shown) + 1)
    # A space on both sides is taken away again, and keeps the text's own backticks apart from the fence.
    return f"{ticks} {shown} {ticks}" if shown[0] in "` " or shown[-1] in "` " else f"{ticks}{shown}{ticks}"


def fenced(lines: Iterable[str], language: str = "") -> list[str]:
    """Lines as a fenced block, the fence longer than any run of backticks in it; each line visible and defused."""
    shown = [defused(visible(line)) for line in lines]
    fence = "`" * max(3, longest_run("\n".join(shown)) + 1)
    return [f"{fence}{language}", *shown, fence]


def longest_run(text: str) -> int:
    """The length of the longest run of backticks."""
    return max((len(run) for run in _RUNS.findall(text)), default=0)


def html_code(text: str, limit: int | None = None) -> str:
    """``text`` as code inside a line of HTML."""
    return f"<code>{html.escape(one_line(text, limit))}</code>"


def xml(text: str) -> str:
    """``text`` for XML, as content or attribute; what XML can't hold is shown as an escape."""
    escaped = html.escape("\n".join(visible(line) for line in text.split("\n")), quote=True)
    return _COMMAND.sub(r"\1&#58;:", escaped).replace("##[", "&#35;#[")
