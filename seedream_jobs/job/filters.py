"""The filters people need in prompts, beside a safe choice of Jinja's own."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any
from unicodedata import normalize

MAX_SLUG = 80
"""The longest slug in characters: several of them must fit into one file name."""


def slug(value: Any, max_length: int = MAX_SLUG) -> str:
    """Text as a file name likes it: ``A tabby cat, 16:9`` becomes ``a-tabby-cat-16-9``. Letters of any script stay."""
    text = str(value)
    if not text.isascii():
        text = normalize("NFKC", text)
    words = re.sub(r"[^\w]+", "-", text.casefold().replace("_", "-")).strip("-")
    return words[:max_length].rstrip("-")


def oneline(value: Any) -> str:
    """Text on one line: every run of white space becomes one space."""
    return " ".join(str(value).split())


_AN = (  # compiled by the first use, not at every start
    r"(?i)(?!(?:one|once|u(?:ni|se|su|ti|k)|eu|ewe)\b|(?:uni(?!n|m)|use|usu|uti|uk|eu|one-|once-))[aeiou]|hon|hour|heir"
)


def article(value: Any) -> str:
    """English text with its indefinite article: ``heron`` becomes ``a heron``, ``owl`` becomes ``an owl``."""
    text = str(value).strip()
    return f"{'an' if re.match(_AN, text) else 'a'} {text}" if text else text


def join_and(values: Iterable[Any], word: str = "and") -> str:
    """A list as English writes it: ``a, b and c``."""
    items = [str(item) for item in values]
    if len(items) < 2:
        return "".join(items)
    return f"{', '.join(items[:-1])} {word} {items[-1]}"


FILTERS: dict[str, Callable[..., Any]] = {
    "slug": slug,
    "oneline": oneline,
    "article": article,
    "join_and": join_and,
}
