"""Where the requests of jobs stand, in every format but a terminal's text and JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator

from seedream_jobs.ledger.state import State
from seedream_jobs.report.hostile import code
from seedream_jobs.report.json import json_text
from seedream_jobs.report.remarks import Remark
from seedream_jobs.report.status import Standing, deadline, status_json
from seedream_jobs.report.text import plural
from seedream_jobs.report.views import render_remarks

MARKER = "<!-- seedream-jobs: status -->"


def render_standings(standings: list[Standing], form: str) -> Iterator[str]:
    """Standings as ``json``, ``jsonl``, ``markdown``, ``github``, ``gitlab``, ``sarif`` or ``junit``."""
    match form:
        case "json":
            yield json_text(json.loads(status_json(standings)), indent=2) + "\n"
        case "jsonl":
            yield from (json_text(one) + "\n" for one in json.loads(status_json(standings)))
        case "markdown":
            yield _markdown(standings)
        case _:
            remarks = [remark for one in standings for remark in _remarks(one)]
            yield from render_remarks(remarks, [one.job for one in standings], form)


def _markdown(standings: list[Standing]) -> str:
    lines = [MARKER]
    for one in standings:
        counts = ", ".join(
            f"**{one.counts[state]:,}** {state.replace('_', ' ')}" for state in State if one.counts[state]
        )
        images = plural(one.images, "image")
        facts = ", ".join(filter(None, [f"{images} stored", one.money]))
        lines.append(f"- {code(one.job)} {counts or 'nothing submitted'}; {facts}")
        lines.extend(f"  - {remark.level}: {code(remark.text, 300)}" for remark in list(_remarks(one))[:20])
    return "\n".join(lines) + "\n"


def _remarks(one: Standing) -> Iterator[Remark]:
    """What wants a person: doubts, failures, links about to die; and who works on it now."""
    if one.held_by is not None:
        yield Remark(level="note", code="in-use", message=f"in use by {one.held_by}", path=one.job)
    for address, doubt in one.doubtful:
        hint = f"seedream-jobs resolve {one.job}{one.option}"
        yield Remark(level="warning", code="in-doubt", message=f"{address}: {doubt}", path=one.job, hint=hint)
    for address, message in one.failed:
        yield Remark(level="error", code="failed", message=f"{address}: {message}", path=one.job)
    waiting = one.counts[State.COMPLETED]
    if waiting and one.first_death is not None:
        message = f"{plural(waiting, 'request')} not fetched, {deadline(one.first_death)}"
        hint = f"seedream-jobs fetch {one.job}{one.option}"
        yield Remark(level="warning", code="links-dying", message=message, path=one.job, hint=hint)
