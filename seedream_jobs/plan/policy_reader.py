"""Reads a policy: from the bytes of ``policy.yaml`` to a ``Policy``, or every finding in it."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

from seedream_jobs.diagnostics import closest
from seedream_jobs.errors import FindingsError
from seedream_jobs.job import schema
from seedream_jobs.job.document import Document, DocumentPath, Findings
from seedream_jobs.job.yaml_reader import parse
from seedream_jobs.plan.policy import Policy, Word, word_pattern
from seedream_jobs.profile import profiles


def read_policy(raw: bytes, shown: str, *, today: datetime.date) -> Policy:
    """The policy that a file's bytes hold.

    :param shown: how findings name it, such as ``policy.yaml`` or ``policy.yaml@main``
    :param today: in UTC; a waiver holds up to its last day
    :raises FindingsError: with every finding
    """
    document = parse(raw, shown)
    if found := schema.check(document, "policy.schema.json"):
        raise FindingsError(found)
    return _Reader(document, today).read()


class _Reader:
    def __init__(self, document: Document, today: datetime.date) -> None:
        self.document, self.data, self.today = document, document.data, today
        self.findings = Findings(document)

    def read(self) -> Policy:
        data = self.data
        budget, hosts = data.get("budget_usd"), data.get("reference_hosts")
        policy = Policy(
            document=self.document,
            budget_usd=None if budget is None else Decimal(str(budget)),
            max_requests=data.get("max_requests"),
            models=self._models(data.get("models")),
            resolutions=tuple(data["resolutions"]) if "resolutions" in data else None,
            watermark=bool(data.get("watermark", False)),
            words=tuple(self._words(data.get("forbidden_words", []), self._waivers(data.get("waivers", [])))),
            reference_hosts=None if hosts is None else tuple(host.casefold() for host in hosts),
            warnings=self.findings.warnings(),
        )
        self.findings.refuse_errors()
        return policy

    def _models(self, names: list[str] | None) -> frozenset[str] | None:
        if names is None:
            return None
        known = profiles()
        for index, name in enumerate(names):
            if name not in known:
                near = closest(name, known)
                hint = f"did you mean {near!r}?" if near else f"known: {', '.join(known)}"
                self.findings.add("policy-unknown", f"no model {name!r}", ("models", index), hint=hint)
        return frozenset(known[name].id for name in names if name in known)

    def _waivers(self, items: list[dict[str, Any]]) -> dict[str, list[str]]:
        """Forbidden word, as written, to the jobs that may use it."""
        words = [item if isinstance(item, str) else item["word"] for item in self.data.get("forbidden_words", [])]
        waived: dict[str, list[str]] = {}
        for index, item in enumerate(items):
            path: DocumentPath = ("waivers", index)
            if item["word"] not in words:
                near = closest(item["word"], words)
                hint = f"did you mean {near!r}?" if near else None
                message = f"a waiver for {item['word']!r}, which is not forbidden"
                self.findings.add("policy-unknown", message, (*path, "word"), hint=hint)
            elif self._holds(item.get("until"), (*path, "until")):
                waived.setdefault(item["word"], []).extend(item["jobs"])
        return waived

    def _holds(self, until: str | None, path: DocumentPath) -> bool:
        if until is None:
            return True
        try:
            last = datetime.date.fromisoformat(until)
        except ValueError:
            self.findings.add("bad-value", f"there is no day {until}", path)
            return False
        if last >= self.today:
            return True
        message = f"this waiver ended on {until}"
        hint = "remove it, or give it a later day"
        self.findings.add("policy-waiver-ended", message, path, severity="warning", hint=hint)
        return False

    def _words(self, items: list[Any], waived: Mapping[str, list[str]]) -> Iterator[Word]:
        for index, item in enumerate(items):
            word = item if isinstance(item, str) else item["word"]
            yield Word(
                word=word,
                pattern=word_pattern(word),
                reason=None if isinstance(item, str) else item.get("reason"),
                waived=tuple(waived.get(word, ())),
                path=("forbidden_words", index),
            )
