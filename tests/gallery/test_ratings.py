"""Ratings become a review under version control: merged, deterministic, and never outside their folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from seedream_jobs.errors import FindingsError, UsageError
from seedream_jobs.job.files import WorkTree
from seedream_jobs.results.ratings import Opinion, apply_ratings, read_review
from tests.lanes import examples

KEY = "v1:" + "0" * 64
A, B, C = (letter * 64 for letter in "abc")


def export(*ratings: dict[str, Any], job: str = "garden", reviewer: str = "", votes: Any = (), form: int = 2) -> bytes:
    whole = [{"address": f"garden/{item['sha256'][-1]}#1", "key": KEY, "index": 1, **item} for item in ratings]
    head = {"format": form, "job": job, "reviewer": reviewer}
    return json.dumps({**head, "ratings": whole, "votes": list(votes)}).encode()


def vote(first: str, second: str, winner: str) -> dict[str, Any]:
    return {"axis": "style", "first": first, "second": second, "winner": winner}


def apply(data: bytes, root: Path) -> Path:
    return apply_ratings(data, root).file


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text("utf-8"))


def merged(root: Path) -> dict[str, Opinion]:
    return read_review(WorkTree(root), "garden", root=root).merged()


def test_ratings_are_written_by_address(tmp_path: Path) -> None:
    """Each names the image by its bytes; the file is YAML that any reader reads alike."""
    path = apply(export({"sha256": B, "rating": 4}, {"sha256": A, "star": True, "note": "yes: 16:9\nno"}), tmp_path)
    assert path == tmp_path / "reviews" / "garden.yaml"
    assert read(path) == {
        "version": 2,
        "job": "garden",
        "ratings": [
            {"address": "garden/a#1", "image": f"sha256:{A}", "star": True, "note": "yes: 16:9\nno"},
            {"address": "garden/b#1", "image": f"sha256:{B}", "rating": 4},
        ],
    }


def test_a_later_export_replaces_takes_back_and_keeps(tmp_path: Path) -> None:
    """Also where the image has another address now: an opinion is about bytes."""
    apply(export({"sha256": A, "rating": 2}, {"sha256": B, "star": True}, {"sha256": C, "note": "keep"}), tmp_path)
    emptied = {"sha256": B, "star": False, "rating": None, "note": ""}
    path = apply(export({"sha256": A, "rating": 5, "address": "garden/new#1"}, emptied), tmp_path)
    assert [(o["address"], o.get("rating"), o.get("note")) for o in read(path)["ratings"]] == [
        ("garden/c#1", None, "keep"),
        ("garden/new#1", 5, None),
    ]


def test_what_a_later_export_takes_back_is_told(tmp_path: Path) -> None:
    """The later export may be another browser's, which never knew of the rating."""
    apply_ratings(export({"sha256": A, "rating": 5, "note": "calm"}, reviewer="Ana"), tmp_path)
    note = export({"sha256": A, "note": "warm"}, reviewer="Ana")
    told = "1 earlier mark taken back, which this export no longer has: rating of garden/a#1"
    assert apply_ratings(note, tmp_path).notes == (told,)
    assert apply_ratings(note, tmp_path).notes == ()
    assert apply_ratings(export({"sha256": A, "star": True}, reviewer="Ben"), tmp_path).notes == ()


def test_reviewers_are_merged_when_the_review_is_read(tmp_path: Path) -> None:
    """A mean, counts, notes with their names; a vote is one however the pair was shown, and a tie is half a win."""
    apply(export({"sha256": A, "rating": 2, "note": "dull"}, reviewer="Ana", votes=[vote(A, B, "first")]), tmp_path)
    ben = export({"sha256": A, "rating": 5, "star": True}, reviewer="Ben", votes=[vote(B, A, "tie"), vote(B, C, "tie")])
    path = apply(ben, tmp_path)
    assert [(o["reviewer"], o["rating"]) for o in read(path)["ratings"]] == [("Ana", 2), ("Ben", 5)]
    assert merged(tmp_path) == {
        A: Opinion(
            rating=3.5,
            ratings=2,
            given=(("Ana", 2), ("Ben", 5)),
            stars=1,
            wins=1.5,
            votes=2,
            notes=(("Ana", "dull"),),
        ),
        B: Opinion(wins=1.0, votes=3),
        C: Opinion(wins=0.5, votes=1),
    }
    assert [
        v["winner"] for v in read(apply(export(reviewer="Ana", votes=[vote(B, A, "first")]), tmp_path))["votes"]
    ] == [
        "second",
        "tie",
        "tie",
    ]


def test_what_names_no_bytes_counts_for_no_image(tmp_path: Path) -> None:
    """Format 1 of an export and version 1 of a review are read; what has no digest is left out, and said so."""
    place = {"key": KEY, "index": 1}
    old = json.loads(export({"sha256": A, "rating": 4}, form=1))
    old["ratings"].append({**place, "address": "garden/b#1", "rating": 1})
    old["votes"].append({"axis": "style", "first": place, "second": {"key": KEY, "index": 2}, "winner": "tie"})
    done = apply_ratings(json.dumps(old).encode(), tmp_path)
    assert "2 opinions left out" in done.notes[0]
    assert list(merged(tmp_path)) == [A]
    entry = f"- address: garden/a#1\n  key: {KEY}\n  image: 1\n  reviewer: Ana\n  rating: 3\n"
    pair = "{key: k, image: 1}"
    votes = f"votes:\n- {{axis: style, first: {pair}, second: {pair}, winner: tie}}\n"
    done.file.write_text(f"version: 1\njob: garden\nratings:\n{entry}  sha256: {B}\n{entry}{votes}")
    assert merged(tmp_path) == {B: Opinion(rating=3, ratings=1, given=(("Ana", 3),))}
    assert "2 opinions of reviews/garden.yaml left out" in apply_ratings(export(), tmp_path).notes[0]
    assert read(done.file)["version"] == 2


@settings(max_examples=examples(60))
@given(
    st.lists(
        st.fixed_dictionaries(
            {"sha256": st.sampled_from([A, B, C]), "address": st.text(max_size=30)},
            optional={"star": st.booleans(), "rating": st.none() | st.integers(1, 5), "note": st.text(max_size=30)},
        ),
        max_size=6,
    )
)
def test_applying_twice_changes_nothing(tmp_path_factory: pytest.TempPathFactory, items: list[dict[str, Any]]) -> None:
    """Idempotent, and what was written is read back as it was, whatever the notes hold."""
    folder = tmp_path_factory.mktemp("reviews")
    data = export(*items, reviewer="Ана\u202e 安娜")
    path = apply(data, folder)
    before = path.read_bytes()
    assert apply(data, folder).read_bytes() == before
    assert apply(export(), folder).read_bytes() == before
    last = {item["sha256"]: item for item in items}
    said = [(one["image"][7:], one["address"], one.get("note", "")) for one in read(path)["ratings"]]
    assert {sha256: (address, note) for sha256, address, note in said} == {
        sha256: (item["address"], item.get("note", "").strip())
        for sha256, item in last.items()
        if item.get("star") or item.get("rating") or item.get("note", "").strip()
    }


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"{", "not JSON"),
        (b"\xff", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b'{"format": 1, "format": 1}', "occurs twice"),
        (b"[]", "not as the gallery writes them"),
        (export({"sha256": A, "rating": 6}), r"\$\.ratings\[0\]\.rating"),
        (export({"sha256": "x"}), "sha256"),
        (export({"sha256": A, "extra": 1}), "extra"),
        (export(job="../../etc/passwd"), "can't be the name"),
        (export(job=".hidden"), "can't be the name"),
        (export(job="a\nb"), "can't be the name"),
        (b" " * (16 * 1024 * 1024 + 1), "larger than 16 MiB"),
    ],
)
def test_a_wrong_export_is_refused_and_nothing_written(tmp_path: Path, data: bytes, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        apply_ratings(data, tmp_path)
    assert not (tmp_path / "reviews").exists()


IMAGE = f"image: 'sha256:{A}'"


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("[]", 1, "must be a mapping"),
        ("version: 3", 1, "version of this file is 1 or 2"),
        ("version: 2\nratings: [{address: a}]", 2, "'image' is missing"),
        ("version: 2\nratings:\n- address: a\n  image: 1", 4, "the digest of an image"),
        (f"version: 2\nratings:\n- address: a\n  {IMAGE}\n  rating: 6", 5, "a whole number from 1 to 5"),
        (f"version: 2\nratings:\n- address: a\n  {IMAGE}\n  stra: true", 5, "unknown field 'stra'"),
        ("version: 2\nratings:\n<<<<<<< HEAD\n", 3, "a key without"),
        ("version: 2\nvotes: 7", 2, "votes is a list"),
        ("", 1, "no content"),
    ],
)
def test_a_review_that_is_none_is_left_alone(tmp_path: Path, text: str, line: int, said: str) -> None:
    """A finding at its line, and nothing is written."""
    (tmp_path / "reviews").mkdir()
    (tmp_path / "reviews" / "garden.yaml").write_text(text)
    with pytest.raises(FindingsError) as found:
        apply_ratings(export({"sha256": A, "star": True}), tmp_path)
    first = found.value.diagnostics[0]
    assert (first.span.start.line if first.span else 0, said in first.message) == (line, True), first
    assert (tmp_path / "reviews" / "garden.yaml").read_text() == text
