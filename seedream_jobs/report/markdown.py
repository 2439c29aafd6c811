"""This module shows plans, findings and statuses as Markdown: a comment on a pull request, read in half a minute.

Called by ``report.formats`` and the commands. First comes what merging costs and whether it may; the rest is folded.
The comment is found again by ``MARKER``. Invariant: everything that comes out of a job file or from the service stands
in code, where Markdown knows no mentions, links or HTML.
"""

from __future__ import annotations

import heapq
import html
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from difflib import SequenceMatcher
from itertools import chain
from typing import Any, TypeVar

from seedream_jobs.diagnostics import Diagnostic, plural, shorten
from seedream_jobs.errors import MoneyError
from seedream_jobs.foreign_text import one_line, visible
from seedream_jobs.ledger.state import State
from seedream_jobs.plans.causes import alike, words
from seedream_jobs.plans.cost import money, plain
from seedream_jobs.plans.diff import SUBMITS, Action
from seedream_jobs.plans.plan import Plan, PlannedJob, PlannedRequest, Removed, check_budgets
from seedream_jobs.report.ci_formats import remarks_on_status
from seedream_jobs.report.findings import summary
from seedream_jobs.report.status import JobStatus
from seedream_jobs.report.text import counts, in_all

MARKER = "<!-- seedream-jobs: plan -->"
"""The first line of a comment: no reader sees it, and the next run finds the comment by it."""
STATUS_MARKER = "<!-- seedream-jobs: status -->"
MAX_CHARACTERS = 60_000
"""GitHub takes 65,536."""
SAMPLES = 8
"""Requests of one kind that are shown of one job."""
MAX_PROMPT = 700
"""Characters of a prompt that are shown."""
MAX_REMARKS = 20
"""Remarks on one job's status that are shown."""
_CLOSING = 400  # characters that are kept free for the last lines

T = TypeVar("T")
Block = list[str]

_RUNS = re.compile("`+")

MAX_WORDS = 1_500
"""Longer texts are shown without marks: comparing takes time that grows with the square."""


def code(text: str, limit: int | None = None) -> str:
    """``text`` as inline code of Markdown: in it there are no mentions, links, HTML or emphasis."""
    shown = one_line(text, limit) or " "
    ticks = "`" * (longest_run(shown) + 1)  # else a backtick in the text would end the code
    # A space on both sides is taken away again, and keeps the text's own backticks apart from the fence.
    return f"{ticks} {shown} {ticks}" if shown[0] in "` " or shown[-1] in "` " else f"{ticks}{shown}{ticks}"


def fenced(lines: Iterable[str], language: str = "") -> list[str]:
    """Lines as a fenced block, the fence longer than any run of backticks in it; each line visible."""
    shown = [visible(line) for line in lines]
    fence = "`" * max(3, longest_run("\n".join(shown)) + 1)
    return [f"{fence}{language}", *shown, fence]


def longest_run(text: str) -> int:
    """The length of the longest run of backticks."""
    return max((len(run) for run in _RUNS.findall(text)), default=0)


def html_code(text: str, limit: int | None = None) -> str:
    """``text`` as code inside a line of HTML, where Markdown's backticks mean nothing."""
    return f"<code>{html.escape(one_line(text, limit))}</code>"


def marked(before: str, after: str) -> tuple[str, str]:
    """Both texts, with what only the first has as ``[-…-]`` and what only the second has as ``{+…+}``."""
    old, new = words(before), words(after)
    if len(old) > MAX_WORDS or len(new) > MAX_WORDS:
        return before, after
    # Most edits change a word or two: what both texts begin and end with is not compared.
    start, stop = alike(old, new)
    head, tail = "".join(old[:start]), "".join(old[len(old) - stop :])
    old, new = old[start : len(old) - stop], new[start : len(new) - stop]
    left, right = head, head
    # Without ``autojunk``, which takes frequent words of a long text for junk and would mark too much.
    for kind, a, b, c, d in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        was, now = "".join(old[a:b]), "".join(new[c:d])
        if kind == "equal":
            left, right = left + was, right + now
        else:
            left += f"[-{was}-]" if was else ""
            right += f"{{+{now}+}}" if now else ""
    return left + tail, right + tail


def plan_markdown(plan: Plan) -> str:
    """The comment on a plan."""
    return _comment(_blocks(plan), lambda _: _left_out("show plan.json"), [_closing(plan)])


def _comment(blocks: Iterable[Block], rest: Callable[[Iterator[Block]], Block], closing: Block) -> str:
    """At most ``MAX_CHARACTERS``: from the first block that does not fit only what ``rest`` says of those left out."""
    lines: Block = []
    left, size = iter(blocks), 0
    for block in left:
        size += sum(len(line) + 1 for line in block)
        if size > MAX_CHARACTERS - _CLOSING:
            lines += rest(chain([block], left))
            break
        lines += block
    return "\n".join([*lines, *closing]) + "\n"


def _left_out(command: str) -> Block:
    return ["", f"_The rest is left out for length: `seedream-jobs {command}` has it._", ""]


def _blocks(plan: Plan) -> Iterator[Block]:
    # The most important first: the rest is left out where the comment would become too long.
    yield [MARKER, f"### {headline(plan)}", "", verdict(plan), *_price(plan), ""]
    for job in plan.jobs:
        yield [f"- {code(job.path, 200)} {_counts(plan, job)}", *(f"  - {line}" for line in _reasons(job))]
    if plan.against is not None and len(plan.jobs) > 1:
        yield ["", f"In all: {in_all(plan)}."]
    yield [""]
    yield from _warnings(plan.warnings)
    for job in plan.jobs:
        yield from _samples(job)


def headline(plan: Plan) -> str:
    """``12 requests, 12 images, at most 0.2736 USD``."""
    if plan.submit == 0:
        return "Nothing to submit"
    return f"{plural(plan.submit, 'request')}, {plural(plan.images, 'image')}, at most {plan.money(plan.cost)}"


def verdict(plan: Plan) -> str:
    """One line on whether the money may be spent."""
    try:
        check_budgets(plan)
    except MoneyError as error:
        return f"**Over budget.** {code(error.message, 400)}"
    doubts = plan.count(Action.IN_DOUBT, Action.REPLAY)
    if doubts:
        return f"**Look first:** {plural(doubts, 'submission')} of unknown outcome; `seedream-jobs resolve` settles it."
    if plan.submit == 0:
        return "Merging spends nothing."
    if not plan.budgets and all(job.budget_usd is None for job in plan.jobs):
        return "No budget is set (`limits.budget_usd`)."
    return "Within budget."


def _price(plan: Plan) -> Block:
    # A price that is too low makes every budget too wide, so the reviewer sees the others, too.
    if plan.submit == 0 or not plan.tariff.beside:
        return []
    others = (f"{plain(usd)} USD {code(said, 60)}" for said, usd in plan.tariff.beside)
    counted = "unknown" if plan.tariff.usd is None else f"{plain(plan.tariff.usd)} USD"
    return ["", f"**Price per image:** {counted} ({code(plan.tariff.source, 60)}), beside {', '.join(others)}."]


def _counts(plan: Plan, job: PlannedJob) -> str:
    parts = ", ".join(f"**{count:,}** {word}" for count, word in counts(job)) or "nothing to submit"
    cost = (
        f"; {plural(job.submit_images, 'image')}, {plan.money(plan.tariff.cost(job.submit_images))}"
        if job.submit
        else ""
    )
    return parts + cost


def _reasons(job: PlannedJob) -> Iterator[str]:
    yield from (code(note, 300) for note in job.notes)
    for cause in job.all_causes:
        place = f" ({code(cause.place, 200)})" if cause.place else ""
        yield f"{cause.requests:,} × {code(cause.text, 200)}{place}"
    more = job.more_causes if job.against is None else job.against.more_causes
    if more:
        yield f"and {plural(more, 'further cause')}"
    if job.budget_usd is not None:
        spent = f", {money(job.spent_usd)} spent" if job.spent_usd else ""
        yield f"{code(job.budget_name, 200)}: {money(job.budget_usd)}{spent}"


def _samples(job: PlannedJob) -> Iterator[Block]:
    kinds: tuple[tuple[str, Callable[[PlannedRequest], bool]], ...] = (
        ("changed", lambda item: item.relation == "changed"),
        ("to submit", lambda item: item.action in SUBMITS and item.relation != "changed"),
    )
    for word, wanted in kinds:
        count, items = sample((item for item in job.items if wanted(item)), lambda item: item.key)
        if items:
            yield _folded(job, f"{count:,} {word}", count, [_request(item) for item in items])
    count, gone = sample(job.removed, lambda one: one.key)
    if gone:
        yield _folded(job, f"{count:,} removed", count, [_removed(one) for one in gone])


def sample(found: Iterable[T], key: Callable[[T], str], size: int = SAMPLES) -> tuple[int, list[T]]:
    """How many there are, and a few of them in their order."""
    # Those with the smallest keys: spread over the job, and the same ones in every comment on the same plan.
    count = 0

    def counted() -> Iterator[tuple[str, int, T]]:
        nonlocal count
        for count, one in enumerate(found, 1):
            yield key(one), count, one

    taken = heapq.nsmallest(size, counted(), key=lambda entry: entry[:2])
    return count, [one for _, _, one in sorted(taken, key=lambda entry: entry[1])]


def _folded(job: PlannedJob, title: str, count: int, shown: Sequence[Block]) -> Block:
    lines = ["<details>", f"<summary>{html_code(job.path, 200)}: {title}</summary>", ""]
    for block in shown:
        lines.extend(block)
    if count > len(shown):
        lines.extend([f"and {count - len(shown):,} more", ""])
    return [*lines, "</details>", ""]


def _request(item: PlannedRequest) -> Block:
    payload = {} if item.request is None else dict(item.request.payload)
    if item.before is None:
        return [f"{code(item.address, 200)} {_parameters(payload)}".rstrip(), "", *_prompt(payload), ""]
    return [code(item.address, 200), "", *payload_diff(item.before, payload), ""]


def payload_diff(before: Mapping[str, Any], payload: Mapping[str, Any]) -> Block:
    """What changed between two payloads, as a fenced block: the prompts with their differing words marked."""
    was, now = marked(str(before.get("prompt", "")), str(payload.get("prompt", "")))
    was, now = _window(was, "[-"), _window(now, "{+")
    lines = [*_signed("-", was), *_signed("+", now)] if was != now else [f"  {line}" for line in now.split("\n")]
    for name in {**before, **payload}:
        if name != "prompt" and before.get(name) != payload.get(name):
            for sign, side in (("-", before), ("+", payload)):
                lines += _signed(sign, f"{name}: {side[name]}") if name in side else []
    return fenced(lines, "diff")


def _window(text: str, mark: str) -> str:
    """The part of a long text that begins a little before its first mark."""
    at = max(0, text.find(mark) - MAX_PROMPT // 4) if len(text) > MAX_PROMPT else 0
    return f"…{text[at:]}" if at else text


def _signed(sign: str, text: str) -> list[str]:
    return [f"{sign} {line}" for line in shorten(text, MAX_PROMPT).split("\n")]


def _removed(one: Removed) -> Block:
    known = f" ({one.known}, kept)" if one.known else ""
    return [f"{code(one.address, 200)}{known}", "", *_prompt(one.payload), ""]


def _prompt(payload: Mapping[str, Any]) -> Block:
    return fenced(f"  {line}" for line in shorten(str(payload.get("prompt", "")), MAX_PROMPT).split("\n"))


def _parameters(payload: Mapping[str, Any]) -> str:
    shown = {name: value for name, value in payload.items() if name not in ("model", "prompt", "image_urls")}
    return code(", ".join(f"{name} {value}" for name, value in shown.items()), 200) if shown else ""


def _warnings(warnings: Sequence[Diagnostic]) -> Iterator[Block]:
    if warnings:
        lines = ["<details>", f"<summary>{plural(len(warnings), 'warning')}</summary>", ""]
        lines += findings_markdown(warnings[:50])
        more = [f"- and {len(warnings) - 50:,} more"] if len(warnings) > 50 else []
        yield [*lines, *more, "", "</details>", ""]


def findings_markdown(findings: Iterable[Diagnostic]) -> list[str]:
    """A list item for each finding."""
    return [
        f"- {finding.severity} {code(finding.code)} {code(finding.place, 200)}: {code(finding.message, 500)}"
        + (f" ({code(finding.hint, 300)})" if finding.hint else "")
        for finding in findings
    ]


def _closing(plan: Plan) -> str:
    parts: list[str] = []
    if plan.base is not None:
        head = "the work tree" if plan.head is None else code(f"{plan.head.name} {plan.head.commit[:12]}", 120)
        parts.append(f"{code(f'{plan.base.name} {plan.base.commit[:12]}', 120)} → {head}")
    if plan.tariff.usd is not None:
        parts.append(f"{plain(plan.tariff.usd)} USD per image ({code(plan.tariff.source, 60)})")
    if plan.digest is not None:
        parts.append(f"approval digest {code(plan.digest)}")
    return f"<sub>{'; '.join(parts)}</sub>" if parts else ""


def findings_comment(findings: Sequence[Diagnostic]) -> str:
    """A comment on a pull request, found again by the same marker as a plan's."""
    blocks = [[MARKER, f"### {summary(findings)}", ""], *([line] for line in findings_markdown(findings))]
    return _comment(blocks, lambda left: [f"- and {sum(1 for _ in left):,} more"], [])


def status_markdown(jobs: list[JobStatus]) -> str:
    """A list item for each job, with what a person must look at below it."""
    return _comment(chain([[STATUS_MARKER]], map(_job, jobs)), lambda _: _left_out("status"), [])


def _job(one: JobStatus) -> Block:
    counts = ", ".join(f"**{one.counts[state]:,}** {state.replace('_', ' ')}" for state in State if one.counts[state])
    remarks = [f"  - {remark.level}: {code(remark.text, 300)}" for remark in remarks_on_status(one)]
    more = [f"  - and {len(remarks) - MAX_REMARKS:,} more"] if len(remarks) > MAX_REMARKS else []
    head = f"- {code(one.job, 200)} {counts or 'nothing submitted'}; {one.facts}"
    return [head, *remarks[:MAX_REMARKS], *more]
