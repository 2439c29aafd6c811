"""A plan as JSON for programs: numbers, causes and what would be submitted; money as decimal strings."""

from __future__ import annotations

import json
from typing import Any

from seedream_jobs.plan.diff import Action
from seedream_jobs.plan.jobs import JobPlan, JobsPlan


def plan_json(plan: JobsPlan) -> str:
    """The whole plan as one JSON document, its names sorted, with a newline."""
    cost = plan.cost
    document = {
        "jobs": [_job(job) for job in plan.jobs],
        "max_images": plan.images,
        "max_usd": None if cost is None else str(cost),
        "price": {
            "source": plan.tariff.source,
            "usd_per_image": None if plan.tariff.usd is None else str(plan.tariff.usd),
        },
        "requests_to_submit": plan.submit,
    }
    return json.dumps(document, ensure_ascii=False, indent=2, sort_keys=True) + "\n"


def _job(plan: JobPlan) -> dict[str, Any]:
    summary = plan.summary
    limit = plan.job.expansion.spec.budget_usd
    return {
        "budget_usd": None if limit is None else str(limit),
        "causes": [{"at": one.place, "requests": one.requests, "why": one.text} for one in summary.causes],
        "changes": [
            {
                "action": str(change.action),
                "address": ""
                if change.place is None
                else plan.job.expansion.cells.address(change.place.cell, change.place.repeat),
                "generation": change.generation,
                "key": change.key,
                "max_images": change.max_images,
                "note": change.note,
            }
            for change in plan.stream(plan.ledger.entries)
            if change.action is not Action.DONE
        ],
        "counts": {str(action): summary.counts[action] for action in Action if summary.counts[action]},
        "job": plan.job.shown,
        "max_images": summary.submit_images,
        "requests": summary.requests,
        "requests_to_submit": summary.submit,
        "spent_usd": None if plan.spent is None else str(plan.spent),
        "warnings": [
            {"at": warning.place, "code": warning.code, "message": warning.message} for warning in summary.warnings
        ],
    }
