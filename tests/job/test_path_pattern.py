"""Patterns of paths: the linear matcher says what the plain definition says, and no pattern makes it slow."""

from __future__ import annotations

import time
from fnmatch import fnmatchcase

from hypothesis import example, given
from hypothesis import strategies as st

from seedream_jobs.job.path_pattern import fits

PARTS = st.sampled_from(["a", "b", "ab", "*", "**", "?", "a*", "[ab]"])
NAMES = st.sampled_from(["a", "b", "ab", "abb"])


def by_definition(path: tuple[str, ...], pattern: tuple[str, ...]) -> bool:
    """Each way is tried: without bound for long patterns."""
    if not pattern:
        return not path
    if pattern[0] == "**":
        return len(pattern) > 1 and any(by_definition(path[past:], pattern[1:]) for past in range(len(path)))
    return bool(path) and fnmatchcase(path[0], pattern[0]) and by_definition(path[1:], pattern[1:])


@given(st.lists(NAMES, min_size=1, max_size=5), st.lists(PARTS, min_size=1, max_size=5))
@example(["a", "b"], ["**", "b"])
@example(["b"], ["**", "b"])
@example(["a"], ["**", "b"])
@example(["a", "a", "b"], ["**", "b"])
@example(["a", "a", "b"], ["**", "**", "b"])
@example(["a", "b", "b"], ["a", "**", "b"])
@example(["a"], ["a", "**"])
@example(["a", "b"], ["a", "**", "**", "**", "b"])
def test_the_matcher_is_the_definition(path: list[str], pattern: list[str]) -> None:
    """For every path and pattern of a few parts."""
    assert fits(path, pattern) == by_definition(tuple(path), tuple(pattern))


def test_a_pattern_of_stars_takes_no_time() -> None:
    """Each of the two would be tried in more ways than there is time for."""
    begun = time.process_time()
    assert not fits(["d"] * 200, ["**"] * 200 + ["b"])
    assert not fits(["d"] * 200, ["**", "d"] * 99 + ["b"])
    assert not fits(["a" * 200], ["*a" * 99 + "b"])
    assert time.process_time() - begun < 1
