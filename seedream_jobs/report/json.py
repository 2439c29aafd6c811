"""A plan as JSON for programs: the whole document, or a line for each change; money as decimal strings."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from seedream_jobs.plan.document import PlanDocument
from seedream_jobs.plan.document_json import changes, encode


def plan_json(plan: PlanDocument) -> str:
    """The whole plan as one JSON document (schemas/plan.schema.json), with a newline."""
    return json_text(encode(plan), indent=2) + "\n"


def plan_jsonl(plan: PlanDocument) -> Iterator[str]:
    """A line for each change of each job, without line ends; made one at a time."""
    return (json_text(change) for change in changes(plan))


def json_text(value: Any, *, indent: int | None = None) -> str:
    """JSON in which other scripts stay readable, and nothing stands that a terminal or a CI runner obeys."""
    text = json.dumps(value, ensure_ascii=False, indent=indent).replace("##[", "\\u0023#[")
    if text.isascii() and "\x7f" not in text:
        return text
    # Such characters, and ##[ above, only stand inside strings, where an escape is the same value.
    return "".join(one if one.isprintable() or one == "\n" else json.dumps(one)[1:-1] for one in text)
