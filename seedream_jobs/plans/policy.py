"""This module reads a campaign's policy and finds what a job or a request asks for against it.

Called by ``plans.load`` for job files and by ``plans.saved`` for saved plans. Invariant: a change is checked against
the policy of the branch it goes to, never against the one it brings along (with ``--base`` the base revision's file
counts, without it the work tree's); a saved plan is checked on the day it is run, as an approval does not outlive a
stricter policy.
"""

from __future__ import annotations

import datetime
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import cache, partial
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from seedream_jobs import confinement
from seedream_jobs.characters import INVISIBLE
from seedream_jobs.diagnostics import Diagnostic, Related, Severity, did_you_mean, in_order
from seedream_jobs.errors import FindingsError, UsageError
from seedream_jobs.expand.expansion import Expansion, origin, prompts
from seedream_jobs.expand.matrix import Cell
from seedream_jobs.expand.references import is_remote
from seedream_jobs.expand.request_builder import FIELD_ORDER
from seedream_jobs.inside import OutsideRoot
from seedream_jobs.job import schema
from seedream_jobs.job.document import Document, DocumentPath, check_findings
from seedream_jobs.job.files import Files, from_here
from seedream_jobs.job.ignored import checked_tree
from seedream_jobs.job.path_pattern import fits
from seedream_jobs.job.spec import JobSpec
from seedream_jobs.job.template import TemplateProblem
from seedream_jobs.job.yaml_reader import MAX_BYTES, parse
from seedream_jobs.model_profile import Profile, profiles

_NOTHING = f"[{INVISIBLE}]*"
_GAP = rf"[\s{INVISIBLE}]+"
_LETTER = rf"[^\W{INVISIBLE}]"  # of the invisible ones Unicode counts some (U+3164) among the letters


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """A forbidden word.

    :param waived: patterns of the job files, below the root, that may use it all the same
    :param pattern: finds it in a text as it was written
    """

    word: str
    pattern: re.Pattern[str]
    reason: str | None
    waived: tuple[str, ...]
    path: DocumentPath


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """What a payload asks for, though the policy does not allow it.

    :param field: the request's field
    :param rule: the place of the rule in the policy
    :param word: for a prompt, what was found
    """

    code: str
    message: str
    field: str
    rule: DocumentPath
    hint: str | None = None
    word: Word | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """A policy, checked. None, and for words an empty tuple, stands for "anything goes".

    :param models: canonical ids
    :param extra: the names that ``request.extra`` may have
    :param reference_hosts: lower case; ``*.example.com`` for subdomains
    :param ignored_files: patterns of files below the root that jobs may read though git ignores them
    :param approvals: how many people choose an image at least
    :param asks_for_digest: whether only a saved plan is paid for, by the digest that was approved
    :param claims: the URL of the store in which runners share their claims
    :param campaign: the campaign's name in it
    :param images: the URL of the store of images
    :param check_shared: whether ``plan`` and ``status`` ask these stores without being told to
    :param own_forbidden: whether the choice of whoever changed the prompt last does not count
    """

    document: Document
    budget_usd: Decimal | None
    max_requests: int | None
    models: frozenset[str] | None
    resolutions: tuple[str, ...] | None
    watermark: bool
    words: tuple[Word, ...]
    extra: frozenset[str] | None
    reference_hosts: tuple[str, ...] | None
    ignored_files: tuple[str, ...]
    approvals: int
    asks_for_digest: bool
    own_forbidden: bool
    claims: str | None
    campaign: str | None
    images: str | None
    check_shared: bool
    warnings: tuple[Diagnostic, ...]

    @property
    def shown(self) -> str:
        """The policy's file, as findings name it."""
        return self.document.path

    def lowers(self, own: Decimal | None) -> bool:
        """Whether the policy's budget for a job is less than the job's own, or the job has none."""
        return self.budget_usd is not None and (own is None or own > self.budget_usd)

    def budget_name(self, path: str) -> str:
        """Whose limit a job's budget is where the policy lowers it."""
        return f"budget_usd of {self.shown}, for {path}"

    def lists(self, path: PurePosixPath) -> bool:
        """Whether jobs may read a file of the campaign though git ignores it."""
        return any(fits(path.parts, _path_pattern(pattern)) for pattern in self.ignored_files)

    def rule(self, path: DocumentPath) -> Related:
        """A rule of the policy as the second place of a finding."""
        return Related(message="the rule", path=self.shown, span=self.document.span(path, key=True))

    def parameters(self, payload: Mapping[str, Any], profile: Profile) -> Iterator[Violation]:
        """Find the fields other than the prompt that are not allowed; an absent field counts by its default.

        Of the references only URLs are checked: files and data URIs are reviewed with the job.
        """
        if self.models is not None and profile.id not in self.models:
            yield Violation(
                code="policy-model",
                message=f"the model {profile.id} is not allowed",
                field="model",
                rule=("models",),
                hint=f"allowed: {', '.join(sorted(self.models))}",
            )
        resolution = payload.get("resolution", profile.defaults.get("resolution"))
        if self.resolutions is not None and resolution not in self.resolutions:
            yield Violation(
                code="policy-resolution",
                message=f"the resolution {resolution} is not allowed",
                field="resolution",
                rule=("resolutions",),
                hint=f"allowed: {', '.join(self.resolutions)}",
            )
        if self.watermark and payload.get("watermark", profile.defaults.get("watermark")) is not True:
            yield Violation(
                code="policy-watermark",
                message="the watermark is required",
                field="watermark",
                rule=("watermark",),
                hint="write watermark: true in the request",
            )
        if self.extra is not None:
            for name in sorted(payload.keys() - set(FIELD_ORDER) - self.extra):
                allowed = f"allowed: {', '.join(sorted(self.extra))}" if self.extra else "none is allowed"
                yield Violation(
                    code="policy-extra",
                    message=f"the field {name!r} may not be sent",
                    field=name,
                    rule=("extra",),
                    hint=f"{allowed}; a field below request.extra is sent as it is, and may name an address",
                )
        if self.reference_hosts is not None:
            for url in payload.get("image_urls", ()):
                if is_remote(url) and not self._may_fetch(url):
                    yield Violation(
                        code="policy-reference-host",
                        message=f"reference images may not come from {_host(url) or 'there'}",
                        field="image_urls",
                        rule=("reference_hosts",),
                        hint=f"allowed: {', '.join(self.reference_hosts) or 'only files of the repository'}",
                    )

    def prompt(self, text: str, job: PurePosixPath) -> Iterator[Violation]:
        """Find the forbidden words of a prompt that no waiver lets this job use.

        :param job: the job file, relative to the campaign's root
        """
        for word in self.words:
            if find_word(word, text) and not any(fits(job.parts, _path_pattern(pattern)) for pattern in word.waived):
                reason = f": {word.reason}" if word.reason else ""
                yield Violation(
                    code="policy-word",
                    message=f"{word.word!r} may not stand in a prompt{reason}",
                    field="prompt",
                    rule=word.path,
                    hint="write it otherwise, or ask for a waiver in policy.yaml",
                    word=word,
                )

    def _may_fetch(self, url: str) -> bool:
        host = _host(url)
        return any(
            host == allowed or (allowed.startswith("*.") and host.endswith(allowed[1:]))
            for allowed in self.reference_hosts or ()
        )


def _host(url: str) -> str:
    try:
        return (urlsplit(url).hostname or "").rstrip(".").casefold()  # "example.com." is the same host
    except ValueError:
        return ""


def find_word(word: Word, text: str) -> tuple[int, int] | None:
    """Where a forbidden word stands in a text; the whole text where only its folded form (NFKC) has the word."""
    found = word.pattern.search(text)
    if found:
        return found.span()
    # NFKC changes no ASCII.
    if text.isascii():
        return None
    # A place in the folded text is none in the text as it was written.
    return (0, len(text)) if word.pattern.search(unicodedata.normalize("NFKC", text)) else None


def word_pattern(word: str) -> re.Pattern[str]:
    """A pattern that finds whole words in any case, also with invisible characters between the letters."""
    open_end = word.endswith("*")
    words = unicodedata.normalize("NFKC", word.rstrip("*")).split()
    # Invisible characters between the letters don't change what the model reads, and would get round the rule.
    body = _GAP.join(_NOTHING.join(re.escape(letter) for letter in part) for part in words)
    before = f"(?<!{_LETTER})" if _has_word_ends(words[0][0]) else ""
    after = f"(?!{_LETTER})" if _has_word_ends(words[-1][-1]) and not open_end else ""
    return re.compile(before + body + after, re.IGNORECASE)


def _has_word_ends(letter: str) -> bool:
    # Chinese and Japanese texts have no spaces between words, and their letters are of the category Lo.
    return (letter.isalnum() or letter == "_") and unicodedata.category(letter) != "Lo"


def _path_pattern(pattern: str) -> list[str]:
    """``*`` stays in its folder, ``**/`` stands for any folders."""
    *folders, name = pattern.split("/")
    # A pattern names files, so at its end ``**`` stands for any of them.
    return [*folders, "*" if name == "**" else name]


# -- reading ----------------------------------------------------------------------------------------------------------

MAX_WORDS = 2_000
"""Forbidden words of a policy: each is a pattern of its own."""

POLICY_FILE = "policy.yaml"
"""Where a campaign's policy lies, below its root."""

PolicyOf = Callable[[Path], "Policy | None"]
"""The policy of a campaign, given its root (absolute); None if it has none."""


def policy_of_tree(
    tree: Callable[[Path], Files] = checked_tree,
    *,
    shown: Callable[[Path], str] = lambda root: from_here(root / POLICY_FILE),
    today: datetime.date,
) -> PolicyOf:
    """Each campaign's policy in a tree, such as that of the base revision; by default as it lies on disk.

    :param tree: a campaign's files, given its root
    :param shown: how findings name the policy of a campaign, given its root
    """

    # Read once for a campaign: every job of it asks, and ``listed_by`` for single files.
    @cache
    def policy_of(root: Path) -> Policy | None:
        try:
            # One byte more than is allowed, by which ``parse`` sees that it is too long.
            raw = tree(root).read(PurePosixPath(POLICY_FILE), limit=MAX_BYTES + 1, named=True)
        except FileNotFoundError:
            return None
        except (OSError, OutsideRoot) as error:
            # A policy that can't be read is not a policy that allows everything.
            reason = error.strerror or error if isinstance(error, OSError) else "a link leads out of the campaign"
            raise UsageError(f"{shown(root)} can't be read: {reason}", hint="put the file itself there") from None
        return read_policy(raw, shown(root), today=today)

    return policy_of


def listed_by(policy_of: PolicyOf, root: Path) -> Callable[[PurePosixPath], bool]:
    """Tells of a file, relative to the root, whether the campaign's policy lets jobs read it though git ignores it."""

    def listed(path: PurePosixPath) -> bool:
        policy = policy_of(root)
        return policy is not None and policy.lists(path)

    return listed


def read_policy(raw: bytes, shown: str, *, today: datetime.date) -> Policy:
    """Read a policy.

    :param shown: how findings name it, such as ``policy.yaml`` or ``policy.yaml@main``
    :param today: in UTC; a waiver is valid up to its last day
    :raises FindingsError: with every finding
    """
    confinement.mark("reading this file", shown)
    document = parse(raw, shown)
    if found := schema.check(document, "policy.schema.json"):
        raise FindingsError(found)
    return _Reader(document, today).read()


class _Reader:
    def __init__(self, document: Document, today: datetime.date) -> None:
        self.document, self.data, self.today = document, document.data, today
        self.found = list(document.warnings)

    def read(self) -> Policy:
        data = self.data
        budget, hosts, extra = data.get("budget_usd"), data.get("reference_hosts"), data.get("extra")
        selection, shared = data.get("selection", {}), data.get("shared", {})
        return Policy(
            document=self.document,
            budget_usd=None if budget is None else Decimal(str(budget)),
            max_requests=data.get("max_requests"),
            models=self._models(data.get("models")),
            resolutions=tuple(data["resolutions"]) if "resolutions" in data else None,
            watermark=bool(data.get("watermark", False)),
            words=tuple(self._words(data.get("forbidden_words", []), self._waivers(data.get("waivers", [])))),
            ignored_files=tuple(data.get("ignored_files", ())),
            approvals=selection.get("approvals", 1),
            asks_for_digest=data.get("approval") == "expect",
            own_forbidden=selection.get("own") == "forbid",
            claims=shared.get("claims"),
            campaign=shared.get("campaign"),
            images=shared.get("images"),
            check_shared=shared.get("check") == "always",
            extra=None if extra is None else frozenset(() if extra == "forbid" else extra["allow"]),
            reference_hosts=None if hosts is None else tuple(host.casefold() for host in hosts),
            warnings=check_findings(self.found),
        )

    def _add(
        self, code: str, message: str, path: DocumentPath, *, severity: Severity = "error", hint: str | None = None
    ) -> None:
        self.found.append(self.document.finding(code, message, path, severity=severity, hint=hint))

    def _models(self, names: list[str] | None) -> frozenset[str] | None:
        if names is None:
            return None
        known = profiles()
        for index, name in enumerate(names):
            if name not in known:
                hint = did_you_mean(name, known, f"known: {', '.join(known)}")
                self._add("policy-unknown", f"no model {name!r}", ("models", index), hint=hint)
        return frozenset(known[name].id for name in names if name in known)

    def _waivers(self, items: list[dict[str, Any]]) -> dict[str, list[str]]:
        listed = self.data.get("forbidden_words", [])
        words = dict.fromkeys(item if isinstance(item, str) else item["word"] for item in listed)
        waived: dict[str, list[str]] = {}
        for index, item in enumerate(items):
            path: DocumentPath = ("waivers", index)
            if item["word"] not in words:
                hint = did_you_mean(item["word"], words)
                message = f"a waiver for {item['word']!r}, which is not forbidden"
                self._add("policy-unknown", message, (*path, "word"), hint=hint)
            elif self._is_valid(item.get("until"), (*path, "until")):
                waived.setdefault(item["word"], []).extend(item["jobs"])
        return waived

    def _is_valid(self, until: str | None, path: DocumentPath) -> bool:
        if until is None:
            return True
        try:
            last = datetime.date.fromisoformat(until)
        except ValueError:
            self._add("bad-value", f"there is no day {until}", path)
            return False
        if last >= self.today:
            return True
        message, hint = f"this waiver ended on {until}", "remove it, or give it a later day"
        self._add("policy-waiver-ended", message, path, severity="warning", hint=hint)
        return False

    def _words(self, items: list[Any], waived: Mapping[str, list[str]]) -> Iterator[Word]:
        if len(items) > MAX_WORDS:
            message = f"forbidden_words has {len(items):,} words: at most {MAX_WORDS:,}"
            hint = "each is looked for in every prompt; a star at the end stands for many words"
            self._add("policy-too-many-words", message, ("forbidden_words",), hint=hint)
            return
        for index, item in enumerate(items):
            word = item if isinstance(item, str) else item["word"]
            yield Word(
                word=word,
                pattern=word_pattern(word),
                reason=None if isinstance(item, str) else item.get("reason"),
                waived=tuple(waived.get(word, ())),
                path=("forbidden_words", index),
            )


# -- a job file --------------------------------------------------------------------------------------------------------

MAX_FINDINGS = 20
"""How many refusals are reported for one job."""


def apply_budget(policy: Policy, spec: JobSpec) -> JobSpec:
    """The job with the policy's budget where that is less than its own or the job has none."""
    return replace(spec, budget_usd=policy.budget_usd) if policy.lowers(spec.budget_usd) else spec


def budget_name(policy: Policy | None, spec: JobSpec) -> str:
    """Whose limit ``spec.budget_usd`` is, in words."""
    # From the file: ``spec.budget_usd`` is the policy's already where ``apply_budget`` has lowered it.
    path, own = spec.document.path, spec.document.data.get("limits", {}).get("budget_usd")
    if policy is not None and policy.lowers(None if own is None else Decimal(str(own))):
        return policy.budget_name(path)
    return f"limits.budget_usd of {path}"


def approvals_of(policy: Policy | None, spec: JobSpec) -> int:
    """How many people choose an image of a job at least: the job may ask for more than the policy, not for less."""
    least = 1 if policy is None else policy.approvals
    asked = None if spec.select is None else spec.select.approvals
    return max(least, asked or least)


def find_violations(policy: Policy, expansion: Expansion) -> tuple[Diagnostic, ...]:
    """Find everything in a job that its campaign's policy refuses, but for the number of its requests.

    :param expansion: one that passed ``Expansion.check``
    """
    found: dict[tuple[object, ...], Diagnostic] = {}
    for finding in (*_limits(policy, expansion.spec), *_parameters(policy, expansion), *_words(policy, expansion)):
        found.setdefault((finding.code, finding.span, finding.hint), finding)
        if len(found) >= MAX_FINDINGS:
            break
    return in_order(found.values())


def find_excess(policy: Policy, spec: JobSpec, requests: int, *, more: bool = False) -> list[Diagnostic]:
    """The finding that a job makes more requests than the policy allows, if it does.

    :param more: there are more than ``requests``
    """
    if policy.max_requests is None or requests <= policy.max_requests:
        return []
    finding = spec.document.finding(
        "policy-max-requests",
        f"the job makes {'more than ' if more else ''}{requests:,} requests: the policy allows {policy.max_requests:,}",
        ("matrix",),
        key=True,
        hint=f"write sample: {{size: {policy.max_requests}}} in the matrix, or split the job",
        related=(policy.rule(("max_requests",)),),
    )
    return [finding]


def _limits(policy: Policy, spec: JobSpec) -> Iterator[Diagnostic]:
    limits = spec.document.data.get("limits", {})
    for name, most in (("max_requests", policy.max_requests), ("budget_usd", policy.budget_usd)):
        own = limits.get(name)
        if own is not None and most is not None and Decimal(str(own)) > most:
            yield spec.document.finding(
                "policy-limit",
                f"limits.{name} is {own}: the policy allows {most}",
                ("limits", name),
                hint="a job may lower the policy's limits, not raise them",
                related=(policy.rule((name,)),),
            )
    asked = None if spec.select is None else spec.select.approvals
    if asked is not None and asked < policy.approvals:
        yield spec.document.finding(
            "policy-limit",
            f"select.approvals is {asked}: the policy asks for {policy.approvals}",
            ("select", "approvals"),
            hint="a job may ask for more approvals than the policy, not for fewer",
            related=(policy.rule(("selection", "approvals")),),
        )


def _parameters(policy: Policy, expansion: Expansion) -> Iterator[Diagnostic]:
    spec, known = expansion.spec, profiles()
    for cell in expansion.parameter_cells():
        payload = expansion.builder.parameters(cell)
        for violation in policy.parameters(payload, known.get(payload["model"], spec.profile)):
            path, key = _place(expansion, cell, violation.field)
            yield _finding_in_job(policy, spec, violation, path, key=key)


def _place(expansion: Expansion, cell: Cell, field: str) -> tuple[DocumentPath, bool]:
    """Where a cell's field was set, or at the key ``request`` where it was not."""
    path = expansion.matrix.path_of(cell, field)
    if path is not None:
        return path, False
    for place in (("request", field), ("request", "extra", field)):
        if expansion.spec.document.exists(place):
            return place, False
    return ("request",), True


def _words(policy: Policy, expansion: Expansion) -> Iterator[Diagnostic]:
    """Check each prompt, to the last one: lint looks at samples, a rule holds for all."""
    if not policy.words:
        return
    spec = expansion.spec
    spec.document.mark("looking for forbidden words in the prompts", ("request",), key=True)
    job = spec.folder / PurePosixPath(spec.document.path).name
    # One pattern for all words passes the prompts without any of them: a job may have a million.
    quick = re.compile("|".join(word.pattern.pattern for word in policy.words), re.IGNORECASE)
    try:
        for prompt in prompts(expansion):
            # A text may have a word in its folded form alone; NFKC changes no ASCII.
            folded = prompt.text if prompt.text.isascii() else unicodedata.normalize("NFKC", prompt.text)
            if not (quick.search(prompt.text) or quick.search(folded)):
                continue
            for violation in policy.prompt(prompt.text, job):
                assert violation.word is not None
                path, span = origin(expansion, prompt.cell, partial(find_word, violation.word))
                finding = _finding_in_job(policy, spec, violation, path)
                if span is None:
                    address = expansion.builder.address(prompt.cell, 1)
                    yield replace(finding, message=f"{finding.message} (at {address})")
                else:
                    yield replace(finding, span=span)
    except TemplateProblem:
        return  # the stream of requests reports it with its place


def _finding_in_job(
    policy: Policy, spec: JobSpec, violation: Violation, path: DocumentPath, *, key: bool = False
) -> Diagnostic:
    return spec.document.finding(
        violation.code, violation.message, path, key=key, hint=violation.hint, related=(policy.rule(violation.rule),)
    )
