"""This module shows what a change does to the images of jobs: as text, as JSON, and as Markdown for the pull request.

Called by ``cli.compare``. The counts come first. Invariant: the Markdown is at most ``MAX_CHARACTERS`` long, and what
comes out of a job file or a record stands in code, as in a plan's.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

from seedream_jobs.diagnostics import plural
from seedream_jobs.foreign_text import visible
from seedream_jobs.ledger.state import Image
from seedream_jobs.plans.plan import Revision
from seedream_jobs.report import json as as_json
from seedream_jobs.report.markdown import MAX_CHARACTERS, Block, code, html_code, marked, payload_diff
from seedream_jobs.report.text import row
from seedream_jobs.results.compare import CHANGED, KINDS, ComparedJob, ComparedRequest, ImagesAt, Kind

COMPARE_MARKER = "<!-- seedream-jobs: compare -->"
"""The first line of a comment: the next one finds it by that."""
SHOWN = 20
"""Changes of a job that are shown at once; more of them are folded."""
MAX_LISTED = 200
"""Changes of one job that are listed at all; the contact sheets have every one."""
MAX_LABELS = 8
_WITH_PROMPTS = 5
"""New requests whose prompts are shown, earlier and present; each with another edit."""
_MARKS: dict[Kind, str] = {"equal": "=", "new image": "*", "new request": "~", "gone": "-", "no image": "."}


# -- text --------------------------------------------------------------------------------------------------------------


def compare_text(
    jobs: Sequence[ComparedJob], base: Revision, head: Revision | None, *, page: Path | None = None
) -> str:
    """A block for each job, then where the page is."""
    lines = [f"{visible(base.name)} ({base.commit[:12]}) → {visible(head.name) if head else 'work tree'}"]
    for job in jobs:
        lines.append(f"{visible(job.shown)}: {headline(job)}")
        lines += [row(_MARKS[kind], job.counts[kind].requests, kind, _images(job, kind)) for kind in _kinds(job)]
        lines += [f"  {visible(note)}" for note in (*job.notes, *_causes(job, visible), *_where(job, visible))]
        changes = job.changes()
        for change in itertools.islice(changes, SHOWN):
            lines.append(f"    #{change.number} {change.kind}: {visible(change.address)}  {_sides(change)}")
        if job.changed > SHOWN:
            lines.append(f"    and {job.changed - SHOWN:,} more: --format json has all")
        lines += [f"  {visible(str(sheet))}" for sheet in job.sheets]
    lines += [visible(str(page))] if page is not None else []
    return "\n".join(lines) + "\n"


def headline(job: ComparedJob) -> str:
    """``3 new images, 8 new requests, 2 gone; 26 equal``, of requests."""
    counts = [(job.counts[kind].requests, kind) for kind in CHANGED]
    changed = [f"{count:,} {kind}{'s' if count > 1 and kind != 'gone' else ''}" for count, kind in counts if count]
    return f"{', '.join(changed) or 'no image changed'}; {job.counts['equal'].requests:,} equal"


def _kinds(job: ComparedJob) -> Iterator[Kind]:
    return (kind for kind in KINDS if job.counts[kind].requests)


def _images(job: ComparedJob, kind: Kind) -> str:
    count = job.counts[kind]
    if kind == "no image":
        return ""
    if kind == "equal":
        return plural(count.now, "image")
    unmade = f", {job.unmade:,} not made yet" if kind == "new request" and job.unmade else ""
    return f"{plural(count.was, 'image')} → {count.now:,}{unmade}"


def _causes(job: ComparedJob, said: Any) -> Iterator[str]:
    for cause in job.causes:
        yield f"{cause.requests:,} × {said(cause.text)}{f' ({said(cause.place)})' if cause.place else ''}"
    if job.more_causes:
        yield f"and {plural(job.more_causes, 'further cause')}"


def _where(job: ComparedJob, said: Any) -> Iterator[str]:
    """For each axis whose values are not concerned alike, which are: ``style: ink 8 of 8, no other``."""
    for name, labels in job.values.items():
        shares = [(label, changed, requests) for label, (requests, changed) in labels.items()]
        concerned = [(label, changed, requests) for label, changed, requests in shares if changed]
        # Where each value has the same share of changes the axis says nothing about where they are.
        if not concerned or len({changed / requests for _, changed, requests in shares}) == 1:
            continue
        concerned.sort(key=lambda one: (-one[1] / one[2], -one[1], one[0]))
        parts = [f"{said(label)} {changed:,} of {requests:,}" for label, changed, requests in concerned[:MAX_LABELS]]
        rest = len(concerned) - len(parts)
        parts.append(f"{plural(rest, 'more value')}" if rest else "no other" if len(concerned) < len(shares) else "")
        yield f"{said(name)}: {', '.join(filter(None, parts))}"


def _sides(change: ComparedRequest) -> str:
    """``2048×2048 1a2b3c4d → 2048×2048 5e6f7a8b``; of a group only how many images."""
    pairs = list(change.pairs())
    if len(pairs) > 1:
        was, now = (sum(one is not None for one in side) for side in list(zip(*pairs, strict=True))[1:])
        return f"{plural(was, 'image')} → {now:,}"
    old, new = pairs[0][1:] if pairs else (None, None)
    if old is not None and new is not None and old.sha256 == new.sha256:
        return f"{_brief(old)}, the same bytes"
    return f"{_side(change.was, old)} → {_side(change.now, new)}"


def _side(side: ImagesAt | None, image: Image | None) -> str:
    if image is not None:
        return _brief(image)
    return "nothing" if side is None else "not made yet" if side.state == "new" else str(side.state).replace("_", " ")


def _brief(image: Image) -> str:
    size = f"{image.width}×{image.height} " if image.width and image.height else ""
    return f"{size}{(image.sha256 or '')[:8]}"


# -- JSON --------------------------------------------------------------------------------------------------------------


def compare_json(
    jobs: Sequence[ComparedJob], base: Revision, head: Revision | None, *, page: Path | None = None
) -> str:
    """One document with every change."""
    return as_json.document(
        {
            "base": {"commit": base.commit, "name": base.name},
            "head": None if head is None else {"commit": head.commit, "name": head.name},
            "page": None if page is None else str(page),
            "jobs": [
                {
                    "changes": list(map(_fields, job.changes())),
                    "counts": {
                        kind.replace(" ", "_"): {
                            "images": count.now,
                            "images_was": count.was,
                            "requests": count.requests,
                        }
                        for kind, count in job.counts.items()
                    },
                    "job": job.shown,
                    "not_made_yet": job.unmade,
                    "notes": list(job.notes),
                    "sheets": list(map(str, job.sheets)),
                }
                for job in jobs
            ],
        }
    )


def _fields(change: ComparedRequest) -> Mapping[str, Any]:
    return {
        "address": change.address,
        "change": change.kind.replace(" ", "_"),
        "is": _side_fields(change.now),
        "number": change.number,
        "was": _side_fields(change.was),
    }


def _side_fields(side: ImagesAt | None) -> Mapping[str, Any] | None:
    if side is None:
        return None
    images = [None if one is None else {"file": one.file, "sha256": one.sha256} for one in side.images]
    return {"images": images, "key": side.key, "request": dict(side.payload), "state": str(side.state)}


# -- Markdown ----------------------------------------------------------------------------------------------------------


def compare_markdown(
    jobs: Sequence[ComparedJob],
    base: Revision,
    head: Revision | None,
    *,
    page: Path | None = None,
    sheets_url: str | None = None,
    page_url: str | None = None,
) -> str:
    """A comment on a pull request.

    :param sheets_url: where the folder of the contact sheets is reached; without it they are named only
    :param page: its ``index.html``
    :param page_url: where the page's folder is reached; without it the page is named only
    """
    lines: list[str] = [COMPARE_MARKER]
    shown = "the work tree" if head is None else code(f"{head.name} {head.commit[:12]}", 120)
    changed = "&".join(f"between={quote_plus(kind)}" for kind in CHANGED)
    named = [f"[All of them, was and is]({page_url}/index.html#{changed})"] if page_url else []
    named = named or ([f"All of them, was and is: {code(str(page), 200)}"] if page is not None else [])
    closing = [
        *(line for one in named for line in (one, "")),
        f"<sub>{code(f'{base.name} {base.commit[:12]}', 120)} → {shown}</sub>",
    ]
    room = MAX_CHARACTERS - 400 - sum(map(len, lines + closing))
    folded = False
    # The counts of every job come before the changes of the first.
    details = (_details(job, sheets_url, partial(_named, page_url, number)) for number, job in enumerate(jobs))
    for block in itertools.chain(map(_head, jobs), itertools.chain.from_iterable(details)):
        room -= sum(len(line) + 1 for line in block)
        if room < 0:
            lines += ["", "</details>", ""] if folded else [""]
            lines += ["_The rest is left out for length: `seedream-jobs compare --format json` has it._", ""]
            break
        folded = "<details>" in block or (folded and "</details>" not in block)
        lines += block
    return "\n".join([*lines, *closing]) + "\n"


def _head(job: ComparedJob) -> Block:
    lines = [f"### {code(job.shown, 200)}: {headline(job)}", "", "| | requests | images |", "| --- | ---: | --- |"]
    lines += [f"| {kind} | {job.counts[kind].requests:,} | {_images(job, kind)} |" for kind in _kinds(job)]
    notes = [code(note, 300) for note in job.notes]
    notes += [*_causes(job, lambda text: code(text, 200)), *_where(job, lambda text: code(text, 60))]
    return [*lines, "", *(f"- {note}" for note in notes), ""]


def _details(job: ComparedJob, url: str | None, named: Callable[[ComparedRequest], str]) -> Iterator[Block]:
    """The sheets, then the changes: few are shown at once, more are folded.

    Whoever does not unfold them knows where the sheets are, and what was edited in the prompts.
    """
    folded = job.changed > SHOWN
    edited = _edited(job, named)
    if url is None:
        yield from _sheets(job, url)
    if folded:
        yield from edited.values()
        yield ["<details>", f"<summary>{html_code(job.shown, 200)}: {job.changed:,} changes</summary>", ""]
    if url is not None:
        yield from _sheets(job, url)
    for change in itertools.islice(job.changes(), MAX_LISTED):
        yield [_item(change, named)] if folded else edited.get(change.number, [_item(change, named)])
    if job.changed > MAX_LISTED:
        yield [f"- and {job.changed - MAX_LISTED:,} more"]
    yield ["", "</details>", ""] if folded else [""]


def _item(change: ComparedRequest, named: Callable[[ComparedRequest], str]) -> str:
    return f"- #{change.number} {change.kind} {named(change)} {_sides(change)}"


def _named(page_url: str | None, number: int, change: ComparedRequest) -> str:
    """The address of a request, a link to its image on the page.

    :param number: of the job on the page, from 0
    """
    if page_url is None:
        return code(change.address, 200)
    # Two runs of each job are on the page, the base's first; the page names a run from the second on.
    run = 2 * number + (2 if change.now is not None else 1)
    cell = quote(change.address + (f"@{run}" if run > 1 else ""), safe="")
    return f"[{code(change.address, 200)}]({page_url}/index.html#open={cell})"


def _edited(job: ComparedJob, named: Callable[[ComparedRequest], str]) -> dict[int, Block]:
    """The first changed requests with both prompts, by number; of those that were edited alike only one."""
    found: dict[int, Block] = {}
    known: set[str] = set()
    for change in itertools.islice(job.changes(), MAX_LISTED):
        if change.kind == "new request" and change.was is not None and change.now is not None:
            edit = _edit(change.was.payload, change.now.payload)
            if edit not in known:
                diff = payload_diff(change.was.payload, change.now.payload)
                found[change.number] = [_item(change, named), "", *(f"  {line}" for line in diff), ""]
                known.add(edit)
        if len(found) == _WITH_PROMPTS:
            break
    return found


def _edit(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """What was changed, without what was not: equal for two requests that were edited alike."""
    prompts = marked(str(before.get("prompt", "")), str(now.get("prompt", "")))
    words = [re.findall(r"\[-.*?-\]|\{\+.*?\+\}", prompt, re.DOTALL) for prompt in prompts]
    names = sorted({*before, *now} - {"prompt"})
    fields = [(name, before.get(name), now.get(name)) for name in names if before.get(name) != now.get(name)]
    return repr((words if any(words) else prompts, fields))


def _sheets(job: ComparedJob, url: str | None) -> Iterator[Block]:
    if job.sheets and url is None:
        first, last = (code(str(sheet), 200) for sheet in (job.sheets[0], job.sheets[-1]))
        names = first if first == last else f"{first} … {last} ({len(job.sheets):,})"
        yield [f"Was and is, side by side: {names}", ""]
        return
    for number, sheet in enumerate(job.sheets[:SHOWN], 1):
        yield [f"![{code(job.name, 60).strip('`')}, was and is, {number}]({url}/{quote(sheet.name)})", ""]
    if len(job.sheets) > SHOWN:
        yield [f"and {plural(len(job.sheets) - SHOWN, 'further sheet')}, to {code(job.sheets[-1].name)}", ""]
