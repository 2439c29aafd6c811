"""What the site shows otherwise than GitHub does. Called by mkdocs (``hooks`` in mkdocs.yml)."""

from __future__ import annotations

import re
from typing import Any


def on_page_markdown(markdown: str, **_: Any) -> str:
    """A state diagram of Mermaid becomes a table: its program would have to come from another place."""
    return re.sub(r"^```mermaid\nstateDiagram-v2\n(.*?)^```", _table, markdown, flags=re.MULTILINE | re.DOTALL)


def _table(diagram: re.Match[str]) -> str:
    rows = re.findall(r"^ +(\S+) --> (\S+): (.+)$", diagram[1], re.MULTILINE)
    lines = [f"| {'' if before == '[*]' else f'`{before}`'} | {event} | `{after}` |" for before, after, event in rows]
    return "\n".join(("| from | event | to |", "| --- | --- | --- |", *lines))
