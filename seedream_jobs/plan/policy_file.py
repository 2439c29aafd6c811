"""Finds and reads a campaign's ``policy.yaml``.

A change is held against the policy of the branch it goes to, never against the one it brings along: with ``--base``
the base revision's file counts, without it the work tree's.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from pathlib import Path, PurePosixPath
from typing import Any

from seedream_jobs.diagnostics import Diagnostic, closest, in_order
from seedream_jobs.errors import FindingsError, UsageError
from seedream_jobs.job import _valid
from seedream_jobs.job.axis import DocumentPath
from seedream_jobs.job.files import Files, OutsideRoot, WorkTree
from seedream_jobs.job.source import MAX_BYTES, Document, parse, read_bytes
from seedream_jobs.plan.policy import POLICY_FILE, Policy, Word, word_pattern
from seedream_jobs.profile import profiles

PolicyOf = Callable[[Path], "Policy | None"]
"""The policy of a campaign, given its root (absolute); None if it has none."""


def named_policy(file: Path, *, today: datetime.date) -> PolicyOf:
    """The policy in a file that the operator named, for every campaign.

    :raises UsageError: there is no such file
    :raises FindingsError: with every finding in it
    """
    policy = read_policy(read_bytes(file, str(file)), str(file), today=today)
    return lambda root: policy


def policy_of_work_tree(*, today: datetime.date) -> PolicyOf:
    """Each campaign's own policy, as it lies on disk."""
    return policy_of_tree(WorkTree, shown=_from_here, today=today)


def policy_of_tree(tree: Callable[[Path], Files], *, shown: Callable[[Path], str], today: datetime.date) -> PolicyOf:
    """Each campaign's policy in a tree, such as that of the base revision.

    :param tree: a campaign's files, given its root
    :param shown: how findings name the policy of a campaign, given its root
    """
    known: dict[Path, Policy | None] = {}

    def policy_of(root: Path) -> Policy | None:
        if root not in known:
            known[root] = _read(tree(root), shown(root), today)
        return known[root]

    return policy_of


def _from_here(root: Path) -> str:
    file = root / POLICY_FILE
    return str(file.relative_to(Path.cwd())) if file.is_relative_to(Path.cwd()) else str(file)


def _read(files: Files, shown: str, today: datetime.date) -> Policy | None:
    try:
        raw = files.read(PurePosixPath(POLICY_FILE), limit=MAX_BYTES + 1)
    except FileNotFoundError:
        return None
    except (OSError, OutsideRoot) as error:
        # A policy that can't be read is not a policy that allows everything.
        raise UsageError(f"{shown} can't be read: {getattr(error, 'strerror', None) or error}") from None
    return read_policy(raw, shown, today=today)


def read_policy(raw: bytes, shown: str, *, today: datetime.date) -> Policy:
    """The policy that a file's bytes hold.

    :param shown: how findings name it, such as ``policy.yaml`` or ``policy.yaml@main``
    :param today: in UTC; a waiver holds up to its last day
    :raises FindingsError: with every finding
    """
    document = parse(raw, shown)
    if not _valid.policy(document.data):
        from seedream_jobs.job.schema_explain import explain

        raise FindingsError(
            in_order(
                document.finding(found.code, found.message, found.path, key=found.key, hint=found.hint)
                for found in explain("policy.schema.json", document.data)
            )
        )
    return _Reader(document, today).read()


class _Reader:
    def __init__(self, document: Document, today: datetime.date) -> None:
        self.document, self.data, self.today = document, document.data, today
        self.found: list[Diagnostic] = list(document.warnings)

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
            warnings=in_order(finding for finding in self.found if finding.severity == "warning"),
        )
        if any(finding.severity == "error" for finding in self.found):
            raise FindingsError(in_order(self.found))
        return policy

    def _models(self, names: list[str] | None) -> frozenset[str] | None:
        if names is None:
            return None
        known = profiles()
        for index, name in enumerate(names):
            if name not in known:
                near = closest(name, known)
                hint = f"did you mean {near!r}?" if near else f"known: {', '.join(known)}"
                finding = self.document.finding("policy-unknown", f"no model {name!r}", ("models", index), hint=hint)
                self.found.append(finding)
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
                self.found.append(self.document.finding("policy-unknown", message, (*path, "word"), hint=hint))
            elif self._holds(item.get("until"), (*path, "until")):
                waived.setdefault(item["word"], []).extend(item["jobs"])
        return waived

    def _holds(self, until: str | None, path: DocumentPath) -> bool:
        if until is None:
            return True
        try:
            last = datetime.date.fromisoformat(until)
        except ValueError:
            self.found.append(self.document.finding("bad-value", f"there is no day {until}", path))
            return False
        if last >= self.today:
            return True
        message = f"this waiver ended on {until}"
        self.found.append(
            self.document.finding(
                "policy-waiver-ended", message, path, severity="warning", hint="remove it, or give it a later day"
            )
        )
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
