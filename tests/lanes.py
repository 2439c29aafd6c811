"""The two lanes of the suite: the default one keeps each law with a few examples, ``--slow`` repeats it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

_FEW = 5
"""How many times fewer examples the default lane takes."""

_slow = False


def choose(*, slow: bool) -> None:
    """Says which lane runs, before the tests are collected."""
    global _slow
    _slow = slow


def examples(many: int, few: int | None = None) -> int:
    """How many examples of a law are tried: ``many`` in the long lane; in the other ``few``, else a fifth, but ten."""
    return many if _slow else min(many, max(10, many // _FEW)) if few is None else few


def check_caught(law: str, simulate: Callable[[int], object], seeds: int, violation: type[AssertionError]) -> None:
    """See that a seeded fault breaks its law within so many seeds of a simulation."""
    found = set()
    for seed in range(seeds):
        try:
            simulate(seed)
        except violation as broken:
            found.add(str(broken))
            if law in found:
                return
    pytest.fail(f"only found: {sorted(found)}")
