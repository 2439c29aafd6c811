"""This module decides what makes two requests the same: the canonical payload of form v1, and the key made of it.

Called by ``expand.request_builder`` and by whoever checks a key on record. Invariant: form v1 is frozen in code, and
takes no default from the model's profile: a changed one never buys anything again. Golden keys in the tests hold it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

FORM = "v1"

FORM_V1_DEFAULTS: Mapping[str, Any] = {
    "size": "1:1",
    "resolution": "2K",
    "n": 1,
    "output_format": "jpeg",
    "sequential_image_generation": "disabled",
    "watermark": False,
}
"""The defaults that form v1 fills in."""

_ascii = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
_utf8 = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def max_images(payload: Mapping[str, Any]) -> int:
    """The most images that a payload can be charged for.

    ``max(n, max_images)`` where ``max_images`` is given; else ``n`` when ``n > 1``; else, with ``auto``, 15 less the
    references (the contract's sum); else 1.
    """
    n = int(payload.get("n", 1))
    options = payload.get("sequential_image_generation_options") or {}
    if options.get("max_images") is not None:
        return max(n, int(options["max_images"]))
    if n > 1:
        return n
    if payload.get("sequential_image_generation") == "auto":
        return 15 - len(payload.get("image_urls", ()))
    return 1


def settled(prompt: str) -> str:
    """A prompt as it is sent and keyed: every line break a line feed, and none at its end."""
    # How lines end depends on the checkout, and a break at the end on how YAML is written: ``|`` adds one, quotes
    # don't. Neither may buy a request again.
    if "\r" in prompt:
        prompt = prompt.replace("\r\n", "\n").replace("\r", "\n")
    return prompt.rstrip("\n")


def canonical_payload(payload: Mapping[str, Any], model_id: str) -> dict[str, Any]:
    """A payload in form v1: defaults filled in, the model's canonical id, ``n > 1`` as ``auto``, empty lists absent."""
    form = {**FORM_V1_DEFAULTS, **payload, "model": model_id}
    if form["n"] > 1:  # the service does so by itself, whatever was asked for
        form["sequential_image_generation"] = "auto"
    for name in ("image_urls", "sequential_image_generation_options"):
        if not form.get(name):
            form.pop(name, None)
    return form


def canonical_json(value: Any) -> bytes:
    """JSON with sorted keys, no white space, everything beyond ASCII escaped: the same bytes everywhere."""
    return _ascii.encode(value).encode("ascii")


def key_of(payload: Mapping[str, Any], model_id: str, repeat: int) -> str:
    """The request's key, ``v1:`` and 64 hex digits.

    :param payload: with local references as ``sha256:<hex>``, whichever way they will be sent
    :param repeat: counted from 1
    """
    form = canonical_json({"payload": canonical_payload(payload, model_id), "repeat": repeat})
    return f"{FORM}:{sha256(form).hexdigest()}"


def wire_body(payload: Mapping[str, Any], urls: Mapping[str, str]) -> bytes:
    """The POST's body: the payload with each local reference replaced by what ``urls`` says it is sent as."""
    # Sorted, so that a job file whose keys were put in another order repeats a POST byte for byte: with other bytes
    # its idempotency key would be refused.
    if "image_urls" in payload:
        payload = {**payload, "image_urls": [urls.get(url, url) for url in payload["image_urls"]]}
    return _utf8.encode(payload).encode("utf-8")
