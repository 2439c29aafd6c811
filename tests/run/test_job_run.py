"""From a request to its submission: the quick way to the body and to the idempotency key, held to the plain one."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from seedream_jobs.api.credentials import ApiKey
from seedream_jobs.expand.identity import canonical_json, wire_body
from seedream_jobs.expand.request_builder import Request
from seedream_jobs.job.files import WorkTree
from seedream_jobs.plans.cost import tariff_of
from seedream_jobs.plans.diff import Action
from seedream_jobs.run import job_run
from seedream_jobs.run.images import ImageSteps
from seedream_jobs.run.job_run import idempotency_key, submission_of
from tests.campaign import Folder, requests_of

TEXT = st.text(st.characters(exclude_categories=()), max_size=40).filter(lambda text: text.isascii() or sent(text))


def sent(text: str) -> bool:
    """Whether it has a spelling in UTF-8; half a surrogate pair has none."""
    try:
        return bool(text.encode())
    except UnicodeEncodeError:
        return False


def request_of(payload: dict[str, Any]) -> Request:
    key = f"v1:{hashlib.sha256(json.dumps(payload).encode()).hexdigest()}"
    return Request(
        key=key, address="a#1", payload=payload, references={}, cell={}, repeat=1, max_images=1, output="out/a"
    )


@given(
    st.fixed_dictionaries(
        {"prompt": TEXT, "model": TEXT, "n": st.integers(1, 15), "extra": st.dictionaries(TEXT, TEXT)}
    )
)
@example({"prompt": "\x7f"})
@example({"prompt": "\\u0041 is what it says"})
@example({"prompt": 'tab\tquote"slash/back\\ \x00\x1f'})
@example({"prompt": "一只鹭", "image_urls": ["https://a.example/ä.png", "sha256:0"]})
def test_the_body_and_the_key_are_the_plain_ones(payload: dict[str, Any]) -> None:
    """Byte for byte: an idempotency key that named another body, or changed, would pay twice."""
    request = request_of(payload)
    canonical = canonical_json(payload)
    made = submission_of(
        request, canonical, generation=2, manifest="m-1", max_cost_usd=None, files=WorkTree(Path()), urls={}
    )
    assert made.body() == wire_body(payload, {})
    plain = json.dumps([payload, {}], sort_keys=True, separators=(",", ":"))
    digest = hashlib.sha256(plain.encode("ascii")).hexdigest()
    whole = hashlib.sha256(f"m-1\n{request.key}\n2\n{digest}".encode()).hexdigest()
    assert made.idempotency_key == idempotency_key("m-1", request, 2, {}, canonical) == f"sj-{whole}"


def test_each_request_is_held_against_the_key_once(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those before the first POST and those after; and its canonical JSON is made once for each look at it."""
    job = folder.load("version: 1\nrequest: {prompt: 'a {{ a }}'}\nmatrix: {a: {range: [1, 5]}}\n")
    seen: list[str] = []
    monkeypatch.setattr(ApiKey, "stands_in", lambda self, text: seen.append(text))
    monkeypatch.setattr(job_run, "MAX_CHECKED_AHEAD", 2)
    requests = list(requests_of(job))
    planned = SimpleNamespace(
        shown="garden.yaml",
        submits=[
            SimpleNamespace(request=one, key=one.key, generation=1, action=Action.NEW, max_images=1) for one in requests
        ],
        items=(),
        budget_usd=None,
        manifest="m-1",
    )
    made = job_run.job_run(
        planned,  # type: ignore[arg-type]
        SimpleNamespace(paths=job.paths, entries={}),  # type: ignore[arg-type]
        expansion=None,
        root=folder.path,
        tariff=tariff_of(job.expansion.spec.profile, None),
        urls={},
        steps=ImageSteps(),
        detach=True,
        key=ApiKey("sk-test-1234567890"),
    )
    assert len(seen) == 2
    assert len(list(made.submissions)) == len(seen) == 5
    assert [f'"prompt":"a {number}"' in text for number, text in enumerate(seen, 1)] == [True] * 5
