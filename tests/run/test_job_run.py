"""From a request to its submission: the quick way to the body and to the idempotency key, held to the plain one."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from seedream_jobs.expand.identity import wire_body
from seedream_jobs.expand.request_builder import Request
from seedream_jobs.job.files import WorkTree
from seedream_jobs.run.job_run import idempotency_key, submission_of

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
    made = submission_of(request, generation=2, manifest="m-1", max_cost_usd=None, files=WorkTree(Path()), urls={})
    assert made.body() == wire_body(payload, {})
    plain = json.dumps([payload, {}], sort_keys=True, separators=(",", ":"))
    digest = hashlib.sha256(plain.encode("ascii")).hexdigest()
    whole = hashlib.sha256(f"m-1\n{request.key}\n2\n{digest}".encode()).hexdigest()
    assert made.idempotency_key == idempotency_key("m-1", request, 2, {}) == f"sj-{whole}"
