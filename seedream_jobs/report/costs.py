"""This module adds up what the records of a campaign cost, by job, axis value, month or model, and shows it.

Called by ``cli.cost``. Invariant: money is counted as ``status`` counts it, and each table adds up to the total; a task
that two records have is counted once.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Literal

from seedream_jobs.diagnostics import plural
from seedream_jobs.foreign_text import csv_text, visible, width
from seedream_jobs.job.document import spoken
from seedream_jobs.ledger.codec import iso
from seedream_jobs.ledger.ledger import Ledger
from seedream_jobs.ledger.state import Attempt, Entry, attempt_spent_usd
from seedream_jobs.report import json as as_json
from seedream_jobs.results.export.tables import safe

By = Literal["job", "axis", "month", "model"]
Names = tuple[str | None, ...]
"""What a row is of: a job, a month, a model, or an axis and one of its labels; None where a request has none."""

_UNKNOWN = "unknown"
_HEADS = ("requests", "images", "charged USD", "counts as spent")


@dataclass(slots=True, kw_only=True)
class CostRow:
    """Requests on record, their stored images, and USD: charged by the service, and counted as spent by budgets."""

    requests: int = 0
    images: int = 0
    charged: Decimal = Decimal(0)
    spent: Decimal = Decimal(0)


@dataclass(slots=True, kw_only=True)
class CostTable:
    """What records cost.

    :param twice: submissions that a record before has, too
    """

    by: By
    rows: dict[Names, CostRow] = field(default_factory=dict)
    total: CostRow = field(default_factory=CostRow)
    twice: int = 0

    @property
    def columns(self) -> tuple[str, ...]:
        """What ``rows`` are named by."""
        return ("axis", "value") if self.by == "axis" else (self.by,)

    def ordered(self) -> list[tuple[Names, CostRow]]:
        """The rows: months in their order, else the dearest first, within its axis."""

        def order(item: tuple[Names, CostRow]) -> tuple[object, ...]:
            names, row = item
            shown = tuple(name or "" for name in names)
            return shown if self.by == "month" else (*shown[:-1], -row.charged, -row.spent, shown)

        return sorted(self.rows.items(), key=order)


def cost_table(records: Iterable[tuple[str, Ledger]], by: By) -> CostTable:
    """Add up the entries of records, each with its job file as the user knows it."""
    table = CostTable(by=by)
    seen: set[str] = set()
    axes: dict[str, CostRow] = {}  # what of the total has each axis
    for shown, ledger in records:
        own: set[str] = set()
        for entry in ledger.entries.values():
            attempts = [one for one in entry.attempts if not one.task_ids or not seen.issuperset(one.task_ids)]
            table.twice += len(entry.attempts) - len(attempts)
            own.update(task for one in attempts for task in one.task_ids)
            # A request whose every submission is on a record before is that one's.
            if attempts:
                _add(table.total, entry, attempts)
                for names, part in _groups(shown, entry, attempts, by):
                    _add(table.rows.setdefault(names, CostRow()), entry, part)
                    if by == "axis" and names[0] is not None:
                        _add(axes.setdefault(names[0], CostRow()), entry, part)
        seen |= own
    for name, row in axes.items():
        if row.requests < table.total.requests:
            total = table.total
            table.rows[name, None] = CostRow(
                requests=total.requests - row.requests,
                images=total.images - row.images,
                charged=total.charged - row.charged,
                spent=total.spent - row.spent,
            )
    return table


def _groups(shown: str, entry: Entry, attempts: list[Attempt], by: By) -> Iterator[tuple[Names, list[Attempt]]]:
    """The rows that an entry belongs to, each with those of its submissions that count there."""
    if by == "job":
        yield (shown,), attempts
    elif by == "model":
        yield (str(entry.request.get("model", _UNKNOWN)),), attempts
    elif by == "axis":
        yield from (((name, spoken(label)), attempts) for name, label in entry.cell.items())
    else:
        months: dict[str, list[Attempt]] = {}
        for one in attempts:
            month = _UNKNOWN if one.submitted_at is None else iso(one.submitted_at)[:7]
            months.setdefault(month, []).append(one)
        yield from (((month,), part) for month, part in months.items())


def _add(row: CostRow, entry: Entry, attempts: Iterable[Attempt]) -> None:
    row.requests += 1
    for one in attempts:
        # Images of earlier generations are kept, but are no longer the request's.
        row.images += sum(1 for image in one.images if image.file) if one is entry else 0
        row.charged += one.cost_usd or 0
        row.spent += attempt_spent_usd(one)


# -- views -------------------------------------------------------------------------------------------------------------


def cost_text(table: CostTable, *, play_money: bool) -> str:
    """A table for people, the total last.

    :param play_money: of rehearsals
    """
    lines = [(*(visible(_said(name)) for name in names), *_figures(row)) for names, row in table.ordered()]
    lines.append(("total", *[""] * (len(table.columns) - 1), *_figures(table.total)))
    heads = (*table.columns, *_HEADS)
    names = len(table.columns)
    widths = [max(map(width, column)) for column in zip(heads, *lines, strict=True)]

    def shown(cells: tuple[str, ...]) -> str:
        padded = [
            " " * (wide - width(cell)) + cell if at >= names else cell + " " * (wide - width(cell))
            for at, (cell, wide) in enumerate(zip(cells, widths, strict=True))
        ]
        return "  ".join(padded).rstrip()

    said = ["play money: of rehearsals on the emulator"] if play_money else []
    if table.twice:
        said.append(f"{plural(table.twice, 'submission')} on two records: counted once, with the first")
    return "\n".join([shown(heads), *map(shown, lines), *said]) + "\n"


def _said(name: str | None) -> str:
    return "(none)" if name is None else name


def _figures(row: CostRow) -> tuple[str, ...]:
    return f"{row.requests:,}", f"{row.images:,}", f"{row.charged:.4f}", f"{row.spent:.4f}"


def cost_json(table: CostTable, *, play_money: bool) -> str:
    """One document, money as decimal strings."""
    return as_json.document(
        {
            "by": table.by,
            "counted_once": table.twice,
            "play_money": play_money,
            "rows": [
                {**dict(zip(table.columns, names, strict=True)), **_fields(row)} for names, row in table.ordered()
            ],
            "total": _fields(table.total),
        }
    )


def _fields(row: CostRow) -> dict[str, Any]:
    return {
        "charged_usd": f"{row.charged:f}",
        "images": row.images,
        "requests": row.requests,
        "spent_usd": f"{row.spent:f}",
    }


def cost_csv(table: CostTable) -> str:
    """The rows without the total; no spreadsheet runs a label."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*table.columns, "requests", "images", "charged_usd", "spent_usd"])
    for names, row in table.ordered():
        labels = ["" if name is None else safe(csv_text(name)) for name in names]
        writer.writerow([*labels, row.requests, row.images, f"{row.charged:f}", f"{row.spent:f}"])
    return out.getvalue()
