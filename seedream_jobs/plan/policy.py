"""What a campaign's jobs may ask for, held against payloads.

``plan.policy_reader`` reads it, ``plan.enforce`` finds the place in a job file of what is refused.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from fnmatch import translate
from functools import cache
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from seedream_jobs.diagnostics import Diagnostic, Related
from seedream_jobs.expand.references import is_remote
from seedream_jobs.job.document import Document, DocumentPath
from seedream_jobs.profile import Profile

_INVISIBLE = "[\u00ad\u200b-\u200f\u2060-\u2064\ufeff]*"


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """A forbidden word, and the job files (patterns below the root) that may use it all the same.

    :param pattern: finds it in a text as it was written
    """

    word: str
    pattern: re.Pattern[str]
    reason: str | None
    waived: tuple[str, ...]
    path: DocumentPath


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """What a payload asks for and may not.

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
    :param reference_hosts: lower case; ``*.example.com`` for subdomains
    """

    document: Document
    budget_usd: Decimal | None
    max_requests: int | None
    models: frozenset[str] | None
    resolutions: tuple[str, ...] | None
    watermark: bool
    words: tuple[Word, ...]
    reference_hosts: tuple[str, ...] | None
    warnings: tuple[Diagnostic, ...]

    @property
    def shown(self) -> str:
        """The policy's file, as findings name it."""
        return self.document.path

    def rule(self, path: DocumentPath) -> Related:
        """A rule of the policy as the second place of a finding."""
        return Related(message="the rule", path=self.shown, span=self.document.span(path, key=True))

    def parameters(self, payload: Mapping[str, Any], profile: Profile) -> Iterator[Violation]:
        """What a payload's fields other than the prompt ask for and may not; absent ones count by their default.

        The references are held against ``reference_hosts``: files and data URIs pass, they are reviewed with the job.
        """
        if self.models is not None and profile.id not in self.models:
            allowed = ", ".join(sorted(self.models))
            yield Violation(
                code="policy-model",
                message=f"the model {profile.id} is not allowed",
                field="model",
                rule=("models",),
                hint=f"allowed: {allowed}",
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
        """The forbidden words of a prompt that no waiver lets this job use.

        :param job: the job file, relative to the campaign's root
        """
        for word in self.words:
            if find_word(word, text) and not any(_path_fits(pattern, job) for pattern in word.waived):
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
        return (urlsplit(url).hostname or "").rstrip(".").casefold()
    except ValueError:
        return ""


def find_word(word: Word, text: str) -> tuple[int, int] | None:
    """Where a forbidden word stands in a text; the whole text where only its folded form (NFKC) holds it."""
    found = word.pattern.search(text)
    if found:
        return found.span()
    if text.isascii():
        return None
    return (0, len(text)) if word.pattern.search(unicodedata.normalize("NFKC", text)) else None


def word_pattern(word: str) -> re.Pattern[str]:
    """Whole words whatever their case, also with invisible characters between the letters; Han needs no word ends."""
    open_end = word.endswith("*")
    words = unicodedata.normalize("NFKC", word.rstrip("*")).split()
    body = r"\s+".join(_INVISIBLE.join(re.escape(letter) for letter in part) for part in words)
    before = r"(?<!\w)" if _has_word_ends(words[0][0]) else ""
    after = r"(?!\w)" if _has_word_ends(words[-1][-1]) and not open_end else ""
    return re.compile(before + body + after, re.IGNORECASE)


def _has_word_ends(letter: str) -> bool:
    return (letter.isalnum() or letter == "_") and unicodedata.category(letter) != "Lo"


@cache
def _path_pattern(pattern: str) -> re.Pattern[str]:
    """``*`` stays in its folder, ``**/`` stands for any folders."""
    parts = pattern.split("**/")
    simple = [translate(part).removeprefix("(?s:").removesuffix(r")\Z").replace(".*", "[^/]*") for part in parts]
    return re.compile("(?:[^/]+/)*".join(simple))


def _path_fits(pattern: str, job: PurePosixPath) -> bool:
    return _path_pattern(pattern).fullmatch(job.as_posix()) is not None
