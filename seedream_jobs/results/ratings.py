"""This module reads what the gallery exports, and keeps opinions in ``reviews/<job>.yaml``, one file per job, for git.

Called by ``cli.ratings``, the gallery and ``export``; ``selections`` shares the form of the file. Invariants: an
opinion is about an image's bytes, whatever stands at its address now; the file is merged, not replaced, and applying
the same export twice changes nothing. A later export of a reviewer replaces what they said, an empty opinion takes it
back. The same opinions give the same bytes.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from jsonschema import Draft7Validator
from jsonschema.exceptions import best_match

from seedream_jobs.atomic_file import check_folder, update_file
from seedream_jobs.confinement import allow_bytes
from seedream_jobs.diagnostics import Diagnostic, did_you_mean, plural
from seedream_jobs.errors import FindingsError, UsageError
from seedream_jobs.foreign_text import is_seen
from seedream_jobs.inside import OutsideRoot
from seedream_jobs.job.document import Document, check_findings
from seedream_jobs.job.files import Files, WorkTree, from_here
from seedream_jobs.job.yaml_reader import WORDS, parse
from seedream_jobs.resources import resource

REVIEWS = "reviews"
"""The folder of reviews, below the campaign's root."""

LIMIT = 16 * 1024 * 1024
"""Bytes of an export or of a file of opinions: more than people rate, and little enough to read into memory."""

MAX_FINDINGS = 20
"""Wrong entries of one file that are reported."""

_FILE_NAME = re.compile(r"[^\W_](?:[\w .+-]*[\w+-])?")  # no separator, no leading dot, no trailing dot or space
_DIGEST = "sha256:"
_IMAGE = re.compile("sha256:[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Opinion:
    """What all reviewers together think of one image.

    :param rating: the mean of their ratings, 1 to 5, to two decimals; None where nobody gave one
    :param ratings: how many gave one
    :param given: (reviewer, rating), by reviewer
    :param stars: how many gave it a star
    :param wins: blind votes that it won; a tie is half a win for each
    :param votes: blind votes that it was in
    :param notes: (reviewer, note), by reviewer
    :param former: opinions about another image that had the same address; they do not count for this one
    """

    rating: float | None = None
    ratings: int = 0
    given: tuple[tuple[str, int], ...] = ()
    stars: int = 0
    wins: float = 0
    votes: int = 0
    notes: tuple[tuple[str, str], ...] = ()
    former: int = 0


NO_OPINION = Opinion()


@dataclass(slots=True, kw_only=True)
class Review:
    """What each reviewer of a job said.

    :param opinions: (sha256, reviewer) to the entry of the file
    :param votes: (axis, reviewer, sha256, sha256), the lesser digest first, to ``first``, ``second`` or ``tie``
    :param void: how many opinions and votes do not say which bytes they are about, so that they count for no image
    """

    opinions: dict[tuple[str, str], Mapping[str, Any]] = field(default_factory=dict)
    votes: dict[tuple[str, str, str, str], str] = field(default_factory=dict)
    void: int = 0

    def merged(self) -> dict[str, Opinion]:
        """The opinions of all reviewers on each image, by its sha256."""
        said: dict[str, list[Mapping[str, Any]]] = {}
        for (sha256, _), entry in sorted(self.opinions.items()):
            said.setdefault(sha256, []).append(entry)
        wins: dict[str, float] = {}
        votes: dict[str, int] = {}
        for (_, _, first, second), winner in self.votes.items():
            for sha256, side in ((first, "first"), (second, "second")):
                votes[sha256] = votes.get(sha256, 0) + 1
                wins[sha256] = wins.get(sha256, 0) + (1 if winner == side else 0.5 if winner == "tie" else 0)
        found = {}
        for sha256 in sorted(said.keys() | votes.keys()):
            entries = said.get(sha256, [])
            given = tuple((entry.get("reviewer", ""), entry["rating"]) for entry in entries if "rating" in entry)
            found[sha256] = Opinion(
                rating=round(sum(rating for _, rating in given) / len(given), 2) if given else None,
                ratings=len(given),
                given=given,
                stars=sum("star" in entry for entry in entries),
                wins=wins.get(sha256, 0),
                votes=votes.get(sha256, 0),
                notes=tuple((entry.get("reviewer", ""), entry["note"]) for entry in entries if "note" in entry),
            )
        return found

    def former(self, known: Collection[str]) -> Counter[str]:
        """How many opinions are about an image that is none of these any more, by the address that it had.

        :param known: the digests of the images that there are now
        """
        return Counter(entry["address"] for (sha256, _), entry in self.opinions.items() if sha256 not in known)


# -- the gallery's export ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class RatingsExport:
    """One reviewer's export, as ``schemas/ratings.schema.json`` describes it.

    :param void: ratings and votes of format 1 that name no image's bytes; they are left out
    """

    job: str
    reviewer: str
    ratings: tuple[Mapping[str, Any], ...]
    votes: tuple[Mapping[str, Any], ...]
    choices: tuple[Mapping[str, Any], ...]
    void: int


def read_export(data: bytes) -> RatingsExport:
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
    ratings = [one for one in export["ratings"] if "sha256" in one]
    votes = [one for one in export.get("votes", ()) if isinstance(one["first"], str) and isinstance(one["second"], str)]
    return RatingsExport(
        job=export["job"],
        reviewer=" ".join(export.get("reviewer", "").split()),
        ratings=tuple(ratings),
        votes=tuple(votes),
        choices=tuple(export.get("choices", ())),
        void=len(export["ratings"]) - len(ratings) + len(export.get("votes", ())) - len(votes),
    )


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)  # ``json`` itself keeps the last of two, in silence
    if len(found) != len(pairs):
        raise ValueError("a name occurs twice in one object")
    return found


# -- reviews -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class AppliedExport:
    """What became of an export: the file it was merged into, and what was left out, a sentence each."""

    file: Path
    notes: tuple[str, ...]


def apply_ratings(ratings: bytes, root: Path) -> AppliedExport:
    """Merge one exported ``ratings.json`` into the campaign's review of its job.

    :param root: the campaign's
    :raises UsageError: for an export that is not what it should be; nothing is written then
    :raises FindingsError: for a review that is none
    :raises OSError: as the file system does
    """
    export = read_export(ratings)
    file = opinions_file(root, REVIEWS, export.job)
    review = read_review(WorkTree(root), export.job, root=root)
    taken: list[str] = []
    for item in export.ratings:
        who = item["sha256"], export.reviewer
        before = review.opinions.get(who, {})
        _enter(review, item, *who)
        after = review.opinions.get(who, {})
        # Another browser, or the page of several jobs, may never have known of it.
        gone = before.keys() - after.keys()
        taken += [f"{name} of {item['address']}" for name in ("star", "rating", "note") if name in gone]
    for vote in export.votes:
        _enter_vote(review, vote, export.reviewer, vote["first"], vote["second"])
    update_file(file, _review_text(export.job, review).encode())
    notes = []
    if taken:
        named = ", ".join(taken[:MAX_FINDINGS]) + (" …" if len(taken) > MAX_FINDINGS else "")
        notes.append(f"{plural(len(taken), 'earlier mark')} taken back, which this export no longer has: {named}")
    if export.void:
        notes.append(
            f"{plural(export.void, 'opinion')} left out: this export names the images by their place (format 1); build "
            "the gallery again, and export from it"
        )
    if review.void:
        notes.append(
            f"{plural(review.void, 'opinion')} of {REVIEWS}/{export.job}.yaml left out: version 1 does not say which "
            "image they are about"
        )
    if export.choices:
        notes.append(f"{plural(len(export.choices), 'choice')} left for: seedream-jobs choose JOB RATINGS.JSON")
    return AppliedExport(file=file, notes=tuple(notes))


def read_review(files: Files, job: str, *, root: Path) -> Review:
    """What a job's review says; an empty one where there is none. Version 1 is read, too.

    :param job: the job's name
    :param root: the campaign's
    :raises FindingsError: for a file that is not a review
    :raises UsageError: it can't be read
    """
    review = Review()
    document = read_opinions(files, REVIEWS, job, root=root, versions=(1, 2))
    if document is None:
        return review
    first = document.data["version"] == 1
    for item in list_items(document, "ratings", _RATING_1 if first else _RATING, needs=("address", "image")):
        image = item.get("sha256") if first else item["image"]
        if image is None:
            review.void += 1
        else:
            _enter(review, item, image.removeprefix(_DIGEST), item.get("reviewer", ""))
    for item in list_items(document, "votes", _VOTE_1 if first else _VOTE, needs=("axis", "first", "second", "winner")):
        if first:
            review.void += 1
        else:
            sides = (item[side].removeprefix(_DIGEST) for side in ("first", "second"))
            _enter_vote(review, item, item.get("reviewer", ""), *sides)
    return review


def _enter(review: Review, item: Mapping[str, Any], sha256: str, reviewer: str) -> None:
    """Enter an opinion as the file has it; an empty one takes back what the reviewer said."""
    marks: dict[str, Any] = {}
    if item.get("star"):
        marks["star"] = True
    if item.get("rating"):
        marks["rating"] = item["rating"]
    if note := (item.get("note") or "").strip():
        marks["note"] = note
    if not marks:
        review.opinions.pop((sha256, reviewer), None)
        return
    head = {"address": item["address"], "image": _DIGEST + sha256}
    review.opinions[sha256, reviewer] = {**head, **({"reviewer": reviewer} if reviewer else {}), **marks}


def _enter_vote(review: Review, vote: Mapping[str, Any], reviewer: str, first: str, second: str) -> None:
    # A pair may have been shown in either order: it is one vote.
    winner = vote["winner"]
    if second < first:
        first, second = second, first
        winner = {"first": "second", "second": "first"}.get(winner, winner)
    review.votes[vote["axis"], reviewer, first, second] = winner


def _review_text(job: str, review: Review) -> str:
    """The review as YAML, sorted by address, so that a new opinion is one new block in the diff."""
    by_address = sorted(review.opinions.values(), key=lambda o: (o["address"], o["image"], o.get("reviewer", "")))
    votes = [
        {
            "axis": axis,
            **({"reviewer": reviewer} if reviewer else {}),
            "first": _DIGEST + first,
            "second": _DIGEST + second,
            "winner": winner,
        }
        for (axis, reviewer, first, second), winner in sorted(review.votes.items())
    ]
    content = {"version": 2, "job": job, "ratings": by_address, **({"votes": votes} if votes else {})}
    return opinions_text(f"What the team thinks of {job}. Merged by: seedream-jobs ratings apply ratings.json", content)


# -- the form of a file of opinions ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """What a field of an entry may hold, as a test and in words."""

    test: Callable[[Any], bool]
    words: str


TEXT = Field(test=lambda value: isinstance(value, str), words="a text")
IMAGE = Field(
    test=lambda value: isinstance(value, str) and _IMAGE.fullmatch(value) is not None,
    words="the digest of an image: sha256: and 64 hex digits",
)
_MARKS = {
    "address": TEXT,
    "reviewer": TEXT,
    "star": Field(test=lambda value: isinstance(value, bool), words="true or false"),
    "rating": Field(test=lambda value: type(value) is int and 1 <= value <= 5, words="a whole number from 1 to 5"),
    "note": TEXT,
}
_RATING = {**_MARKS, "image": IMAGE}
_NUMBER = Field(test=lambda value: type(value) is int and value > 0, words="the image's number, from 1")
_HEX = Field(
    test=lambda value: isinstance(value, str) and _IMAGE.fullmatch(_DIGEST + value) is not None, words="64 hex digits"
)
_RATING_1 = {**_MARKS, "key": TEXT, "image": _NUMBER, "sha256": _HEX}
_WINNER = Field(
    test=lambda value: isinstance(value, str) and value in ("first", "second", "tie"), words="first, second or tie"
)
_VOTE = {"axis": TEXT, "reviewer": TEXT, "first": IMAGE, "second": IMAGE, "winner": _WINNER}
_PLACE = Field(test=lambda value: isinstance(value, dict), words="a mapping of key and image")
_VOTE_1 = {**_VOTE, "first": _PLACE, "second": _PLACE}


def opinions_file(root: Path, folder: str, job: str) -> Path:
    """Where a job's file of opinions is written.

    :param folder: ``reviews`` or ``selections``
    :raises UsageError: the job's name is none for a file, or a link leads out of the campaign
    """
    if not _FILE_NAME.fullmatch(job):
        raise UsageError(f"{job!r} can't be the name of a job's file", hint="give the job a plain name")
    check_folder(root, root / folder)
    return root / folder / f"{job}.yaml"


def read_opinions(files: Files, folder: str, job: str, *, root: Path, versions: Sequence[int]) -> Document | None:
    """A job's file of opinions, of which the head is checked; None where there is none.

    :param folder: ``reviews`` or ``selections``
    :param versions: those of the format that are read
    :raises FindingsError: it is not what it should be
    :raises UsageError: it can't be read
    """
    path = PurePosixPath(folder, f"{job}.yaml")
    if not _FILE_NAME.fullmatch(job):
        return None
    try:
        raw = files.read(path, limit=LIMIT + 1, named=True)
    except FileNotFoundError:
        return None
    except (OSError, OutsideRoot) as error:
        reason = getattr(error, "strerror", None) or "a link leads out of the campaign"
        raise UsageError(f"{path} can't be read: {reason}", hint="put the file itself there") from None
    allow_bytes(len(raw))
    document = parse(raw, from_here(root / path), limit=LIMIT)
    if (version := document.data.get("version")) not in versions or isinstance(version, bool):
        known = " or ".join(map(str, versions))
        raise FindingsError([_damaged(document, f"the version of this file is {known}", ("version",))])
    return document


def list_items(
    document: Document, name: str, fields: Mapping[str, Field], *, needs: Sequence[str]
) -> Iterator[dict[str, Any]]:
    """The entries of one list of a file of opinions, each field of which is as it should be.

    :raises FindingsError: with the first wrong ones
    """
    items = document.data.get(name)
    if items is None:
        return
    found: list[Diagnostic] = []
    if not isinstance(items, list):
        raise FindingsError([_damaged(document, f"{name} is a list", (name,))])
    for index, item in enumerate(items):
        path = (name, index)
        if not isinstance(item, dict):
            found.append(_damaged(document, f"an entry of {name} is a mapping", path))
        else:
            for key, value in item.items():
                if key not in fields:
                    hint = did_you_mean(key, fields, f"known: {', '.join(fields)}")
                    found.append(_damaged(document, f"unknown field {key!r}", (*path, key), hint=hint))
                elif not fields[key].test(value):
                    found.append(_damaged(document, f"{key} is {fields[key].words}", (*path, key)))
            found += [_damaged(document, f"{key!r} is missing", path) for key in needs if key not in item]
        if len(found) >= MAX_FINDINGS:
            break
        if not found:
            yield item
    check_findings(found)


def _damaged(document: Document, message: str, path: Sequence[str | int], *, hint: str | None = None) -> Diagnostic:
    return document.finding("opinion-damaged", message, path, hint=hint or "git log shows what the file was before")


def opinions_text(comment: str, content: Mapping[str, Any]) -> str:
    """A file of opinions: scalars, and lists of mappings, a line for each field."""
    lines = [f"# {comment}"]
    for name, value in content.items():
        if not isinstance(value, list):
            lines.append(f"{name}: {_scalar(value)}")
            continue
        lines.append(f"{name}:" if value else f"{name}: []")
        for item in value:
            for number, (key, one) in enumerate(item.items()):
                shown = f"[{', '.join(map(_in_list, one))}]" if isinstance(one, list) else _scalar(one)
                lines.append(f"{'  ' if number else '- '}{key}: {shown}")
    return "\n".join(lines) + "\n"


# Letters first, then nothing that YAML reads as a comment, a key or another type.
_SIMPLE = re.compile(r"[^\W\d_][\w./=+-]*(?:(?:[,:#](?=[\w.-])| )[\w./=+-]+)*")
_NOT_TEXT = frozenset(WORDS) | {"yes", "no", "on", "off", "y", "n", "nan", "inf"}
_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t"}


def _scalar(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, str):
        return str(value)
    plain = _SIMPLE.fullmatch(value) is not None and value.lower() not in _NOT_TEXT and all(map(is_seen, value))
    return value if plain else _quoted(value)


def _in_list(text: str) -> str:
    return _quoted(text) if re.search("[,:#]", text) else _scalar(text)


def _quoted(text: str) -> str:
    # PyYAML writes direction marks as they are, which no file of a campaign may have, or else escapes every script.
    return f'"{"".join(_ESCAPES.get(one) or (one if is_seen(one) else _escape(one)) for one in text)}"'


def _escape(character: str) -> str:
    code = ord(character)
    if 0xD800 <= code < 0xE000:  # half of a pair: JSON can hold it, no file can
        return "\\ufffd"
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
