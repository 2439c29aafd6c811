"""This module merges ratings exported by the gallery into ``reviews/<job>.yaml``, one file per job, for git.

Called by ``cli.ratings``. Invariant: the file is merged, not replaced, and applying the same export twice changes
nothing. An opinion belongs to a reviewer and an image (request key and image number), a vote to a reviewer, an axis and
a pair. A later export replaces both; an empty opinion removes the earlier one. The same opinions give the same bytes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft7Validator
from jsonschema.exceptions import best_match

from seedream_jobs.atomic_file import update_file
from seedream_jobs.errors import UsageError
from seedream_jobs.resources import resource

LIMIT = 16 * 1024 * 1024
"""Bytes of an export or of a review: more than people rate, and little enough to read into memory."""

_FILE_NAME = re.compile(r"[^\W_](?:[\w .+-]*[\w+-])?")  # no separator, no leading dot, no trailing dot or space

Opinions = dict[tuple[str, str, int], dict[str, Any]]
Votes = dict[tuple[str, str, tuple[str, int], tuple[str, int]], str]


def apply_ratings(ratings: bytes, reviews_folder: Path) -> Path:
    """Merge one exported ``ratings.json`` into ``reviews_folder`` and return the file written.

    :param ratings: the export, as ``schemas/ratings.schema.json`` describes it
    :raises UsageError: for an export or an existing review that is not what it should be; nothing is written then
    :raises OSError: as the file system does
    """
    export = _read_export(ratings)
    job, reviewer = export["job"], export.get("reviewer", "")
    path = reviews_folder / f"{job}.yaml"
    opinions, votes = _read_review(path)
    for item in export["ratings"]:
        place = (item["key"], reviewer, item["index"])
        opinion = _opinion(item, reviewer)
        if opinion is None:
            opinions.pop(place, None)
        else:
            opinions[place] = opinion
    for vote in export.get("votes", ()):
        _enter_vote(votes, vote, reviewer)
    update_file(path, _review_text(job, opinions, votes).encode())
    return path


def _read_export(data: bytes) -> dict[str, Any]:
    """The export, checked against its schema.

    :raises UsageError: naming the first thing that is wrong
    """
    if len(data) > LIMIT:
        raise UsageError(
            f"the ratings are larger than {LIMIT // 1024**2} MiB", hint="export them again from the gallery"
        )
    try:
        export = json.loads(data, object_pairs_hook=_without_doubles)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"the ratings are not JSON: {error}", hint="export them again from the gallery") from None
    schema = json.loads(resource("schemas", "ratings.schema.json").read_bytes())
    problem = best_match(Draft7Validator(schema).iter_errors(export))
    if problem is not None:
        raise UsageError(
            f"the ratings are not as the gallery writes them: {problem.json_path}: {problem.message[:200]}",
            hint="export them again from the gallery",
        )
    if not _FILE_NAME.fullmatch(export["job"]):
        raise UsageError(f"{export['job']!r} can't be the name of a job's file", hint="give the job a plain name")
    return dict(export)


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)  # ``json`` itself keeps the last of two, in silence
    if len(found) != len(pairs):
        raise ValueError("a name occurs twice in one object")
    return found


def _read_review(path: Path) -> tuple[Opinions, Votes]:
    """What a review already says; nothing where there is none.

    :raises UsageError: for a file that is not a review
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return {}, {}
    opinions: Opinions = {}
    votes: Votes = {}
    try:
        if len(data) > LIMIT:
            raise ValueError("too large")
        review = yaml.safe_load(data)
        if review["version"] != 1:
            raise ValueError(f"version {review['version']!r}")
        for item in review.get("ratings") or ():
            reviewer = str(item.get("reviewer", ""))
            opinion = _opinion({**item, "index": int(item["image"])}, reviewer)
            if opinion is not None:
                opinions[(str(item["key"]), reviewer, int(item["image"]))] = opinion
        for vote in review.get("votes") or ():
            _enter_vote(votes, vote, str(vote.get("reviewer", "")))
    except (yaml.YAMLError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UsageError(
            f"{path} is not a review this version can read: {type(error).__name__}: {reason}",
            hint="repair it, or move it away and apply the ratings again",
        ) from None
    return opinions, votes


def _opinion(item: Mapping[str, Any], reviewer: str) -> dict[str, Any] | None:
    """An opinion as the review writes it; None for an empty one."""
    marks: dict[str, Any] = {}
    if item.get("star"):
        marks["star"] = True
    if item.get("rating"):
        marks["rating"] = int(item["rating"])
    if note := str(item.get("note") or "").strip():
        marks["note"] = note
    if not marks:
        return None
    head: dict[str, Any] = {"address": str(item["address"]), "key": str(item["key"]), "image": int(item["index"])}
    if item.get("sha256"):
        head["sha256"] = str(item["sha256"])
    return {**head, **({"reviewer": reviewer} if reviewer else {}), **marks}


def _enter_vote(votes: Votes, vote: Mapping[str, Any], reviewer: str) -> None:
    # A pair may have been shown in either order: it is one vote.
    first, second = (_image_id(vote[side]) for side in ("first", "second"))
    winner = str(vote["winner"])
    if winner not in ("first", "second", "tie"):
        raise ValueError(f"winner {winner!r}")
    if second < first:
        first, second = second, first
        winner = {"first": "second", "second": "first"}.get(winner, winner)
    votes[(str(vote["axis"]), reviewer, first, second)] = winner


def _image_id(reference: Mapping[str, Any]) -> tuple[str, int]:
    number = reference["index"] if "index" in reference else reference["image"]
    return str(reference["key"]), int(number)


class _ReviewDumper(yaml.SafeDumper):
    # A class of its own: a representer added to ``SafeDumper`` would change what every other module writes.
    pass


def _represent_text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    # Quoted on one line: PyYAML would read unquoted U+0085 and U+2028 back as spaces.
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=None if value.isprintable() else '"')


_ReviewDumper.add_representer(str, _represent_text)


def _review_text(job: str, opinions: Opinions, votes: Votes) -> str:
    """The review as YAML, sorted by address, so that a new opinion is one new block in the diff."""
    by_address = sorted(opinions.values(), key=lambda o: (o["address"], o["key"], o["image"], o.get("reviewer", "")))
    review: dict[str, Any] = {"version": 1, "job": job, "ratings": by_address}
    if votes:
        review["votes"] = [
            {
                "axis": axis,
                **({"reviewer": reviewer} if reviewer else {}),
                "first": {"key": first[0], "image": first[1]},
                "second": {"key": second[0], "image": second[1]},
                "winner": winner,
            }
            for (axis, reviewer, first, second), winner in sorted(votes.items())
        ]

    body = yaml.dump(review, Dumper=_ReviewDumper, sort_keys=False, allow_unicode=True, width=10**6)
    return f"# What the team thinks of {job}. Merged by: seedream-jobs ratings apply ratings.json\n{body}"
