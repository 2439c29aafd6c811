"""Which characters mislead a reader: directions, line ends, names that look alike; and what is fine as it is."""

from __future__ import annotations

import pytest

from seedream_jobs.characters import find_look_alikes, find_misleading, mixed_scripts, skeleton

FINE = (
    "a\nb\r\nc\n",
    "שלום \u2067C#\u2069 לכולם\n",
    "مرحبا \u202babc\u202c\n",
    "emoji 👨\u200d👩\ufe0f, no\u00a0break, \u200f\n",
)
MISLEADING = (
    ("a\rb\n", 1, "error"),
    ("a\r\r\nb\n", 1, "error"),
    ("a\rb\rc", 1, "warning"),
    ("a\u202eb", 1, "error"),
    ("שלום \u202eb\u202c", 5, "error"),
    ("a\n\u2066b\u2069", 2, "error"),
    ("שלום \u2067b", 5, "error"),
    ("שלום b\u2069", 6, "error"),
    ("שלום \u2067b\u202c", 5, "error"),
)


@pytest.mark.parametrize("text", FINE)
def test_what_belongs_there_is_fine(text: str) -> None:
    assert not list(find_misleading(text))


@pytest.mark.parametrize(("text", "at", "severity"), MISLEADING)
def test_what_misleads_is_found(text: str, at: int, severity: str) -> None:
    (found,) = find_misleading(text)
    assert (found.offset, found.severity) == (at, severity)


def test_a_megabyte_of_them_takes_no_time() -> None:
    """One per line, and a line is looked at once."""
    assert len(list(find_misleading("א" + "\u2067\u2069" * 500_000))) == 0
    assert len(list(find_misleading("\u2067" * 1_000_000))) == 1


@pytest.mark.parametrize("name", ["mооd", "sizе", "prοmpt", "Сolor", "аге_in_years"])
def test_mixed_alphabets(name: str) -> None:
    assert mixed_scripts(name)


@pytest.mark.parametrize("name", ["mood", "стиль", "сор", "Δx", "風格", "スタイル", "größe", "παράθυρο", "цвет_2"])
def test_names_of_one_alphabet(name: str) -> None:
    assert not mixed_scripts(name)


def test_look_alikes() -> None:
    assert list(find_look_alikes(["сор", "cop", "a", "а", "x1", "xl", "O2", "02"], ["size"])) == [
        ("cop", "сор"),
        ("а", "a"),
        ("xl", "x1"),
        ("02", "O2"),
    ]
    assert list(find_look_alikes(["ѕіzе"], ["size"])) == [("ѕіzе", "size")]
    assert not list(find_look_alikes(["size", "mood", "Mood"], ["size", "prompt"]))
    assert skeleton("エ") == skeleton("工")
